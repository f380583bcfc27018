"""Observation encoders: from a batch of observations to points and features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .layers import ResidualMLP, soft_argmax
from .points import PointLayout


@dataclass(frozen=True)
class EncoderConfig:
    """How observations become latents."""

    kind: str = "vector"
    """`vector` (perceptron), `convolutional`, or `patches` (a small ViT)."""
    width: int = 128
    """Width of the perceptron, channels of the convolutions, or width of the tokens."""
    depth: int = 2
    """Residual blocks, or transformer blocks."""
    heads: int = 4
    """Attention heads of `patches`."""
    patch: int = 8
    """Side of a patch of `patches` [px]."""
    maps: int = 16
    """Heatmaps beyond those of the points, from which `convolutional` reads features."""

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 0), ("heads", 1), ("patch", 1), ("maps", 0)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"EncoderConfig({name}) must be at least {least}, got {getattr(self, name)}."
                )


class VectorEncoder(nn.Module):
    """A perceptron on observed numbers; points that are observed are not learned but copied.

    Numbers that are observed as the label of points are in the unit of the points; others go
    through a normalisation whose mean and deviation `fit` takes from data.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        config: EncoderConfig,
        shapes: Mapping[str, tuple[int, ...]],
        layout: PointLayout,
        points: int,
        features: int,
    ) -> None:
        super().__init__()
        self.keys = sorted(shapes)
        self.layout, self.points = layout, points
        size = sum(int(torch.Size(shapes[key]).numel()) for key in self.keys)
        labels = {each.label for each in layout.sets}
        self.copies = points > 0 and labels <= set(self.keys)
        self.register_buffer("mean", torch.zeros(size))
        self.register_buffer("deviation", torch.ones(size))
        outputs = features + (0 if self.copies else 2 * points)
        self.network = ResidualMLP(size, outputs, config.width, config.depth) if outputs else None

    def fit(self, observations: Mapping[str, Tensor]) -> None:
        """Take mean and deviation from observations `[F, ...]`."""
        values = self._values(observations)
        self.mean.copy_(values.mean(0))
        self.deviation.copy_(values.std(0).clamp(min=1e-6))

    def _values(self, observation: Mapping[str, Tensor]) -> Tensor:
        return torch.cat([observation[key].float().flatten(1) for key in self.keys], dim=1)

    def forward(self, observation: Mapping[str, Tensor]) -> Float[Tensor, "rows latent"]:
        """Return the latents `[R, 2 points + features]` of observations `[R, ...]`."""
        parts = []
        if self.copies:
            parts.append(self.layout.normalise(observation, rows=1).flatten(1))
        if self.network is not None:
            values = (self._values(observation) - self.mean) / self.deviation
            parts.append(self.network(values).float())
        return torch.cat(parts, dim=1)


