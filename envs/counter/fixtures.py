"""What a kitchen is built of: counters, cupboards, stove, sink, window, and what stands around.

A fixture is a list of primitive parts in a frame of its own: x from its front to its back, y along
it to the left of who stands before it, z up from the level of the counter tops. The list of one
kind of fixture has the same length and order whatever its measures are, so that kitchens differ in
numbers only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import mujoco

BOX, CYLINDER = mujoco.mjtGeom.mjGEOM_BOX, mujoco.mjtGeom.mjGEOM_CYLINDER
CAPSULE, ELLIPSOID = mujoco.mjtGeom.mjGEOM_CAPSULE, mujoco.mjtGeom.mjGEOM_ELLIPSOID

Vector = tuple[float, float, float]
Quaternion = tuple[float, float, float, float]

FLOOR: Final = -0.92
"""Height of the floor [m]."""
TOP: Final = 0.04
"""Thickness of a counter top [m]."""

_HALF = math.sqrt(0.5)
_UPRIGHT: Quaternion = (1.0, 0.0, 0.0, 0.0)
_FACING_FRONT: Quaternion = (0.5, -0.5, -0.5, 0.5)
"""Turns a part's z axis to the front (-x) and its x axis along the fixture (-y): for textures."""
_ALONG_Y: Quaternion = (_HALF, _HALF, 0.0, 0.0)
_ALONG_X: Quaternion = (_HALF, 0.0, _HALF, 0.0)
_THIN = 0.001


@dataclass(frozen=True)
class Part:
    """A primitive of a fixture."""

    shape: mujoco.mjtGeom
    position: Vector
    """Of its centre [m]."""
    size: Vector
    """MuJoCo's half lengths, or radius and half length [m]."""
    role: str
    """What it is made of: one of `styles.ROLES` or `styles.FIXED`."""
    turn: Quaternion = _UPRIGHT
    solid: bool = False
    """Whether hands and objects collide with it."""


def box(
    x: Vector | tuple[float, float],
    y: tuple[float, float],
    z: tuple[float, float],
    role: str,
    solid: bool = False,
) -> Part:
    """Return the box that fills three intervals [m]."""
    centre = tuple((low + high) / 2 for low, high in (x[:2], y, z))
    half = tuple(max((high - low) / 2, _THIN) for low, high in (x[:2], y, z))
    return Part(BOX, centre, half, role, solid=solid)  # type: ignore[arg-type]


def panel(
    x: float, y: tuple[float, float], z: tuple[float, float], role: str, thickness: float = 0.02
) -> Part:
    """Return a board that stands in front of `x`, its texture facing the front."""
    centre = (x - thickness / 2, (y[0] + y[1]) / 2, (z[0] + z[1]) / 2)
    half = (max((y[1] - y[0]) / 2, _THIN), max((z[1] - z[0]) / 2, _THIN), thickness / 2)
    return Part(BOX, centre, half, role, _FACING_FRONT)


@dataclass(frozen=True)
class Basin:
    """The hole of a sink in a counter: intervals in the counter's frame [m]."""

    x: tuple[float, float]
    y: tuple[float, float]


def counter(length: float, depth: float, units: int, basin: Basin | None = None) -> list[Part]:
    """Return lower cabinets under a top: from y = 0 to `length`, with `units` doors and drawers."""
    hole = basin or Basin((depth / 2, depth / 2), (length - _THIN, length))
    (x0, x1), (y0, y1) = hole.x, hole.y
    top, band = (-TOP, 0.0), (-0.20, -TOP)
    front = -0.03  # the top overhangs the doors
    parts = [
        box((front, depth), (0.0, y0), top, "counter", solid=True),
        box((front, depth), (y1, length), top, "counter", solid=True),
        box((front, x0), (y0, y1), top, "counter", solid=True),
        box((x1, depth), (y0, y1), top, "counter", solid=True),
        box((0.0, depth), (0.0, length), (FLOOR + 0.10, band[0]), "cabinet", solid=True),
        box((0.0, 0.02), (0.0, length), band, "cabinet"),
        box((0.0, depth), (0.0, 0.02), band, "cabinet"),
        box((0.0, depth), (length - 0.02, length), band, "cabinet"),
        box((0.06, depth), (0.0, length), (FLOOR, FLOOR + 0.10), "black"),
    ]
    width = length / units
    for index in range(units):
        side = (index * width + 0.005, (index + 1) * width - 0.005)
        middle = (side[0] + side[1]) / 2
        parts += [
            panel(0.0, side, (-0.19, -TOP - 0.01), "cabinet"),
            panel(0.0, side, (FLOOR + 0.11, -0.20), "cabinet"),
            Part(CAPSULE, (-0.045, middle, -0.115), (0.007, 0.07, 0.0), "handle", _ALONG_Y),
            Part(CAPSULE, (-0.045, side[1] - 0.05, -0.32), (0.007, 0.07, 0.0), "handle"),
        ]
    return parts


