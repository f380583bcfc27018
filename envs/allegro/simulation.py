"""The physics of hand and cube: commands, task states, features, variants."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Sequence
from typing import Any, ClassVar, Final

import mujoco
import numpy as np

from ..control import interpolated
from ..mujoco_env import FloatArray, MujocoSimulation, state_slices
from ..robots.allegro_hand import FINGERS, FINGERTIPS, JOINTS, PALM
from ..rotations import inverse, turned, unit
from .scene import CORNERS, CUBE, Cube, scene

SUBSTEPS: Final = 10
"""Physics steps of 0.005 s in a control period of 0.05 s."""

N: Final = len(JOINTS)
POSE: Final = slice(N, N + 7)
"""Of a task state: the cube's position and quaternion."""
STATE_SIZE: Final = 2 * N + 13

_KEPT = 64  # compiled models of variants
_CUBE, _SURROUNDINGS = 6, 5  # parts after the four fingers and the palm


class AllegroSimulation(MujocoSimulation):
    """A hand, palm up, and a cube, of which there may be several variants.

    A command is the 16 joints' targets [rad]; within a control period the servos' targets move
    there from the last command along a line. A task state `(45,)` is the joints' positions (16)
    [rad], the cube's position (3) [m] and quaternion (4), the joints' velocities (16) [rad/s], the
    cube's velocity (3) [m/s] and angular velocity (3) [rad/s], these all in the world.

    Args:
        cubes: the variants, one for each scene.
    """

    feature_names: ClassVar[frozenset[str]] = frozenset(
        {"state", "joints", "pose", "keypoints", "fingertips"}
    )

    def __init__(self, cubes: Sequence[Cube] = (Cube(),)) -> None:
        self.cubes = tuple(cubes)
        self.scenes = len(self.cubes)
        self._models: OrderedDict[int, mujoco.MjModel] = OrderedDict()
        super().__init__(self.model_of(0), SUBSTEPS)
        slices = state_slices(self.model)
        self._qpos = slices[int(mujoco.mjtState.mjSTATE_QPOS)]
        self._qvel = slices[int(mujoco.mjtState.mjSTATE_QVEL)]
        self._ctrl = slices[int(mujoco.mjtState.mjSTATE_CTRL)]
        self.low, self.high = self.model.actuator_ctrlrange.T.copy()
        self._aside = mujoco.MjData(self.model)
        self._tips = [self.model.site(name).id for name in FINGERTIPS]
        self._part = np.array(
            [_part_of(self.model, body) for body in self.model.geom_bodyid.tolist()]
        )

    @property
    def cube(self) -> Cube:
        """The cube of the current scene."""
        return self.cubes[self.scene]

    def model_of(self, scene_number: int) -> mujoco.MjModel:
        """Return the model of a variant; the last ones used are kept."""
        model = self._models.pop(scene_number, None)
        if model is None:
            model = scene(self.cubes[scene_number]).compile()
        self._models[scene_number] = model
        if len(self._models) > _KEPT:
            self._models.popitem(last=False)
        return model

    def controls(self, commands: FloatArray, physics: FloatArray) -> FloatArray:
        """Return the servos' targets `(M, T * substeps, 16)`, on lines between commands."""
        return interpolated(np.asarray(commands, np.float64), self.command(physics), self.substeps)

    def command(self, physics: FloatArray) -> FloatArray:
        """Return the targets `(M, 16)` [rad] that states `(M, P)` were driven to last."""
        return physics[:, self._ctrl]

    def task_state(self, physics: FloatArray) -> FloatArray:
        """Return the task states `(M, 45)` of states `(M, P)`."""
        qpos, qvel = physics[:, self._qpos], physics[:, self._qvel]
        # The velocity of a free joint is in the world, its angular velocity in the body.
        spin = turned(qpos[:, N + 3 :], qvel[:, N + 3 :])
        return np.concatenate([qpos, qvel[:, : N + 3], spin], axis=1)

    def physics(self, task_state: FloatArray) -> FloatArray:
        """Return states `(M, P)` with the given task states `(M, 45)`; commands are the joints."""
        task_state = np.asarray(task_state, np.float64)
        states = np.zeros((len(task_state), self.state_size))
        joints, quaternion = task_state[:, :N], unit(task_state[:, N + 3 : N + 7])
        states[:, self._qpos] = np.concatenate([task_state[:, : N + 3], quaternion], axis=1)
        spin = turned(inverse(quaternion), task_state[:, -3:])
        states[:, self._qvel] = np.concatenate([task_state[:, N + 7 : -3], spin], axis=1)
        states[:, self._ctrl] = np.clip(joints, self.low, self.high)
        return states

    def features(self, sensors: FloatArray, keys: Collection[str]) -> dict[str, FloatArray]:
        """Return what objectives compare; positions are in the world [m].

        `joints` `(..., 16)` [rad]; `pose` `(..., 7)`, the cube's position and quaternion;
        `keypoints` `(..., 8, 3)`, its corners; `fingertips` `(..., 4, 3)`; `state` `(..., 45)`.
        """
        joints, speeds, pose, motion, points = np.split(
            sensors, np.cumsum([N, N, 7, 6]).tolist(), axis=-1
        )
        points = points.reshape(*points.shape[:-1], -1, 3)
        features = {
            "joints": joints,
            "pose": pose,
            "keypoints": points[..., : len(CORNERS), :],
            "fingertips": points[..., len(CORNERS) :, :],
        }
        if "state" in keys:
            features["state"] = np.concatenate([joints, pose, speeds, motion], axis=-1)
        return {key: features[key] for key in keys}

    def points(self, task_state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Return the cube's corners `(8, 3)` and the fingertips `(4, 3)` of a task state [m]."""
        self._aside.qpos[:] = task_state[: N + 7]
        mujoco.mj_kinematics(self.model, self._aside)
        position, orientation = task_state[N : N + 3], task_state[N + 3 : N + 7]
        corners = position + turned(orientation[None], CORNERS * self.cube.size)
        return corners, self._aside.site_xpos[self._tips].copy()

    def contacts(self, task_state: FloatArray) -> FloatArray:
        """Return how many contacts with the cube a task state has, `(5,)`.

        They are those of index, middle, ring finger and thumb, and of the hand as a whole.
        """
        aside = self._aside
        aside.qpos[:] = task_state[: N + 7]
        mujoco.mj_kinematics(self.model, aside)
        mujoco.mj_comPos(self.model, aside)
        mujoco.mj_collision(self.model, aside)
        pairs = self._part[aside.contact.geom]
        touching = pairs[(pairs == _CUBE).any(axis=1)].min(axis=1)
        fingers = [int((touching == finger).sum()) for finger in range(len(FINGERS))]
        return np.array([*fingers, int((touching <= len(FINGERS)).sum())], np.float64)

    def __getstate__(self) -> dict[str, Any]:
        return {"cubes": self.cubes, "scene": self.scene, "physics": self.get_state()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        AllegroSimulation.__init__(self, saved["cubes"])
        self.set_scene(saved["scene"])
        self.set_state(saved["physics"])


def _part_of(model: mujoco.MjModel, body: int) -> int:
    """Return which finger, from 0, a body belongs to; or that it is the palm, the cube or neither."""
    known = {f"{finger}_base": index for index, finger in enumerate(FINGERS)}
    known |= {PALM: len(FINGERS), CUBE: _CUBE}
    while body and model.body(body).name not in known:
        body = int(model.body_parentid[body])
    return known.get(model.body(body).name, _SURROUNDINGS)
