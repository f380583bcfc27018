"""Things on the counter: robosuite's meshes for the eye, primitive shapes for the hand.

The meshes are scaled to the size of real packages, which are also those that this hand can grasp
from above: about 6 cm across and 16 cm high. Lower things it cannot, since the thumb opposes the
fingers near the palm, and straight fingers reach the counter first; they are there to be in the way.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Final

import cv2
import mujoco
import numpy as np

from ..robots.robosuite_assets import robosuite_asset
from ..rotations import about, turned
from .fixtures import BOX, CYLINDER, ELLIPSOID, Vector

ABSENT: Final = (0.0, 0.0, 40.0)
"""Where things hang that are not there: far above, out of sight and reach, in a row along y [m]."""

_TEXTURE_SIZE = 256


@dataclass(frozen=True)
class Thing:
    """A free body."""

    shape: mujoco.mjtGeom
    """What it collides as."""
    half: Vector
    """Half its extent along its axes, upright [m]."""
    mass: float
    """[kg]"""
    mesh: str
    """robosuite's mesh file."""
    scale: Vector
    """Of the mesh."""
    centre: Vector
    """Of the scaled mesh, in its own frame [m]."""
    texture: str | None = None
    """robosuite's texture file."""
    colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0)
    turn: float = 0.0
    """Of the mesh about the vertical [rad]."""
    faces: int = 4
    """Turns of `2 pi / faces` about the vertical leave its shape as it is; 0: all turns do."""


THINGS: Final[Mapping[str, Thing]] = {
    "can": Thing(
        CYLINDER,
        (0.031, 0.031, 0.08),
        0.2,
        "can.msh",
        (1.24, 1.24, 2.0),
        (0.0, 0.0, -0.0006),
        "soda.png",
        faces=0,
    ),
    "bottle": Thing(
        CYLINDER,
        (0.0304, 0.0304, 0.08),
        0.2,
        "bottle.stl",
        (1.1, 1.06, 1.0),
        (0.0, 0.0, 0.0151),
        None,
        (0.16, 0.42, 0.22, 0.92),
        faces=0,
    ),
    "milk": Thing(
        BOX,
        (0.0299, 0.0299, 0.08),
        0.2,
        "milk.msh",
        (1.35, 1.35, 1.0),
        (0.0, 0.0, 0.0122),
        "ceramic.png",
    ),
    "cereal": Thing(
        BOX,
        (0.026, 0.036, 0.08),
        0.15,
        "cereal.msh",
        (0.72, 1.733, 1.067),
        (0.0, 0.0, 0.0),
        "cereal.png",
        turn=math.pi / 2,  # its broad side faces the hand
        faces=2,
    ),
    "bread": Thing(
        BOX,
        (0.0576, 0.044, 0.048),
        0.25,
        "bread.stl",
        (1.92, 1.76, 1.6),
        (0.0, 0.0, 0.0014),
        "bread.png",
        faces=2,
    ),
    "lemon": Thing(
        ELLIPSOID,
        (0.0405, 0.024, 0.024),
        0.1,
        "lemon.msh",
        (1.8, 1.2, 1.2),
        (0.0005, 0.0, 0.0),
        "lemon.png",
        faces=2,
    ),
}
"""All things, in the order of their bodies."""

TARGETS: Final = ("can", "bottle", "milk", "cereal")
"""What can be grasped; bread and lemon only stand about."""


def add_thing(spec: mujoco.MjSpec, index: int, name: str, drawn: bool) -> None:
    """Add a free body, parked where absent ones are, that may be `drawn`."""
    thing = THINGS[name]
    x, y, z = ABSENT
    body = spec.worldbody.add_body(name=name, pos=[x, y + 0.5 * index, z])
    body.add_freejoint(name=name)
    size = list(thing.half)
    if thing.shape == CYLINDER:
        size = [thing.half[0], thing.half[2], 0.0]
    body.add_geom(
        name=name,
        type=thing.shape,
        size=size,
        mass=thing.mass,
        contype=1,
        conaffinity=3,  # of hand and arm
        condim=6 if thing.shape == ELLIPSOID else 4,  # what is round would roll on and on
        friction=[1.0, 0.01, 0.001],
        solref=[0.01, 1.0],
        group=3 if drawn else 1,
    )
    if drawn:
        _draw(spec, body, name, thing)


def _draw(spec: mujoco.MjSpec, body: mujoco.MjsBody, name: str, thing: Thing) -> None:
    file = robosuite_asset(f"objects/meshes/{thing.mesh}")
    spec.add_mesh(name=name, file=str(file), scale=thing.scale)
    material = spec.add_material(name=f"thing_{name}", rgba=thing.colour, specular=0.3)
    if thing.texture is not None:
        texture = spec.add_texture(
            name=f"thing_{name}",
            type=mujoco.mjtTexture.mjTEXTURE_2D,
            width=_TEXTURE_SIZE,
            height=_TEXTURE_SIZE,
            nchannel=3,
        )
        texture.data = _picture(thing.texture)
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = texture.name
    turn = about(np.array([0.0, 0.0, 1.0]), thing.turn)
    body.add_geom(
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=name,
        material=material.name,
        pos=-turned(turn, np.array(thing.centre)),
        quat=turn,
        mass=0.0,
        contype=0,
        conaffinity=0,
        group=1,
    )


@cache
def _picture(name: str) -> bytes:
    """Return one of robosuite's textures, scaled down: they are far larger than they ever appear."""
    image = cv2.imread(str(robosuite_asset(f"textures/{name}")))
    small = cv2.resize(image, (_TEXTURE_SIZE, _TEXTURE_SIZE), interpolation=cv2.INTER_AREA)
    return np.ascontiguousarray(small[:, :, ::-1]).tobytes()
