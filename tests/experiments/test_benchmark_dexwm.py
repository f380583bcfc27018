"""The table of DexWM's search: the same numbers in three ways, and operations that are counted."""

from __future__ import annotations

import pytest
import torch

from dexworld.experiments import benchmark_dexwm
from dexworld.experiments.benchmark_dexwm import dexwm_search, dexwm_speed
from dexworld.experiments.benchmark_tables import table
from dexworld.experiments.plain_dexwm import Search
from dexworld.planners.cem import CEM
from dexworld.planners.gradient import GradientPlanner


@pytest.mark.slow
def test_three_ways_give_the_same_costs() -> None:
    torch.set_num_threads(1)
    rows = dexwm_speed(rounds=1, search=Search(candidates=12, horizon=2))
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
