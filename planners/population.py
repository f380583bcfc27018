"""A clipped Gaussian over plans, which sampling planners draw from and refit."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .candidates import Candidates
from .start import Start

Draw = Callable[[int], Tensor]
"""Standard-normal numbers `[B, N, T, A]` for an iteration; this decides how many candidates."""


class Population:
    """Mean and spread of a Gaussian over plans; the bounds clip what is drawn from it.

    Args:
        candidates: The problem searched.
        start: Plans to begin with; the first one is the first mean.
        draw: Noise of each iteration.
        initial_std: Spread at the start, as a fraction of half the range of the bounds.
        warm_std: The same where there is a plan to start from; as anywhere where None.
        std_floor: Least spread, as the same fraction.
        smoothing: Share of the old mean in the new one.
        std_smoothing: Share of the old spread in the new one; 1 keeps it as it is.
    """

    def __init__(
        self,
        candidates: Candidates,
        start: Start,
        *,
        draw: Draw,
        initial_std: float,
        std_floor: float,
        smoothing: float,
        std_smoothing: float,
        warm_std: float | None = None,
    ) -> None:
        self.mean = start.mean
        self._candidates = candidates
        self._plans = start.plans
        self._draw = draw
        self._floor = std_floor * candidates.half_range
        self._smoothing = smoothing
        self._std_smoothing = std_smoothing
        own = (initial_std * candidates.half_range).expand_as(self.mean)
        if start.std is not None:
            warm = torch.maximum(start.std, self._floor)
        else:
            warm = own if warm_std is None else warm_std / initial_std * own
        self.std = torch.where(start.valid[:, None, None], warm, own)

    def propose(self, iteration: int) -> Float[Tensor, "batch candidates horizon action"]:
        """Return candidates: the mean, at first also the other plans to start from, and noise."""
        noise = self._draw(iteration)
        noise[:, 0] = 0.0
        actions = torch.addcmul(self.mean.unsqueeze(1), self.std.unsqueeze(1), noise)
        if iteration == 0:
            given = min(self._plans.shape[1], actions.shape[1])
            actions[:, :given] = self._plans[:, :given]
        return actions

    def fit(
        self,
        actions: Float[Tensor, "batch candidates horizon action"],
        weights: Float[Tensor, "batch candidates"],
    ) -> None:
        """Move to the weighted mean and spread of plans; rows without any weight stay put."""
        total = weights.sum(dim=1)
        share = (weights / torch.where(total > 0, total, 1.0)[:, None])[:, :, None, None]
        mean = (share * actions).sum(dim=1)
        variance = (share * (actions - mean.unsqueeze(1)).square()).sum(dim=1)
        mean = torch.lerp(mean, self.mean, self._smoothing)
        mean = torch.clamp(mean, self._candidates.low, self._candidates.high)
        std = torch.lerp(variance.sqrt(), self.std, self._std_smoothing)
        std = torch.maximum(std, self._floor)
        informed = (total > 0)[:, None, None]
        self.mean = torch.where(informed, mean, self.mean)
        self.std = torch.where(informed, std, self.std)
