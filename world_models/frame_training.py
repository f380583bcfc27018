"""How the small encoder of frames learns, and what draws features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional

from .cameras import Camera
from .data.windows import Windows
from .frame_encoder import FEATURES
from .heatmaps import draw_heatmaps, hard_argmax
from .patch_decoder import PatchDecoder, PatchDecoderConfig, from_patches
from .patch_encoder import TinyEncoder, TinyEncoderConfig, unit_pictures

Terms = dict[str, Tensor]
"""Weighted terms of a loss by name, each a scalar."""

_MEASURED_AT_ONCE = 64
_SHOWN = 6
_FOUND = 5.0  # [px]


@dataclass(frozen=True)
class TinyTrainingConfig:
    """A small encoder, and what it learns from."""

    encoder: TinyEncoderConfig = field(default_factory=TinyEncoderConfig)
    """The encoder."""
    pixels: str = "pixels"
    """Observation of frames."""
    points: str | None = "keypoints"
    """Observation of points in the world, `(N, 3)`, that are to be found; none where null."""
    camera: str = "camera"
    """Observation of the camera's calibration."""
    order: tuple[int, ...] = ()
    """Which of the points are found; all where empty."""
    sigma: float = 2.0
    """Width of their heatmaps [px]."""
    heatmap: float = 100.0
    """Weight of the squared error of heatmaps."""
    presence: float = 10.0
    """How much more it weighs where a heatmap is 1 than where it is 0."""
    masked: float = 0.0
    """Part of the patches that the encoder does not see, and has to guess."""
    noise: float = 0.1
    """Deviation of the noise on features, of deviation 1, from which pictures are drawn."""

    def __post_init__(self) -> None:
        for name in ("heatmap", "presence", "noise"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"TinyTrainingConfig({name}={getattr(self, name)}) must be at least 0."
                )
        if not 0 <= self.masked < 1 or not self.sigma > 0:
            raise ValueError(
                f"TinyTrainingConfig(masked={self.masked}, sigma={self.sigma}): in [0, 1), positive."
            )


class _Images(nn.Module):
    """Images of features: a look at the neighbours, and the pixels of every patch."""

    def __init__(self, config: TinyEncoderConfig, channels: int) -> None:
        super().__init__()
        self.grid, self.patch = config.grid, config.patch
        self.look = nn.Conv2d(config.width, config.hidden, 3, padding=1)
        self.leave = nn.Linear(config.hidden, channels * config.patch**2)

    def forward(self, features: Tensor) -> Float[Tensor, "rows channels height width"]:
        grid = torch.unflatten(features.transpose(1, 2), 2, self.grid)
        hidden = functional.gelu(self.look(grid)).flatten(2).transpose(1, 2)
        return from_patches(self.leave(hidden).float(), self.grid, self.patch)


