"""The kitchen as a MuJoCo model: one that is stepped, one that is drawn, for each of its variants."""

from __future__ import annotations

import copy
import math
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Final

import mujoco
import numpy as np

from ..robots.allegro_hand import FINGERS, FINGERTIPS, PALM, WRIST
from ..robots.franka_allegro import JOINTS, WRIST_CAMERA, franka_allegro
from .fixtures import FLOOR
from .layouts import LAYOUTS, furnish
from .objects import TARGETS, THINGS, add_thing
from .styles import ROLES, STYLES, add_materials, material_of

CAMERAS: Final = ("torso", WRIST_CAMERA)
"""What is observed: DexWM's camera between the shoulders, and one beside the palm."""
OVERVIEW: Final = "overview"
"""The camera of `render`."""

TORSO: Final = np.array([0.212, 0.42, 0.694])
"""DexWM's camera is 0.212 m before the robot's middle and 1.614 m above the floor; the arm, a right
one, is mounted to the right of that middle, so that it comes into the picture from the side [m].

The hand is never hidden, but what it reaches for often is, by forearm and hand; for how often see
`CounterEnv`."""

HAND_PARTS: Final = (*(f"{finger}_base" for finger in FINGERS), PALM)
"""Bodies whose subtrees are told apart where the hand touches the target; the last has all of it."""

_NEAR, _FAR = 0.01, 12.0  # what is drawn [m]
_KEPT = 64  # variants whose models are kept


@dataclass(frozen=True)
class Scene:
    """A variant of the world, which has a number."""

    layout: str
    style: str
    target: str
    """The thing that the task is about."""
    others: frozenset[str] = frozenset()
    """The things that are in the way."""

    def __post_init__(self) -> None:
        _known("layout", self.layout, LAYOUTS)
        _known("style", self.style, STYLES)
        _known("object", self.target, TARGETS)
        for name in self.others:
            _known("distractor", name, THINGS)
        if self.target in self.others:
            raise ValueError(f"the {self.target} cannot be both the object and a distractor.")

    @property
    def number(self) -> int:
        """Its number, from 0 to `SCENES - 1`."""
        mask = sum(1 << index for index, name in enumerate(THINGS) if name in self.others)
        number = list(LAYOUTS).index(self.layout) * len(STYLES) + list(STYLES).index(self.style)
        return (number * len(TARGETS) + TARGETS.index(self.target) << len(THINGS)) + mask

    @classmethod
    def of(cls, number: int) -> Scene:
        """Return the scene of a number; a target that is counted among the others too is not one."""
        number, mask = divmod(number, 1 << len(THINGS))
        number, target = divmod(number, len(TARGETS))
        layout, style = divmod(number, len(STYLES))
        others = {name for index, name in enumerate(THINGS) if mask >> index & 1}
        return cls(
            list(LAYOUTS)[layout],
            list(STYLES)[style],
            TARGETS[target],
            frozenset(others - {TARGETS[target]}),
        )


SCENES: Final = len(LAYOUTS) * len(STYLES) * len(TARGETS) << len(THINGS)
"""How many numbers there are."""


def physics_model(scene: Scene, limits: str = "panda") -> mujoco.MjModel:
    """Return the model that is stepped: shared, not to be changed, the same for every style.

    `limits` are those of the arm's joints, as `franka_allegro` knows them.
    """
    return _physics_model(scene.layout, scene.target, scene.others, limits)


@lru_cache(_KEPT)
def _physics_model(layout: str, target: str, others: frozenset[str], limits: str) -> mujoco.MjModel:
    model: mujoco.MjModel = copy.copy(_compiled(layout, "none", limits))
    things = {name: model.body(name).id for name in THINGS}
    for name, body in things.items():
        # What is not there hangs in the air, and must not fall.
        model.body_gravcomp[body] = 0.0 if name == target or name in others else 1.0
    # "The target" is whichever body the sensors are pointed at.
    placeholder = model.body(TARGETS[0]).id, model.geom(TARGETS[0]).id
    for sensor in range(model.nsensor):
        if not model.sensor(sensor).name.startswith("target"):
            continue
        for kind, ids in (
            (model.sensor_objtype, model.sensor_objid),
            (model.sensor_reftype, model.sensor_refid),
        ):
            if kind[sensor] == mujoco.mjtObj.mjOBJ_GEOM and ids[sensor] == placeholder[1]:
                ids[sensor] = model.geom(target).id
            elif kind[sensor] in _BODY and ids[sensor] == placeholder[0]:
                ids[sensor] = things[target]
    return model


