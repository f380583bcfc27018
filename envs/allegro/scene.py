"""The scene: a hand, palm up, and a cube on it."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import mujoco
import numpy as np

from ..robots.allegro_hand import FINGERTIPS, JOINTS, PALM, right_hand, set_contact_options
from ..rotations import about, product, turned

CUBE: Final = "cube"
TILT: Final = 0.2
"""The fingers point downwards by this angle, so that a cube rather rolls off them than to the wrist [rad]."""
PALM_POSITION: Final = np.array([0.0, 0.0, 0.3])
PALM_ORIENTATION: Final = product(
    about(np.array([0.0, 1.0, 0.0]), TILT), np.array([0.0, 1.0, 0.0, 1.0]) / math.sqrt(2.0)
)
NORMAL: Final = turned(PALM_ORIENTATION, np.array([1.0, 0.0, 0.0]))
"""The direction that the palm faces, in the world."""
ACROSS: Final = turned(PALM_ORIENTATION, np.array([0.0, 1.0, 0.0]))
"""The direction from the ring finger to the index finger."""
FINGERS: Final = turned(PALM_ORIENTATION, np.array([0.0, 0.0, 1.0]))
"""The direction in which straight fingers point."""
PALM_SURFACE: Final = 0.0111
"""Height of the palm's face above its origin, along its normal [m]."""

CORNERS: Final = np.array(list(itertools.product((-0.5, 0.5), repeat=3)))
"""Of a cube with edges of length one."""


@dataclass(frozen=True)
class Cube:
    """What a cube is like."""

    mass: float = 0.08
    """[kg]"""
    friction: float = 1.0
    """Coefficient of sliding friction, against the hand too."""
    size: float = 0.06
    """Length of the edges [m]."""


def scene(cube: Cube) -> mujoco.MjSpec:
    """Return the hand and the cube: 16 + 6 degrees of freedom, 16 servos, sensors of everything.

    Sensors, in this order: the joints' positions (16) and velocities (16); the cube's position (3),
    quaternion (4), velocity (3) and angular velocity (3) in the world; its corners (8 x 3); the
    fingertips (4 x 3).
    """
    spec = mujoco.MjSpec()
    spec.modelname = "allegro_reorient"
    spec.compiler.degree = False
    frame = spec.worldbody.add_frame(pos=PALM_POSITION, quat=PALM_ORIENTATION)
    frame.attach_body(right_hand().body(PALM), "", "")
    set_contact_options(spec)
    spec.worldbody.add_geom(
        name="floor", type=mujoco.mjtGeom.mjGEOM_PLANE, size=[0.0, 0.0, 0.05], condim=3
    )
    body = spec.worldbody.add_body(name=CUBE, pos=PALM_POSITION)
    body.add_freejoint(name=CUBE)
    half = cube.size / 2
    body.add_geom(
        name=CUBE,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=[half] * 3,
        mass=cube.mass,
        priority=1,  # its friction counts, not the larger one of both
        condim=4,
        friction=[cube.friction, 0.01, 0.0005],
        solref=[0.01, 1.0],
        rgba=[0.06, 0.06, 0.07, 1.0],
    )
    for index, corner in enumerate(CORNERS):
        body.add_site(name=f"corner{index}", pos=corner * cube.size, group=4)
    _sense(spec)
    return spec


def _sense(spec: mujoco.MjSpec) -> None:
    sensor, kind = mujoco.mjtSensor, mujoco.mjtObj
    for reading in (sensor.mjSENS_JOINTPOS, sensor.mjSENS_JOINTVEL):
        for name in JOINTS:
            spec.add_sensor(type=reading, objtype=kind.mjOBJ_JOINT, objname=name)
    for reading in (
        *(sensor.mjSENS_FRAMEPOS, sensor.mjSENS_FRAMEQUAT),
        *(sensor.mjSENS_FRAMELINVEL, sensor.mjSENS_FRAMEANGVEL),
    ):
        spec.add_sensor(type=reading, objtype=kind.mjOBJ_XBODY, objname=CUBE)
    for name in (*(f"corner{index}" for index in range(len(CORNERS))), *FINGERTIPS):
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_SITE, objname=name)
