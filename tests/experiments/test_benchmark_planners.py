"""The benchmark of planners: its figures hold, and its rows add up."""

from __future__ import annotations

import pytest
import torch

from dexworld.experiments.benchmark_planners import (
    BASELINE,
    TUNING_SEEDS,
    Row,
    UnboundedCEM,
    evaluations_to_reach,
    final_rows,
    linear_quadratic_planners,
    linear_quadratic_rows,
    linear_quadratic_table,
    mean_progress_rows,
    progress_rows,
)
from dexworld.planners.linear_quadratic import bounded_problem


@pytest.fixture(scope="module")
def progress() -> list[Row]:
    chosen = [pair for pair in linear_quadratic_planners() if pair[0] in (BASELINE, "CEM", "iCEM")]
    return linear_quadratic_rows(chosen, TUNING_SEEDS[:4])


def test_bounded_sampling_is_fifty_times_better(progress: list[Row]) -> None:
    ends = {str(row["planner"]): row for row in final_rows(progress)}
    assert ends["CEM"]["evaluations"] == ends[BASELINE]["evaluations"] == 9000
    assert float(ends["CEM"]["cost"]) < float(ends[BASELINE]["cost"]) / 50


def test_icem_needs_half_the_evaluations(progress: list[Row]) -> None:
    ends = {str(row["planner"]): row for row in final_rows(progress)}
    reached = evaluations_to_reach(mean_progress_rows(progress), "iCEM", float(ends["CEM"]["cost"]))
    assert reached is not None
    assert reached <= float(ends["CEM"]["evaluations"]) / 2


def test_the_baseline_leaves_the_bounds_while_it_searches_only() -> None:
    problem = bounded_problem(seed=101)
    plan = UnboundedCEM(samples=50, iterations=5, elites=10).plan(
        problem.model, problem.objective, problem.state, problem.goal
    )
    assert plan.actions.abs().max() == 1.0
    predicted = plan.predictions["state"][:, -1]
    torch.testing.assert_close(plan.cost, (predicted - problem.goal["state"]).square().sum(dim=1))
    with pytest.raises(ValueError, match="no warm start and no budget"):
        UnboundedCEM().plan(
            problem.model, problem.objective, problem.state, problem.goal, budget_s=1.0
        )


def test_rows_add_up() -> None:
    planners = [("baseline", UnboundedCEM(samples=20, iterations=3, elites=5))]
    rows = [
        row for seed in (1, 2) for row in progress_rows(planners, bounded_problem(seed=seed), seed)
    ]
    assert [row["evaluations"] for row in rows] == [20, 40, 60] * 2
    (end,) = final_rows(rows)
    mean = mean_progress_rows(rows)
    assert end["seeds"] == 2
    assert end["cost"] == mean[-1]["cost"] == (float(rows[2]["cost"]) + float(rows[5]["cost"])) / 2
    assert end["worst_cost"] == max(float(rows[2]["cost"]), float(rows[5]["cost"]))
    assert evaluations_to_reach(mean, "baseline", -1.0) is None


@pytest.mark.slow
def test_the_table_has_every_planner() -> None:
    rows = linear_quadratic_table(seeds=1)
    assert [row["planner"] for row in rows] == [name for name, _ in linear_quadratic_planners()]
    assert rows[0]["cost_of_baseline"] == 1.0
    with pytest.raises(ValueError, match="at least one seed"):
        linear_quadratic_table(seeds=0)
