"""Predicted beside real: a picture in which every row is a window, every column a time."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from numpy.typing import NDArray

from dexworld.world_models.data.windows import Windows
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.open_loop import STEPS, encode_frames, moments, predict

Picture = NDArray[np.uint8]
_SIDE = 128
_REAL, _PREDICTED, _FRAME = (40, 110, 60), (200, 40, 40), (200, 200, 200)


@torch.no_grad()
def prediction_strip(
    model: LatentWorldModel, windows: Windows, rows: int = 6, steps: Sequence[int] = STEPS
) -> Picture:
    """Return `(height, width, 3)`: for each window what happened, and below it what was predicted.

    Where there are frames and a decoder these are pictures. Keypoints are crosses: real ones green,
    predicted ones red, and both on what happened.

    Args:
        model: what predicts.
        windows: frames one step apart.
        rows: windows shown.
        steps: environment steps after which to look.
    """
    windows = windows.first(rows).to(model.device)
    looks = moments(model, windows, steps)
    encoded = encode_frames(model, windows, [0, *looks])
    way = torch.cat([encoded[:, :1], predict(model, encoded[:, 0], windows, looks)], dim=1)
    layout = model.config.points
    labelled = layout.labelled(windows.frames)
    truth = layout.normalise(windows.frames, rows=2)[:, [0, *looks]] if labelled else None
    said = model.points(way) if layout.count else None
    seen = windows.frames.get("pixels")
    drawn = model.pictures(way) if model.decoder is not None else None
    lines = []
    for row in range(way.shape[0]):
        real, predicted = [], []
        for place, look in enumerate([0, *looks]):
            happened = _canvas(None if seen is None else seen[row, look].cpu().numpy())
            thought = _canvas(None if drawn is None else drawn[row, place].cpu().numpy())
            if truth is not None:
                _crosses(happened, truth[row, place].cpu().numpy(), _REAL)
            if said is not None:
                _crosses(happened, said[row, place].cpu().numpy(), _PREDICTED)
                _crosses(thought, said[row, place].cpu().numpy(), _PREDICTED)
            real.append(happened)
            predicted.append(thought)
        lines += [np.concatenate(real, axis=1), np.concatenate(predicted, axis=1)]
    return np.concatenate(lines, axis=0)


def _canvas(frame: Picture | None) -> Picture:
    white = np.full((1, 1, 3), 255, np.uint8)
    canvas: Picture = np.empty((_SIDE, _SIDE, 3), np.uint8)
    cv2.resize(white if frame is None else frame, (_SIDE, _SIDE), canvas, 0, 0, cv2.INTER_NEAREST)
    cv2.rectangle(canvas, (0, 0), (_SIDE - 1, _SIDE - 1), _FRAME)
    return canvas


def _crosses(canvas: Picture, points: NDArray[np.float32], colour: tuple[int, int, int]) -> None:
    """Draw normalised points `(K, 2)`."""
    for x, y in (points + 1.0) * (_SIDE / 2.0):
        if np.isfinite([x, y]).all() and abs(x) < 1e4 and abs(y) < 1e4:
            place = (round(float(x)), round(float(y)))
            cv2.drawMarker(canvas, place, colour, cv2.MARKER_CROSS, 8, 1, cv2.LINE_AA)
