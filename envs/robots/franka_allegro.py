"""A Franka arm with an Allegro right hand: 23 position servos, composed from installed models.

The arm is robosuite's Panda. Its torque motors give way to servos that hold the arm's weight, its
mesh collisions to a few capsules, and its 50 meshes to 7 coarse ones unless they are asked for.
"""

from __future__ import annotations

import math
from typing import Final

import mujoco
import numpy as np

from .allegro_hand import JOINTS as HAND_JOINTS
from .allegro_hand import PALM, right_hand, set_contact_options
from .mjcf import read_mjcf
from .robosuite_assets import robosuite_asset

ARM_JOINTS: Final = tuple(f"joint{index}" for index in range(1, 8))

JOINTS: Final = (*ARM_JOINTS, *HAND_JOINTS)
"""The 23 joints, arm then hand; the actuators bear the same names."""

BASE: Final = "base"
"""The body to attach: z up, the arm reaching along x."""

ARM_HOME: Final = np.array([0.0, 0.1, 0.0, -2.3, 0.0, 2.4, 0.785])
"""Fingers down in front of the base, the palm facing away from it [rad]."""

ARM_CONTACTS: Final = 2
"""Bit of `conaffinity` of what the arm shall bump into; the hand collides with bit 1."""

ARM_LIMITS: Final = {
    "panda": (
        *((-2.8973, 2.8973), (-1.7628, 1.7628), (-2.8973, 2.8973), (-3.0718, -0.0698)),
        *((-2.8973, 2.8973), (-0.0175, 3.7525), (-2.8973, 2.8973)),
    ),
    "fr3": (
        *((-2.7437, 2.7437), (-1.7837, 1.7837), (-2.9007, 2.9007), (-3.0421, -0.1518)),
        *((-2.8065, 2.8065), (0.5445, 4.5169), (-3.0159, 3.0159)),
    ),
}
"""Ranges of the arm's joints [rad] of the two robots, which are otherwise alike."""

WRIST_CAMERA: Final = "wrist"
"""Rides on the palm, on the side of the ring finger, and sees what the fingers close around."""

VISUALS: Final = ("fast", "mesh", "none")

_STIFFNESS: Final = (4500.0, 4500.0, 3500.0, 3500.0, 2000.0, 2000.0, 2000.0)  # Nm/rad
_DAMPING: Final = (450.0, 450.0, 350.0, 350.0, 200.0, 200.0, 200.0)  # Nm s/rad
_TORQUE: Final = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)  # Nm

_FLANGE: Final = "right_hand"
"""robosuite's body at the end of the arm, already turned by -45 degrees about the last axis."""
_FLANGE_TURN: Final = (math.cos(math.pi / 8), 0.0, 0.0, -math.sin(math.pi / 8))
_PALM_HEIGHT: Final = 0.11355 - 0.1065 + 0.095
"""From the flange to the palm's origin [m]: the palm's rear face is 0.11355 above link 7."""

_CAMERA_POSITION: Final = (0.11, -0.05, -0.08)
_CAMERA_AXES: Final = (0.0, 18.0, -5.0, 349.0, 40.0, 144.0)
"""To the right and up in its image: it looks at a point 0.03 above the palm, 0.1 along z."""
_CAMERA_FOVY: Final = 75.0  # [degrees]

_HALF: Final = math.sqrt(0.5)
_BUMPERS: Final = (
    # body, position, orientation, radius, half length: what the arm touches the world with
    ("link3", (0.0825, 0.028, 0.0), (_HALF, _HALF, 0.0, 0.0), 0.06, 0.05),
    ("link5", (0.0, 0.0, -0.22), (1.0, 0.0, 0.0, 0.0), 0.06, 0.08),
    ("link5", (0.0, 0.06, -0.1), (1.0, 0.0, 0.0, 0.0), 0.045, 0.09),
    ("link6", (0.044, 0.0, 0.0), (_HALF, 0.0, _HALF, 0.0), 0.055, 0.044),
    ("link7", (0.0, 0.0, 0.05), (1.0, 0.0, 0.0, 0.0), 0.045, 0.02),
)
_CAPS: Final = (
    # body, position, orientation, radius, half length: the dark ends of the elbow and the wrist
    ("link3", (0.0825, 0.085, 0.0), (_HALF, _HALF, 0.0, 0.0), 0.05, 0.028),
    ("link4", (0.0, 0.0, 0.085), (1.0, 0.0, 0.0, 0.0), 0.05, 0.028),
    ("link6", (0.0, 0.0, 0.025), (1.0, 0.0, 0.0, 0.0), 0.044, 0.034),
)


