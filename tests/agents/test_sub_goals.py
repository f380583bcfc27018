"""Goals that are reached one after another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from reaching import SPEED, point

from dexworld.agents.planning import PlanningAgent, PlanningState
from dexworld.agents.sub_goals import SubGoals
from dexworld.planners import CEM
from dexworld.planners.linear_quadratic import QuadraticCost

GOALS = np.float32([[[0.3, 0.0], [0.3, 0.3], [0.0, 0.3]], [[-0.3, 0.0], [-0.3, -0.3], [0.0, 0.0]]])
"""Three for each of two rows."""


def agent_of(rule: SubGoals | None, **settings: Any) -> PlanningAgent:
    planner = CEM(horizon=3, samples=32, iterations=3, elites=4)
    return PlanningAgent(point(), planner, QuadraticCost(0.01), sub_goals=rule, **settings)


def walk(
    agent: PlanningAgent, steps: int, goals: np.ndarray = GOALS
) -> tuple[np.ndarray, list[list[int]], PlanningState]:
    """Return places [steps, B, 2], which goal was headed for at each step, and the last state."""
    x, state = np.zeros((len(goals), 2), np.float32), agent.start([0] * len(goals))
    places, headed = [], []
    for _ in range(steps):
        action, state = agent.predict({"state": x, "goal_state": goals}, state)
        x = x + SPEED * action
        places.append(x)
        headed.append(state.sub_goal.tolist())
    return np.stack(places), headed, state


def test_each_goal_has_so_many_decisions_and_the_last_one_stays() -> None:
    _, headed, state = walk(agent_of(SubGoals(decisions=2)), 8)
    assert [row for row, _ in headed] == [0, 0, 1, 1, 2, 2, 2, 2]
    assert all(first == second for first, second in headed)
    assert state.goal is not None
    np.testing.assert_array_equal(state.goal["state"], GOALS[:, 2])


def test_decisions_are_counted_not_steps() -> None:
    _, headed, _ = walk(agent_of(SubGoals(decisions=4), execute=2), 10)
    assert [row for row, _ in headed] == [0] * 4 + [1] * 4 + [2] * 2


def test_goals_are_passed_where_they_are_reached() -> None:
    # Cost of being there: |x - g|^2, and next to nothing for the decision.
    goals = GOALS.copy()
    goals[1, 0] = 0.0  # the second row is there already
    places, headed, _ = walk(agent_of(SubGoals(below=0.01)), 12, goals)
    assert headed[0] == [0, 0] and headed[1] == [0, 1]
    assert headed[-1] == [2, 2]
    for row in range(2):
        near = np.linalg.norm(places[:, row, None] - goals[row], axis=-1).min(0)
        assert near.max() < 0.15


def test_either_rule_will_do() -> None:
    _, headed, _ = walk(agent_of(SubGoals(decisions=2, below=1e-9)), 4)
    assert [row for row, _ in headed] == [0, 0, 1, 1]


def test_all_goals_are_encoded_once_and_remembered_in_the_state_alone() -> None:
    agent = agent_of(SubGoals(decisions=1))
    before = dict(vars(agent))
    x = {"state": np.zeros((2, 2), np.float32)}
    _, first = agent.predict({**x, "goal_state": GOALS}, agent.start([0, 0]))
    assert first.goals is not None
    np.testing.assert_array_equal(first.goals["state"], GOALS)
    # What is observed later does not matter, and another episode's state goes on from its own.
    _, second = agent.predict({**x, "goal_state": GOALS + 9}, first)
    _, again = agent.predict({**x, "goal_state": GOALS}, first)
    for state in (second, again):
        assert state.goal is not None and state.sub_goal.tolist() == [1, 1]
        np.testing.assert_array_equal(state.goal["state"], GOALS[:, 1])
    assert vars(agent) == before
    kept = agent.take(second, np.array([1]))
    assert kept.sub_goal.tolist() == [1]
    # A new episode begins with its own first goal.
    _, third = agent.predict({**x, "goal_state": GOALS + 9}, second, np.array([True, False]))
    assert third.sub_goal.tolist() == [0, 2]
    assert third.goal is not None
    np.testing.assert_array_equal(third.goal["state"], [GOALS[0, 0] + 9, GOALS[1, 2]])


def test_a_single_goal_is_no_list() -> None:
    _, headed, state = walk(agent_of(SubGoals(decisions=1)), 3, GOALS[:, 0])
    assert headed == [[0, 0]] * 3 and state.goals is None


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match=r"list of 3, and nothing says when.*agent.sub_goals"):
        walk(agent_of(None), 1)
    with pytest.raises(ValueError, match=r"list as many goals each, .*'state': 0"):
        walk(agent_of(SubGoals(decisions=1)), 1, GOALS[:, :0])
    with pytest.raises(ValueError, match="SubGoals needs a rule: decisions"):
        SubGoals()
    with pytest.raises(ValueError, match=r"SubGoals\(decisions\) must be at least 1, got 0"):
        SubGoals(decisions=0)
    rule, nothing = SubGoals(below=1.0), torch.zeros(1, dtype=torch.int64)
    with pytest.raises(KeyError, match=r"the belief has no \['state'\], which the objective reads"):
        rule.passed(QuadraticCost(), {}, {}, torch.zeros(1, 1, 2), nothing)
