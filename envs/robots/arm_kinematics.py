"""Where the arm's joints put the hand, and which joints put it there: for scripts and starts.

Planners use the batched, differentiable chain of `world_models`; a script solves one pose at a time,
for which MuJoCo's own kinematics is faster.
"""

from __future__ import annotations

from functools import cache
from typing import Final, NamedTuple

import mujoco
import numpy as np

from ..mujoco_env import FloatArray
from .allegro_hand import PALM
from .franka_allegro import ARM_HOME, ARM_JOINTS, ARM_LIMITS, franka_allegro

_DAMPING: Final = 1e-4  # of the least squares
_TURN_WEIGHT: Final = 0.3  # metres that a radian counts as
_STEP: Final = 0.1  # largest change of a joint in one iteration [rad]
_PULL: Final = 0.05  # towards the rest posture, where that does not move the hand
_MARGIN: Final = 0.02  # kept to the ends of the ranges [rad]


class ArmSolution(NamedTuple):
    """Joint angles, and how well they do."""

    joints: FloatArray
    """`(7,)` [rad]."""
    distance: float
    """From the palm to where it should be [m]."""
    turn: float
    """From the palm's orientation to what it should be [rad]."""

    @property
    def found(self) -> bool:
        """Whether the pose is reached: within 3 mm and 0.03 rad."""
        return self.distance < 3e-3 and self.turn < 3e-2


class ArmKinematics:
    """Forward and inverse kinematics of the palm of `franka_allegro`, its base at the origin."""

    def __init__(self, limits: str = "panda") -> None:
        self._model = _robot(limits)
        self._data = mujoco.MjData(self._model)
        self._palm = self._model.body(PALM).id
        self._arm = [int(self._model.joint(name).qposadr[0]) for name in ARM_JOINTS]
        self.low, self.high = np.array(ARM_LIMITS[limits]).T

    def palm_pose(self, joints: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return position `(3,)` and orientation, a matrix `(3, 3)`, at arm joints `(7,)`."""
        self._data.qpos[self._arm] = joints
        mujoco.mj_kinematics(self._model, self._data)
        matrix = self._data.xmat[self._palm].reshape(3, 3)
        return self._data.xpos[self._palm].copy(), matrix.copy()

    def solve(
        self,
        position: FloatArray,
        orientation: FloatArray,
        start: FloatArray | None = None,
        rest: FloatArray = ARM_HOME,
        iterations: int = 120,
    ) -> ArmSolution:
        """Return arm joints that bring the palm to a position `(3,)` and orientation `(3, 3)`.

        Damped least squares, `dq = J^T (J J^T + lambda I)^-1 e`, with a pull to the posture `rest`
        in the null space, from `start` (`rest` where None). Whether it succeeded, the solution says.
        """
        joints = np.array(rest if start is None else start, np.float64)
        low, high = self.low + _MARGIN, self.high - _MARGIN
        jacobian = np.empty((6, self._model.nv))
        for _ in range(iterations):
            here, turned = self.palm_pose(joints)
            error = np.concatenate([position - here, _TURN_WEIGHT * _turn(turned, orientation)])
            if np.abs(error).max() < 1e-5:
                break
            mujoco.mj_comPos(self._model, self._data)
            mujoco.mj_jacBody(self._model, self._data, jacobian[:3], jacobian[3:], self._palm)
            local = jacobian[:, self._arm] * _WEIGHTS
            inverse = local.T @ np.linalg.inv(local @ local.T + _DAMPING * np.eye(6))
            change = inverse @ error
            pull = _PULL * (rest - joints)
            change = change + pull - inverse @ (local @ pull)
            joints = np.clip(joints + np.clip(change, -_STEP, _STEP), low, high)
        here, turned = self.palm_pose(joints)
        return ArmSolution(
            joints,
            float(np.linalg.norm(position - here)),
            float(np.linalg.norm(_turn(turned, orientation))),
        )


_WEIGHTS: Final = np.array([1.0] * 3 + [_TURN_WEIGHT] * 3)[:, None]


def _turn(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the rotation vector `(3,)` from one orientation to the other, in the world."""
    relative, quaternion, vector = second @ first.T, np.empty(4), np.empty(3)
    mujoco.mju_mat2Quat(quaternion, np.ascontiguousarray(relative).ravel())
    mujoco.mju_quat2Vel(vector, quaternion, 1.0)
    return vector


@cache
def _robot(limits: str) -> mujoco.MjModel:
    return franka_allegro(limits=limits).compile()
