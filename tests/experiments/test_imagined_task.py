"""Rewards, success and starts of an environment's task, told of a model's states."""

from __future__ import annotations

import gymnasium as gym
import numpy as np
import pytest
import torch

from dexworld.envs.push_t.geometry import KEYPOINTS, placed
from dexworld.envs.push_t.success import CoverageRule, PoseRule
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.experiments.imagined_task import (
    PREDICTED,
    Bonus,
    Nearness,
    Progress,
    RuleSuccess,
    UnsolvedStarts,
    cost_of,
    rewards_of,
    success_of,
    task_states,
)
from dexworld.planners import KeypointDistance, LatentDistance
from dexworld.world_models.base import State

GOAL = "dexworld/PushTGoal-v0"
STATES = np.float64(
    [
        [100.0, 120.0, 200.0, 210.0, 0.3],
        [300.0, 90.0, 250.0, 260.0, -3.0],
        [50.0, 400.0, 150.0, 310.0, 2.9],
    ]
)


def told(states: np.ndarray) -> State:
    """Return what a model of points predicts of task states."""
    return {
        "agent": torch.from_numpy(states[:, None, :2]),
        "keypoints": torch.from_numpy(placed(KEYPOINTS, states[:, 2:])),
        "latent": torch.from_numpy(states),
    }


def moved(**changes: float) -> np.ndarray:
    names = ["agent_x", "agent_y", "x", "y", "angle"]
    return STATES + np.float64([changes.get(name, 0.0) for name in names])


def test_task_states_are_those_of_the_points() -> None:
    found = task_states(told(STATES))
    np.testing.assert_allclose(found[:, :4], STATES[:, :4], atol=1e-9)
    np.testing.assert_allclose(found[:, 4], STATES[:, 4], atol=1e-9)


@pytest.mark.parametrize(
    ("changes", "reached"),
    [
        ({}, True),
        ({"agent_x": 11.0, "x": 11.0, "y": 11.0}, True),
        ({"agent_x": 12.0, "x": 12.0, "y": 12.0}, False),  # 12 sqrt(3) > 20 px
        ({"angle": 0.34}, True),
        ({"angle": 0.36}, False),  # pi / 9 = 0.349
    ],
)
def test_success_is_the_rule_of_the_environment(changes, reached) -> None:
    now = moved(**changes)
    success = RuleSuccess(PoseRule())
    assert success(told(now), told(STATES)).tolist() == [reached] * 3
    assert PoseRule()(now, STATES).tolist() == [reached] * 3


def test_success_is_the_same_of_the_simulator_and_of_the_environment() -> None:
    model = SimulatorModel(GOAL, "state", threads=1)
    env = gym.make(GOAL, observation=["state"], terminate_on_success=False)
    rng, seen, goals, rules = np.random.default_rng(0), [], [], []
    for seed in range(3):
        _, info = env.reset(seed=seed)
        goal = info["goal"]["state"].astype(np.float64)
        # From somewhere close to the goal, at rest.
        near = goal + rng.normal(0.0, [9.0, 9.0, 9.0, 9.0, 0.2])
        env.unwrapped.simulation.set_task_state(near)
        seen.append(env.unwrapped.task_state)
        goals.append(env.unwrapped.goal_state)
        rules.append(bool(env.unwrapped.rule(seen[-1], goals[-1])))
    success = success_of(env.unwrapped, model, shared_goal=False)
    state, goal = (model.encode({"state": np.array(each)}) for each in (seen, goals))
    assert success is not None and success(state, goal).tolist() == rules
    assert len(set(rules)) == 2, "the test tells successes from failures"


def test_a_goal_that_all_share() -> None:
    env = gym.make("dexworld/PushT-v0")
    env.reset(seed=0)
    model = SimulatorModel("dexworld/PushT-v0", "state", threads=1)
    success = success_of(env.unwrapped, model, shared_goal=True)
    assert isinstance(success, RuleSuccess) and isinstance(success.rule, CoverageRule)
    there = np.array([env.unwrapped.goal_state, STATES[0]])
    assert success(told(there), None).tolist() == [True, False]


def test_success_that_cannot_be_told() -> None:
    class NoPoints:
        predicts = frozenset({"latent"})

    env = gym.make(GOAL)
    assert success_of(gym.make("Pendulum-v1").unwrapped, SimulatorModel(GOAL), False) is None
    assert success_of(env.unwrapped, _with(NoPoints), False) is None
    with pytest.raises(KeyError):
        RuleSuccess(PoseRule())(told(STATES), None)


def _with(parts: type) -> SimulatorModel:
    return type("Model", (parts, SimulatorModel), {})(GOAL)


def test_progress_adds_up_to_what_was_gained() -> None:
    objective = KeypointDistance(terminal=1.0, running=0.5)
    progress, actions = Progress(objective, 0.1), torch.zeros(3, 2)
    goal, way = told(STATES), [told(moved(x=x)) for x in (40.0, 60.0, 0.0, 10.0)]
    gained = sum(
        progress(*pair) for pair in zip(way[:3], [actions] * 3, way[1:], [goal] * 3, strict=True)
    )
    # The cost of a moment is 1.5 times the distance.
    torch.testing.assert_close(gained, torch.full((3,), 0.1 * 1.5 * 30.0).double())
    near = Nearness(objective, 0.1)(way[0], actions, way[1], goal)
    torch.testing.assert_close(near, torch.full((3,), -0.1 * 1.5 * 60.0).double())