class _ResidualConvolution(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        groups = 8 if channels % 8 == 0 else 1
        self.body = nn.Sequential(
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GroupNorm(groups, channels),
            nn.SiLU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        sum_: Tensor = x + self.body(x)
        return sum_


class ConvolutionalEncoder(nn.Module):
    """Convolutions at a quarter of the resolution, then positions of heatmaps (soft-argmax).

    Where things are is read off as the mean position of a heatmap, which learns far faster than
    flattened activations do. The first heatmaps are the points; all positions and the mean of
    the channels give the features. Coarser context comes from a second branch at a sixteenth.
    """

    def __init__(
        self,
        config: EncoderConfig,
        shapes: Mapping[str, tuple[int, ...]],
        layout: PointLayout,
        points: int,
        features: int,
    ) -> None:
        super().__init__()
        self.key = _only_image(shapes)
        width, self.points = config.width, points
        if min(shapes[self.key][:2]) < 32 or width < 2:
            raise ValueError(
                f"the convolutional encoder takes frames of 32 x 32 pixels or more, and at least 2 "
                f"channels; it is given {shapes[self.key]} and EncoderConfig(width={width})."
            )
        self.stem = nn.Sequential(
            nn.Conv2d(3, width // 2, 5, stride=2, padding=2),
            nn.SiLU(),
            nn.Conv2d(width // 2, width, 3, stride=2, padding=1),
        )
        self.fine = nn.Sequential(*(_ResidualConvolution(width) for _ in range(config.depth)))
        self.coarse = nn.Sequential(
            nn.Conv2d(width, 2 * width, 4, stride=4),
            *(_ResidualConvolution(2 * width) for _ in range(config.depth)),
            nn.Conv2d(2 * width, width, 1),
        )
        self.mixed = _ResidualConvolution(width)
        maps = points + config.maps
        self.heatmaps = nn.Conv2d(width, maps, 1)
        self.features = nn.Linear(2 * maps + width, features) if features else None

    def forward(self, observation: Mapping[str, Tensor]) -> Float[Tensor, "rows latent"]:
        """Return the latents `[R, 2 points + features]` of frames `[R, height, width, 3]`."""
        x = _channels_first(observation[self.key])
        fine = self.fine(self.stem(x))
        coarse = nn.functional.interpolate(self.coarse(fine), fine.shape[-2:], mode="bilinear")
        mixed = self.mixed(fine + coarse)
        positions = soft_argmax(self.heatmaps(mixed))
        parts = [positions[:, : self.points].flatten(1)]
        if self.features is not None:
            read = torch.cat([positions.flatten(1), mixed.mean((2, 3)).float()], dim=1)
            parts.append(self.features(read).float())
        return torch.cat(parts, dim=1)


class PatchEncoder(nn.Module):
    """A small vision transformer; points are where one attention head each looks, plus an offset."""

    def __init__(
        self,
        config: EncoderConfig,
        shapes: Mapping[str, tuple[int, ...]],
        layout: PointLayout,
        points: int,
        features: int,
    ) -> None:
        super().__init__()
        self.key = _only_image(shapes)
        height, width, _ = shapes[self.key]
        if height % config.patch or width % config.patch:
            raise ValueError(
                f"EncoderConfig(patch={config.patch}) must divide the frames, {height} x {width}."
            )
        if config.width % config.heads:
            raise ValueError(
                f"EncoderConfig(width={config.width}) must be a multiple of heads={config.heads}."
            )
        self.rows, self.points = height // config.patch, points
        count = self.rows * (width // config.patch)
        self.cut = nn.Conv2d(3, config.width, config.patch, stride=config.patch)
        self.places = nn.Parameter(0.02 * torch.randn(1, count, config.width))
        self.blocks = nn.ModuleList(
            nn.TransformerEncoderLayer(
                config.width,
                config.heads,
                2 * config.width,
                dropout=0.0,
                activation="gelu",
                batch_first=True,
                norm_first=True,
            )
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.width)
        self.heatmaps = nn.Linear(config.width, points) if points else None
        self.offsets = nn.Linear(config.width, 2 * points) if points else None
        self.features = nn.Linear(config.width, features) if features else None

    def forward(self, observation: Mapping[str, Tensor]) -> Float[Tensor, "rows latent"]:
        """Return the latents `[R, 2 points + features]` of frames `[R, height, width, 3]`."""
        tokens = self.cut(_channels_first(observation[self.key])).flatten(2).transpose(1, 2)
        tokens = tokens + self.places
        for block in self.blocks:
            tokens = block(tokens)
        tokens = self.norm(tokens)
        parts = []
        if self.heatmaps is not None and self.offsets is not None:
            maps = self.heatmaps(tokens).transpose(1, 2)
            positions = soft_argmax(maps.unflatten(2, (self.rows, -1)))
            weights = torch.softmax(maps.float(), dim=-1)
            offsets = self.offsets(tokens).float().unflatten(2, (self.points, 2))
            offset = torch.einsum("rpt,rtpd->rpd", weights, offsets)
            parts.append((positions + offset).flatten(1))
        if self.features is not None:
            parts.append(self.features(tokens.mean(1)).float())
        return torch.cat(parts, dim=1)


ENCODERS: dict[str, type[VectorEncoder | ConvolutionalEncoder | PatchEncoder]] = {
    "vector": VectorEncoder,
    "convolutional": ConvolutionalEncoder,
    "patches": PatchEncoder,
}
"""Encoders by the name that `EncoderConfig.kind` gives them."""


def _channels_first(frames: Tensor) -> Tensor:
    """Return frames `[R, height, width, 3]`, uint8, as `[R, 3, height, width]` in [-1, 1]."""
    return frames.movedim(-1, 1).float() / 127.5 - 1.0


def _only_image(shapes: Mapping[str, tuple[int, ...]]) -> str:
    frames = [key for key, shape in shapes.items() if len(shape) == 3 and shape[-1] == 3]
    if len(shapes) != 1 or not frames:
        raise ValueError(
            f"the encoder takes one kind of frames, (height, width, 3); it is given {dict(shapes)}."
        )
    return frames[0]
