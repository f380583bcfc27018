"""Any environment is observed as an agent needs it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dexworld.envs  # noqa: F401 - registers the environments
from dexworld.experiments.environments import check_arguments, environment

PUCK = """
import gymnasium as gym
import numpy as np

class Puck(gym.Env):
    metadata = {"render_modes": []}
    action_space = gym.spaces.Box(-1, 1, (1,))
    observation_space = gym.spaces.Box(-9, 9, (2,))

    def __init__(self, goal=False, render_mode=None):
        self.goal, self.render_mode = goal, render_mode

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.5, 0.5, 2)
        return np.float32(self.state), {"goal": np.float32([1, 0])} if self.goal else {}

    def step(self, action):
        velocity = self.state[1] + 0.3 * float(action[0])
        self.state = np.array([self.state[0] + 0.2 * velocity, velocity])
        return np.float32(self.state), -((self.state[0] - 1.0) ** 2), False, False, {}

    def get_state(self):
        return self.state.copy()

    def set_state(self, state):
        self.state = np.array(state, np.float64)

gym.register("Puck-v0", Puck, max_episode_steps=7)
"""


@pytest.fixture
def puck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Give an environment of somebody else's, which importing its module registers."""
    (tmp_path / "puck_module.py").write_text(PUCK)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "puck_module:Puck-v0"
    gym.registry.pop("Puck-v0", None)
    sys.modules.pop("puck_module", None)


def keys(env: gym.Env[Any, Any]) -> set[str]:
    observation, _ = env.reset(seed=0)
    assert env.observation_space.contains(observation)
    after, *_ = env.step(env.action_space.sample())
    assert set(after) == set(observation)
    return set(observation)


@pytest.mark.parametrize(
    ("kwargs", "observes", "expected"),
    [
        ({}, [], {"observation"}),
        ({}, ["physics", "goal_physics"], {"observation", "physics"}),
        ({}, ["hold_action"], {"observation", "hold_action"}),
        ({"goal": True}, ["goal_observation"], {"observation", "goal_observation"}),
        ({"goal": True}, ["goal_observation", "goal_physics"], {"observation"}),
        ({"goal": False}, ["goal_observation"], {"observation"}),
    ],
)
def test_an_environment_of_somebody_elses(puck, kwargs, observes, expected) -> None:
    env = environment(puck, kwargs, 5, observes)()
    assert keys(env) == expected
    assert env.render_mode is None
    assert [env.step(env.action_space.sample())[3] for _ in range(4)] == [False] * 3 + [True]


def test_push_t_is_evaluated_to_the_end_of_its_budget() -> None:
    observes = ["physics", "goal_physics", "hold_action"]
    env = environment("dexworld/PushTGoal-v0", {}, 5, observes)()
    assert keys(env) == set(observes)
    push_t: Any = env.unwrapped
    assert env.render_mode == "rgb_array" and push_t.render_size == 320
    assert not push_t.terminate_on_success
    told = environment("dexworld/PushT-v0", {"terminate_on_success": True}, 5, [])()
    assert keys(told) == {"state"} and told.unwrapped.terminate_on_success  # type: ignore[attr-defined]


def test_frames_where_there_are_frames() -> None:
    env = environment("Pendulum-v1", {}, 5, [])()
    assert keys(env) == {"observation"} and env.render_mode == "rgb_array"
    assert np.asarray(env.render()).shape[2] == 3


def test_what_an_environment_cannot() -> None:
    with pytest.raises(TypeError, match="PendulumEnv lacks get_state and set_state"):
        environment("Pendulum-v1", {}, 5, ["physics"])()
    with pytest.raises(TypeError, match="HoldAction needs Box actions"):
        environment("CartPole-v1", {}, 5, ["hold_action"])()
    with pytest.raises(ValueError, match=r"the module 'no_such' cannot be imported.*PYTHONPATH"):
        environment("no_such:Mine-v0", {}, 5, [])
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `Pendulum`"):
        environment("Pendulam-v1", {}, 5, [])


def test_arguments_are_checked_by_name() -> None:
    check_arguments("dexworld/PushT-v0", {"physics": "pymunk"})
    check_arguments("dexworld.envs:dexworld/PushT-v0", {"physics": "pymunk"})
    check_arguments("CartPole-v1", {"sutton_barto_reward": True})
    with pytest.raises(
        ValueError, match=r"CartPole-v1 takes no argument 'foo'. Valid: render_mode"
    ):
        check_arguments("CartPole-v1", {"foo": 1})
