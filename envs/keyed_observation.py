"""Observations by key, whatever an environment's own observations look like."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete
from gymnasium.utils import RecordConstructorArgs
from numpy.typing import NDArray

OBSERVATION = "observation"
"""Key of an observation that has no keys of its own."""


class KeyedObservation(gym.Wrapper[Any, Any, Any, Any], RecordConstructorArgs):
    """Makes an array observation `{"observation": array}`, and a goal in `info["goal"]` alike.

    Raises:
        TypeError: the observation is neither a `Dict` nor an array.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        RecordConstructorArgs.__init__(self)
        gym.Wrapper.__init__(self, env)
        space = env.observation_space
        if not isinstance(space, (Box, Discrete, MultiBinary, MultiDiscrete)):
            raise TypeError(
                f"{env} observes {space}, which is no array. Wrap it in "
                "gymnasium.wrappers.FlattenObservation, or observe a Dict of arrays."
            )
        self.observation_space = Dict({OBSERVATION: space})

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode."""
        observation, info = self.env.reset(seed=seed, options=options)
        if isinstance(info.get("goal"), np.ndarray):
            info = {**info, "goal": {OBSERVATION: info["goal"]}}
        return {OBSERVATION: observation}, info

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """Step."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return {OBSERVATION: observation}, reward, terminated, truncated, info
