"""How far predictions go astray when nothing is looked at in between."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .data.windows import Windows
from .latent import LATENT, LatentWorldModel

STEPS = (1, 5, 10, 25)
"""Environment steps after which predictions are looked at."""


@torch.no_grad()
def open_loop_errors(
    model: LatentWorldModel, windows: Windows, steps: Sequence[int] = STEPS
) -> dict[str, float]:
    """Return the errors of predictions from the first frame on.

    For each number of steps `n`: `latent_<n>`, the mean squared error of latents over their
    variance between windows; for each point set `<name>_<n>`, the median over windows of the mean
    distance [label unit], its 90th percentile `<name>_<n>_p90`, and `<name>_<n>_static`, the median
    of doing nothing. `shuffled_<n>` is how many times larger the mean error is when every window is
    given the actions of another: near 1 for a model that ignores actions.

    Args:
        model: what predicts.
        windows: frames one step apart, `[B, L, ...]`; steps beyond them are left out.
        steps: numbers of environment steps, rounded up to multiples of the model's chunk.

    Raises:
        ValueError: the frames are not one step apart, or too few for any of the steps.
    """
    looks = moments(model, windows, steps)
    encoded = encode_frames(model, windows, [0, *looks])
    predicted = predict(model, encoded[:, 0], windows, looks)
    other = windows.actions.roll(1, 0)
    shuffled = predict(model, encoded[:, 0], windows, looks, other)
    spread = encoded.var(0, unbiased=False).mean().clamp(min=1e-12)
    errors: dict[str, float] = {}
    layout = model.config.points
    labelled = layout.labelled(windows.frames)
    truth = layout.normalise(windows.frames, rows=2) if labelled else None
    for place, step in enumerate(looks):
        square = (predicted[:, place] - encoded[:, place + 1]).square().mean()
        errors[f"latent_{step}"] = float(square / spread)
        wrong = (shuffled[:, place] - encoded[:, place + 1]).square().mean()
        ratio = float((wrong / square.clamp(min=1e-12)).sqrt())
        if truth is not None:
            there, start = layout.split(truth[:, step]), layout.split(truth[:, 0])
            said = layout.split(model.points(predicted[:, place]))
            for name in layout.names:
                distance = _distance(said[name], there[name])
                errors[f"{name}_{step}"] = float(distance.median())
                errors[f"{name}_{step}_p90"] = float(distance.quantile(0.9))
                errors[f"{name}_{step}_static"] = float(
                    _distance(start[name], there[name]).median()
                )
            astray = layout.split(model.points(shuffled[:, place]))
            ratio = sum(float(_distance(astray[n], there[n]).mean()) for n in layout.names) / max(
                sum(float(_distance(said[n], there[n]).mean()) for n in layout.names), 1e-12
            )
        errors[f"shuffled_{step}"] = ratio
    return errors


def moments(model: LatentWorldModel, windows: Windows, steps: Sequence[int]) -> list[int]:
    """Return after which environment steps predictions are looked at.

    They are multiples of the model's chunk, and within the windows; see `open_loop_errors`.
    """
    if windows.actions.shape[2] != 1:
        raise ValueError(
            f"windows whose frames are {windows.actions.shape[2]} steps apart: errors are measured "
            "on frames one step apart, WindowSettings(gaps=(1, 1))."
        )
    chunk, last = model.config.chunk, windows.actions.shape[1]
    looks = sorted({-(-step // chunk) * chunk for step in steps})
    if not looks or looks[0] > last:
        raise ValueError(
            f"windows of {last} steps are too short to look ahead by any of {looks}: take longer "
            "ones."
        )
    return [look for look in looks if look <= last]


def encode_frames(
    model: LatentWorldModel, windows: Windows, looks: Sequence[int]
) -> Float[Tensor, "batch looks latent"]:
    """Return the latents of some frames of windows whose frames are one step apart."""
    if LATENT in windows.frames:
        return windows.frames[LATENT][:, list(looks)].float()
    encoded = [
        model.encoder({key: windows.frames[key][:, look] for key in model.config.observes})
        for look in looks
    ]
    return torch.stack(encoded, dim=1)


def predict(
    model: LatentWorldModel,
    latent: Float[Tensor, "batch latent"],
    windows: Windows,
    looks: Sequence[int],
    actions: Tensor | None = None,
) -> Float[Tensor, "batch looks latent"]:
    """Return the mean predicted latents after so many environment steps from the first frame."""
    actions = windows.actions if actions is None else actions
    chunk = model.config.chunk
    flat = actions.flatten(1, 2)
    whole = flat[:, : flat.shape[1] // chunk * chunk]
    single = dataclasses.replace(windows, actions=torch.unflatten(whole, 1, (-1, chunk)))
    way = model.predict_windows(latent, single, single.actions.shape[1]).mean(0)
    return way[:, [look // chunk - 1 for look in looks]]


def _distance(points: Tensor, truth: Tensor) -> Float[Tensor, " batch"]:
    distances: Tensor = torch.linalg.vector_norm(points - truth, dim=-1)
    return distances.mean(-1)