class TinyEncoderTraining(nn.Module):
    """Teaches a `TinyEncoder` to see what is there and where the hand is.

    Two small heads read its features: one draws the frame again, the other heatmaps of points of
    the hand, which few pixels show and a picture alone would neglect:

        L = |frame' - frame| + heatmap * mean (1 + presence * h) (h' - h)^2

    Both get features with noise, so that what matters fills the range of the features, and near
    features mean alike pictures. The heads are not kept. Frames may be seen in part (`masked`) or,
    by default, whole.
    """

    def __init__(self, config: TinyTrainingConfig, points: int) -> None:
        super().__init__()
        self.config = config
        self.model = TinyEncoder(config.encoder)
        self.picture = _Images(config.encoder, 3)
        self.maps = _Images(config.encoder, points) if points else None

    def training_loss(self, windows: Windows, progress: float) -> tuple[Float[Tensor, ""], Terms]:
        """Return the loss of the frames of windows, and its terms."""
        frames = flat(windows)
        pictures = unit_pictures(frames[self.config.pixels])
        features = self.model(self._hidden(pictures))
        features = features + self.config.noise * torch.randn_like(features)
        terms = {"picture": (self.picture(features) - pictures).abs().mean()}
        if self.maps is not None:
            truth = self.heatmaps(frames)
            error = (1.0 + self.config.presence * truth) * (self.maps(features) - truth).square()
            terms["heatmap"] = self.config.heatmap * error.mean()
        return torch.stack(list(terms.values())).sum(), terms

    def fit(self, batches: Iterable[Windows]) -> None:
        """Take mean and deviation of the features from the frames of batches."""
        frames = [windows.frames[self.config.pixels].flatten(0, 1) for windows in batches]
        self.model.fit(torch.cat(frames))

    def _hidden(self, pictures: Tensor) -> Tensor:
        """Return pictures with some patches grey."""
        if not self.config.masked:
            return pictures
        seen = torch.rand(len(pictures), 1, *self.model.grid, device=pictures.device)
        seen = (seen >= self.config.masked).to(pictures)
        patch = self.config.encoder.patch
        seen = seen.repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        return torch.where(seen > 0, pictures, pictures.new_full((), 0.5))

    def pixels_of(self, frames: Mapping[str, Tensor]) -> tuple[Tensor, Bool[Tensor, "rows points"]]:
        """Return where the points fall `[R, N, 2]` [px], and which are inside the image."""
        points, camera = self.config.points, self.config.camera
        assert points is not None
        height, width = self.model.image_size
        seen = Camera.from_vector(frames[camera].float(), height, width)
        chosen = list(self.config.order) or slice(None)
        places = torch.unflatten(frames[points].float().flatten(1), 1, (-1, 3))
        projection = seen.project(places[:, chosen])
        return projection.pixels, projection.visible

    def heatmaps(self, frames: Mapping[str, Tensor]) -> Float[Tensor, "rows points height width"]:
        """Return the heatmaps of the points, as they should be."""
        height, width = self.model.image_size
        return draw_heatmaps(*self.pixels_of(frames), (height, width), sigma=self.config.sigma)

    @torch.no_grad()
    def errors(self, windows: Windows) -> dict[str, float]:
        """Return how well features show the frames.

        `picture_error` is the mean absolute error of the picture, in [0, 1]; `keypoint_error` the
        mean distance of the highest pixel of a heatmap from where the point is [px], over points
        inside the image, and `keypoints_found` the share of them that is less than 5 px away.
        """
        frames = flat(windows)
        drawn, maps = self._seen(frames[self.config.pixels])
        errors = {"picture_error": _difference(drawn, frames[self.config.pixels])}
        if maps is not None:
            pixels, visible = self.pixels_of(frames)
            distances = torch.linalg.vector_norm(hard_argmax(maps) - pixels, dim=2)[visible]
            errors["keypoint_error"] = float(distances.mean())
            errors["keypoints_found"] = float((distances < _FOUND).float().mean())
        return errors

    @torch.no_grad()
    def strip(self, windows: Windows) -> Tensor:
        """Return frames above what is drawn of their features, and the heatmaps, uint8 `[H, W, 3]`."""
        frames = {key: value[:_SHOWN] for key, value in flat(windows.first(_SHOWN)).items()}
        real = frames[self.config.pixels]
        drawn, maps = self._seen(real)
        rows = [real, _as_frames(drawn)]
        if maps is not None:
            heat = maps.amax(1, keepdim=True).clamp(0, 1)
            rows.append(_as_frames(0.4 * unit_pictures(real) + 0.6 * heat))
        return _tiled(rows)

    def _seen(self, frames: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return pictures and heatmaps of frames."""
        parts = [self.model(unit_pictures(each)) for each in torch.split(frames, _MEASURED_AT_ONCE)]
        drawn = torch.cat([self.picture(part) for part in parts]).clamp(0, 1)
        return drawn, None if self.maps is None else torch.cat([self.maps(p) for p in parts])


@dataclass(frozen=True)
class DecoderTrainingConfig:
    """A decoder, and what it learns from."""

    decoder: PatchDecoderConfig = field(default_factory=PatchDecoderConfig)
    """The decoder; its encoder, features, grid and patch are those of the features it is given."""
    pixels: str = "pixels"
    """Observation of frames."""
    noise: float = 0.8
    """Most deviation of the noise on features; each picture has its own, from 0 on (RAE)."""
    perceptual: float = 1.0
    """Weight of the perceptual error, where there is a network to judge it."""

    def __post_init__(self) -> None:
        for name in ("noise", "perceptual"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"DecoderTrainingConfig({name}={getattr(self, name)}) must be at least 0."
                )


Perceive = Callable[[Tensor], Tensor]
"""From pictures `[R, 3, h, w]` in [0, 1] to features `[R, P, E]`, with gradients: a `FrozenEncoder`."""


class PatchDecoderTraining(nn.Module):
    """Teaches a `PatchDecoder` to draw frames from features that were computed before.

        L = |frame' - frame| + perceptual * mean (1 - cos(f(frame'), f(frame)))

    `f` is a frozen network; without one, the first term is all. Noise on the features makes the
    decoder draw predicted ones, which are never quite right, as well.
    """

    def __init__(self, config: DecoderTrainingConfig, perceive: Perceive | None = None) -> None:
        super().__init__()
        self.config = config
        self.model = PatchDecoder(config.decoder)
        # In a tuple, that its weights are neither trained nor saved with the decoder's.
        self._perceive = (perceive,)

    def training_loss(self, windows: Windows, progress: float) -> tuple[Float[Tensor, ""], Terms]:
        """Return the loss of the frames of windows, and its terms."""
        frames = flat(windows)
        pictures, features = unit_pictures(frames[self.config.pixels]), frames[FEATURES].float()
        scale = self.config.noise * torch.rand(len(features), 1, 1, device=features.device)
        drawn = self.model(features + scale * torch.randn_like(features))
        terms = {"picture": (drawn - pictures).abs().mean()}
        perceive = self._perceive[0]
        if perceive is not None:
            with torch.no_grad():
                real = perceive(pictures)
            alike = functional.cosine_similarity(perceive(drawn), real, dim=-1)
            terms["perceptual"] = self.config.perceptual * (1.0 - alike).mean()
        return torch.stack(list(terms.values())).sum(), terms

    @torch.no_grad()
    def errors(self, windows: Windows) -> dict[str, float]:
        """Return `picture_error`, the mean absolute error of pictures, in [0, 1]."""
        frames = flat(windows)
        return {"picture_error": _difference(self._drawn(frames), frames[self.config.pixels])}

    @torch.no_grad()
    def strip(self, windows: Windows) -> Tensor:
        """Return frames above what is drawn of their features, uint8 `[H, W, 3]`."""
        frames = {key: value[:_SHOWN] for key, value in flat(windows.first(_SHOWN)).items()}
        return _tiled([frames[self.config.pixels], _as_frames(self._drawn(frames))])

    def _drawn(self, frames: Mapping[str, Tensor]) -> Tensor:
        parts = torch.split(frames[FEATURES].float(), _MEASURED_AT_ONCE)
        return torch.cat([self.model(part) for part in parts])


def flat(windows: Windows) -> dict[str, Tensor]:
    """Return the frames of windows as rows, `[B L, ...]`."""
    return {key: value.flatten(0, 1) for key, value in windows.frames.items()}


def _difference(pictures: Tensor, frames: Tensor) -> float:
    parts = (torch.split(each, _MEASURED_AT_ONCE) for each in (pictures, frames))
    pairs = zip(*parts, strict=True)
    total = sum(float((drawn - unit_pictures(real)).abs().sum()) for drawn, real in pairs)
    return total / pictures.numel()


def _as_frames(pictures: Tensor) -> Tensor:
    return (255.0 * pictures.movedim(1, -1)).round().to(torch.uint8)


def _tiled(rows: list[Any]) -> Tensor:
    return torch.cat([torch.cat(list(row), dim=1) for row in rows], dim=0).cpu()