_BODY: Final = (mujoco.mjtObj.mjOBJ_BODY, mujoco.mjtObj.mjOBJ_XBODY)


@lru_cache(4)
def drawn_model(layout: str, style: str, visuals: str = "fast") -> mujoco.MjModel:
    """Return the model that is drawn, whose joints are those of the one that is stepped.

    `visuals`, `fast` or `mesh`, is what the arm looks like.
    """
    model: mujoco.MjModel = copy.copy(_compiled(layout, visuals, "panda"))
    first = next(iter(STYLES))
    for role in ROLES:
        made_of = model.geom_matid == model.material(material_of(role, first)).id
        model.geom_matid[made_of] = model.material(material_of(role, style)).id
    look = STYLES[style]
    model.light_diffuse[:] = look.lamp, look.daylight
    model.vis.headlight.ambient[:] = look.ambient
    return model


@cache
def _compiled(layout: str, visuals: str, limits: str) -> mujoco.MjModel:
    return kitchen(layout, visuals, limits).compile()


def kitchen(layout: str, visuals: str, limits: str = "panda") -> mujoco.MjSpec:
    """Return robot, kitchen and all things, still absent, in the first style.

    The base of the arm is the origin, at the height of the counter top. `visuals` and `limits` are
    those of `franka_allegro`; unless `visuals` are `none`, there is what only the eye needs. Sensors, in this order: the joints' positions (23), velocities (23); the wrist (3) and
    the fingertips (4 x 3); the palm's position (3) and quaternion (4); the target's position (3) and
    quaternion (4); the distances from palm and fingertips to the target (5); the numbers of contacts
    of index, middle, ring finger, thumb, and of the hand as a whole with the target (5); the poses
    (6 x 7) and the velocities (6 x 6) of all things.
    """
    drawn = visuals != "none"
    spec = franka_allegro(visuals, limits)
    spec.modelname = "counter"
    style = next(iter(STYLES))
    if drawn:
        add_materials(spec)
    for fixture in furnish(LAYOUTS[layout]):
        half = fixture.turn / 2
        body = spec.worldbody.add_body(
            name=fixture.name, pos=fixture.position, quat=[math.cos(half), 0, 0, math.sin(half)]
        )
        for part in fixture.parts:
            if not (part.solid or drawn):
                continue
            body.add_geom(
                type=part.shape,
                pos=part.position,
                size=part.size,
                quat=part.turn,
                contype=int(part.solid),
                conaffinity=3 * part.solid,
                condim=3,
                friction=[0.8, 0.005, 0.0001],
                material=material_of(part.role, style) if drawn else "",
            )
    spec.worldbody.add_body(name="floor").add_geom(
        name="floor",
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        pos=[0.0, 0.0, FLOOR],
        size=[5.0, 5.0, 5.0],  # drawn as few squares
        conaffinity=3,
        material=material_of("floor", style) if drawn else "",
    )
    for index, name in enumerate(THINGS):
        add_thing(spec, index, name, drawn)
    _add_cameras(spec)
    _add_sensors(spec)
    if drawn:
        _light(spec)
    return spec


def _add_cameras(spec: mujoco.MjSpec) -> None:
    down = math.radians(60.0)
    spec.worldbody.add_camera(
        name="torso",
        pos=TORSO,
        xyaxes=[0.0, -1.0, 0.0, math.sin(down), 0.0, math.cos(down)],
        fovy=80.0,
    )
    spec.worldbody.add_camera(
        name=OVERVIEW, fovy=42.0, **looking((-0.08, -1.12, 0.78), (0.42, 0.06, 0.22))
    )


