"""Array observations get a key."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Dict, Tuple
from gymnasium.utils.env_checker import check_env

from dexworld.envs.keyed_observation import KeyedObservation


def test_an_array_gets_a_key() -> None:
    plain, keyed = gym.make("Pendulum-v1"), KeyedObservation(gym.make("Pendulum-v1"))
    assert isinstance(keyed.observation_space, Dict)
    expected, observation = plain.reset(seed=3)[0], keyed.reset(seed=3)[0]
    for _ in range(3):
        assert set(observation) == {"observation"}
        np.testing.assert_array_equal(observation["observation"], expected)
        assert keyed.observation_space.contains(observation)
        expected, observation = (each.step(np.float32([0.5]))[0] for each in (plain, keyed))


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped")
@pytest.mark.filterwarnings("ignore:.*symmetric and normalized space")  # Pendulum's torque
def test_gymnasium_has_nothing_to_say() -> None:
    check_env(KeyedObservation(gym.make("Pendulum-v1").unwrapped), skip_render_check=True)


def test_so_does_a_goal() -> None:
    class Aimed(gym.Wrapper[Any, Any, Any, Any]):
        def reset(self, **given: Any) -> Any:
            return self.env.reset(**given)[0], {"goal": np.ones(3)}

    _, info = KeyedObservation(Aimed(gym.make("Pendulum-v1"))).reset(seed=0)
    np.testing.assert_array_equal(info["goal"]["observation"], np.ones(3))


def test_what_is_no_array_is_refused() -> None:
    env = gym.make("Pendulum-v1")
    env.observation_space = Tuple([env.observation_space])
    with pytest.raises(TypeError, match=r"no array. Wrap it in gymnasium.wrappers.Flatten"):
        KeyedObservation(env)
