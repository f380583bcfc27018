"""The robot at the counter: joint targets in, joints, keypoints, poses and contacts out."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar, Final

import mujoco
import numpy as np

from ..control import interpolated
from ..mujoco_env import EXACT, FloatArray, MujocoSimulation, state_slices
from ..robots.franka_allegro import JOINTS
from ..rotations import inverse, turned
from .objects import THINGS
from .scene import SCENES, Scene, physics_model

SUBSTEPS: Final = 20
"""Physics steps of 5 ms in a control period of 0.1 s."""
PERIOD: Final = 0.1
"""Seconds that an action lasts. Five of them are a waypoint of DexWM's, which lasts 0.5 s."""

ACTIONS: Final = len(JOINTS)
STATE_SIZE: Final = 2 * ACTIONS + 13 * len(THINGS)
"""Numbers in a task state."""
SPEED: Final = np.array([2.175] * 4 + [2.61] * 3 + [10.0] * 16)
"""The fastest that targets move: the rated speeds of the arm's joints, and 10 rad/s [rad/s]."""

_SIZES: Final = {
    "joints": (ACTIONS,),
    "velocities": (ACTIONS,),
    "keypoints": (5, 3),
    "palm": (7,),
    "object": (7,),
    "distance": (5,),
    "contact": (5,),
    "poses": (len(THINGS), 7),
    "motions": (len(THINGS), 6),
}
"""Readings of the sensors of `scene.kitchen`, in their order."""

_STATE: Final = ("joints", "velocities", "poses", "motions")
"""What a task state consists of."""

_BIT = mujoco.mjtState


