"""A model that watches a search, and can break it: what the laws of a planner are tested with."""

from __future__ import annotations

from collections.abc import Callable, Collection

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import State, WorldModel, Wrapper
from .candidates import GRADIENT_EVALUATIONS

Poison = Callable[[Tensor], Tensor]
"""Candidates `[B, N, T, A]` to those `[B, N]` whose predictions are to be NaN."""


class Recorder(Wrapper):
    """A model that passes everything on, remembers each rollout and can spoil predictions.

    Args:
        model: What rolls out.
        poison: Which candidates are spoilt.
        clock: What each rollout moves on by a second.
        problems: How many there are, where several searches of one stand side by side; as many as a
            rollout has where None.
    """

    def __init__(
        self,
        model: WorldModel,
        poison: Poison | None = None,
        clock: FakeClock | None = None,
        problems: int | None = None,
    ) -> None:
        self.model = model
        self.poison = poison
        self.clock = clock
        self.problems = problems
        self.rollouts: list[Tensor] = []
        self.evaluations = 0

    @property
    def searched(self) -> Float[Tensor, "batch evaluated horizon action"]:
        """All candidates, those of all searches of a problem in its row."""
        problems = self.problems or len(self.rollouts[0])
        folded = [each.reshape(problems, -1, *each.shape[2:]) for each in self.rollouts]
        return torch.cat(folded, dim=1)

    @property
    def searched_evaluations(self) -> int:
        """Evaluations of each problem."""
        return self.evaluations // (self.problems or len(self.rollouts[0]))

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Remember the candidates, let a second pass, and spoil what is to be spoilt."""
        self.rollouts.append(actions.detach().clone())
        price = GRADIENT_EVALUATIONS if actions.requires_grad else 1
        self.evaluations += actions.shape[0] * actions.shape[1] * price
        if self.clock is not None:
            self.clock.now += 1.0
        predictions = self.model.rollout(state, actions, keys)
        if self.poison is None:
            return predictions
        spoilt = self.poison(actions.detach())
        return {
            key: torch.where(spoilt.view(*spoilt.shape, *[1] * (value.ndim - 2)), torch.nan, value)
            for key, value in predictions.items()
        }


class FakeClock:
    """A clock that only a `Recorder` moves: one second per rollout."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Return the time."""
        return self.now