def franka_allegro(visuals: str = "fast", limits: str = "panda") -> mujoco.MjSpec:
    """Return arm and hand, without a scene, base at the origin: 23 joints, 23 position servos.

    `visuals` is `fast` (coarse meshes, compiled in a blink), `mesh` (robosuite's, which take
    seconds to compile and ten times as long to draw) or `none` (nothing that is there for the eye
    alone, for searches: a tenth more steps a second); the physics is the same to the last bit.
    `limits` is `panda` or `fr3`. The spec carries the contact options of the hand: a scene that attaches the
    robot, rather than being built around it, calls `set_contact_options` itself.

    Raises `ValueError` for an unknown name and `ModuleNotFoundError` without robosuite.
    """
    if visuals not in VISUALS:
        raise ValueError(f"visuals={visuals!r}: the arm is drawn as one of {list(VISUALS)}.")
    if limits not in ARM_LIMITS:
        raise ValueError(f"limits={limits!r}: ranges are known of {list(ARM_LIMITS)}.")
    path = robosuite_asset("robots/panda/robot.xml")
    spec = read_mjcf(path)
    spec.modelname = "franka_allegro"
    spec.compiler.degree = False  # the file is in radians, and so is everything added below
    for mesh in spec.meshes:
        mesh.file = str(path.parent / mesh.file)  # found from any scene
    for unwanted in (*spec.actuators, *spec.sites, *spec.cameras):
        spec.delete(unwanted)
    _draw(spec, visuals)
    _servo(spec, ARM_LIMITS[limits])
    _bump(spec)
    flange = spec.body(_FLANGE)
    flange.quat = _FLANGE_TURN  # as in the file, without its rounding
    flange.add_frame(pos=[0.0, 0.0, _PALM_HEIGHT]).attach_body(right_hand().body(PALM), "", "")
    spec.body(PALM).add_camera(
        name=WRIST_CAMERA, pos=_CAMERA_POSITION, xyaxes=_CAMERA_AXES, fovy=_CAMERA_FOVY
    )
    set_contact_options(spec)
    if visuals == "none":
        for geom in spec.geoms:
            if not geom.contype and not geom.conaffinity:
                spec.delete(geom)
        for mesh in spec.meshes:
            spec.delete(mesh)
    return spec


def _servo(spec: mujoco.MjSpec, ranges: tuple[tuple[float, float], ...]) -> None:
    """Hold the arm's weight and drive each joint by a servo over its range."""
    for body in spec.bodies[1:]:
        body.gravcomp = 1.0
    for index, name in enumerate(ARM_JOINTS):
        joint = spec.joint(name)
        joint.range = ranges[index]
        joint.armature = 0.1
        joint.damping = [1.0, 0.0, 0.0]  # linear, and no higher powers of the speed
        servo = spec.add_actuator(name=name, target=name, trntype=mujoco.mjtTrn.mjTRN_JOINT)
        servo.set_to_position(kp=_STIFFNESS[index], kv=_DAMPING[index])
        servo.ctrlrange = ranges[index]
        servo.ctrllimited = True
        servo.forcerange = (-_TORQUE[index], _TORQUE[index])
        servo.forcelimited = True


def _draw(spec: mujoco.MjSpec, visuals: str) -> None:
    """Keep the meshes of one visual level, none of which collides or weighs anything."""
    fine = visuals == "mesh"
    for geom in spec.geoms:
        if ("_vis" in geom.meshname) != fine:
            spec.delete(geom)
    if not fine:
        white = spec.add_material(name="franka_shell", rgba=[0.93, 0.94, 0.95, 1.0], specular=0.5)
        dark = spec.add_material(name="franka_cap", rgba=[0.25, 0.25, 0.26, 1.0], specular=0.5)
        for geom in spec.geoms:
            geom.group, geom.contype, geom.conaffinity, geom.mass = 1, 0, 0, 0.0
            geom.material = white.name
        # The one mesh that is not coarse; the next link has the same shape, turned.
        shoulder = spec.geom("link1_collision")
        shoulder.meshname, shoulder.quat = "link2", (_HALF, _HALF, 0.0, 0.0)
        for body, position, orientation, radius, half in _CAPS:
            spec.body(body).add_geom(
                type=mujoco.mjtGeom.mjGEOM_CYLINDER,
                pos=position,
                quat=orientation,
                size=[radius, half, 0.0],
                material=dark.name,
                group=1,
                contype=0,
                conaffinity=0,
                mass=0.0,
            )
    shown = {geom.meshname for geom in spec.geoms}
    worn = {geom.material for geom in spec.geoms}
    for mesh in spec.meshes:
        if mesh.name not in shown:
            spec.delete(mesh)
    for material in spec.materials:
        if material.name not in worn:
            spec.delete(material)


def _bump(spec: mujoco.MjSpec) -> None:
    """Add the invisible, weightless capsules that keep the arm out of the scene."""
    for index, (body, position, orientation, radius, half) in enumerate(_BUMPERS):
        spec.body(body).add_geom(
            name=f"bumper{index}",
            type=mujoco.mjtGeom.mjGEOM_CAPSULE,
            pos=position,
            quat=orientation,
            size=[radius, half, 0.0],
            group=3,
            contype=ARM_CONTACTS,
            conaffinity=0,
            mass=0.0,
        )