def test_what_is_gained_close_to_the_goal_counts_more() -> None:
    reward, actions, goal = Progress(KeypointDistance(), 1.0, 20.0), torch.zeros(3, 2), told(STATES)

    def gained(start: float, end: float) -> float:
        values = reward(told(moved(x=start)), actions, told(moved(x=end)), goal)
        return float(values.mean())

    assert gained(0.2, 0.0) == pytest.approx(0.2, rel=0.01)  # in full
    assert gained(40.0, 20.0) == pytest.approx(20.0 * np.log(3.0 / 2.0))
    assert gained(200.0, 180.0) < gained(40.0, 20.0) < gained(20.0, 0.0) < 20.0
    total = gained(100.0, 40.0) + gained(40.0, 10.0)
    assert total == pytest.approx(gained(100.0, 10.0))


def test_terms_by_name() -> None:
    success, objective = RuleSuccess(PoseRule()), KeypointDistance()
    terms = rewards_of("progress", Blind(), objective, 0.1, None, success, 2.0)
    assert list(terms) == ["progress", "success"]
    assert isinstance(terms["success"], Bonus)
    goal, actions = told(STATES), torch.zeros(3, 2)
    assert terms["success"](goal, actions, goal, goal).tolist() == [2.0] * 3
    assert list(rewards_of("nearness", Blind(), objective, 0.1, None, None, 0.0)) == ["nearness"]


def test_what_a_model_predicts_is_a_term_beside_the_bonus() -> None:
    model, after = SimulatorModel("dexworld/PushT-v0", threads=1), {"reward": torch.tensor([0.25])}
    terms = rewards_of(PREDICTED, model, None, 0.1, None, RuleSuccess(PoseRule()), 2.0)
    assert list(terms) == [PREDICTED, "success"]
    assert terms[PREDICTED]({}, torch.zeros(1, 2), after, None).tolist() == [0.25]
    assert list(rewards_of(PREDICTED, model, None, 0.1, None, None, 0.0)) == [PREDICTED]
    with pytest.raises(ValueError, match=r"set reward.success=0"):
        rewards_of(PREDICTED, model, None, 0.1, None, None, 2.0)
    with pytest.raises(ValueError, match=r"Blind predicts no reward"):
        rewards_of(PREDICTED, Blind(), None, 0.1, None, None, 0.0)


class Blind(SimulatorModel):
    predicts = frozenset()

    def __init__(self) -> None:
        super().__init__("dexworld/PushT-v0", threads=1)


@pytest.mark.parametrize(
    ("kind", "objective", "bonus", "message"),
    [
        ("progres", KeypointDistance(), 0.0, "choose one of .*'progress', 'nearness', 'predicted'"),
        ("progress", None, 0.0, "needs an objective"),
        ("nearness", KeypointDistance(), 1.0, "set reward.success=0"),
    ],
)
def test_rewards_that_cannot_be(kind, objective, bonus, message) -> None:
    with pytest.raises(ValueError, match=message):
        rewards_of(kind, Blind(), objective, 1.0, None, None, bonus)
    with pytest.raises(ValueError, match=r"reward.near=0.0: give a positive cost"):
        rewards_of("progress", Blind(), KeypointDistance(), 1.0, 0.0, None, 0.0)


def test_an_objective_of_what_states_do_not_tell() -> None:
    state = {"agent": torch.zeros(1, 1, 2)}
    with pytest.raises(KeyError, match=r"reads \['latent'\], and states .* have \['agent'\]"):
        cost_of(LatentDistance(), state, torch.zeros(1, 2), {})


class Anywhere:
    """Starts that are mostly where they are to get."""

    def __init__(self, share: float) -> None:
        self.share = share

    def __call__(self, count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        states = np.repeat(STATES[:1], count, axis=0)
        goals = states + np.where(rng.random((count, 1)) < self.share, 50.0, 0.0)
        return {"state": states, "goal_state": goals}


def test_starts_are_not_solved_as_they_begin() -> None:
    model = SimulatorModel(GOAL, "state", threads=1)
    success = RuleSuccess(PoseRule())
    starts = UnsolvedStarts(Anywhere(0.3), model, success)
    for count in (1, 20):
        drawn = starts(count, np.random.default_rng(1))
        assert {len(each) for each in drawn.values()} == {count}
        assert (drawn["state"] != drawn["goal_state"]).any(axis=1).all()
    again = starts(20, np.random.default_rng(1))
    np.testing.assert_array_equal(again["goal_state"], drawn["goal_state"])
    with pytest.raises(ValueError, match=r"nearly all are solved .*starts.goal_after"):
        UnsolvedStarts(Anywhere(0.0), model, success)(1, np.random.default_rng(1))
