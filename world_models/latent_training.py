"""How a latent world model is trained: windows encoded, predicted, and compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from .data.windows import Windows
from .encoders import VectorEncoder
from .latent_config import LATENT
from .latent_loss import Terms, feature_terms, picture_terms, point_terms, total

if TYPE_CHECKING:
    from .latent import LatentWorldModel


def training_loss(
    model: LatentWorldModel, windows: Windows, progress: float
) -> tuple[Float[Tensor, ""], Terms]:
    """Return the loss of windows, and its terms; see `LatentWorldModel.training_loss`."""
    config, split = model.config, model.config.points_size
    config.loss.check_frames(windows.actions.shape[1] + 1)
    horizon = config.loss.horizon(progress)
    frames = {key: value[:, : horizon + 1] for key, value in windows.frames.items()}
    frozen, terms = LATENT in frames, Terms()
    encoded = encode_windows(model, frames)
    # Points learn from labels where they are encoded. What a predictor makes of points that are
    # still wrong would teach the encoder nothing: in PushT it never found the block.
    start = torch.cat([encoded[:, 0, :split].detach(), encoded[:, 0, split:]], dim=1)
    predicted = predict_windows(model, start, windows, horizon)
    if config.features:
        features = encoded[..., split:], predicted[..., split:]
        terms |= feature_terms(config.loss, *features, frozen=frozen)
    if config.points.count:
        truth = config.points.normalise(frames, rows=2)
        copied = isinstance(model.encoder, VectorEncoder) and model.encoder.copies
        terms |= point_terms(
            config.loss,
            config.points,
            model.points,
            encoded,
            predicted,
            truth,
            fixed=frozen or copied,
        )
    if model.decoder is not None and "pixels" in frames:
        terms |= picture_terms(config.loss, model.decoder, encoded, frames["pixels"])
    return total(terms), terms


def encode_windows(
    model: LatentWorldModel, frames: Mapping[str, Tensor]
) -> Float[Tensor, "batch frames latent"]:
    """Return the latents of frames `[B, L, ...]`: as they are encoded, or were by a frozen encoder."""
    if LATENT in frames:
        return frames[LATENT].float()
    shape = frames[next(iter(model.config.observes))].shape[:2]
    flat = {key: frames[key].flatten(0, 1) for key in model.config.observes}
    return torch.unflatten(model.encoder(flat), 0, shape)


def predict_windows(
    model: LatentWorldModel, latent: Float[Tensor, "batch latent"], windows: Windows, horizon: int
) -> Float[Tensor, "members batch horizon latent"]:
    """Return what each predictor says of the frames that follow the first one.

    Raises:
        ValueError: the windows do not fit the model's actions, or its memory of them.
    """
    gap, chunk = windows.actions.shape[2], model.config.chunk
    if gap % chunk:
        raise ValueError(
            f"windows whose frames are {gap} steps apart, but the model's actions last "
            f"{chunk} steps; gaps must be multiples."
        )
    chunks = torch.unflatten(windows.actions[:, :horizon].flatten(1, 2), 1, (-1, chunk))
    memories = model.memories_of(latent, windows)
    return torch.stack(
        [
            memory.roll(predictor, chunks)[0][:, gap // chunk - 1 :: gap // chunk]
            for predictor, memory in zip(model.predictors, memories, strict=True)
        ]
    )
