"""The disagreement of an ensemble on held-out data."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.world_models.data.windows import Windows
from dexworld.world_models.disagreement import disagreement_quantile
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.predictors import PredictorConfig


def ensemble(members: int = 3, chunk: int = 2) -> LatentWorldModel:
    torch.manual_seed(0)
    config = LatentConfig(
        observes={"state": (3,)},
        action_low=(-1.0, -1.0),
        action_high=(1.0, 1.0),
        chunk=chunk,
        features=4,
        encoder=EncoderConfig(width=8, depth=1),
        predictor=PredictorConfig(width=8, depth=1, history=2, members=members),
    )
    return LatentWorldModel(config)


def windows(frames: int, gap: int, count: int = 6) -> Windows:
    generator = torch.Generator().manual_seed(1)
    draw: Callable[..., Tensor] = lambda *shape: torch.rand(shape, generator=generator) * 2 - 1
    return Windows(
        frames={"state": draw(count, frames, 3)},
        actions=draw(count, frames - 1, gap, 2),
        past=torch.zeros(count, 2, 2),
        past_known=torch.zeros(count, 2, dtype=torch.bool),
        start=torch.arange(count),
    )


@pytest.mark.parametrize(("frames", "gap"), [(8, 1), (3, 4)])
def test_all_steps_of_all_windows_count(frames: int, gap: int) -> None:
    model, held_out = ensemble(), windows(frames, gap)
    state = model.encode({"state": held_out.frames["state"][:, 0]})
    actions = held_out.actions.flatten(1, 2)
    found = []
    for step in range((frames - 1) * gap // 2):
        state = model.step(state, actions[:, 2 * step : 2 * step + 2].flatten(1))
        found.append(state["disagreement"].detach().numpy())
    for quantile in (0.5, 0.95):
        expected = np.quantile(np.concatenate(found).astype(float), quantile)
        assert disagreement_quantile(model, held_out, quantile) == pytest.approx(expected, rel=1e-4)


def test_what_cannot_be_measured() -> None:
    with pytest.raises(KeyError, match=r"disagreement_quantile reads .*does not predict"):
        disagreement_quantile(ensemble(1), windows(8, 1))
    with pytest.raises(ValueError, match=r"must hold an action of the model, 8 numbers"):
        disagreement_quantile(ensemble(chunk=4), windows(4, 1))
    with pytest.raises(ValueError, match=r"quantile=1.5"):
        disagreement_quantile(ensemble(), windows(8, 1), 1.5)
