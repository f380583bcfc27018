"""The Allegro hand: its names, the right hand, the left by mirroring, and what makes it hold things.

The numbers are in `assets/allegro/right_hand.xml`. Joint angles are those of the real hands, in
the order of their motors: index, middle, ring finger, thumb, from the palm outwards.
"""

from __future__ import annotations

from typing import Final

import mujoco
import numpy as np

from ...assets import asset_path
from .mjcf import read_mjcf

FINGERS: Final = ("index", "middle", "ring", "thumb")

JOINTS: Final = (
    *("index_abduction", "index_proximal", "index_medial", "index_distal"),
    *("middle_abduction", "middle_proximal", "middle_medial", "middle_distal"),
    *("ring_abduction", "ring_proximal", "ring_medial", "ring_distal"),
    *("thumb_opposition", "thumb_abduction", "thumb_medial", "thumb_distal"),
)
"""The 16 joints; the actuators bear the same names."""

LINKS: Final = tuple(
    f"{finger}_{link}" for finger in FINGERS for link in ("base", "proximal", "medial", "distal")
)
"""The bodies that the joints move, in the order of the joints; their origins lie on the joints."""

FINGERTIPS: Final = tuple(f"{finger}_tip" for finger in FINGERS)
"""Sites at the fingertips, and the geoms around them. A distal link's origin is not a fingertip."""

PALM: Final = "palm"
"""The body to attach: fingers along its z axis, palm facing x."""

WRIST: Final = "wrist"
"""The site at the rear face of the palm."""

MIRROR_SIGNS: Final = np.array([-1.0, 1.0, 1.0, 1.0] * 3 + [1.0] * 4)
"""A left hand at `MIRROR_SIGNS * q` is the mirror image of a right hand at `q`.

Both hands spread their fingers about the same axis, as the real ones do.
"""

_OPTIONS: Final = (
    *("timestep", "integrator", "cone", "impratio"),
    *("iterations", "ls_iterations", "tolerance"),
)


def right_hand() -> mujoco.MjSpec:
    """Return the right hand: 16 joints, 0.959 kg, position servos, the palm at the origin."""
    return read_mjcf(asset_path("allegro/right_hand.xml"))


def left_hand() -> mujoco.MjSpec:
    """Return the left hand, the right one's mirror image, with the same names."""
    spec = mirrored(right_hand())
    spec.modelname = "allegro_left"
    for finger in FINGERS[:3]:
        joint = spec.joint(f"{finger}_abduction")
        joint.axis = -joint.axis
    return spec


def set_contact_options(spec: mujoco.MjSpec) -> None:
    """Give a scene the solver options under which the hand holds objects.

    Elliptic friction cones with a high impratio: with MuJoCo's defaults (pyramidal cones, impratio
    1) grasped objects slip. An attached hand brings its joints and contacts along, but the options
    are the scene's.
    """
    source = right_hand().option
    for name in _OPTIONS:
        setattr(spec.option, name, getattr(source, name))


def mirrored(spec: mujoco.MjSpec) -> mujoco.MjSpec:
    """Return the mirror image of a model of primitive geoms, reflected in the plane y = 0.

    Joints keep their names and ranges: equal joint angles give mirror images. A rotation by an
    angle about `a` is seen in the mirror S as one by the same angle about -S a, a shift along `a`
    as one along S a.

    Raises `ValueError` for what has no mirror image among MuJoCo's elements: meshes and height
    fields, and ball and free joints, whose coordinates would have to be mirrored too.
    """
    image = spec.copy()
    for geom in image.geoms:
        if geom.type in (mujoco.mjtGeom.mjGEOM_MESH, mujoco.mjtGeom.mjGEOM_HFIELD):
            raise ValueError(
                f"geom {geom.name!r} cannot be mirrored: only primitive shapes are symmetric. "
                "Mirror the mesh itself, or replace it by primitives."
            )
        if np.isfinite(geom.fromto).all():
            geom.fromto = geom.fromto * np.tile(_REFLECTION, 2)
    for joint in image.joints:
        if joint.type == mujoco.mjtJoint.mjJNT_HINGE:
            joint.axis = -joint.axis * _REFLECTION
        elif joint.type == mujoco.mjtJoint.mjJNT_SLIDE:
            joint.axis = joint.axis * _REFLECTION
        else:
            raise ValueError(
                f"joint {joint.name!r} cannot be mirrored: only hinges and slides can, because "
                "their coordinate means the same in the mirror."
            )
        joint.pos = joint.pos * _REFLECTION
    for body in image.bodies:
        body.ipos = body.ipos * _REFLECTION
        body.iquat = body.iquat * _REFLECTED_QUATERNION
        body.fullinertia = body.fullinertia * _REFLECTED_INERTIA
    for element in (*image.bodies[1:], *image.geoms, *image.sites, *image.cameras):
        if element.alt.type != mujoco.mjtOrientation.mjORIENTATION_QUAT:
            raise ValueError(
                f"the orientation of {element.name!r} cannot be mirrored: write it as a quaternion."
            )
        element.pos = element.pos * _REFLECTION
        element.quat = element.quat * _REFLECTED_QUATERNION
    return image


_REFLECTION: Final = np.array([1.0, -1.0, 1.0])
_REFLECTED_QUATERNION: Final = np.array([1.0, -1.0, 1.0, -1.0])  # of S R S
_REFLECTED_INERTIA: Final = np.array([1.0, 1.0, 1.0, -1.0, 1.0, -1.0])  # xx yy zz xy xz yz
