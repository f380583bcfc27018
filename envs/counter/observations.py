"""What is observed at the counter: the spaces and values of its observation keys."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, cast

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from numpy.typing import NDArray

from ..cameras import CALIBRATION_SIZE
from ..mujoco_env import FloatArray
from .scene import CAMERAS, SCENES
from .simulation import ACTIONS, STATE_SIZE, CounterSimulation

PIXELS: Final = {f"pixels_{camera}": camera for camera in CAMERAS}
CALIBRATIONS: Final = {f"camera_{camera}": camera for camera in CAMERAS}

FEATURES: Final = {
    "state": (STATE_SIZE,),
    "velocities": (ACTIONS,),
    "keypoints": (5, 3),
    "palm": (7,),
    "object": (7,),
    "distance": (5,),
    "contact": (5,),
}
"""Observations that are features of the simulation, and their shapes."""

OBSERVATIONS: Final = (*FEATURES, "proprio", *PIXELS, *CALIBRATIONS, "scene", "physics")
"""Every key that there is."""

_FARTHEST = 1000.0  # what is far away, and fast, is cut off there

Picture = Callable[[str, FloatArray], NDArray[Any]]


class Observations:
    """Observations of the keys `names`, frames being `height` high and `width` wide."""

    def __init__(self, names: Sequence[str], height: int, width: int, state_size: int) -> None:
        spaces: dict[str, Space[Any]] = {
            name: Box(-_FARTHEST, _FARTHEST, shape, np.float32) for name, shape in FEATURES.items()
        }
        spaces["proprio"] = Box(-_FARTHEST, _FARTHEST, (ACTIONS,), np.float32)
        spaces["scene"] = Box(0, SCENES - 1, (1,), np.int64)
        spaces["physics"] = Box(-np.inf, np.inf, (state_size,), np.float64)
        picture = Box(0, 255, (height, width, 3), np.uint8)
        calibration = Box(-1e4, 1e4, (CALIBRATION_SIZE,), np.float32)
        spaces |= dict.fromkeys(PIXELS, picture) | dict.fromkeys(CALIBRATIONS, calibration)
        self.names = tuple(names)
        chosen = Dict({name: spaces[name] for name in names})
        self.space = cast("Space[dict[str, NDArray[Any]]]", chosen)

    def __call__(
        self,
        simulation: CounterSimulation,
        physics: FloatArray,
        pixels: Picture,
        calibration: Picture,
    ) -> dict[str, NDArray[Any]]:
        """Observe a state `(P,)`; what draws it, or calibrates, gets a camera and the task state."""
        read = {"joints" if name == "proprio" else name for name in self.names}
        features = simulation.observe(read & simulation.feature_names, physics)
        features["proprio"] = features.get("joints")
        task_state = simulation.task_state(physics[None])[0]
        observation: dict[str, NDArray[Any]] = {}
        for name in self.names:
            if name in PIXELS:
                observation[name] = pixels(PIXELS[name], task_state)
            elif name in CALIBRATIONS:
                observation[name] = calibration(CALIBRATIONS[name], task_state)
            elif name == "physics":
                observation[name] = physics
            elif name == "scene":
                observation[name] = np.array([simulation.scene], np.int64)
            else:
                bounded = np.clip(features[name], -_FARTHEST, _FARTHEST)
                observation[name] = bounded.astype(np.float32)
        return observation
