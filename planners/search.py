"""The search loop that every planner shares: propose, clip, evaluate, learn, record."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from numbers import Integral
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..world_models.base import State, WorldModel, take
from .base import Clock, Objective, Plan, Search, WarmStart
from .candidates import Candidates
from .noise import Streams
from .settings import require_count
from .start import Start

STREAMS = 1_000_003
"""Distance between the seeds of the searches of one problem."""


@runtime_checkable
class Strategy(Protocol):
    """Where the next candidates come from; the part of a search that planners differ in."""

    @property
    def std(self) -> Float[Tensor, "batch horizon action"] | None:
        """Current spread, where there is one."""
        ...

    @property
    def alternatives(self) -> Float[Tensor, "batch plans horizon action"] | None:
        """Other good plans worth handing on, where there are some."""
        ...

    def propose(self, iteration: int) -> Float[Tensor, "batch candidates horizon action"]:
        """Return the candidates of an iteration, the current mean first."""
        ...

    def learn(self, actions: Float[Tensor, "batch candidates horizon action"]) -> None:
        """Evaluate the candidates, now inside the bounds, and move on."""
        ...


@dataclass(frozen=True)
class SearchPlanner(ABC):
    """A planner made of settings (the fields) and a strategy (the hook).

    Subclasses say where candidates come from; the laws of a planner are kept here and in
    `Candidates`.
    """

    horizon: int = 10
    """Decisions ahead."""
    iterations: int = 6
    """Most iterations of a search; a time budget can end it earlier."""
    at_once: int | None = None
    """Candidates, over all problems, rolled out together; all where None. Bounds the memory."""
    starts: int = 1
    """Searches of each problem side by side, the best of which counts, where there is no plan to
    start from."""
    warm_iterations: int | None = None
    """Most iterations of a search that has a plan to start from; as many as any where None."""

    def __post_init__(self) -> None:
        require_count(self, "horizon")
        require_count(self, "iterations")
        require_count(self, "starts")
        for optional in ("at_once", "warm_iterations"):
            if getattr(self, optional) is not None:
                require_count(self, optional)

    @abstractmethod
    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return a fresh strategy for one search."""

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
        """Search for the decisions of least cost, for `B` problems at once.

        Args:
            model: Dynamics that the plans go through.
            objective: Cost of what the model predicts.
            state: Where the plans start, tensors `[B, ...]`.
            goal: Where they should lead.
            horizon: Decisions ahead, instead of the configured number.
            warm_start: Plans to start from. Where `starts` or `warm_iterations` are set, plan for
                rows with and without such plans in calls of their own, as `PlanningAgent` does:
                a batch in which any row lacks one is searched like a cold one.
            seeds: One seed per problem, int64 `[B]`; 0, 1, 2, ... where None.
            budget_s: Wall time after which the search ends with the best so far [s]. No
                iteration starts that would, at the last one's duration, overrun it; one
                iteration is always made.
            clock: Seconds from any origin.

        Raises:
            KeyError: The objective reads what the model does not predict.
            ValueError: A shape, a bound or a setting is unusable.
        """
        began = clock()
        horizon = self.horizon if horizon is None else horizon
        if not isinstance(horizon, Integral) or horizon < 1:
            raise ValueError(
                f"the horizon is {horizon}; a plan needs a whole number of decisions, at least 1. "
                "Do not plan where no step is left."
            )
        candidates = Candidates(
            model, objective, state, goal, horizon=horizon, at_once=self.at_once
        )
        start = Start.of(warm_start, candidates)
        warm = bool(start.valid.all())
        starts = 1 if warm else self.starts
        streams = _streams(seeds, candidates, starts)
        if starts > 1:
            # Several searches of a problem are as many problems, side by side.
            rows = torch.arange(candidates.batch, device=start.valid.device)
            rows = rows.repeat_interleave(starts)
            candidates = Candidates(
                model,
                objective,
                take(state, rows),
                take(goal, rows),
                horizon=horizon,
                at_once=self.at_once,
            )
            start = start.take(rows)
        strategy = self.strategy(candidates, start, streams)
        iterations = (self.warm_iterations if warm else None) or self.iterations
        search = run(strategy, candidates, iterations, budget_s=budget_s, clock=clock, began=began)
        return _best_of(starts, strategy, candidates, search)


def run(
    strategy: Strategy,
    candidates: Candidates,
    iterations: int,
    *,
    budget_s: float | None,
    clock: Clock,
    began: float,
) -> Search:
    """Iterate a strategy within a time budget, which counts from the time `began` by `clock`."""
    best_cost: list[Tensor] = []
    evaluations_at: list[int] = []
    times = [clock()]
    for iteration in range(iterations):
        strategy.learn(candidates.clip(strategy.propose(iteration)))
        assert candidates.best_cost is not None
        best_cost.append(candidates.best_cost)
        evaluations_at.append(candidates.evaluations)
        if candidates.low.is_cuda and budget_s is not None:
            torch.cuda.synchronize(candidates.low.device)
        times.append(clock())
        expected_end = times[-1] + (times[-1] - times[-2])
        if budget_s is not None and expected_end - began > budget_s:
            break
    return Search(
        best_cost=torch.stack(best_cost),
        evaluations=candidates.evaluations,
        non_finite=candidates.non_finite,
        seconds=times[-1] - began,
        evaluations_at=tuple(evaluations_at),
        seconds_at=tuple(now - began for now in times[1:]),
    )


def _best_of(starts: int, strategy: Strategy, candidates: Candidates, search: Search) -> Plan:
    """Return the best plan of each problem, of which `starts` searches stand next to one another."""
    assert candidates.best_actions is not None and candidates.best_cost is not None
    costs = candidates.best_cost.view(-1, starts)
    rows = torch.arange(len(costs), device=costs.device) * starts + costs.argmin(dim=1)
    std, alternatives = strategy.std, strategy.alternatives
    return Plan(
        actions=candidates.best_actions[rows],
        cost=candidates.best_cost[rows],
        predictions=take(candidates.best_predictions, rows),
        std=None if std is None else std[rows],
        search=replace(
            search,
            best_cost=search.best_cost.view(len(search.best_cost), -1, starts).amin(dim=2),
            evaluations=search.evaluations * starts,
            non_finite=search.non_finite.view(-1, starts).sum(dim=1),
            evaluations_at=tuple(count * starts for count in search.evaluations_at),
        ),
        alternatives=None if alternatives is None else alternatives[rows],
    )


def _streams(seeds: Tensor | None, candidates: Candidates, starts: int) -> Streams:
    """Return the random streams of the searches, those of a problem next to one another."""
    batch = candidates.batch
    if seeds is None:
        seeds = torch.arange(batch)
    if seeds.shape != (batch,) or seeds.dtype != torch.int64:
        raise ValueError(
            f"seeds must be int64 of shape ({batch},), one per problem; "
            f"got {seeds.dtype} of shape {tuple(seeds.shape)}."
        )
    each = (seeds[:, None] + STREAMS * torch.arange(starts)).flatten()
    return Streams(each, device=candidates.low.device, dtype=candidates.low.dtype)
