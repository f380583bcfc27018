"""PushT in MuJoCo: a twin of the public environment, which runs in pymunk."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import mujoco
import numpy as np

from ...assets import asset_path
from ..mujoco_env import FloatArray, MujocoSimulation, state_slices
from .geometry import CENTRE_OF_MASS, legacy_pose

UNIT = 100.0
"""Pixels per MuJoCo length unit."""
QPOS = [0, 1, 3, 4, 2]
"""Sensors that are the positions of the joints, in their order."""
SUBSTEPS = 10
"""Physics steps of 0.01 s in one control period of 0.1 s."""


class PushTTwin(MujocoSimulation):
    """The MuJoCo model of `assets/push_t.xml`, in the units of the public PushT.

    A command is the target position of the pusher `(x, y)` [px]; the controller accelerates it by
    `100 (target - position) - 20 velocity` [px/s^2]. A task state is
    `(x_agent, y_agent, x_block, y_block, angle)` [px, rad].
    """

    feature_names: ClassVar[frozenset[str]] = frozenset({"keypoints", "agent", "pose", "state"})

    def __init__(self) -> None:
        super().__init__(mujoco.MjModel.from_xml_path(str(asset_path("push_t.xml"))), SUBSTEPS)
        self._qpos = self.data.qpos
        self._ctrl = self.data.ctrl
        slices = state_slices(self.model)
        self._qpos_part = slices[int(mujoco.mjtState.mjSTATE_QPOS)]
        self._ctrl_part = slices[int(mujoco.mjtState.mjSTATE_CTRL)]

    def step(self, command: FloatArray) -> None:
        """Advance 0.1 s towards the target `command` `(2,)` [px]."""
        self._ctrl[:] = command / UNIT
        mujoco.mj_step(self.model, self.data, self.substeps)

    def start(self, task_state: FloatArray, *, legacy: bool = False, settled: bool = False) -> None:
        """Begin an episode at a task state `(5,)` [px, rad].

        `legacy` sets the block's position before its angle; `settled` runs one step of 0.01 s.
        """
        task_state = np.array(task_state, np.float64)
        if legacy:
            task_state[2:] = legacy_pose(task_state[2:])
        self.set_task_state(task_state)
        if settled:
            mujoco.mj_step(self.model, self.data)

    def get_task_state(self) -> FloatArray:
        """Return the task state [px, rad]."""
        agent_x, agent_y, x, y, angle = self._qpos.tolist()
        x = x * UNIT + CENTRE_OF_MASS * float(np.sin(angle))
        y = y * UNIT - CENTRE_OF_MASS * float(np.cos(angle))
        return np.array([agent_x * UNIT, agent_y * UNIT, x, y, angle])

    def controls(self, commands: FloatArray, physics: FloatArray) -> FloatArray:
        """Return each target, in MuJoCo's units, once per physics step."""
        return np.repeat(np.asarray(commands, np.float64) / UNIT, self.substeps, axis=1)

    def command(self, physics: FloatArray) -> FloatArray:
        """Return the targets `(M, 2)` [px] that states `(M, P)` were driven to last."""
        return physics[:, self._ctrl_part] * UNIT

    def task_state(self, physics: FloatArray) -> FloatArray:
        """Return the task states `(M, 5)` of states `(M, P)`."""
        return _task_state(physics[:, self._qpos_part])

    def physics(self, task_state: FloatArray) -> FloatArray:
        """Return states at rest `(M, P)` with the given task states `(M, 5)`."""
        task_state = np.asarray(task_state, np.float64)
        states = np.zeros((len(task_state), self.state_size))
        states[:, self._qpos_part] = _qpos(task_state)
        states[:, self._ctrl_part] = task_state[:, :2] / UNIT
        return states

    def features(self, sensors: FloatArray, keys: Collection[str]) -> dict[str, FloatArray]:
        """Return positions [px] and angles [rad] that objectives compare.

        `keypoints` `(..., 4, 2)` and `agent` `(..., 1, 2)` are points, `pose` `(..., 3)` is the
        block's and `state` `(..., 5)` the task state, its angle in [0, 2 pi) as it is observed.

        The sensors are the agent's x and y, the block's angle, x and y of its centre of mass, and
        the positions (x, y, z) of its four keypoints.
        """
        features: dict[str, FloatArray] = {}
        if "agent" in keys:
            features["agent"] = sensors[..., None, 0:2] * UNIT
        # Task states are added up as in `get_task_state`, to the last bit.
        if "pose" in keys:
            features["pose"] = _task_state(sensors[..., QPOS])[..., 2:]
        if "state" in keys:
            features["state"] = _task_state(sensors[..., QPOS])
            features["state"][..., 4] %= 2.0 * np.pi
        if "keypoints" in keys:
            points = sensors[..., 5:17].reshape(*sensors.shape[:-1], 4, 3)
            features["keypoints"] = points[..., :2] * UNIT
        return features

    def __getstate__(self) -> dict[str, Any]:
        return {"physics": self.get_state()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        PushTTwin.__init__(self)
        self.set_state(saved["physics"])


def _task_state(qpos: FloatArray) -> FloatArray:
    angle = qpos[..., 4]
    task_state = qpos * UNIT
    task_state[..., 2] += CENTRE_OF_MASS * np.sin(angle)
    task_state[..., 3] -= CENTRE_OF_MASS * np.cos(angle)
    task_state[..., 4] = angle
    return task_state


def _qpos(task_state: FloatArray) -> FloatArray:
    angle = task_state[:, 4]
    qpos = task_state.copy()
    qpos[:, 2] -= CENTRE_OF_MASS * np.sin(angle)
    qpos[:, 3] += CENTRE_OF_MASS * np.cos(angle)
    qpos[:, :4] /= UNIT
    return qpos
