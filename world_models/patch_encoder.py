"""A small encoder of frames of our own, for machines without pretrained weights."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .frame_encoder import check_frames
from .pretrained import Pretrained

_MARGIN = 2  # by which the first convolutions look beyond their half patch [px]


@dataclass(frozen=True)
class TinyEncoderConfig:
    """Frames and network of a `TinyEncoder`."""

    image_size: tuple[int, int] = (112, 196)
    """Height and width of frames [px], multiples of the patch."""
    patch: int = 14
    """Side of a patch [px], even."""
    width: int = 64
    """Numbers of a patch."""
    channels: int = 64
    """Channels of the convolutions, on a grid of half patches."""
    convolutions: int = 2
    """Residual blocks of two convolutions."""
    hidden: int = 128
    """Width of the transformer, on the grid of patches."""
    depth: int = 2
    """Its blocks."""
    heads: int = 4
    """Its attention heads."""

    def __post_init__(self) -> None:
        height, width = self.image_size
        if self.patch < 2 or self.patch % 2 or height % self.patch or width % self.patch:
            raise ValueError(
                f"TinyEncoderConfig(image_size={self.image_size}, patch={self.patch}): the patch "
                "must be even, and divide height and width."
            )
        for name in ("width", "channels", "hidden", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"TinyEncoderConfig({name}={getattr(self, name)}) must be at least 1."
                )
        if self.hidden % self.heads or self.channels % 8:
            raise ValueError(
                f"TinyEncoderConfig(hidden={self.hidden}, heads={self.heads}, "
                f"channels={self.channels}): hidden must be a multiple of heads, channels of 8."
            )

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of patches."""
        return self.image_size[0] // self.patch, self.image_size[1] // self.patch


class _ResidualConvolutions(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.GroupNorm(8, channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, x: Tensor) -> Tensor:
        moved: Tensor = x + self.body(x)
        return moved


class TinyEncoder(Pretrained, nn.Module):
    """Convolutions on half patches, then a transformer on patches: a `FrameEncoder`.

    Features have mean 0 and deviation 1 in each dimension, over a batch while it is trained and over
    the frames given to `fit` afterwards, so that a distance between features weighs all of them
    alike. `frame_training.TinyEncoderTraining` trains it.
    """

    config_class: ClassVar[type[TinyEncoderConfig]] = TinyEncoderConfig

    def __init__(self, config: TinyEncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.image_size, self.grid, self.width = config.image_size, config.grid, config.width
        half, channels = config.patch // 2, config.channels
        self.stem = nn.Conv2d(3, channels, half + 2 * _MARGIN, stride=half, padding=_MARGIN)
        self.fine = nn.Sequential(
            *(_ResidualConvolutions(channels) for _ in range(config.convolutions))
        )
        self.merge = nn.Conv2d(channels, config.hidden, 2, stride=2)
        patches = self.grid[0] * self.grid[1]
        self.places = nn.Parameter(0.02 * torch.randn(1, patches, config.hidden))
        self.blocks = nn.ModuleList(
            transformer_block(config.hidden, config.heads) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.hidden)
        self.leave = nn.Linear(config.hidden, config.width)
        self.normalise = nn.BatchNorm1d(config.width, momentum=0.01, affine=False)

    @property
    def name(self) -> str:
        """What features depend on: the weights."""
        digest = hashlib.sha256()
        for name, tensor in self.state_dict().items():
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
        height, width = self.image_size
        return f"tiny {digest.hexdigest()[:16]} {height}x{width}"

    def forward(
        self, pictures: Float[Tensor, "rows 3 height width"]
    ) -> Float[Tensor, "rows patches numbers"]:
        """Return the features of pictures in [0, 1], with gradients."""
        values = self._values(pictures)
        return torch.unflatten(self.normalise(values.flatten(0, 1)), 0, values.shape[:2])

    def _values(self, pictures: Tensor) -> Float[Tensor, "rows patches numbers"]:
        fine = self.fine(self.stem(2.0 * pictures - 1.0))
        tokens = self.merge(fine).flatten(2).transpose(1, 2) + self.places
        for block in self.blocks:
            tokens = block(tokens)
        values: Tensor = self.leave(self.norm(tokens)).float()
        return values

    @torch.no_grad()
    def fit(self, frames: UInt8[Tensor, "rows height width 3"], at_once: int = 64) -> None:
        """Take mean and deviation of features from frames, two or more."""
        parts = torch.split(frames.to(self.places.device), at_once)
        values = torch.cat([self._values(unit_pictures(part)) for part in parts]).flatten(0, 1)
        assert self.normalise.running_mean is not None and self.normalise.running_var is not None
        self.normalise.running_mean.copy_(values.mean(0))
        self.normalise.running_var.copy_(values.var(0))

    @torch.no_grad()
    def features(
        self, frames: UInt8[Tensor, "rows height width 3"]
    ) -> Float[Tensor, "rows patches numbers"]:
        """Return the features of frames; raise `ValueError` for frames of another size."""
        check_frames(self, frames)
        if self.training:
            raise ValueError("this encoder is in training: call eval() before asking for features.")
        features: Tensor = self(unit_pictures(frames.to(self.places.device)))
        return features


def transformer_block(width: int, heads: int, ratio: float = 2.0) -> nn.TransformerEncoderLayer:
    """Return a pre-normalised transformer block without dropout."""
    return nn.TransformerEncoderLayer(
        width,
        heads,
        int(ratio * width),
        dropout=0.0,
        activation="gelu",
        batch_first=True,
        norm_first=True,
    )


def unit_pictures(
    frames: UInt8[Tensor, "rows height width 3"],
) -> Float[Tensor, "rows 3 height width"]:
    """Return frames as pictures in [0, 1], colours first."""
    return frames.movedim(-1, 1).float() / 255.0
