"""Strips: rows of windows, columns of moments, crosses where keypoints are."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import nn

from dexworld.experiments.prediction_strips import prediction_strip
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.decoder import DecoderConfig
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

SIDE = 128
LAYOUT = PointLayout((PointSet("agent", 1, "proprio"),), 256.0, 256.0)


def model(**changes: object) -> LatentWorldModel:
    torch.manual_seed(0)
    given = {
        "observes": {"proprio": (2,)},
        "action_low": (-1.0, -1.0),
        "action_high": (1.0, 1.0),
        "features": 0,
        "points": LAYOUT,
        "predictor": PredictorConfig(width=4, depth=1, history=2),
    }
    return LatentWorldModel(LatentConfig(**(given | changes)))


def windows(rows: int = 3, steps: int = 6) -> Windows:
    """Return windows of a pusher that goes from the middle to the right."""
    place = torch.full((rows, steps + 1, 2), 256.0)
    place[:, :, 0] += torch.arange(steps + 1) * 32.0
    return Windows(
        {"proprio": place},
        torch.zeros(rows, steps, 1, 2),
        torch.zeros(rows, 2, 2),
        torch.zeros(rows, 2, dtype=torch.bool),
        torch.arange(rows),
    )


def cells(strip: np.ndarray) -> np.ndarray:
    """Return `(rows, columns, side, side, 3)`."""
    rows, columns = strip.shape[0] // SIDE, strip.shape[1] // SIDE
    return strip.reshape(rows, SIDE, columns, SIDE, 3).swapaxes(1, 2)


def where(cell: np.ndarray, channel: int) -> tuple[float, float]:
    """Return the mean place `x, y` of what is mostly of a colour."""
    strength = cell[2:-2, 2:-2].astype(int)
    others = np.delete(strength, channel, axis=2).max(axis=2)
    y, x = np.nonzero(strength[..., channel] > others + 40)
    return float(x.mean()) + 2, float(y.mean()) + 2


def test_a_strip_has_two_lines_a_window_and_a_column_a_moment() -> None:
    strip = prediction_strip(model(), windows(), rows=2, steps=(1, 4, 9))
    assert strip.shape == (4 * SIDE, 3 * SIDE, 3) and strip.dtype == np.uint8
    assert prediction_strip(model(chunk=2), windows(), steps=(1, 4)).shape == (
        6 * SIDE,
        3 * SIDE,
        3,
    )


def test_crosses_are_where_points_are_and_where_they_are_predicted() -> None:
    still = model()  # untrained: nothing moves
    drawn = cells(prediction_strip(still, windows(), rows=1, steps=(2, 4)))
    for column, step in enumerate((0, 2, 4)):
        assert where(drawn[1, column], 0) == pytest.approx((64, 64), abs=1)
        if step:
            there = 64 + step * 32.0 * SIDE / 512
            assert where(drawn[0, column], 1) == pytest.approx((there, 64), abs=1)
            assert where(drawn[0, column], 0) == pytest.approx((64, 64), abs=1)


def test_frames_are_beside_pictures() -> None:
    given = windows()
    frames = torch.full((3, 7, 32, 32, 3), 30, dtype=torch.uint8)
    frames[:, 4] = 90
    given = dataclasses.replace(given, frames={"pixels": frames})
    made = model(
        observes={"pixels": (32, 32, 3)},
        encoder=EncoderConfig("convolutional", width=4, depth=1, maps=1),
        decoder=DecoderConfig(32, 4),
        points=PointLayout(),
        features=3,
    )
    nn.init.zeros_(made.decoder.draw[-1].weight)
    nn.init.constant_(made.decoder.draw[-1].bias, 1.0)
    drawn = cells(prediction_strip(made, given, rows=1, steps=(1, 4)))
    inside = drawn[:, :, 3:-3, 3:-3]
    assert (inside[0, 0] == 30).all() and (inside[0, 2] == 90).all() and (inside[1] == 255).all()
    assert (drawn[:, :, 0] == 200).all()  # a frame around each


def test_points_that_left_the_picture_are_not_drawn() -> None:
    given = windows()
    given.frames["proprio"][:, 3] = torch.nan
    given.frames["proprio"][:, 4] = 1e9
    strip = prediction_strip(model(), given, rows=1, steps=(3, 4))
    green = cells(strip)[0, 1:, 2:-2, 2:-2].astype(int)
    assert not (green[..., 1] > green[..., [0, 2]].max(axis=-1) + 40).any()
