"""How good planners are for their evaluations and their time, on a problem with known dynamics."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Int
from torch import Tensor

from dexworld.planners import CEM, ICEM, MPPI, CEMGradient, GradientPlanner, RandomShooting
from dexworld.planners.base import Clock, Objective, Plan, Planner, Search, WarmStart
from dexworld.planners.candidates import Candidates
from dexworld.planners.elites import best
from dexworld.planners.linear_quadratic import bounded_problem
from dexworld.planners.noise import Streams
from dexworld.world_models.base import State, WorldModel

Row = dict[str, str | int | float]
"""One line of a table, by column."""

TUNING_SEEDS = tuple(range(101, 109))
"""Seeds of the problems and searches on which the settings below were chosen; never reported."""
REPORTED_SEEDS = tuple(range(1, 11))
"""Seeds of the problems and searches that are reported."""
BASELINE = "unbounded CEM"


@runtime_checkable
class Problem(Protocol):
    """Something to plan: dynamics, a cost, starts and goals."""

    @property
    def model(self) -> WorldModel:
        """Dynamics."""
        ...

    @property
    def objective(self) -> Objective:
        """Cost."""
        ...

    @property
    def state(self) -> State:
        """Starts, `[B, ...]`."""
        ...

    @property
    def goal(self) -> State:
        """Goals, `[B, ...]`."""
        ...


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
        return Plan(plan, costs[-1], returned.predictions(plan), std, search)


def linear_quadratic_planners() -> list[tuple[str, Planner]]:
    """Return the planners of the bounded linear-quadratic benchmark, the baseline first.

    Both CEMs make 30 iterations of 300 samples and 30 elites. iCEM shrinks its population, and
    makes more iterations of what it saves. Smoothing and the higher floor, which help where a
    model is rough, only slow a search down on a quadratic cost.
    """
    cem = CEM(horizon=5, samples=300, iterations=30, elites=30, smoothing=0.0, std_floor=0.02)
    icem = ICEM(
        horizon=5,
        samples=100,
        iterations=150,
        elites=10,
        decay=1.1,
        smoothing=0.0,
        std_floor=0.02,
    )
    return [
        (BASELINE, UnboundedCEM()),
        ("CEM", cem),
        ("iCEM", icem),
        ("MPPI", MPPI(horizon=5, samples=300, iterations=30)),
        ("gradient", GradientPlanner(horizon=5, iterations=150, restarts=8)),
        ("CEM + gradient", CEMGradient(horizon=5, samples=100, iterations=30)),
        ("random shooting", RandomShooting(horizon=5, samples=9000)),
    ]


def linear_quadratic_rows(
    planners: Iterable[tuple[str, Planner]] | None = None, seeds: Sequence[int] = REPORTED_SEEDS
) -> list[Row]:
    """Return the progress of planners on the bounded linear-quadratic problem, for each seed."""
    chosen = list(linear_quadratic_planners() if planners is None else planners)
    return [
        row for seed in seeds for row in progress_rows(chosen, bounded_problem(seed=seed), seed)
    ]


def progress_rows(
    planners: Iterable[tuple[str, Planner]], problem: Problem, seed: int
) -> list[Row]:
    """Return how far each planner is after each iteration.

    Columns: `planner`, `seed`, `iteration`, `evaluations` (per problem), `seconds` (for all
    problems together), `cost` (mean over problems of the best plan so far).
    """
    batch = next(iter(problem.state.values())).shape[0]
    seeds = 1000 * seed + torch.arange(batch)
    rows: list[Row] = []
    for name, planner in planners:
        search = planner.plan(
            problem.model, problem.objective, problem.state, problem.goal, seeds=seeds
        ).search
        rows += [
            {
                "planner": name,
                "seed": seed,
                "iteration": iteration + 1,
                "evaluations": search.evaluations_at[iteration],
                "seconds": search.seconds_at[iteration],
                "cost": float(cost),
            }
            for iteration, cost in enumerate(search.best_cost.mean(dim=1))
        ]
    return rows


def final_rows(progress: Sequence[Row]) -> list[Row]:
    """Return one row per planner: what its searches ended with, over all seeds.

    Columns: `planner`, `seeds`, `evaluations`, `seconds`, `cost` and `worst_cost` (mean and
    largest over seeds).
    """
    rows: list[Row] = []
    for name in dict.fromkeys(str(row["planner"]) for row in progress):
        last: dict[int, Row] = {}
        for row in progress:
            if row["planner"] == name:
                last[int(row["seed"])] = row
        ends = list(last.values())
        costs = [float(row["cost"]) for row in ends]
        rows.append(
            {
                "planner": name,
                "seeds": len(ends),
                "evaluations": int(sum(float(row["evaluations"]) for row in ends) / len(ends)),
                "seconds": sum(float(row["seconds"]) for row in ends) / len(ends),
                "cost": sum(costs) / len(costs),
                "worst_cost": max(costs),
            }
        )
    return rows


def mean_progress_rows(progress: Sequence[Row]) -> list[Row]:
    """Return the progress of each planner, averaged over seeds iteration by iteration."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in progress:
        groups.setdefault((str(row["planner"]), int(row["iteration"])), []).append(row)
    return [
        {
            "planner": planner,
            "iteration": iteration,
            **{
                column: sum(float(row[column]) for row in group) / len(group)
                for column in ("evaluations", "seconds", "cost")
            },
        }
        for (planner, iteration), group in groups.items()
    ]


def evaluations_to_reach(mean_progress: Sequence[Row], planner: str, cost: float) -> float | None:
    """Return the evaluations after which a planner's mean cost is at most `cost`; None if never."""
    for row in mean_progress:
        if row["planner"] == planner and float(row["cost"]) <= cost:
            return float(row["evaluations"])
    return None


def linear_quadratic_table(seeds: int = len(REPORTED_SEEDS)) -> list[Row]:
    """Return the table of the bounded linear-quadratic problem over the first seeds.

    The last two columns are the cost relative to the baseline's, and the share of CEM's
    evaluations after which a planner has CEM's final cost (NaN: it never has).
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: the table needs at least one seed.")
    progress = linear_quadratic_rows(seeds=range(1, seeds + 1))
    mean_progress = mean_progress_rows(progress)
    ends = {str(row["planner"]): row for row in final_rows(progress)}
    baseline, cem = ends[BASELINE], ends["CEM"]
    rows: list[Row] = []
    for name, row in ends.items():
        reached = evaluations_to_reach(mean_progress, name, float(cem["cost"]))
        share = math.nan if reached is None else reached / float(cem["evaluations"])
        rows.append(
            {
                **row,
                "cost_of_baseline": float(row["cost"]) / float(baseline["cost"]),
                "evaluations_of_cem": share,
            }
        )
    return rows
