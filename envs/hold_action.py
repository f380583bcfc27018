"""Shows an agent which action would keep things still, so that doing nothing is well defined."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from ..world_models.base import HOLD_ACTION


class HoldAction(gym.ObservationWrapper[Any, Any, Any]):
    """Adds `hold_action` `(A,)` to a `Dict` observation.

    It is what the environment's own `hold_action()` returns; where it has none, the action nearest
    to zero, which holds still in environments that are driven by forces or velocities.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        space, observed = env.action_space, env.observation_space
        if not isinstance(space, Box) or not isinstance(observed, Dict):
            raise TypeError(
                f"HoldAction needs Box actions and Dict observations, not {space} and {observed}."
            )
        self._hold = getattr(env.unwrapped, "hold_action", None)
        self._still = np.clip(np.zeros(space.shape), space.low, space.high).astype(np.float32)
        held = Box(space.low, space.high, space.shape, np.float32)
        self.observation_space = Dict({**observed.spaces, HOLD_ACTION: held})

    def observation(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Return the observation with the action that holds still."""
        still = self._still if self._hold is None else np.asarray(self._hold(), np.float32)
        return {**observation, HOLD_ACTION: still}
