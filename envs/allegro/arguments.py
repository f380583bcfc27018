"""What the environment is asked for: cubes and reset options, checked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..arguments import check_choice, checked_numbers
from ..mujoco_env import FloatArray
from .scene import Cube
from .simulation import POSE, STATE_SIZE

_ALLOWED = {"mass": (0.001, 1.0), "friction": (0.0, 5.0), "size": (0.03, 0.08)}


def cube_variants(scenes: int, **parts: float | Sequence[float]) -> tuple[Cube, ...]:
    """Return the cubes of all scenes: one, or where a part is given as a range, `scenes` of them.

    The cube of a scene depends on the ranges and on its number alone.

    Raises:
        ValueError: a number or a range that is none, or outside what can be simulated; `scenes`
            below 1.
    """
    ranges = {name: _checked_range(name, value) for name, value in parts.items()}
    if scenes < 1:
        raise ValueError(f"scenes={scenes}: give at least 1 variant of the cube.")
    if all(low == high for low, high in ranges.values()):
        scenes = 1
    lows, highs = np.array(list(ranges.values())).T
    drawn = [np.random.default_rng(scene).uniform(lows, highs).tolist() for scene in range(scenes)]
    return tuple(Cube(**dict(zip(ranges, values, strict=True))) for values in drawn)


def _checked_range(name: str, value: float | Sequence[float]) -> tuple[float, float]:
    least, most = _ALLOWED[name]
    ends = [float(end) for end in (value if isinstance(value, Sequence) else (value, value))]
    if len(ends) != 2 or not least <= ends[0] <= ends[1] <= most:
        raise ValueError(
            f"{name}={value!r}: give a number, or the least and the largest one, between {least:g} "
            f"and {most:g}."
        )
    return ends[0], ends[1]


def checked_options(options: Mapping[str, Any] | None) -> dict[str, FloatArray]:
    """Return the reset options as arrays; raise `ValueError` for what cannot be one."""
    options = options or {}
    for name in options:
        check_choice("the reset option", name, ("state", "goal", "scene"))
    checked = {}
    if "state" in options:
        meaning = "joints, the cube's position and quaternion, and their velocities"
        checked["state"] = checked_numbers(options, "state", STATE_SIZE, meaning)
        _check_quaternion("state", checked["state"][POSE][3:])
    if "scene" in options:
        number = np.array(options["scene"])
        if number.shape != () or number.dtype.kind not in "iu":
            raise ValueError(f"options['scene']={options['scene']!r}: give a whole number.")
        checked["scene"] = number.astype(np.float64)
    if "goal" in options:
        checked["goal"] = checked_numbers(options, "goal", 4, "a unit quaternion, w first")
        _check_quaternion("goal", checked["goal"])
    return checked


def _check_quaternion(name: str, quaternion: FloatArray) -> None:
    length = float(np.linalg.norm(quaternion))
    if abs(length - 1.0) > 1e-3:
        raise ValueError(
            f"options[{name!r}] has the quaternion {quaternion.tolist()} of length {length:g}; "
            "give one of length 1, w first."
        )
