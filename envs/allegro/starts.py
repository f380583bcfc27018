"""Where episodes start: the cube at rest on the palm, any of its faces up."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from ..mujoco_env import FloatArray
from ..rotations import IDENTITY, about, inverse, product, turned
from .scene import ACROSS, FINGERS, NORMAL, PALM_ORIENTATION, PALM_POSITION, PALM_SURFACE
from .simulation import POSE, STATE_SIZE, AllegroSimulation, N

NOMINAL: Final = np.array([0.0, 0.3, 0.9, 0.9] * 3 + [1.0, 0.3, 0.4, 0.4])
"""The joints of a hand that is a bowl [rad]."""

_TRIES = 50
_SETTLING = 20  # control steps, 1 s
_GAP = 0.0005  # from the palm to a cube that is put there [m]
_SPEED, _SPIN = 0.01, 0.1  # at rest a cube is slower than this [m/s, rad/s]
_TIPPED = 0.15  # a cube that lies on the palm is turned away from its normal by less [rad]

_, _Y, _Z = np.eye(3)
_FACES_UP: Final = (
    *(IDENTITY, about(_Z, math.pi)),
    *(about(_Y, math.pi / 2), about(_Y, -math.pi / 2)),
    *(about(_Z, math.pi / 2), about(_Z, -math.pi / 2)),
)
"""Rotations that bring each face of the cube to where its x axis points."""


@dataclass(frozen=True)
class StartNoise:
    """How far starts are from the nominal one, uniformly, to either side."""

    position: float = 0.003
    """Of the cube on the palm [m]."""
    yaw: float = 0.1
    """Of the cube about the palm's normal [rad]."""
    joints: float = 0.02
    """Of the joints [rad]."""

    def __post_init__(self) -> None:
        for part in fields(self):
            if not 0.0 <= getattr(self, part.name) < math.inf:
                raise ValueError(
                    f"noise of {part.name}={getattr(self, part.name)}: give how far starts are off "
                    "to either side, 0 or more."
                )


def settled_start(
    simulation: AllegroSimulation, rng: np.random.Generator, noise: StartNoise
) -> None:
    """Put the cube on the palm, any face up, and let it come to rest there, flat.

    So nothing happens until the hand moves. Raises `RuntimeError` after 50 starts in which the
    cube rolled away, tipped over or was still moving after a second.
    """
    for _ in range(_TRIES):
        lying, joints = _drawn_start(simulation, rng, noise)
        simulation.set_task_state(lying)
        for _ in range(_SETTLING):
            simulation.step(joints)
        settled = simulation.get_task_state()
        speed, spin = np.linalg.norm(settled[-6:].reshape(2, 3), axis=1)
        tipped = _tipped_by(lying[POSE][3:], settled[POSE][3:])
        if speed < _SPEED and spin < _SPIN and tipped < _TIPPED:
            return
    raise RuntimeError(
        f"in {_TRIES} starts {simulation.cube} did not come to rest on the palm: choose smaller "
        "noise, or a cube that is easier to hold."
    )


def _drawn_start(
    simulation: AllegroSimulation, rng: np.random.Generator, noise: StartNoise
) -> tuple[FloatArray, FloatArray]:
    """Return a task state with the cube just above the palm, and the joints' targets."""
    joints = NOMINAL + rng.uniform(-noise.joints, noise.joints, N)
    along, across = rng.uniform(-noise.position, noise.position, 2)
    height = PALM_SURFACE + simulation.cube.size / 2 + _GAP
    yaw = rng.integers(4) * math.pi / 2 + rng.uniform(-noise.yaw, noise.yaw)
    face_up = product(PALM_ORIENTATION, _FACES_UP[rng.integers(6)])
    task_state = np.zeros(STATE_SIZE)
    task_state[:N] = joints
    task_state[POSE] = [
        *(PALM_POSITION + height * NORMAL + along * FINGERS + across * ACROSS),
        *product(about(NORMAL, yaw), face_up),
    ]
    return task_state, joints


def _tipped_by(before: FloatArray, after: FloatArray) -> float:
    """Return by how much a cube tipped over, its turns about the palm's normal set aside [rad]."""
    now = turned(product(after, inverse(before)), NORMAL)
    return float(np.arctan2(np.linalg.norm(np.cross(now, NORMAL)), now @ NORMAL))