def looking(eye: Collection[float], at: Collection[float]) -> dict[str, list[float]]:
    """Return where a camera is and its axes, which looks from one point at another, upright."""
    forward = np.subtract(tuple(at), tuple(eye))
    right = np.cross(forward, (0.0, 0.0, 1.0))
    up = np.cross(right, forward)
    axes = [*(right / np.linalg.norm(right)), *(up / np.linalg.norm(up))]
    return {"pos": list(eye), "xyaxes": axes}


def _add_sensors(spec: mujoco.MjSpec) -> None:
    sensor, kind = mujoco.mjtSensor, mujoco.mjtObj
    target = TARGETS[0]
    for reading in (sensor.mjSENS_JOINTPOS, sensor.mjSENS_JOINTVEL):
        for name in JOINTS:
            spec.add_sensor(type=reading, objtype=kind.mjOBJ_JOINT, objname=name)
    for name in (WRIST, *FINGERTIPS):
        spec.add_sensor(type=sensor.mjSENS_FRAMEPOS, objtype=kind.mjOBJ_SITE, objname=name)
    poses = (sensor.mjSENS_FRAMEPOS, sensor.mjSENS_FRAMEQUAT)
    for reading in poses:
        spec.add_sensor(type=reading, objtype=kind.mjOBJ_XBODY, objname=PALM)
    for index, reading in enumerate(poses):
        spec.add_sensor(
            name=f"target_pose{index}", type=reading, objtype=kind.mjOBJ_XBODY, objname=target
        )
    for name in (PALM, *FINGERTIPS):
        spec.add_sensor(
            name=f"target_distance_{name}",
            type=sensor.mjSENS_GEOMDIST,
            objtype=kind.mjOBJ_GEOM,
            objname=name,
            reftype=kind.mjOBJ_GEOM,
            refname=target,
            cutoff=1.0,
        )
    for name in HAND_PARTS:
        # How many contacts there are depends on positions alone, so it is the same whatever is
        # commanded next, although MuJoCo evaluates this sensor together with those of forces.
        spec.add_sensor(
            name=f"target_contact_{name}",
            type=sensor.mjSENS_CONTACT,
            objtype=kind.mjOBJ_XBODY,
            objname=name,
            reftype=kind.mjOBJ_BODY,
            refname=target,
            intprm=[1 << int(mujoco.mjtConDataField.mjCONDATA_FOUND), 1, 1],
        )
    for readings in (poses, (sensor.mjSENS_FRAMELINVEL, sensor.mjSENS_FRAMEANGVEL)):
        for name in THINGS:
            for reading in readings:
                spec.add_sensor(type=reading, objtype=kind.mjOBJ_XBODY, objname=name)


def _light(spec: mujoco.MjSpec) -> None:
    for position, direction in (
        ((-1.0, -1.0, 2.5), (0.62, 0.30, -0.72)),  # the lamp, from behind the robot
        ((1.0, 2.0, 1.5), (-0.35, -0.75, -0.55)),  # daylight
    ):
        spec.worldbody.add_light(
            type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
            pos=position,
            dir=direction,
            specular=[0.15, 0.15, 0.15],
            castshadow=position[0] < 0,
        )
    spec.visual.quality.numquads = 1  # flat light needs no finer boxes
    spec.visual.headlight.diffuse = [0.15, 0.15, 0.15]
    spec.visual.headlight.specular = [0.0, 0.0, 0.0]
    spec.stat.extent = 1.0
    spec.visual.map.znear, spec.visual.map.zfar = _NEAR, _FAR
    spec.add_texture(
        name="sky_box",
        type=mujoco.mjtTexture.mjTEXTURE_SKYBOX,
        builtin=mujoco.mjtBuiltin.mjBUILTIN_FLAT,
        rgb1=[0.85, 0.86, 0.86],
        width=16,
        height=16,
    )


def _known(what: str, name: str, allowed: Collection[str]) -> None:
    if name not in allowed:
        raise ValueError(f"{what}={name!r} is unknown; choose one of {list(allowed)}.")
