"""A policy trained in a model, in the world: what it is asked, when, and what it does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from reaching import HORIZON, SPACE, SPEED, Reaching, Seeker, anywhere, point

from dexworld.agents.base import Agent
from dexworld.agents.belief_policy import BeliefPolicy, Indifferent
from dexworld.experiments.evaluation import run_episodes
from dexworld.planners.base import Planner
from dexworld.world_models.actions import Hold


def observe(rows: int, seed: int = 0) -> dict[str, np.ndarray]:
    return anywhere(rows, np.random.default_rng(seed))


def test_it_gets_where_the_policy_wants() -> None:
    agent = BeliefPolicy(point(), Seeker())
    assert isinstance(agent, Agent)
    assert agent.observes == {"state", "goal_state"}
    results = list(run_episodes(agent, Reaching, range(20), 7))
    assert all(result.success_at_end for result in results)
    assert {len(result.plan_seconds) for result in results} == {HORIZON}
    assert {result.model_evaluations for result in results} == {0}


def test_what_it_sees_is_the_belief() -> None:
    policy = Seeker()
    agent = BeliefPolicy(point(), policy)
    seen, state = observe(3), agent.start([0, 1, 2])
    for _ in range(2):
        _, state = agent.predict(seen, state)
    for shown in policy.shown:
        for key in seen:
            np.testing.assert_array_equal(shown[key], seen[key])


def test_a_decision_lasts_as_long_as_its_map_says() -> None:
    policy = Seeker()
    agent = BeliefPolicy(point(), policy, action_map=Hold(SPACE, 3))
    seen, state, actions = observe(2), agent.start([0, 1]), []
    for _ in range(6):
        action, state = agent.predict(seen, state)
        actions.append(action)
        seen = {**seen, "state": seen["state"] + np.float32(SPEED) * action}
    assert len(policy.shown) == 2
    np.testing.assert_array_equal(actions[0], actions[2])
    expected = np.clip((seen["goal_state"] - policy.shown[1]["state"]) / SPEED, -1, 1)
    np.testing.assert_allclose(actions[3], expected)


def test_rows_go_on_by_themselves() -> None:
    agent = BeliefPolicy(point(), Seeker())
    seen = observe(3)
    together, state = agent.predict(seen, agent.start([0, 1, 2]))
    alone, _ = agent.predict({k: v[1:2] for k, v in seen.items()}, agent.start([1]))
    np.testing.assert_array_equal(together[1:2], alone)
    kept = agent.take(state, np.array([2]))
    again, _ = agent.predict({k: v[2:] for k, v in seen.items()}, kept)
    np.testing.assert_array_equal(again, together[2:])


def test_noise_depends_on_the_seed_of_the_episode_alone() -> None:
    agent = BeliefPolicy(point(), Seeker(), noise=0.2)
    quiet, _ = BeliefPolicy(point(), Seeker()).predict(observe(2), None)
    noisy, _ = agent.predict(observe(2), agent.start([5, 6]))
    assert (np.abs(noisy - quiet).max(1) > 1e-3).any() and (np.abs(noisy) <= 1).all()
    swapped = {k: v[::-1].copy() for k, v in observe(2).items()}
    other, _ = agent.predict(swapped, agent.start([6, 5]))
    np.testing.assert_array_equal(other[::-1], noisy)
    reseeded, _ = agent.predict(observe(2), agent.start([7, 8]))
    assert not np.array_equal(reseeded, noisy)


def test_goals_are_asked_for_where_the_policy_has_some() -> None:
    class Still(Seeker):
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            return np.zeros((len(observation["state"]), 2), np.float32), None

    plane = Box(-1.0, 1.0, (2,), np.float32)
    free = BeliefPolicy(point(), Still(Dict({"state": plane})))
    assert free.observes == {"state"}
    actions, _ = free.predict({"state": np.zeros((2, 2), np.float32)})
    assert (actions == 0).all()
    with pytest.raises(KeyError, match=r"lacks the goal \['goal_state'\]"):
        BeliefPolicy(point(), Seeker()).predict({"state": np.zeros((2, 2), np.float32)})


def test_asking_is_a_planner_that_does_not_search() -> None:
    planner = BeliefPolicy(point(), Seeker())._agent.planner
    assert isinstance(planner, Planner) and planner.horizon == 1
    drawn = observe(2)
    state, goal = {"state": torch.as_tensor(drawn["state"])}, {"state": torch.zeros(2, 2)}
    clock = iter([1.0, 3.5]).__next__
    plan = planner.plan(point(), Indifferent(), state, goal, clock=clock)
    assert plan.search.evaluations == 0 and plan.search.seconds == 2.5
    assert plan.actions.shape == (2, 1, 2) and (plan.cost == 0).all()
