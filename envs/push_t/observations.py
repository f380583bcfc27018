"""What is observed of PushT: the spaces and values of its observation keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from ..mujoco_env import FloatArray
from .geometry import BOARD, KEYPOINTS, placed

ROOM = 256.0
"""Positions may leave the board by this much before they leave the observation space [px]."""

OBSERVATIONS = ("pixels", "state", "proprio", "keypoints", "physics")
"""Every key that there is."""


class Observations:
    """Observations of the keys `names`, frames being `pixels_size` wide and states `state_size`."""

    def __init__(self, names: Sequence[str], pixels_size: int, state_size: int) -> None:
        low, high = -ROOM, BOARD + ROOM
        bounds = np.array([high] * 4 + [2.0 * np.pi], np.float32)
        spaces: dict[str, Space[Any]] = {
            "pixels": Box(0, 255, (pixels_size, pixels_size, 3), np.uint8),
            "state": Box(np.array([low] * 4 + [0.0], np.float32), bounds, dtype=np.float32),
            "proprio": Box(low, high, (2,), np.float32),
            "keypoints": Box(low, high, KEYPOINTS.shape, np.float32),
            "physics": Box(-np.inf, np.inf, (state_size,), np.float64),
        }
        self.names = tuple(names)
        chosen = Dict({name: spaces[name] for name in names})
        self.space = cast("Space[dict[str, NDArray[Any]]]", chosen)

    def __call__(
        self,
        task_state: FloatArray,
        physics: Callable[[], FloatArray],
        pixels: Callable[[FloatArray], NDArray[np.uint8]],
    ) -> dict[str, NDArray[Any]]:
        """Observe a task state `(5,)`; exact state and frame are made where they are observed."""
        observation: dict[str, NDArray[Any]] = {}
        for name in self.names:
            if name == "state":
                state = task_state.astype(np.float32)
                state[4] = task_state[4] % (2.0 * np.pi)
                observation[name] = state
            elif name == "proprio":
                observation[name] = task_state[:2].astype(np.float32)
            elif name == "keypoints":
                observation[name] = placed(KEYPOINTS, task_state[2:]).astype(np.float32)
            elif name == "physics":
                observation[name] = physics()
            else:
                observation[name] = pixels(task_state)
        return observation
