"""The goal as a part of the observation."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from gymnasium.spaces import Dict
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

from ..world_models.base import GOAL_PREFIX

Arrays = dict[str, NDArray[Any]]


class GoalObservation(gym.Wrapper[Any, NDArray[Any], Any, NDArray[Any]], RecordConstructorArgs):
    """Adds `goal_<key>` to a `Dict` observation for every key of `info["goal"]`.

    For goal-conditioned policies; planners read `info["goal"]` itself.
    """

    def __init__(self, env: gym.Env[Any, NDArray[Any]]) -> None:
        """Wrap an environment whose observations are a flat `Dict`."""
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, Dict):
            raise TypeError(f"GoalObservation needs a Dict observation space, got {space}.")
        goals = {GOAL_PREFIX + name: part for name, part in space.spaces.items()}
        self.observation_space = Dict({**space.spaces, **goals})
        self._goal: Arrays = {}

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Start an episode and keep its goal."""
        observation, info = self.env.reset(seed=seed, options=options)
        if "goal" not in info:
            raise KeyError(f"{self.env} gives no goal at reset: info has {sorted(info)}.")
        self._goal = {GOAL_PREFIX + name: value.copy() for name, value in info["goal"].items()}
        return self._with_goal(observation), info

    def step(self, action: NDArray[Any]) -> tuple[Arrays, Any, bool, bool, dict[str, Any]]:
        """Step and add the goal of the episode."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._with_goal(observation), reward, terminated, truncated, info

    def _with_goal(self, observation: Arrays) -> Arrays:
        """Return both in one; goals are copied, since users keep and may change observations."""
        return {**observation, **{name: value.copy() for name, value in self._goal.items()}}
