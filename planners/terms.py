"""What objectives are made of: terms that scale with `*`, add with `+` and weigh time."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import State
from .base import Objective
from .settings import require_at_least, require_finite, require_positive


class Addable(ABC):
    """An objective that can be scaled and added to others."""

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """Keys of the predictions that the cost needs."""

    @abstractmethod
    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the cost of each candidate; lower is better."""

    def __add__(self, other: Objective) -> Sum:
        """Return the objective whose cost is the sum of both."""
        return Sum((*_terms(self), *_terms(other)))

    def __mul__(self, factor: float) -> Addable:
        """Return the objective whose cost is `factor` times this one's."""
        return Sum((self,), (float(factor),))

    def __rmul__(self, factor: float) -> Addable:
        """Return the objective whose cost is `factor` times this one's."""
        return self * factor


@dataclass(frozen=True)
class Sum(Addable):
    """A weighted sum of objectives: `sum_i weights[i] cost_i`."""

    terms: tuple[Objective, ...]
    """Objectives that are added."""
    weights: tuple[float, ...] | None = None
    """Their factors; all one where None."""

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a Sum needs at least one objective; it has none.")
        if self.weights is not None and len(self.weights) != len(self.terms):
            raise ValueError(
                f"a Sum needs one weight per objective; got {len(self.weights)} weights for "
                f"{len(self.terms)} objectives."
            )

    @property
    def reads(self) -> frozenset[str]:
        """What any of the terms reads."""
        return frozenset().union(*(term.reads for term in self.terms))

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the weighted sum of the costs of the terms."""
        weights = self.weights or (1.0,) * len(self.terms)
        costs = [
            term.cost(predictions, actions, state, goal) * weight
            for term, weight in zip(self.terms, weights, strict=True)
        ]
        return torch.stack(costs).sum(dim=0)

    def __mul__(self, factor: float) -> Sum:
        """Scale every weight."""
        weights = self.weights or (1.0,) * len(self.terms)
        return Sum(self.terms, tuple(weight * factor for weight in weights))


@dataclass(frozen=True)
class Term(Addable):
    """A weighted cost of a distance `d[t]` after each decision.

    `cost = weight (terminal d[T-1] + running mean_t(discount^t d[t]))`, with `t = 0 .. T-1`.
    Terminal alone, the default, is the planning cost of DexWM (equation 6).
    """

    weight: float = 1.0
    """Factor of the whole term."""
    terminal: float = 1.0
    """Factor of the last distance."""
    running: float = 0.0
    """Factor of the mean over time."""
    discount: float = 1.0
    """Factor per decision inside the mean: below 1, early counts more; above 1, late does."""

    def __post_init__(self) -> None:
        for name in ("terminal", "running"):
            require_at_least(self, name, 0.0)
        require_positive(self, "discount")
        require_finite(self, "weight")
        if self.terminal == 0 and self.running == 0:
            raise ValueError(
                f"{type(self).__name__}(terminal=0, running=0) is zero everywhere; "
                "set one of them, or leave the term out."
            )

    @abstractmethod
    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return the distance after each decision."""

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Weigh the distances over time."""
        distance = self.distance(predictions, actions, state, goal)
        cost = (self.weight * self.terminal) * distance[:, :, -1]
        if self.running == 0:
            return cost
        if self.discount != 1.0:
            steps = torch.arange(distance.shape[2], device=distance.device, dtype=distance.dtype)
            distance = distance * self.discount**steps
        return cost + (self.weight * self.running) * distance.mean(dim=2)

    def __mul__(self, factor: float) -> Term:
        """Scale the weight."""
        return replace(self, weight=self.weight * factor)


@dataclass(frozen=True)
class Keyed(Addable):
    """What a term that reads one prediction has: its key, which comes before the weights."""

    key: str = ""
    """Prediction, and part of the goal, that is read."""

    @property
    def reads(self) -> frozenset[str]:
        """The prediction of that key."""
        return frozenset({self.key})


def goal_of(key: str, goal: State, predictions: Mapping[str, Tensor]) -> Tensor:
    """Return `goal[key]` with dimensions to broadcast over candidates and time."""
    if key not in goal:
        raise KeyError(
            f"the objective compares '{key}' with the goal, which has {sorted(goal)}; "
            "encode the goal with the model, or choose an objective that reads one of these."
        )
    target, predicted = goal[key], predictions[key]
    if target.shape[1:] != predicted.shape[3:]:
        raise ValueError(
            f"predictions of '{key}' have shape {tuple(predicted.shape[3:])} after each decision "
            f"and the goal's '{key}' has {tuple(target.shape[1:])}; they must be the same."
        )
    return target[:, None, None]


def _terms(objective: Objective) -> tuple[Objective, ...]:
    """Return the terms of an unweighted sum, so that sums of sums stay flat."""
    if isinstance(objective, Sum) and objective.weights is None:
        return objective.terms
    return (objective,)
