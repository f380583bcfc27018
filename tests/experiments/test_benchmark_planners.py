"""The benchmark of planners: its figures hold, and its rows add up."""

from __future__ import annotations

import math

import pytest

from dexworld.experiments.benchmark_baseline import UnboundedCEM
from dexworld.experiments.benchmark_planners import (
    BASELINE,
    TUNING_SEEDS,
    budget_columns,
    evaluations_to_reach,
    final_rows,
    linear_quadratic_planners,
    linear_quadratic_rows,
    linear_quadratic_tables,
    mean_progress_rows,
    progress_rows,
)
from dexworld.experiments.benchmark_tables import Row
from dexworld.planners.cem import CEM
from dexworld.planners.linear_quadratic import bounded_problem


@pytest.fixture(scope="module")
def progress() -> list[Row]:
    chosen = [pair for pair in linear_quadratic_planners() if pair[0] in (BASELINE, "CEM", "iCEM")]
    return linear_quadratic_rows(chosen, TUNING_SEEDS[:4])


@pytest.mark.slow
def test_bounded_sampling_is_fifty_times_better(progress: list[Row]) -> None:
    ends = {str(row["planner"]): row for row in final_rows(progress)}
    assert ends["CEM"]["evaluations"] == ends[BASELINE]["evaluations"] == 9000
    assert float(ends["CEM"]["cost"]) < float(ends[BASELINE]["cost"]) / 50


@pytest.mark.slow
def test_icem_needs_half_the_evaluations(progress: list[Row]) -> None:
    ends = {str(row["planner"]): row for row in final_rows(progress)}
    reached = evaluations_to_reach(mean_progress_rows(progress), "iCEM", float(ends["CEM"]["cost"]))
    assert reached is not None
    assert reached <= float(ends["CEM"]["evaluations"]) / 2


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


def test_a_budget_pays_for_the_iterations_that_end_within_it() -> None:
    rows: list[Row] = [
        {"planner": "mine", "seed": seed, "evaluations": evaluations, "seconds": seconds, "cost": c}
        for seed, evaluations, seconds, c in (
            (1, 10, 0.5, 8.0),
            (1, 19, 1.5, 4.0),
            (1, 26, 2.0, 2.0),
            (2, 10, 1.5, 6.0),
            (2, 19, 2.5, 0.0),
        )
    ]
    rows += [{**row, "planner": "another", "cost": -1.0} for row in rows]
    found = budget_columns(rows, "mine", "evaluations", (10, 25, 26, 100))
    assert found == {"after_10": 7.0, "after_25": 2.0, "after_26": 1.0, "after_100": 1.0}
    found = budget_columns(rows, "mine", "seconds", (0.1, 1.0, 1.5, 3.0), " s")
    assert list(found) == ["after_0.1 s", "after_1 s", "after_1.5 s", "after_3 s"]
    # After 1 s only one of the seeds has a plan.
    values = [float(value) for value in found.values()]
    assert [math.isnan(value) for value in values] == [True, True, False, False]
    assert values[2:] == [5.0, 1.0]


def test_a_search_can_be_ended_by_its_time() -> None:
    planners = [("CEM", CEM(5, samples=20, iterations=5_000, elites=5))]
    rows = progress_rows(planners, bounded_problem(seed=101), 101, budget_s=0.1)
    assert 1 <= len(rows) < 5_000
    assert rows[-1]["iteration"] == len(rows)


@pytest.mark.slow
def test_the_tables_have_every_planner() -> None:
    for rows in linear_quadratic_tables(seeds=1).values():
        assert [row["planner"] for row in rows] == [name for name, _ in linear_quadratic_planners()]
        assert len({tuple(row) for row in rows}) == 1
        assert rows[0].get("cost_of_baseline", 1.0) == 1.0
    # All searches are over by 9000 evaluations: there the tables meet.
    final, budgets = linear_quadratic_tables(seeds=1).values()
    assert [row["cost"] for row in final] == [row["after_9000"] for row in budgets]
    with pytest.raises(ValueError, match="at least one seed"):
        linear_quadratic_tables(seeds=0)
