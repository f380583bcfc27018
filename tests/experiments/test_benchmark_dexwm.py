"""The table of DexWM's search: the same numbers in three ways, and operations that are counted."""

from __future__ import annotations

import pytest
import torch

from dexworld.experiments import benchmark_dexwm
from dexworld.experiments.benchmark_dexwm import dexwm_search, dexwm_speed, search_rows
from dexworld.experiments.benchmark_tables import table
from dexworld.experiments.plain_dexwm import Search as Iteration
from dexworld.planners.base import Plan, Search
from dexworld.planners.cem import CEM
from dexworld.planners.gradient import GradientPlanner


@pytest.mark.slow
def test_three_ways_give_the_same_costs() -> None:
    torch.set_num_threads(1)
    rows = dexwm_speed(rounds=1, search=Iteration(candidates=12, horizon=2))
    assert table("an iteration", rows).row_count == 3
    for row in rows:
        assert row["same_elites"] == "True"
        assert float(row["largest_difference"]) < 1e-4
        assert float(row["counted"]) == pytest.approx(float(row["GFLOP"]), rel=0.02)
    plain, features, shared = rows
    assert float(plain["GFLOP"]) > float(features["GFLOP"]) > 3 * float(shared["GFLOP"])
    assert float(shared["times_fewer_at_XL"]) >= 10
    assert float(shared["PFLOP_at_XL"]) == pytest.approx(0.925, rel=0.01)


@pytest.mark.slow
def test_searches_are_compared_with_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    searches = {
        "CEM": CEM(1, 2, samples=4, elites=2, kept=0),
        "gradient": GradientPlanner(1, 2, restarts=1),
    }
    monkeypatch.setattr(benchmark_dexwm, "SEARCHES", searches)
    rows = dexwm_search(problems=1)
    assert [row["search"] for row in rows] == ["CEM", "gradient"]
    assert rows[0]["cost_over_baseline"] == 1.0 and rows[0]["reach_it"] == "1 of 1"
    assert rows[1]["evaluations"] == 4
    assert rows[0]["settings"] == "CEM(horizon=1, iterations=2, samples=4, elites=2, kept=0)"
    again = dexwm_search(problems=1)
    for row, other in zip(rows, again, strict=True):
        assert {**row, "s_per_plan": 0} == {**other, "s_per_plan": 0}


def plan_of(best: list[list[float]], at: tuple[int, ...]) -> Plan:
    """Return a plan of as many problems as columns, its best costs by iteration."""
    costs = torch.tensor(best)
    nothing = torch.zeros(costs.shape[1], 1, 1)
    none = torch.zeros(costs.shape[1], dtype=torch.int64)
    return Plan(nothing, costs[-1], {}, None, Search(costs, at[-1], none, 6.0, at))


def test_what_searches_are_compared_by() -> None:
    rows = search_rows(
        {
            "CEM": plan_of([[3.0] * 4, [1.0] * 4], (50, 100)),
            # Reached after 10, 20, 20 evaluations, and once never.
            "other": plan_of([[1.0, 2, 2, 2], [0.5, 1, 1, 1.5]], (10, 20)),
        }
    )
    baseline, other = rows
    assert baseline["times_fewer"] == 1.0 and baseline["reach_it"] == "4 of 4"
    assert (other["reach_it"], other["evaluations_to_reach"]) == ("3 of 4", 20)
    assert other["times_fewer"] == 5.0  # of 10, 5, 5 and 0
    assert other["cost_over_baseline"] == 1.0 and other["s_per_plan"] == 1.5
    # The public controller's operations at XL, over ours.
    assert float(baseline["together"]) == pytest.approx(10.46, abs=0.01)
    assert other["together"] == pytest.approx(5.0 * float(baseline["together"]))
