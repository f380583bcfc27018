"""A network that draws where keypoints are, as heatmaps, from the features of an image's patches."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

OFFICIAL_SIDE = 224
"""Side of the square in which the published heads draw [px]."""


@dataclass(frozen=True)
class KeypointHeadConfig:
    """How many heatmaps there are, and the transformer that draws them; defaults are DexWM's."""

    width: int = 256
    """Width of the tokens."""
    depth: int = 6
    """Transformer blocks."""
    heads: int = 16
    """Attention heads."""
    maps: int = 12
    """Heatmaps: for each hand, left first, the wrist and five fingertips."""
    ratio: float = 4.0
    """Width of the blocks' perceptrons, by that of the tokens."""
    resize: str = "official"
    """`official`: tokens are squeezed into a square, and maps stretched back, as in published
    checkpoints. `none`: every token draws its own patch."""
    stride: int = 1
    """Side of a heatmap's cell [px]; `official` knows only 1."""

    def __post_init__(self) -> None:
        for name, least in (("width", 1), ("depth", 0), ("heads", 1), ("maps", 1), ("stride", 1)):
            if getattr(self, name) < least:
                raise ValueError(
                    f"KeypointHeadConfig({name}) must be at least {least}, got "
                    f"{getattr(self, name)}."
                )
        if not self.ratio > 0:
            raise ValueError(f"KeypointHeadConfig(ratio) must be positive, got {self.ratio}.")
        if self.width % self.heads:
            raise ValueError(
                f"KeypointHeadConfig(width={self.width}) must be a multiple of heads={self.heads}."
            )
        if self.resize not in ("official", "none"):
            raise ValueError(
                f"KeypointHeadConfig(resize) is 'official' or 'none', got {self.resize!r}."
            )
        if self.resize == "official" and self.stride != 1:
            raise ValueError(
                f"KeypointHeadConfig(stride={self.stride}): the official head draws every pixel; "
                "take resize='none'."
            )


