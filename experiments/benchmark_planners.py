"""How good planners are for their evaluations and their time, on a problem with known dynamics."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, runtime_checkable

import torch

from dexworld.experiments.benchmark_baseline import UnboundedCEM
from dexworld.experiments.benchmark_tables import Row, Tables
from dexworld.planners import CEM, ICEM, MPPI, CEMGradient, GradientPlanner, RandomShooting
from dexworld.planners.base import Objective, Planner
from dexworld.planners.linear_quadratic import bounded_problem
from dexworld.world_models.base import State, WorldModel

TUNING_SEEDS = tuple(range(101, 109))
"""Seeds of the problems and searches on which the settings below were chosen; never reported."""
REPORTED_SEEDS = tuple(range(1, 11))
"""Seeds of the problems and searches that are reported."""
BASELINE = "unbounded CEM"
EVALUATIONS = (300, 900, 2700, 9000)
SECONDS = (0.02, 0.05, 0.1, 0.2)
"""Budgets at which the planners are compared on the linear-quadratic problem."""


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
        ("random shooting", RandomShooting(horizon=5, samples=300, iterations=30)),
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
    planners: Iterable[tuple[str, Planner]],
    problem: Problem,
    seed: int,
    budget_s: float | None = None,
) -> list[Row]:
    """Return how far each planner is after each iteration.

    Columns: `planner`, `seed`, `iteration`, `evaluations` (per problem), `seconds` (for all
    problems together, at most `budget_s`), `cost` (mean over problems of the best plan so far).
    """
    batch = next(iter(problem.state.values())).shape[0]
    seeds = 1000 * seed + torch.arange(batch)
    rows: list[Row] = []
    for name, planner in planners:
        search = planner.plan(
            problem.model,
            problem.objective,
            problem.state,
            problem.goal,
            seeds=seeds,
            budget_s=budget_s,
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


def budget_columns(
    progress: Sequence[Row], planner: str, column: str, budgets: Sequence[float], unit: str = ""
) -> Row:
    """Return a planner's cost within each budget of a column, averaged over seeds.

    The cost within a budget is that of the last iteration whose `column` is at most the budget: a
    search that ends earlier keeps its final cost. NaN: no iteration of some seed has ended by then.
    """
    rows = [row for row in progress if row["planner"] == planner]
    seeds = list(dict.fromkeys(row["seed"] for row in rows))
    columns: Row = {}
    for budget in budgets:
        within = {row["seed"]: float(row["cost"]) for row in rows if float(row[column]) <= budget}
        costs = [within.get(seed, math.nan) for seed in seeds]
        columns[f"after_{budget:g}{unit}"] = sum(costs) / len(costs)
    return columns


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


def linear_quadratic_tables(seeds: int = len(REPORTED_SEEDS)) -> Tables:
    """Return the tables of the bounded linear-quadratic problem over the first seeds.

    The last two columns of the first table are the cost relative to the baseline's, and the share
    of CEM's evaluations after which a planner has CEM's final cost (NaN: it never has). The second
    holds the costs within budgets of evaluations and of time, for the 8 problems at once.
    """
    if seeds < 1:
        raise ValueError(f"seeds={seeds}: the table needs at least one seed.")
    progress = linear_quadratic_rows(seeds=range(1, seeds + 1))
    mean_progress = mean_progress_rows(progress)
    ends = {str(row["planner"]): row for row in final_rows(progress)}
    baseline, cem = ends[BASELINE], ends["CEM"]
    final: list[Row] = []
    budgets: list[Row] = []
    for name, row in ends.items():
        reached = evaluations_to_reach(mean_progress, name, float(cem["cost"]))
        share = math.nan if reached is None else reached / float(cem["evaluations"])
        relative = float(row["cost"]) / float(baseline["cost"])
        final.append({**row, "cost_of_baseline": relative, "evaluations_of_cem": share})
        by_evaluations = budget_columns(progress, name, "evaluations", EVALUATIONS)
        by_time = budget_columns(progress, name, "seconds", SECONDS, " s")
        budgets.append({"planner": name, **by_evaluations, **by_time})
    title = "bounded linear-quadratic problem"
    return {
        f"{title}: final cost": final,
        f"{title}: cost after so many evaluations, and so much time for all problems": budgets,
    }
