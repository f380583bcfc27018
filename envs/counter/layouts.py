"""Layouts of the kitchen: where its fixtures are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from . import fixtures
from .fixtures import Basin, Part

FRONT: Final = 0.20
"""Where the counter before the robot begins: the x of its front [m]."""
DEPTH: Final = 0.80
"""How far it reaches [m]."""

FAR: Final = (0.0, 0.0, -30.0)
"""Where fixtures are that a layout does not have: under the floor, out of sight and reach [m]."""

_BACK_FRONT, _BACK_DEPTH = 1.90, 0.62  # of the counter behind an island
_UPPER_DEPTH, _UPPER_HEIGHT, _UPPER_BOTTOM = 0.33, 0.72, 0.58


@dataclass(frozen=True)
class Layout:
    """Where things are. `y` is the place along the wall that the robot faces [m], left positive."""

    start: float
    end: float
    """The ends of the counter, from right to left [m]."""
    sink: float
    """The middle of the sink: in the counter before the robot."""
    stove: float
    """The middle of the stove and its hood."""
    uppers: tuple[tuple[float, float], tuple[float, float]]
    """From where to where there are wall cabinets."""
    window: float
    """The middle of the window."""
    fridge: float | None
    left_wing: bool = False
    """Whether the counter goes on along the wall on the left."""
    right_wing: bool = False
    island: bool = False
    """Whether the counter stands free, with the stove and the wall further back."""
    clutter: tuple[float, float, float, float, float, float] = (-0.45, 0.45, -0.95, 0.95, 0.0, 0.55)
    """Where knives, spoons, toaster, plant, cutting board and kettle stand."""


LAYOUTS: Final[Mapping[str, Layout]] = {
    "one_wall": Layout(
        start=-1.5,
        end=1.5,
        sink=0.80,
        stove=-0.85,
        window=0.80,
        fridge=-1.86,
        uppers=((-0.50, 0.38), (1.22, 1.50)),
        clutter=(-0.42, -1.30, 0.25, 1.28, -0.05, 0.50),
    ),
    "mirrored": Layout(
        start=-1.5,
        end=1.5,
        sink=-0.80,
        stove=0.85,
        window=-0.80,
        fridge=1.86,
        uppers=((-0.38, 0.50), (-1.50, -1.22)),
        clutter=(0.44, 1.30, -0.28, -1.28, 0.12, -0.50),
    ),
    "l_left": Layout(
        start=-1.4,
        end=1.6,
        sink=-0.85,
        stove=0.82,
        window=-0.85,
        fridge=-1.76,
        left_wing=True,
        uppers=((-0.45, 0.40), (1.16, 1.60)),
        clutter=(0.36, 1.24, -1.25, 1.46, -0.15, -0.42),
    ),
    "l_right": Layout(
        start=-1.6,
        end=1.4,
        sink=0.74,
        stove=-0.78,
        window=0.74,
        fridge=1.76,
        right_wing=True,
        uppers=((-0.38, 0.26), (-1.60, -1.12)),
        clutter=(-1.20, -0.36, 1.20, -1.42, 0.00, 0.26),
    ),
    "u_shaped": Layout(
        start=-1.6,
        end=1.6,
        sink=0.75,
        stove=-0.75,
        window=0.0,
        fridge=None,
        left_wing=True,
        right_wing=True,
        uppers=((-1.60, -1.10), (1.10, 1.60)),
        clutter=(-0.32, -1.20, 1.25, 0.58, 1.0, -1.42),
    ),
    "island": Layout(
        start=-1.1,
        end=1.1,
        sink=0.74,
        stove=-0.35,
        window=0.75,
        fridge=-1.75,
        island=True,
        uppers=((-1.20, -0.72), (0.05, 0.35)),
        clutter=(-0.85, 0.22, -1.05, 1.15, 0.55, 1.40),
    ),
}
"""The layouts by name; the position in this order is their number in a scene."""


@dataclass(frozen=True)
class Fixture:
    """Parts and where their frame is."""

    name: str
    parts: list[Part]
    position: tuple[float, float, float]
    turn: float = 0.0
    """About the vertical [rad]."""


def furnish(layout: Layout) -> list[Fixture]:
    """Return the fixtures of a kitchen: the same ones in the same order for every layout."""
    wall = _BACK_FRONT + _BACK_DEPTH if layout.island else FRONT + DEPTH
    stove_front, stove_depth = (_BACK_FRONT, _BACK_DEPTH) if layout.island else (FRONT, DEPTH)
    length = layout.end - layout.start
    middle = layout.sink - layout.start
    basin = Basin((0.16, DEPTH - 0.22), (middle - 0.24, middle + 0.24))
    quarter = math.pi / 2
    sides = (1.75, -2.35)
    back = (_BACK_FRONT, -1.4, 0.0) if layout.island else FAR
    shelf = wall - 0.13
    clutter = {
        "knife_block": (fixtures.knife_block(), shelf),
        "utensils": (fixtures.utensils(), shelf),
        "toaster": (fixtures.toaster(), shelf + 0.01),
        "plant": (fixtures.plant(), shelf + 0.02),
        "cutting_board": (fixtures.cutting_board(), wall - 0.008),
        "kettle": (fixtures.kettle(), shelf),
    }
    uppers = [
        Fixture(
            f"upper{index}",
            fixtures.upper_cabinet(end - start, _UPPER_DEPTH, _UPPER_HEIGHT),
            (wall - _UPPER_DEPTH, start, _UPPER_BOTTOM),
        )
        for index, (start, end) in enumerate(layout.uppers)
    ]
    return [
        Fixture("stand", fixtures.stand(), (0.0, 0.0, 0.0)),
        Fixture(
            "counter",
            fixtures.counter(length, DEPTH, 6, basin),
            (FRONT, layout.start, 0.0),
        ),
        Fixture("sink", fixtures.sink(basin), (FRONT, layout.start, 0.0)),
        Fixture("back_counter", fixtures.counter(2.9, _BACK_DEPTH, 5), back),
        Fixture(
            "left_wing",
            fixtures.counter(1.3, 0.65, 3),
            (FRONT - 0.03, sides[0] - 0.65, 0.0) if layout.left_wing else FAR,
            quarter,
        ),
        Fixture(
            "right_wing",
            fixtures.counter(1.3, 0.65, 3),
            (FRONT - 0.03 - 1.3, -1.05, 0.0) if layout.right_wing else FAR,
            -quarter,
        ),
        Fixture("stove", fixtures.stove(stove_depth), (stove_front, layout.stove, 0.0)),
        Fixture("window", fixtures.window(0.8, 0.62), (wall - 0.008, layout.window, 0.62)),
        Fixture(
            "fridge",
            fixtures.fridge(0.68, 0.70),
            FAR if layout.fridge is None else (wall - 0.70, layout.fridge, 0.0),
        ),
        *uppers,
        *(
            Fixture(name, parts, (x, y, 0.0))
            for (name, (parts, x)), y in zip(clutter.items(), layout.clutter, strict=True)
        ),
        Fixture("wall", fixtures.wall(6.0, 0.58), (wall, 0.0, 0.0)),
        Fixture("left_wall", fixtures.wall(6.0, 0.58), (0.0, sides[0], 0.0), quarter),
        Fixture("right_wall", fixtures.wall(6.0, 0.58), (0.0, sides[1], 0.0), -quarter),
    ]
