"""What the scene looks like: colours, lights, cameras, a stand, and the goal beside the hand."""

from __future__ import annotations

from typing import Any, Final

import mujoco
import numpy as np

from ..mujoco_env import FloatArray
from ..robots.allegro_hand import PALM
from .scene import CUBE, PALM_POSITION, Cube, scene

GOAL: Final = "goal"
"""The cube that shows the goal; it touches nothing."""

FACES: Final = {
    "white": ((0.0, 0.0, 1.0), (0.95, 0.95, 0.95, 1.0)),
    "yellow": ((0.0, 0.0, -1.0), (0.98, 0.82, 0.10, 1.0)),
    "red": ((1.0, 0.0, 0.0), (0.82, 0.11, 0.12, 1.0)),
    "orange": ((-1.0, 0.0, 0.0), (0.98, 0.47, 0.06, 1.0)),
    "blue": ((0.0, 1.0, 0.0), (0.08, 0.28, 0.75, 1.0)),
    "green": ((0.0, -1.0, 0.0), (0.10, 0.60, 0.24, 1.0)),
}
"""Sides of the cube: their normals in its frame, and their colours."""

CAMERAS: Final = {
    "above": ((-0.02, 0.0, 0.45), (1.0, 0.0, 0.0)),
    "front": ((0.36, 0.06, 0.24), (0.0, 0.0, 1.0)),
    "side": ((0.06, -0.36, 0.24), (0.0, 0.0, 1.0)),
}
"""Cameras: where they are, seen from what they look at [m], and what is up in their pictures."""

_FIELD_OF_VIEW: Final = 40.0  # [degrees]
_FOCUS: Final = PALM_POSITION + np.array([0.04, 0.05, 0.03])
_GOAL_POSITION: Final = PALM_POSITION + np.array([0.03, 0.14, 0.08])
_BLACK: Final = (0.06, 0.06, 0.07, 1.0)
_SEEN_ONLY: Final[dict[str, Any]] = {"contype": 0, "conaffinity": 0, "mass": 0.0}


def drawn_scene(cube: Cube) -> mujoco.MjSpec:
    """Return the scene with all that only the eye needs; what moves, moves as without it."""
    spec = scene(cube)
    half = cube.size / 2
    spec.geom(CUBE).rgba = _BLACK
    _stick(spec.body(CUBE), half)
    goal = spec.worldbody.add_body(name=GOAL, pos=_GOAL_POSITION, mocap=True)
    box = mujoco.mjtGeom.mjGEOM_BOX
    goal.add_geom(type=box, size=[half] * 3, rgba=_BLACK, **_SEEN_ONLY)
    _stick(goal, half)
    _furnish(spec)
    for name, (offset, up) in CAMERAS.items():
        spec.worldbody.add_camera(
            name=name,
            pos=_FOCUS + offset,
            quat=_looking_back(np.array(offset), np.array(up)),
            fovy=_FIELD_OF_VIEW,
        )
    return spec


def _stick(body: mujoco.MjsBody, half: float) -> None:
    """Put a coloured sticker on each side of a cube."""
    for normal, colour in FACES.values():
        thick = np.abs(normal)
        body.add_geom(
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=np.array(normal) * half,
            size=0.0004 * thick + 0.86 * half * (1.0 - thick),
            rgba=colour,
            **_SEEN_ONLY,
        )


def _furnish(spec: mujoco.MjSpec) -> None:
    kind, pattern = mujoco.mjtTexture, mujoco.mjtBuiltin
    spec.add_texture(
        name="sky",
        type=kind.mjTEXTURE_SKYBOX,
        builtin=pattern.mjBUILTIN_GRADIENT,
        rgb1=[0.86, 0.89, 0.92],
        rgb2=[0.62, 0.68, 0.74],
        width=64,
        height=64,
    )
    spec.add_texture(
        name="floor",
        type=kind.mjTEXTURE_2D,
        builtin=pattern.mjBUILTIN_CHECKER,
        rgb1=[0.70, 0.71, 0.70],
        rgb2=[0.62, 0.63, 0.63],
        width=128,
        height=128,
    )
    floor = spec.add_material(name="floor", texrepeat=[6.0, 6.0], texuniform=True)
    floor.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = "floor"
    spec.geom("floor").material = floor.name
    spec.body(PALM).add_geom(
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        fromto=[-0.0093, 0.0, -0.095, -0.0093, 0.0, -0.24],
        size=[0.035, 0.0, 0.0],
        rgba=[0.55, 0.57, 0.60, 1.0],
        **_SEEN_ONLY,
    )
    spec.visual.headlight.ambient = [0.45, 0.45, 0.45]
    spec.visual.headlight.diffuse = [0.35, 0.35, 0.35]
    spec.visual.headlight.specular = [0.1, 0.1, 0.1]
    spec.worldbody.add_light(
        type=mujoco.mjtLightType.mjLIGHT_DIRECTIONAL,
        pos=[0.0, 0.0, 2.0],
        dir=[0.3, 0.4, -1.0],
        diffuse=[0.4, 0.4, 0.4],
        specular=[0.1, 0.1, 0.1],
        castshadow=False,
    )


def _looking_back(offset: FloatArray, up: FloatArray) -> FloatArray:
    """Return the orientation of a camera that looks back along `offset`: x right, y up, -z ahead."""
    backwards = offset / np.linalg.norm(offset)
    right = np.cross(up, backwards)
    right /= np.linalg.norm(right)
    frame = np.stack([right, np.cross(backwards, right), backwards], axis=1)
    quaternion = np.empty(4)
    mujoco.mju_mat2Quat(quaternion, frame.ravel())
    return quaternion