class KeypointHead(nn.Module):
    """Features of patches to heatmaps: a small vision transformer that draws patches.

    The features of each row are drawn by themselves, so that rows may be chunked at will, and
    nothing is squashed at the end: a heatmap is trained to be 1 at its keypoint and 0 elsewhere.

    The official head works on a square. A grid of `h x w` tokens is resized to
    `(224 // patch)^2`, and the 224 x 224 maps to `h patch x w patch`, both bilinearly.

    Args:
        config: The network.
        features: Numbers that describe a patch.
        grid: Rows and columns of patches.
        patch: Side of a patch [px].

    Raises:
        ValueError: the stride does not divide the patch, or the grid is empty.

    Source: DexWM, section 3.3; parameters have the names of its published checkpoints.
    """

    def __init__(
        self, config: KeypointHeadConfig, features: int, grid: tuple[int, int], patch: int
    ) -> None:
        super().__init__()
        if min(grid) < 1 or features < 1 or not 1 <= patch <= OFFICIAL_SIDE:
            raise ValueError(
                f"KeypointHead(features={features}, grid={grid}, patch={patch}): a grid has rows "
                f"and columns, and a patch 1 to {OFFICIAL_SIDE} pixels."
            )
        if patch % config.stride:
            raise ValueError(
                f"a patch of {patch} pixels is no whole number of cells of {config.stride}: choose "
                f"a KeypointHeadConfig(stride) that divides {patch}."
            )
        self.config, self.features, self.grid, self.patch = config, features, grid, patch
        self.size = (grid[0] * patch // config.stride, grid[1] * patch // config.stride)
        """Rows and columns of a heatmap."""
        side = OFFICIAL_SIDE // patch
        drawn = (side, side) if config.resize == "official" else grid
        self.vit_decoder = _PatchDrawer(config, features, drawn, patch // config.stride)

    def forward(
        self,
        features: Float[Tensor, "*rows patches features"],
        maps: slice | Sequence[int] | None = None,
    ) -> Float[Tensor, "*rows maps height width"]:
        """Return the heatmaps of every row, or only those that `maps` selects, in its order.

        Raises:
            IndexError: there is no such map.
            ValueError: these are not features of this grid.
        """
        expected = (math.prod(self.grid), self.features)
        if tuple(features.shape[-2:]) != expected:
            raise ValueError(
                f"features have shape {tuple(features.shape)}; the keypoint head reads "
                f"(..., {expected[0]}, {expected[1]}), of a grid of {self.grid[0]} x "
                f"{self.grid[1]} patches. Give it the encoder that it was trained with."
            )
        decoder, rows = self.vit_decoder, features.shape[:-2]
        tokens = decoder.input_proj(features.reshape(-1, *expected))
        if self.grid != decoder.grid:
            image = tokens.transpose(1, 2).unflatten(2, self.grid)
            tokens = _resize(image, decoder.grid).flatten(2).transpose(1, 2)
        heatmaps = decoder.draw(tokens, slice(None) if maps is None else maps)
        if heatmaps.shape[-2:] != self.size:
            heatmaps = _resize(heatmaps, self.size)
        return heatmaps.reshape(*rows, *heatmaps.shape[1:])


class _PatchDrawer(nn.Module):
    """A transformer over a grid of tokens, each of which then draws a patch of every map."""

    def __init__(
        self, config: KeypointHeadConfig, features: int, grid: tuple[int, int], cells: int
    ) -> None:
        super().__init__()
        self.grid, self.cells, self.maps = grid, cells, config.maps
        self.input_proj = nn.Linear(features, config.width)
        self.pos_embed = nn.Parameter(torch.empty(1, math.prod(grid), config.width))
        self.blocks = nn.ModuleList(_Block(config) for _ in range(config.depth))
        self.norm = nn.LayerNorm(config.width)
        self.head = nn.Sequential(nn.Linear(config.width, cells * cells * config.maps))
        weight, bias = self.head.parameters()
        nn.init.normal_(self.pos_embed, std=0.02)
        # Nearly all of a heatmap is 0: there drawing begins.
        nn.init.normal_(weight, std=0.002)
        nn.init.zeros_(bias)

    def draw(
        self, tokens: Float[Tensor, "rows tokens width"], maps: slice | Sequence[int]
    ) -> Float[Tensor, "rows maps cells_down cells_across"]:
        """Return the maps that are asked for."""
        tokens = tokens + self.pos_embed
        for block in self.blocks:
            tokens = block(tokens)
        # Maps vary fastest among the outputs: (row of cells, column of cells, map).
        weight, bias = (
            torch.unflatten(each, 0, (-1, self.maps))[:, maps].flatten(0, 1)
            for each in self.head.parameters()
        )
        patches = functional.linear(self.norm(tokens), weight, bias)
        patches = torch.unflatten(patches, 2, (self.cells, self.cells, -1))
        patches = torch.unflatten(patches, 1, self.grid)
        return patches.permute(0, 5, 1, 3, 2, 4).flatten(4, 5).flatten(2, 3)


class _Attention(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.proj = nn.Linear(width, width)

    def forward(
        self, tokens: Float[Tensor, "rows tokens width"]
    ) -> Float[Tensor, "rows tokens width"]:
        split = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(*split.unbind(0))
        merged: Tensor = self.proj(attended.transpose(1, 2).flatten(2))
        return merged


class _Block(nn.Module):
    def __init__(self, config: KeypointHeadConfig) -> None:
        super().__init__()
        hidden = int(config.ratio * config.width)
        self.norm1, self.norm2 = nn.LayerNorm(config.width), nn.LayerNorm(config.width)
        self.attn = _Attention(config.width, config.heads)
        # The identity keeps the place of a dropout, after which published weights are numbered.
        self.mlp = nn.Sequential(
            nn.Linear(config.width, hidden),
            nn.GELU(),
            nn.Identity(),
            nn.Linear(hidden, config.width),
        )

    def forward(
        self, tokens: Float[Tensor, "rows tokens width"]
    ) -> Float[Tensor, "rows tokens width"]:
        tokens = tokens + self.attn(self.norm1(tokens))
        moved: Tensor = tokens + self.mlp(self.norm2(tokens))
        return moved


def _resize(
    images: Float[Tensor, "rows channels _ _"], size: tuple[int, int]
) -> Float[Tensor, "rows channels height width"]:
    return functional.interpolate(images, size, mode="bilinear", align_corners=False)
