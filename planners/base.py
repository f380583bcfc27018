"""The protocols of planners and objectives, and what passes between them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..world_models.base import State, WorldModel

Clock = Callable[[], float]
"""Seconds from an arbitrary origin, as `time.perf_counter`; injected, so that tests can turn it."""


@runtime_checkable
class Objective(Protocol):
    """A cost of predicted motions against a goal.

    Laws, checked by `dexworld.planners.conformance_objective.ObjectiveConformance`: problems and
    candidates do not influence each other; nothing but `reads` is read of the predictions; what is
    predicted as NaN costs NaN; gradients are finite, at the goal too.
    """

    @property
    def reads(self) -> frozenset[str]:
        """Keys of the predictions that the cost needs."""
        ...

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the cost of each candidate; lower is better."""
        ...


@dataclass(frozen=True)
class WarmStart:
    """Plans to start a search from: `K` per problem."""

    actions: Float[Tensor, "batch plans horizon action"]
    """Proposed decisions; a last one is repeated or cut off where the horizons differ."""
    std: Float[Tensor, "batch horizon action"] | None = None
    """Spread to search with around the first plan; the planner's own where None."""
    valid: Bool[Tensor, " batch"] | None = None
    """Rows whose plans may be used; all where None."""


@dataclass(frozen=True)
class Search:
    """The record of one search."""

    best_cost: Float[Tensor, "iterations batch"]
    """Best cost found up to and including each iteration."""
    evaluations: int
    """Candidates rolled out for each problem; a gradient evaluation counts as three."""
    non_finite: Int[Tensor, " batch"]
    """Candidates whose cost was not finite."""
    seconds: float
    """Wall time of the search."""
    evaluations_at: tuple[int, ...] = ()
    """Evaluations made by the end of each iteration."""
    seconds_at: tuple[float, ...] = ()
    """Wall time passed by the end of each iteration."""


@dataclass(frozen=True)
class Plan:
    """The best plan that was evaluated."""

    actions: Float[Tensor, "batch horizon action"]
    """Decisions, inside the bounds."""
    cost: Float[Tensor, " batch"]
    """Its cost; +inf where no candidate of the row had a finite one."""
    predictions: dict[str, Tensor]
    """What the model predicts for it, `[B, T, ...]`, for every key that the objective reads."""
    std: Float[Tensor, "batch horizon action"] | None
    """Spread at the end of the search (of the last one of several), where the planner has one."""
    search: Search
    alternatives: Float[Tensor, "batch plans horizon action"] | None = None
    """Other good plans, where the planner keeps some; they can join the next warm start."""


@runtime_checkable
class Planner(Protocol):
    """A search for the decisions of least cost, for `B` problems at once.

    Laws, checked by `dexworld.planners.conformance.PlannerConformance`: problems do not influence
    each other; decisions stay inside the bounds; the current mean is a candidate of every
    iteration and the best evaluated plan is returned; a non-finite cost never wins; the same
    seeds give the same plan; `budget_s` ends the search with the best so far.
    """

    @property
    def horizon(self) -> int:
        """Decisions ahead, `T`."""
        ...

    def plan(
        self,
        model: WorldModel,
        objective: Objective,
        state: State,
        goal: State,
        *,
        horizon: int | None = None,
        warm_start: WarmStart | None = None,
        seeds: Int[Tensor, " batch"] | None = None,
        budget_s: float | None = None,
        clock: Clock = time.perf_counter,
    ) -> Plan:
        """Search; `horizon` overrides the configured one (an episode that is about to end)."""
        ...
