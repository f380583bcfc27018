"""Pictures of latents, to look at."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class DecoderConfig:
    """How large pictures are, and the network that makes them."""

    size: int = 96
    """Side of a picture [px], a multiple of 4."""
    width: int = 48
    """Channels of the convolutions."""

    def __post_init__(self) -> None:
        if self.size < 8 or self.size % 4:
            raise ValueError(f"DecoderConfig(size={self.size}) must be a multiple of 4, from 8 on.")
        if self.width < 1:
            raise ValueError(f"DecoderConfig(width={self.width}) must be at least 1.")


class BroadcastDecoder(nn.Module):
    """Spreads a latent over a grid of places and lets convolutions draw (Watters et al. 2019).

    Every place knows where it is, so that things can be drawn anywhere without being learned
    anywhere anew. The grid has a quarter of the resolution; two steps double it.
    """

    grid: Tensor

    def __init__(self, config: DecoderConfig, latent: int) -> None:
        super().__init__()
        self.size = config.size
        width, cells = config.width, config.size // 4
        axis = (torch.arange(cells) + 0.5) * (2.0 / cells) - 1.0
        y, x = torch.meshgrid(axis, axis, indexing="ij")
        self.register_buffer("grid", torch.stack([x, y])[None], persistent=False)
        self.latent = nn.Linear(latent, 2 * width)
        self.place = nn.Conv2d(2, 2 * width, 1)
        self.draw = nn.Sequential(
            nn.SiLU(),
            nn.Conv2d(2 * width, 2 * width, 1),
            nn.SiLU(),
            nn.Conv2d(2 * width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, width, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(width, 48, 3, padding=1),
        )

    def forward(self, latent: Float[Tensor, "rows latent"]) -> Float[Tensor, "rows h w 3"]:
        """Return pictures in [-1, 1], channels last."""
        spread = self.latent(latent)[:, :, None, None] + self.place(self.grid)
        picture: Tensor = functional.pixel_shuffle(self.draw(spread), 4)
        return picture.movedim(1, -1).float()