def upper_cabinet(length: float, depth: float, height: float) -> list[Part]:
    """Return wall cabinets from z = 0 up, with three doors."""
    parts = [box((0.0, depth), (0.0, length), (0.0, height), "upper", solid=True)]
    width = length / 3
    for index in range(3):
        side = (index * width + 0.005, (index + 1) * width - 0.005)
        parts += [
            panel(0.0, side, (0.005, height - 0.005), "upper"),
            Part(CAPSULE, (-0.045, side[1] - 0.05, 0.12), (0.007, 0.06, 0.0), "handle"),
        ]
    return parts


def sink(basin: Basin) -> list[Part]:
    """Return a steel basin for the hole of a counter, and its tap."""
    (x0, x1), (y0, y1), low = basin.x, basin.y, -0.17
    middle = (y0 + y1) / 2
    rim = 0.012
    return [
        box((x0, x1), (y0, y1), (low - 0.01, low), "steel", solid=True),
        box((x0, x0 + 0.008), (y0, y1), (low, 0.002), "steel"),
        box((x1 - 0.008, x1), (y0, y1), (low, 0.002), "steel"),
        box((x0, x1), (y0, y0 + 0.008), (low, 0.002), "steel"),
        box((x0, x1), (y1 - 0.008, y1), (low, 0.002), "steel"),
        box((x0 - rim, x0), (y0 - rim, y1 + rim), (0.0, 0.003), "chrome"),
        box((x1, x1 + rim), (y0 - rim, y1 + rim), (0.0, 0.003), "chrome"),
        box((x0, x1), (y0 - rim, y0), (0.0, 0.003), "chrome"),
        box((x0, x1), (y1, y1 + rim), (0.0, 0.003), "chrome"),
        Part(CYLINDER, ((x0 + x1) / 2, middle, low + 0.001), (0.03, 0.002, 0.0), "black"),
        Part(CYLINDER, (x1 + 0.06, middle, 0.012), (0.028, 0.012, 0.0), "chrome"),
        Part(CAPSULE, (x1 + 0.06, middle, 0.14), (0.013, 0.13, 0.0), "chrome", solid=True),
        Part(CAPSULE, (x1 - 0.03, middle, 0.27), (0.013, 0.09, 0.0), "chrome", _ALONG_X),
        Part(CAPSULE, (x1 - 0.12, middle, 0.245), (0.013, 0.025, 0.0), "chrome"),
        Part(CAPSULE, (x1 + 0.06, middle + 0.05, 0.06), (0.008, 0.03, 0.0), "chrome", _ALONG_Y),
    ]


