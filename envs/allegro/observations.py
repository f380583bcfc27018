"""What is observed of hand and cube: the spaces and values of its observation keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from ..cameras import CALIBRATION_SIZE
from ..mujoco_env import FloatArray
from .appearance import CAMERAS
from .simulation import POSE, AllegroSimulation, N

PIXELS: Final = {f"pixels_{camera}": camera for camera in CAMERAS}
CALIBRATIONS: Final = {f"camera_{camera}": camera for camera in CAMERAS}

OBSERVATIONS: Final = (
    *("state", "proprio", "keypoints", "fingertips", "object", "contact"),
    *PIXELS,
    *CALIBRATIONS,
    *("scene", "physics"),
)
"""Every key that there is."""

_FARTHEST: Final = np.concatenate(
    [np.full(N, 4.0), np.full(3, 10.0), np.ones(4), np.full(N + 3, 100.0), np.full(3, 1000.0)]
)
"""Bounds of a task state, which only a cube that falls for seconds would meet."""


_MOST_CONTACTS: Final = 1000.0


class Observations:
    """Observations of the keys `names`, frames being `pixels_size` wide and high."""

    def __init__(
        self, names: Sequence[str], pixels_size: int, simulation: AllegroSimulation
    ) -> None:
        bound = _FARTHEST.astype(np.float32)
        spaces: dict[str, Box] = {
            "state": Box(-bound, bound, dtype=np.float32),
            "proprio": Box(-bound[:N], bound[:N], dtype=np.float32),
            "keypoints": Box(-10.0, 10.0, (8, 3), np.float32),
            "fingertips": Box(-10.0, 10.0, (4, 3), np.float32),
            "object": Box(-bound[POSE], bound[POSE], dtype=np.float32),
            "contact": Box(0.0, _MOST_CONTACTS, (5,), np.float32),
            "scene": Box(0, max(1, simulation.scenes - 1), (1,), np.int64),
            "physics": Box(-np.inf, np.inf, (simulation.state_size,), np.float64),
        }
        picture = Box(0, 255, (pixels_size, pixels_size, 3), np.uint8)
        calibration = Box(-1e4, 1e4, (CALIBRATION_SIZE,), np.float32)
        spaces |= dict.fromkeys(PIXELS, picture) | dict.fromkeys(CALIBRATIONS, calibration)
        self.names, self._spaces = tuple(names), spaces
        chosen = Dict({name: cast("Space[Any]", spaces[name]) for name in names})
        self.space = cast("Space[dict[str, NDArray[Any]]]", chosen)

    def __call__(
        self,
        task_state: FloatArray,
        simulation: AllegroSimulation,
        others: Callable[[str], NDArray[Any]],
    ) -> dict[str, NDArray[Any]]:
        """Observe a task state `(45,)`; `others` tells what does not follow from it, by key."""
        known = {"state": task_state, "proprio": task_state[:N], "object": task_state[POSE]}
        if "contact" in self.names:
            known["contact"] = simulation.contacts(task_state)
        if {"keypoints", "fingertips"} & set(self.names):
            known["keypoints"], known["fingertips"] = simulation.points(task_state)
        observation: dict[str, NDArray[Any]] = {}
        for name in self.names:
            if name in known:
                space = self._spaces[name]
                within = np.clip(known[name], space.low, space.high)
                observation[name] = within.astype(np.float32)
            else:
                observation[name] = others(name)
        return observation
