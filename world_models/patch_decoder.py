"""Pictures of a grid of features, to look at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from .patch_encoder import transformer_block
from .pretrained import Pretrained


@dataclass(frozen=True)
class PatchDecoderConfig:
    """Features that are drawn, and the network that draws them.

    The networks of RAE are those of ViT-L (hidden 1024, depth 24, heads 16) and ViT-XL (1152, 28,
    16), with ratio 4.
    """

    encoder: str = ""
    """Name of the encoder whose features they are."""
    features: int = 64
    """Numbers of a patch."""
    grid: tuple[int, int] = (8, 14)
    """Rows and columns of patches."""
    patch: int = 14
    """Side of a patch in the picture [px]."""
    hidden: int = 128
    """Width of the transformer."""
    depth: int = 3
    """Its blocks."""
    heads: int = 4
    """Its attention heads."""
    ratio: float = 4.0
    """Width of the perceptrons in the blocks, in `hidden`."""

    def __post_init__(self) -> None:
        sizes = {
            "features": self.features,
            "grid": min(self.grid),
            "patch": self.patch,
            "hidden": self.hidden,
            "heads": self.heads,
        }
        for name, size in sizes.items():
            if size < 1:
                raise ValueError(
                    f"PatchDecoderConfig({name}={getattr(self, name)}) must be at least 1."
                )
        if self.hidden % self.heads:
            raise ValueError(
                f"PatchDecoderConfig(hidden={self.hidden}) must be a multiple of "
                f"heads={self.heads}."
            )


class PatchDecoder(Pretrained, nn.Module):
    """A vision transformer from features to pictures (RAE, Zheng et al. 2025).

    A projection, learned places, blocks, a norm, a projection to the pixels of each patch, and a
    tanh. `frame_training.PatchDecoderTraining` trains it.
    """

    config_class: ClassVar[type[PatchDecoderConfig]] = PatchDecoderConfig

    def __init__(self, config: PatchDecoderConfig) -> None:
        super().__init__()
        self.config = config
        rows, columns = config.grid
        self.enter = nn.Linear(config.features, config.hidden)
        self.places = nn.Parameter(0.02 * torch.randn(1, rows * columns, config.hidden))
        self.blocks = nn.ModuleList(
            transformer_block(config.hidden, config.heads, config.ratio)
            for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(config.hidden)
        self.leave = nn.Linear(config.hidden, 3 * config.patch**2)

    def forward(
        self, features: Float[Tensor, "rows patches numbers"]
    ) -> Float[Tensor, "rows 3 height width"]:
        """Return pictures in [0, 1], colours first.

        Raises:
            ValueError: the features are of another grid or width.
        """
        rows, columns = self.config.grid
        if features.shape[1:] != (rows * columns, self.config.features):
            raise ValueError(
                f"features of {features.shape[1]} patches and {features.shape[2]} numbers, but the "
                f"decoder draws {rows} x {columns} patches of {self.config.features}, those of the "
                f"encoder {self.config.encoder!r}."
            )
        tokens = self.enter(features) + self.places
        for block in self.blocks:
            tokens = block(tokens)
        pixels = torch.tanh(self.leave(self.norm(tokens)).float())
        pictures: Tensor = 0.5 + 0.5 * from_patches(pixels, self.config.grid, self.config.patch)
        return pictures

    @torch.no_grad()
    def draw(
        self, features: Float[Tensor, "rows patches numbers"]
    ) -> UInt8[Tensor, "rows height width 3"]:
        """Return frames."""
        pictures: Tensor = self(features.to(self.places)).movedim(1, -1)
        return (255.0 * pictures).round().to(torch.uint8)


def from_patches(
    pixels: Float[Tensor, "rows patches pixels"], grid: tuple[int, int], patch: int
) -> Float[Tensor, "rows channels height width"]:
    """Return images `[R, C, h p, w p]` whose patches are `[R, h w, C p p]`, row by row."""
    split = torch.unflatten(torch.unflatten(pixels, 2, (-1, patch, patch)), 1, grid)
    joined: Tensor = split.permute(0, 3, 1, 4, 2, 5).flatten(4).flatten(2, 3)
    return joined
