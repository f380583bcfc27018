"""What holds still is shown to those who do nothing."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict

from dexworld.envs.hold_action import HoldAction
from dexworld.world_models.base import HOLD_ACTION


class Plain(gym.Env[Any, Any]):
    """Has no idea of its own of what holds still."""

    observation_space = Dict({"x": Box(-1.0, 1.0, (1,), np.float32)})

    def __init__(self, low: float = -1.0, high: float = 1.0) -> None:
        self.action_space = Box(low, high, (3,), np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        return {"x": np.zeros(1, np.float32)}, {}

    def step(self, action: Any) -> Any:
        return {"x": np.zeros(1, np.float32)}, 0.0, False, False, {}


@pytest.mark.parametrize(("low", "high", "still"), [(-1, 1, 0), (0.5, 2, 0.5), (-3, -1, -1)])
def test_the_action_nearest_to_zero_where_the_environment_has_none(low, high, still) -> None:
    env = HoldAction(Plain(low, high))
    for observation in (env.reset()[0], env.step(np.zeros(3))[0]):
        assert env.observation_space.contains(observation)
        np.testing.assert_array_equal(observation[HOLD_ACTION], np.full(3, still, np.float32))
        assert set(observation) == {"x", HOLD_ACTION}


@pytest.mark.parametrize("action", ["normalized", "pixels"])
def test_the_environment_knows_what_holds_still(action) -> None:
    env = HoldAction(gym.make("dexworld/PushT-v0", action=action))
    observation, _ = env.reset(options={"state": [100.0, 150.0, 300.0, 300.0, 1.0]})
    expected = [100.0, 150.0] if action == "pixels" else [100 / 256 - 1, 150 / 256 - 1]
    np.testing.assert_allclose(observation[HOLD_ACTION], expected, rtol=1e-6)
    start = env.unwrapped.task_state  # type: ignore[attr-defined]
    for _ in range(5):
        observation, *_ = env.step(observation[HOLD_ACTION])
        assert env.observation_space.contains(observation)
    np.testing.assert_allclose(env.unwrapped.task_state, start, atol=1e-3)  # type: ignore[attr-defined]


def test_other_spaces_are_refused() -> None:
    with pytest.raises(TypeError, match="HoldAction needs Box actions and Dict observations"):
        HoldAction(gym.make("CartPole-v1"))
    with pytest.raises(TypeError, match="HoldAction needs"):
        HoldAction(gym.make("Pendulum-v1"))
