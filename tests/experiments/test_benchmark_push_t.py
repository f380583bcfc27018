"""Planners are compared on PushT at equal evaluations."""

from __future__ import annotations

from dexworld.experiments import benchmark_push_t
from dexworld.experiments.benchmark_push_t import push_t_planners
from dexworld.planners import CEM, RandomShooting


def test_a_row_for_each_planner_with_falling_costs(monkeypatch) -> None:
    planners = {
        "random shooting": RandomShooting(4, samples=32, iterations=3),
        "CEM": CEM(4, samples=32, iterations=3, elites=4),
    }
    monkeypatch.setattr(benchmark_push_t, "PLANNERS", planners)
    monkeypatch.setattr(benchmark_push_t, "SAMPLES", 32)
    rows = push_t_planners(problems=2)
    assert [row["planner"] for row in rows] == list(planners)
    for row in rows:
        costs = [float(value) for key, value in row.items() if key.startswith("after_")]
        assert len(costs) == 3
        assert costs == sorted(costs, reverse=True) and costs[-1] > 0
        assert float(row["s_per_plan"]) > 0
    assert {"after_32", "after_64", "after_96"} <= set(rows[0])
    again = push_t_planners(problems=2)
    for row, repeated in zip(rows, again, strict=True):
        assert row["after_96"] == repeated["after_96"]
