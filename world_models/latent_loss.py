"""What a latent world model is trained for: the terms of its loss."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .anti_collapse import variance_covariance
from .distributed import rank, world_size
from .points import PointLayout

_READOUT = 0.1  # weight of a readout that teaches nothing else [1 / label unit]
_DRAWN = 8  # windows of which one is drawn

Terms = dict[str, Tensor]
"""Weighted terms of a loss by name, each a scalar."""


@dataclass(frozen=True)
class LossConfig:
    """What a latent world model is trained for."""

    horizons: tuple[int, ...] = (1, 5, 10)
    """Frames to predict without looking, one after another in equal parts of the training."""
    latent: float = 1.0
    """Weight of the squared error of predicted features."""
    consistency: float = 0.1
    """Weight of the error of keypoints that predicted and encoded latents give back [1 / label
    unit]. At 0 nothing but their readout learns from labels."""
    tolerance: float = 1.0
    """Error of a keypoint below which it counts squared, and so hardly [label unit]."""
    variance: float = 1.0
    """Weight of the deviations of features that fall short of 1."""
    covariance: float = 0.04
    """Weight of the covariances between features."""
    picture: float = 1.0
    """Weight of the decoder's error; it teaches nothing but the decoder."""

    def __post_init__(self) -> None:
        if not self.horizons or min(self.horizons) < 1:
            raise ValueError(f"LossConfig(horizons={self.horizons}): at least one, each from 1 on.")
        if not self.tolerance > 0:
            raise ValueError(f"LossConfig(tolerance={self.tolerance}) must be positive.")
        for name in ("latent", "consistency", "variance", "covariance", "picture"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"LossConfig({name}={getattr(self, name)}): weights must be at least 0."
                )

    def horizon(self, progress: float) -> int:
        """Return how many frames to predict when `progress`, in [0, 1], of the training is done."""
        stage = min(int(progress * len(self.horizons)), len(self.horizons) - 1)
        return self.horizons[stage]

    def check_frames(self, frames: int) -> None:
        """Raise `ValueError` for windows of too few frames, whatever the stage."""
        if max(self.horizons) >= frames:
            raise ValueError(
                f"loss.horizons={list(self.horizons)} predict {max(self.horizons)} frames after "
                f"the first one, and windows have {frames}: give them "
                f"{max(self.horizons) + 1} (data.frames), or choose shorter horizons."
            )


def feature_terms(
    loss: LossConfig,
    encoded: Float[Tensor, "batch frames features"],
    predicted: Float[Tensor, "members batch horizon features"],
    *,
    frozen: bool,
) -> Terms:
    """Return how far predicted features are from encoded ones, and what keeps these apart.

    `frozen` says that the encoder does not learn, so that its features need nothing.
    """
    error = predicted.float() - encoded[:, 1:].float()
    terms = {"latent": loss.latent * error.square().mean()}
    if not frozen:
        short, shared = variance_covariance(encoded.flatten(0, 1))
        terms["variance"] = loss.variance * short
        terms["covariance"] = loss.covariance * shared
    return terms


def point_terms(
    loss: LossConfig,
    layout: PointLayout,
    points: Callable[[Tensor], Tensor],
    encoded: Float[Tensor, "batch frames latent"],
    predicted: Float[Tensor, "members batch horizon latent"],
    truth: Float[Tensor, "batch frames points 2"],
    *,
    fixed: bool,
) -> Terms:
    """Return how far the points of latents are from where the labels say they are.

    Without consistency only the readout learns: the latents that it reads are detached.

    Args:
        loss: the weights.
        layout: which points there are.
        points: reads points off latents.
        encoded: latents of the frames.
        predicted: latents of all but the first, by each predictor.
        truth: normalised points of the frames.
        fixed: whether the points of encoded latents cannot be taught.
    """
    if loss.consistency == 0.0:
        return {"readout": _READOUT * layout.loss(points(encoded.detach()), truth, loss.tolerance)}
    later = truth[:, 1:].expand(len(predicted), *truth[:, 1:].shape)
    terms = {
        "predicted_points": loss.consistency * layout.loss(points(predicted), later, loss.tolerance)
    }
    if not fixed:
        terms["encoded_points"] = loss.consistency * layout.loss(
            points(encoded), truth, loss.tolerance
        )
    return terms


def picture_terms(
    loss: LossConfig,
    decoder: Callable[[Tensor], Tensor],
    encoded: Float[Tensor, "batch frames latent"],
    frames: Tensor,
) -> Terms:
    """Return how far pictures of latents are from the frames `[B, L, height, width, 3]`, uint8.

    Of every eighth window the last frame is drawn, which is enough for a decoder that nothing else
    waits for. Windows are counted through the batch that processes share, so that together they
    draw what one would, and a picture weighs the same wherever it is drawn. Squared errors, since
    absolute ones are content with the background where little else is to be seen.
    """
    rows, processes = len(frames), world_size()
    first = rank() * rows if processes > 1 else 0
    due = range(-first % _DRAWN, rows, _DRAWN)
    mine = list(due) or [0]  # drawn for nothing, since every process must have a part in gradients
    truth = frames[mine, -1].float() / 127.5 - 1.0
    error = functional.mse_loss(decoder(encoded[mine, -1].detach()), truth, reduction="none")
    # Losses are averaged over processes, whoever draws how many.
    share = processes * bool(due) / len(range(0, processes * rows, _DRAWN))
    return {"picture": loss.picture * share * error.flatten(1).mean(1).sum()}


def total(terms: Terms) -> Float[Tensor, ""]:
    """Return the sum of the terms."""
    return torch.stack(list(terms.values())).sum()
