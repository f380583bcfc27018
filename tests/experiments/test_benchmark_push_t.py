"""Planners are compared on the goal task as it ships, at equal evaluations and equal times."""

from __future__ import annotations

import math

import pytest
import torch

from dexworld.experiments import benchmark_push_t
from dexworld.experiments.benchmark_planners import progress_rows
from dexworld.experiments.benchmark_push_t import (
    EVALUATIONS,
    HORIZON,
    PLANNERS,
    SECONDS,
    TASK,
    first_plans,
    push_t_planners,
)
from dexworld.experiments.benchmark_tables import Tables, table
from dexworld.experiments.statistics import episode_seeds
from dexworld.planners import KeypointDistance
from dexworld.world_models.actions import Increments, Interpolate


@pytest.fixture(scope="module")
def tables() -> Tables:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(benchmark_push_t, "SECONDS", (0.0, 0.1, 0.3))
        return push_t_planners(problems=1)


@pytest.mark.slow
def test_every_planner_has_a_plan_at_every_number_of_evaluations(tables) -> None:
    rows, _ = tables.values()
    assert [row["planner"] for row in rows] == list(PLANNERS)
    for row in rows:
        costs = [float(row[f"after_{evaluations}"]) for evaluations in EVALUATIONS]
        assert costs == sorted(costs, reverse=True) and 0 < costs[-1] < costs[0]
        assert row["evaluations"] == EVALUATIONS[-1], "the planners are compared unequally"
        assert float(row["s_per_plan"]) > 0


@pytest.mark.slow
def test_every_planner_has_the_same_time(tables) -> None:
    _, rows = tables.values()
    assert [row["planner"] for row in rows] == list(PLANNERS)
    for row in rows:
        assert math.isnan(float(row["after_0 s"])), "no plan is made in no time"
        first, last = float(row["after_0.1 s"]), float(row["after_0.3 s"])
        assert math.isnan(first) or last <= first
        assert int(row["evaluations"]) >= 64


@pytest.mark.slow
def test_the_tables_can_be_drawn(tables) -> None:
    assert len(SECONDS) == 4
    for title, rows in tables.items():
        assert table(title, rows).row_count == len(PLANNERS)


def test_costs_are_measured_on_the_task_that_ships() -> None:
    task = first_plans(TASK, problems=2, seed=0)
    keypoints, agent = task.objective.terms
    assert (keypoints.key, keypoints.terminal, keypoints.running) == ("keypoints", 1.0, 0.3)
    assert keypoints == KeypointDistance(running=0.3)
    assert agent == KeypointDistance("agent", 0.25)
    assert all(planner.horizon == HORIZON == 10 for planner in PLANNERS.values())
    increments, approach = task.model.action_map.maps
    assert isinstance(increments, Increments) and increments.scale == 0.3125
    assert isinstance(approach, Interpolate) and approach.steps == 5
    # Settings are chosen on other episodes than those that are reported.
    assert not set(episode_seeds(0, "tune", 2)) & set(episode_seeds(0, "evaluate", 2))


def test_what_is_planned_for_are_the_first_reported_episodes() -> None:
    asked: list[tuple[int, str, int]] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            benchmark_push_t, "episode_seeds", lambda *given: asked.append(given) or [5, 6]
        )
        first_plans(TASK, problems=2, seed=3)
    assert asked == [(3, "evaluate", 2)]
    assert torch.equal(
        first_plans(TASK, 2, 0).state["physics"][:1], first_plans(TASK, 1, 0).state["physics"]
    )


@pytest.mark.slow
def test_the_same_seed_gives_the_same_costs() -> None:
    chosen = [("CEM", PLANNERS["CEM"])]
    first, again = (progress_rows(chosen, first_plans(TASK, 1, 0), 0) for _ in range(2))
    assert [row["cost"] for row in first] == [row["cost"] for row in again]