class CounterSimulation(MujocoSimulation):
    """Robot, kitchen and things; a scene is a layout, a style, a target and what else is there.

    A command is 23 joint targets [rad], arm then hand, approached along a straight line in 0.1 s;
    targets that are further away than the joints' rated speeds allow are approached at those. A task
    state is the joints (23) and their velocities (23), then of all things, in the order of
    `objects.THINGS`, the poses (6 x 7: position, quaternion) and the velocities (6 x 6: linear,
    angular, in the world); those that are absent hang far above.
    """

    scenes = SCENES
    limits: str
    """Of the arm's joints: `panda` or `fr3`."""
    feature_names: ClassVar[frozenset[str]] = frozenset({*_SIZES, "state"} - {"poses", "motions"})

    def __init__(self, scene: int = 0, limits: str = "panda") -> None:
        self.check_scene(scene)
        self.limits = limits
        super().__init__(self.model_of(scene), SUBSTEPS)
        self.scene = scene
        self._seen = mujoco.MjData(self.model)
        slices = state_slices(self.model)
        self._qpos, self._qvel = slices[int(_BIT.mjSTATE_QPOS)], slices[int(_BIT.mjSTATE_QVEL)]
        self._ctrl = slices[int(_BIT.mjSTATE_CTRL)]
        model = self.model
        assert [model.joint(name).qposadr[0] for name in JOINTS] == list(range(ACTIONS))
        assert [model.actuator(name).id for name in JOINTS] == list(range(ACTIONS))
        first = [model.joint(name).qposadr[0] for name in THINGS]
        assert first == list(range(ACTIONS, model.nq, 7))
        self.low, self.high = model.actuator_ctrlrange.T.copy()
        self._default = self.get_state()

    def model_of(self, scene: int) -> mujoco.MjModel:
        """Return the model of a variant; those of styles are one."""
        return physics_model(Scene.of(scene), self.limits)

    def controls(self, commands: FloatArray, physics: FloatArray) -> FloatArray:
        """Return joint targets `(M, T * 20, 23)` on the way to commands `(M, T, 23)`."""
        start = here = physics[:, self._ctrl]
        furthest, reached = SPEED * PERIOD, np.empty(commands.shape)
        for time in range(commands.shape[1]):
            command = np.clip(commands[:, time], self.low, self.high)
            here = np.where(
                np.abs(command - here) <= furthest,
                command,
                here + np.clip(command - here, -furthest, furthest),
            )
            reached[:, time] = here
        return interpolated(reached, start, self.substeps)

    def command(self, physics: FloatArray) -> FloatArray:
        """Return the joint targets `(M, 23)` that states `(M, P)` have."""
        return physics[:, self._ctrl]

    def task_state(self, physics: FloatArray) -> FloatArray:
        """Return task states `(M, 124)` of states `(M, P)`."""
        qpos, qvel = physics[:, self._qpos], physics[:, self._qvel]
        motions = qvel[:, ACTIONS:].reshape(len(physics), -1, 6)
        turns = qpos[:, ACTIONS:].reshape(len(physics), -1, 7)[..., 3:]
        # MuJoCo has the angular velocity of a free body in the frame of the body.
        motions = np.concatenate([motions[..., :3], turned(turns, motions[..., 3:])], axis=-1)
        return np.concatenate(
            [
                qpos[:, :ACTIONS],
                qvel[:, :ACTIONS],
                qpos[:, ACTIONS:],
                motions.reshape(len(physics), -1),
            ],
            axis=1,
        )

    def physics(self, task_state: FloatArray) -> FloatArray:
        """Return states `(M, P)` with the given task states `(M, 124)`, targets where joints are."""
        count = len(task_state)
        joints, speeds, poses, motions = np.split(
            task_state, [ACTIONS, 2 * ACTIONS, 2 * ACTIONS + 7 * len(THINGS)], axis=1
        )
        turns = poses.reshape(count, -1, 7)[..., 3:]
        motions = motions.reshape(count, -1, 6)
        local = turned(inverse(turns), motions[..., 3:])
        motions = np.concatenate([motions[..., :3], local], axis=-1).reshape(count, -1)
        states = np.repeat(self._default[None], count, axis=0)
        states[:, self._qpos] = np.concatenate([joints, poses], axis=1)
        states[:, self._qvel] = np.concatenate([speeds, motions], axis=1)
        states[:, self._ctrl] = np.clip(joints, self.low, self.high)
        return states

    def features(self, sensors: FloatArray, keys: Collection[str]) -> dict[str, FloatArray]:
        """Return what sensors `(..., n)` tell, in metres and radians, in the frame of the arm's base.

        `joints` and `velocities` `(..., 23)`; `keypoints` `(..., 5, 3)`: wrist, then the tips of
        index, middle, ring finger and thumb; `palm` and `object` `(..., 7)`: poses, position and
        quaternion; `distance` `(..., 5)`: from palm and fingertips to the object, at most 1, negative
        where they overlap; `contact` `(..., 5)`: numbers of contacts of the four fingers and of the
        hand as a whole with the object; `state` `(..., 124)`: the task state.
        """
        features: dict[str, FloatArray] = {}
        begin, end = 0, 0
        for name, size in _SIZES.items():
            begin, end = end, end + int(np.prod(size))
            if name in keys or ("state" in keys and name in _STATE):
                features[name] = sensors[..., begin:end].reshape(*sensors.shape[:-1], *size)
        if "state" in keys:
            parts = (features[name].reshape(*sensors.shape[:-1], -1) for name in _STATE)
            features["state"] = np.concatenate(list(parts), axis=-1)
        return {key: features[key] for key in keys}

    @property
    def things(self) -> tuple[str, ...]:
        """The names of all things, in the order of their poses."""
        return tuple(THINGS)

    def poses(self, physics: FloatArray) -> FloatArray:
        """Return the poses `(6, 7)` of all things in a state `(P,)`."""
        poses: FloatArray = physics[self._qpos][ACTIONS:].reshape(-1, 7)
        return poses

    def observe(self, keys: Collection[str], physics: FloatArray | None = None) -> dict[str, Any]:
        """Return features of a state `(P,)`, by default of the present one, which stays as it is."""
        seen = self._forward(self.get_state() if physics is None else physics)
        return self.features(seen.sensordata.copy(), keys)

    def penetration(self, physics: FloatArray) -> float:
        """Return how deep things that touch in a state `(P,)` are in each other, at most [m]."""
        seen = self._forward(physics)
        return max(0.0, -float(seen.contact.dist.min(initial=0.0)))

    def _forward(self, physics: FloatArray) -> mujoco.MjData:
        """Return data of their own for a state `(P,)`: those that are stepped stay as they are."""
        mujoco.mj_setState(self.model, self._seen, physics, EXACT)
        mujoco.mj_forward(self.model, self._seen)
        return self._seen

    def __getstate__(self) -> dict[str, Any]:
        return {"scene": self.scene, "limits": self.limits, "physics": self.get_state()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        CounterSimulation.__init__(self, saved["scene"], saved["limits"])
        self.set_state(saved["physics"])
