"""Trained policies behind the protocol of agents."""

from __future__ import annotations

import sys
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from dexworld.agents.base import Agent
from dexworld.agents.policy import PolicyAgent, load_policy

FLAT, KEYED = Box(-9.0, 9.0, (3,)), Dict({"b": Box(-9.0, 9.0, (1,)), "a": Box(-9.0, 9.0, (2,))})


class Echo:
    """Acts as it is told and counts, in its memory `(1, B, 1)`, how often."""

    action_space = FLAT

    def __init__(self, space: Any = FLAT) -> None:
        self.observation_space = space
        self.given: list[Any] = []

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.given.append((observation, episode_start, deterministic))
        if isinstance(observation, dict):
            observation = np.concatenate([observation["a"], observation["b"]], 1)
        memory = np.zeros((1, len(observation), 1)) if state is None else state[0]
        return observation, (memory + observation.sum(1)[None, :, None],)


OBSERVED = {"a": np.float32([[1, 2], [5, 6]]), "b": np.float32([[3], [7]]), "c": np.zeros((2, 4))}


@pytest.mark.parametrize(
    ("space", "keys", "expected"),
    [
        (FLAT, ["a", "b"], [[1, 2, 3], [5, 6, 7]]),
        (FLAT, ["b", "a"], [[3, 1, 2], [7, 5, 6]]),
        (FLAT, ["a"], [[1, 2], [5, 6]]),
        (KEYED, [], [[1, 2, 3], [5, 6, 7]]),
    ],
)
def test_a_policy_sees_what_it_was_trained_on(space, keys, expected) -> None:
    policy = Echo(space)
    agent = PolicyAgent(policy, keys)
    assert isinstance(agent, Agent)
    assert agent.observes == set(keys or ["a", "b"])
    actions, _ = agent.predict(OBSERVED, agent.start([0, 1]), np.array([True, False]))
    assert actions.tolist() == expected
    observation, started, deterministic = policy.given[0]
    assert deterministic and started.tolist() == [True, False]
    assert isinstance(observation, dict) == isinstance(space, Dict)


def test_the_memory_of_a_recurrent_policy_goes_on_row_by_row() -> None:
    agent = PolicyAgent(Echo(), ["a"])
    _, state = agent.predict(OBSERVED)
    assert agent.take(None, np.array([1])) is None
    _, state = agent.predict({"a": OBSERVED["a"][1:]}, agent.take(state, np.array([1])))
    assert state[0].tolist() == [[[22]]]


def test_what_cannot_be_seen() -> None:
    with pytest.raises(ValueError, match="name the observation keys"):
        PolicyAgent(Echo())
    with pytest.raises(KeyError, match=r"lacks \['z'\]; it has \['a', 'b', 'c'\]"):
        PolicyAgent(Echo(), ["a", "z"]).predict(OBSERVED)


def test_a_saved_policy_acts_as_before(tmp_path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    env = gym.make("Pendulum-v1")
    model = sb3.PPO("MlpPolicy", env, n_steps=4, batch_size=4, n_epochs=1, device="cpu", seed=0)
    model.save(tmp_path / "policy.zip")
    agent = PolicyAgent(load_policy(str(tmp_path / "policy.zip"), "PPO", "cpu"), ["observation"])
    seen = np.stack([env.reset(seed=seed)[0] for seed in range(3)])
    actions, state = agent.predict({"observation": seen})
    np.testing.assert_array_equal(actions, model.predict(seen, deterministic=True)[0])
    assert state is None and len(np.unique(actions)) == 3


def test_what_cannot_be_loaded(tmp_path, monkeypatch) -> None:
    pytest.importorskip("stable_baselines3")
    with pytest.raises(ValueError, match=r"no algorithm 'PPOO'. Valid: .*'PPO', 'SAC', 'TD3'"):
        load_policy("policy.zip", "PPOO")
    with pytest.raises(FileNotFoundError, match="give the zip that stable-baselines3 saved"):
        load_policy(str(tmp_path / "policy.zip"), "PPO")
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r"pip install 'dexworld\[sb3\]'"):
        load_policy("policy.zip", "PPO")
