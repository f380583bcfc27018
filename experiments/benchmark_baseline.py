"""The planner that the bounded linear-quadratic benchmark compares with."""

from __future__ import annotations

import time
from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from dexworld.planners.base import Clock, Objective, Plan, Search, WarmStart
from dexworld.planners.candidates import Candidates
from dexworld.planners.elites import best
from dexworld.planners.noise import Streams
from dexworld.world_models.base import State, WorldModel


@dataclass(frozen=True)
class UnboundedCEM:
    """The baseline: CEM that samples beyond the bounds and returns its elite mean, clipped.

    This is what many public implementations do. The plan that is returned was never evaluated.
    """

    horizon: int = 5
    samples: int = 300
    iterations: int = 30
    elites: int = 30

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
        """Search without looking at the bounds; neither warm starts nor budgets are supported."""
        if warm_start is not None or budget_s is not None:
            raise ValueError("the baseline takes no warm start and no budget.")
        horizon = self.horizon if horizon is None else horizon
        began = clock()
        searched = Candidates(model, objective, state, goal, horizon=horizon)
        returned = Candidates(model, objective, state, goal, horizon=horizon)
        if seeds is None:
            seeds = torch.arange(searched.batch)
        streams = Streams(seeds, device=model.device, dtype=searched.low.dtype)
        shape = (horizon, searched.low.shape[0])
        mean = searched.centre.expand(searched.batch, *shape)
        std = searched.half_range.expand(searched.batch, *shape)
        costs, evaluations_at, seconds_at = [], [], []
        for _ in range(self.iterations):
            noise = streams.normal(self.samples, *shape)
            actions = mean.unsqueeze(1) + std.unsqueeze(1) * noise
            elites, _ = best(actions, searched.evaluate(actions), self.elites)
            mean, std = elites.mean(dim=1), elites.std(dim=1)
            seconds_at.append(clock() - began)
            evaluations_at.append(searched.evaluations)
            costs.append(returned.evaluate(returned.clip(mean.unsqueeze(1)))[:, 0])
        plan = returned.clip(mean)
        search = Search(
            best_cost=torch.stack(costs),
            evaluations=searched.evaluations,
            non_finite=searched.non_finite,
            seconds=seconds_at[-1],
            evaluations_at=tuple(evaluations_at),
            seconds_at=tuple(seconds_at),
        )
        rollout = model.rollout(state, plan.unsqueeze(1), objective.reads)
        predictions = {key: value.squeeze(1) for key, value in rollout.items()}
        return Plan(plan, costs[-1], predictions, std, search)