def stove(depth: float) -> list[Part]:
    """Return a glass hob on the counter, an oven below it and a hood above; y = 0 is its middle."""
    hob, half = (0.12, depth - 0.12), 0.29
    parts = [
        box(hob, (-half, half), (0.0, 0.008), "glass", solid=True),
        panel(-0.02, (-half, half), (-0.70, -0.18), "glass"),
        panel(-0.02, (-half, half), (-0.17, -0.06), "steel"),
        Part(CAPSULE, (-0.08, 0.0, -0.22), (0.01, 0.22, 0.0), "chrome", _ALONG_Y),
    ]
    near, far = hob[0] + 0.14, hob[1] - 0.13
    for x, y, radius in (
        (near, -0.14, 0.09),
        (near, 0.14, 0.07),
        (far, -0.14, 0.07),
        (far, 0.14, 0.09),
    ):
        parts += [
            Part(CYLINDER, (x, y, 0.0085), (radius, 0.001, 0.0), "ring"),
            Part(CYLINDER, (x, y, 0.0095), (radius - 0.012, 0.001, 0.0), "glass"),
        ]
    parts += [
        Part(CYLINDER, (-0.05, -0.21 + 0.14 * index, -0.115), (0.02, 0.014, 0.0), "black", _ALONG_X)
        for index in range(4)
    ]
    parts += [
        box((depth - 0.45, depth), (-0.30, 0.30), (0.72, 0.80), "steel", solid=True),
        box((depth - 0.40, depth), (-0.22, 0.22), (0.80, 0.90), "steel"),
        box((depth - 0.28, depth), (-0.13, 0.13), (0.90, 1.45), "steel", solid=True),
    ]
    return parts


def window(width: float, height: float) -> list[Part]:
    """Return a window on a wall at x = 0; its sill is at z = 0, y = 0 its middle."""
    half, bar = width / 2, 0.035
    return [
        panel(0.0, (-half, half), (0.0, height), "sky", 0.01),
        panel(-0.01, (-half, half), (height - bar, height), "white", 0.03),
        panel(-0.01, (-half, half), (0.0, bar), "white", 0.03),
        panel(-0.01, (-half, -half + bar), (0.0, height), "white", 0.03),
        panel(-0.01, (half - bar, half), (0.0, height), "white", 0.03),
        panel(-0.01, (-bar / 2, bar / 2), (0.0, height), "white", 0.03),
        box((-0.10, 0.0), (-half - 0.05, half + 0.05), (-0.03, 0.0), "white"),
    ]


def fridge(width: float, depth: float) -> list[Part]:
    """Return a fridge from the floor up; y = 0 is its middle."""
    half, top = width / 2, 0.95
    return [
        box((0.0, depth), (-half, half), (FLOOR, top), "steel", solid=True),
        panel(0.0, (-half + 0.005, half - 0.005), (FLOOR + 0.05, -0.25), "steel", 0.03),
        panel(0.0, (-half + 0.005, half - 0.005), (-0.24, top - 0.005), "steel", 0.03),
        Part(CAPSULE, (-0.07, half - 0.07, -0.42), (0.011, 0.12, 0.0), "chrome"),
        Part(CAPSULE, (-0.07, half - 0.07, 0.10), (0.011, 0.22, 0.0), "chrome"),
    ]


def wall(length: float, tiles: float) -> list[Part]:
    """Return a wall from the floor to z = 1.6, its face at x = 0, tiled up to the height `tiles`."""
    return [
        Part(BOX, (0.05, 0.0, 0.34), (length / 2, 1.26, 0.05), "wall", _FACING_FRONT, solid=True),
        panel(0.0, (-length / 2, length / 2), (0.0, tiles), "backsplash", 0.008),
    ]


def knife_block() -> list[Part]:
    """Return a block of wood with five knives."""
    lean: Quaternion = (math.cos(0.15), 0.0, math.sin(0.15), 0.0)
    parts = [Part(BOX, (0.0, 0.0, 0.11), (0.05, 0.06, 0.10), "board", lean, solid=True)]
    parts += [
        Part(
            CAPSULE,
            (0.055 - 0.022 * (index % 2), -0.04 + 0.02 * index, 0.235),
            (0.009, 0.03, 0.0),
            "black",
            lean,
        )
        for index in range(5)
    ]
    return parts


def utensils() -> list[Part]:
    """Return a jar of spoons."""
    parts = [Part(CYLINDER, (0.0, 0.0, 0.075), (0.055, 0.075, 0.0), "white", solid=True)]
    for index, role in enumerate(("board", "steel", "board", "black")):
        angle = 0.8 + index * math.pi / 2
        x, y = 0.03 * math.cos(angle), 0.03 * math.sin(angle)
        lean = (
            math.cos(0.12),
            -math.sin(0.12) * math.sin(angle),
            math.sin(0.12) * math.cos(angle),
            0.0,
        )
        parts += [
            Part(CAPSULE, (x, y, 0.17), (0.006, 0.09, 0.0), role, lean),
            Part(ELLIPSOID, (2.0 * x, 2.0 * y, 0.28), (0.012, 0.022, 0.035), role, lean),
        ]
    return parts


