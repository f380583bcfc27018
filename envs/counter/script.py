"""How a hand that knows everything grasps from above, lifts and carries: what goals are made of.

The motions are those of joint targets along lines between poses that inverse kinematics finds. They
are scripts, so whether they succeed the simulator has to say.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final

import numpy as np

from ..mujoco_env import FloatArray
from ..robots.arm_kinematics import ArmKinematics
from ..robots.franka_allegro import ARM_HOME
from .objects import THINGS

OPEN: Final = np.array([0.0, 0.05, 0.05, 0.05] * 3 + [1.37, 0.35, 0.30, 0.0])
"""The hand before a grasp, the thumb opposed [rad]."""
CLOSED: Final = np.array([0.0, 0.459, 0.921, 0.506] * 3 + [1.319, 0.475, 1.462, 0.784])
"""Targets of a grasp, inside of what is grasped, so that the fingers press [rad]."""

HEIGHT: Final = 0.1514
"""Of the palm's origin above the counter when it grasps: straight fingers just clear the top [m]."""
_PALM_FACE, _GAP = (
    0.0111,
    0.0081,
)  # from the palm's origin to its face, and on to what it grasps [m]
_BACK, _UP = 0.08, 0.02  # from the grasp to where the hand waits before it [m]


class Unreachable(Exception):
    """No posture of the arm puts the hand where a script wants it."""


def downwards(heading: float) -> FloatArray:
    """Return the orientation `(3, 3)` of a palm with fingers down, facing a direction [rad]."""
    x = np.array([math.cos(heading), math.sin(heading), 0.0])
    z = np.array([0.0, 0.0, -1.0])
    return np.stack([x, np.cross(z, x), z], axis=1)


def grasp_position(name: str, place: FloatArray, heading: float) -> FloatArray:
    """Return where the palm grasps a thing that stands at `place` `(2,)`, facing it [m]."""
    away = _PALM_FACE + THINGS[name].half[0] + _GAP
    x, y = place[0] - away * math.cos(heading), place[1] - away * math.sin(heading)
    return np.array([x, y, HEIGHT])


def waiting_position(grasp: FloatArray, heading: float) -> FloatArray:
    """Return where the palm waits before it grasps at `grasp` `(3,)` [m]."""
    back = np.array([math.cos(heading), math.sin(heading), 0.0]) * _BACK
    waiting: FloatArray = grasp - back + (0.0, 0.0, _UP)
    return waiting


class Script:
    """Finds postures within `limits` of the arm's joints, from which `motion` makes targets."""

    def __init__(self, limits: str = "panda") -> None:
        self.limits = limits
        self._kinematics = ArmKinematics(limits)

    def posture(
        self, position: FloatArray, heading: float, near: FloatArray | None = None
    ) -> FloatArray:
        """Return arm joints `(7,)` with the palm there, fingers down; raise `Unreachable`."""
        solution = self._kinematics.solve(position, downwards(heading), start=near)
        if not solution.found:
            raise Unreachable(
                f"the palm cannot be at {np.round(position, 3).tolist()} with heading {heading:.2f}"
            )
        return solution.joints

    def palm_pose(self, arm: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the palm's position `(3,)` and orientation `(3, 3)` at arm joints `(7,)`."""
        return self._kinematics.palm_pose(arm)

    def shifted(self, arm: FloatArray, shift: FloatArray) -> FloatArray:
        """Return arm joints with the palm `shift` `(3,)` [m] away, turned as it was."""
        position, orientation = self._kinematics.palm_pose(arm)
        solution = self._kinematics.solve(position + shift, orientation, start=arm, rest=arm)
        if not solution.found:
            raise Unreachable(f"the palm cannot be moved by {np.round(shift, 3).tolist()}")
        return solution.joints

    def __getstate__(self) -> dict[str, Any]:
        return {"limits": self.limits}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        Script.__init__(self, saved["limits"])


def motion(start: FloatArray, stages: Sequence[tuple[FloatArray, int]]) -> FloatArray:
    """Return targets `(T, 23)` along lines from `start` to the target of each stage, in its steps."""
    targets, here = [], start
    for target, steps in stages:
        fraction = (np.arange(steps) + 1.0)[:, None] / steps
        targets.append((1.0 - fraction) * here + fraction * target)
        here = target
    return np.concatenate(targets)


def posed(arm: FloatArray, hand: FloatArray) -> FloatArray:
    """Return joints `(23,)` of an arm `(7,)` and a hand `(16,)`."""
    return np.concatenate([arm, hand])


HOME: Final = posed(ARM_HOME, OPEN)
