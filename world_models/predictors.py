"""Latent predictors: where a latent goes under an action."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .layers import AdaptiveBlock, ResidualMLP
from .planar_contact import PlanarContactPredictor
from .points import PointLayout


@dataclass(frozen=True)
class PredictorConfig:
    """How latents move."""

    kind: str = "residual"
    """`residual` (perceptron), `transformer` (AdaLN), or `planar_contact` (a pusher, a body)."""
    width: int = 192
    """Width of the hidden layers."""
    depth: int = 2
    """Residual or transformer blocks."""
    heads: int = 4
    """Attention heads of `transformer`."""
    history: int = 8
    """Past actions, and for `transformer` past latents, that a prediction may depend on."""
    members: int = 1
    """Predictors trained side by side; from two on they predict `disagreement`."""
    octaves: int = 5
    """Frequencies of the Fourier features that `planar_contact` sees the pusher's path through."""
    least_motion: float = 0.0
    """Mean motion of the body's points in one action below which `planar_contact` lets it rest
    [label unit]. Not in training, where there would be no gradient."""
    reach: float | None = None
    """Distance between the pusher's path and the middle of the body's points beyond which
    `planar_contact` lets the body rest, and saves the work [label unit]; none where None."""

    def __post_init__(self) -> None:
        for name in ("width", "depth", "heads", "history", "members"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"PredictorConfig({name}) must be at least 1, got {getattr(self, name)}."
                )
        if self.octaves < 0:
            raise ValueError(f"PredictorConfig(octaves) must be at least 0, got {self.octaves}.")
        if self.reach is not None and not self.reach > 0.0:
            raise ValueError(f"PredictorConfig(reach) must be positive or None, got {self.reach}.")
        if not self.least_motion >= 0.0:
            raise ValueError(
                f"PredictorConfig(least_motion) must be at least 0, got {self.least_motion}."
            )


class StepwisePredictor(nn.Module):
    """Predicts chunk after chunk, each from what was predicted of the one before."""

    remembers = 1

    def forward(
        self,
        latents: Float[Tensor, "rows remembered latent"],
        past: Float[Tensor, "rows history action"],
        chunks: Float[Tensor, "rows horizon chunk action"],
    ) -> Float[Tensor, "rows horizon latent"]:
        """Return the latents after each chunk of actions.

        Args:
            latents: those that are remembered, newest last.
            past: the actions that led to the newest, newest last.
            chunks: the actions that follow.
        """
        way = []
        for chunk in chunks.unbind(1):
            way.append(self.step(latents, past, chunk))
            latents = torch.cat([latents[:, 1:], way[-1][:, None]], dim=1)
            past = torch.cat([past, chunk], dim=1)[:, -past.shape[1] :]
        return torch.stack(way, dim=1)

    def step(
        self,
        latents: Float[Tensor, "rows remembered latent"],
        past: Float[Tensor, "rows history action"],
        actions: Float[Tensor, "rows chunk action"],
    ) -> Float[Tensor, "rows latent"]:
        """Return the latents after `actions`."""
        raise NotImplementedError


class ResidualPredictor(StepwisePredictor):
    """A perceptron on the newest latent, the past actions and the next one."""

    def __init__(
        self, config: PredictorConfig, layout: PointLayout, latent: int, action: int, chunk: int
    ) -> None:
        super().__init__()
        inputs = latent + (config.history + chunk) * action
        self.network = ResidualMLP(inputs, latent, config.width, config.depth)
        nn.init.zeros_(self.network.skip.weight)
        nn.init.zeros_(self.network.skip.bias)

    def step(
        self,
        latents: Float[Tensor, "rows remembered latent"],
        past: Float[Tensor, "rows history action"],
        actions: Float[Tensor, "rows chunk action"],
    ) -> Float[Tensor, "rows latent"]:
        """Return the latents after `actions`."""
        newest = latents[:, -1]
        seen = torch.cat([newest, past.flatten(1), actions.flatten(1)], dim=1)
        later: Tensor = newest + self.network(seen)
        return later


class TransformerPredictor(StepwisePredictor):
    """A causal transformer over past latents, each conditioned on the actions that follow it."""

    def __init__(
        self, config: PredictorConfig, layout: PointLayout, latent: int, action: int, chunk: int
    ) -> None:
        super().__init__()
        self.remembers = max(config.history // chunk, 1)
        self.chunk = chunk
        width = config.width
        self.enter = nn.Linear(latent, width)
        self.places = nn.Parameter(0.02 * torch.randn(1, self.remembers, width))
        self.condition = nn.Sequential(
            nn.Linear(chunk * action, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.blocks = nn.ModuleList(
            AdaptiveBlock(width, config.heads, width) for _ in range(config.depth)
        )
        self.norm = nn.LayerNorm(width)
        self.leave = nn.Linear(width, latent)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def step(
        self,
        latents: Float[Tensor, "rows remembered latent"],
        past: Float[Tensor, "rows history action"],
        actions: Float[Tensor, "rows chunk action"],
    ) -> Float[Tensor, "rows latent"]:
        """Return the latents after `actions`."""
        rows = len(latents)
        between = past[:, past.shape[1] - (self.remembers - 1) * self.chunk :]
        chunks = torch.cat([between, actions], dim=1).reshape(rows, self.remembers, -1)
        condition = self.condition(chunks)
        tokens = self.enter(latents) + self.places
        for block in self.blocks:
            tokens = block(tokens, condition)
        later: Tensor = latents[:, -1] + self.leave(self.norm(tokens[:, -1]))
        return later


PREDICTORS: dict[str, type[ResidualPredictor | TransformerPredictor | PlanarContactPredictor]] = {
    "residual": ResidualPredictor,
    "transformer": TransformerPredictor,
    "planar_contact": PlanarContactPredictor,
}
"""Predictors by the name that `PredictorConfig.kind` gives them."""