def toaster() -> list[Part]:
    """Return a toaster."""
    return [
        box((-0.09, 0.09), (-0.15, 0.15), (0.01, 0.19), "red", solid=True),
        box((-0.085, 0.085), (-0.14, 0.14), (0.0, 0.01), "black"),
        box((-0.05, -0.02), (-0.11, 0.11), (0.188, 0.192), "black"),
        box((0.02, 0.05), (-0.11, 0.11), (0.188, 0.192), "black"),
        box((-0.02, 0.02), (-0.175, -0.15), (0.11, 0.13), "black"),
    ]


def plant() -> list[Part]:
    """Return a plant in a pot."""
    parts = [
        Part(CYLINDER, (0.0, 0.0, 0.06), (0.065, 0.06, 0.0), "clay", solid=True),
        Part(CYLINDER, (0.0, 0.0, 0.115), (0.072, 0.012, 0.0), "clay"),
    ]
    for index in range(7):
        angle, lean = index * 2.4, 0.35 if index % 2 else 0.18
        turn = (
            math.cos(lean),
            -math.sin(lean) * math.sin(angle),
            math.sin(lean) * math.cos(angle),
            0.0,
        )
        out = 0.10 * math.sin(2 * lean)
        parts.append(
            Part(
                ELLIPSOID,
                (out * math.cos(angle), out * math.sin(angle), 0.20),
                (0.03, 0.03, 0.10),
                "leaf",
                turn,
            )
        )
    return parts


def cutting_board() -> list[Part]:
    """Return a board that leans against the wall at x = 0."""
    lean: Quaternion = (math.cos(0.09), 0.0, math.sin(0.09), 0.0)
    upright = _FACING_FRONT
    turn = (
        lean[0] * upright[0] - lean[2] * upright[2],
        lean[0] * upright[1] + lean[2] * upright[3],
        lean[0] * upright[2] + lean[2] * upright[0],
        lean[0] * upright[3] - lean[2] * upright[1],
    )
    return [Part(BOX, (-0.055, 0.0, 0.17), (0.12, 0.17, 0.01), "board", turn, solid=True)]


def kettle() -> list[Part]:
    """Return a kettle."""
    return [
        Part(CYLINDER, (0.0, 0.0, 0.10), (0.08, 0.09, 0.0), "chrome", solid=True),
        Part(CYLINDER, (0.0, 0.0, 0.008), (0.085, 0.008, 0.0), "black"),
        Part(ELLIPSOID, (0.0, 0.0, 0.19), (0.075, 0.075, 0.03), "chrome"),
        Part(ELLIPSOID, (0.0, 0.0, 0.225), (0.014, 0.014, 0.014), "black"),
        Part(CAPSULE, (0.0, -0.115, 0.12), (0.011, 0.06, 0.0), "black"),
        Part(
            CAPSULE,
            (0.0, 0.10, 0.15),
            (0.014, 0.03, 0.0),
            "chrome",
            (math.cos(0.4), -math.sin(0.4), 0.0, 0.0),
        ),
    ]


def stand() -> list[Part]:
    """Return what carries the arm, whose base is at x = y = 0, and the camera's post to its left."""
    return [
        box((-0.14, 0.12), (-0.13, 0.13), (FLOOR + 0.06, -0.012), "stand", solid=True),
        box((-0.30, 0.15), (-0.25, 0.55), (FLOOR, FLOOR + 0.06), "black"),
        box((-0.16, 0.13), (-0.15, 0.15), (-0.012, 0.0), "steel"),
        Part(
            CAPSULE,
            (0.02, 0.42, (0.66 + FLOOR) / 2),
            (0.035, (0.66 - FLOOR) / 2, 0.0),
            "stand",
            solid=True,
        ),
        box((-0.05, 0.14), (0.35, 0.49), (0.66, 0.76), "stand", solid=True),
        Part(CYLINDER, (0.145, 0.42, 0.70), (0.022, 0.012, 0.0), "black", _ALONG_X),
    ]
