"""Goals: how far and about what the cube is to be turned, and when it has been."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from ..mujoco_env import FloatArray
from ..rotations import about, product
from .scene import ACROSS, FINGERS, NORMAL

AXES: Final = ("palm", "fingers", "across", "any")
DIRECTIONS: Final = ("both", "left", "right")

_DIRECTION_OF: Final = {"palm": NORMAL, "fingers": FINGERS, "across": ACROSS}


@dataclass(frozen=True)
class OrientationRule:
    """The cube's orientation is within a tolerance of the goal's, for some steps in a row."""

    tolerance: float = 0.4
    """[rad]"""
    hold: int = 10
    """Control steps."""

    @property
    def name(self) -> str:
        """The rule in words, as reports print it."""
        return f"rotation error < {self.tolerance:g} rad for {self.hold} steps"


@dataclass(frozen=True)
class Turn:
    """How a goal differs from the start: by an angle about an axis.

    Raises:
        ValueError: an unknown axis or direction, or angles that are none, or that the start is
            within the tolerance of.
    """

    angles: Sequence[float] = (45.0, 90.0)
    """Least and largest angle [degrees]; drawn uniformly between them."""
    axis: str = "palm"
    """`palm`: the palm's normal; `fingers`: along them; `across`: from the ring finger to the index
    finger; `any`: uniformly of all directions."""
    direction: str = "both"
    """`left` is counterclockwise, seen from the tip of the axis; `right` is clockwise."""

    def __post_init__(self) -> None:
        if self.axis not in AXES:
            raise ValueError(f"axis={self.axis!r} is unknown; choose one of {list(AXES)}.")
        if self.direction not in DIRECTIONS:
            raise ValueError(
                f"direction={self.direction!r} is unknown; choose one of {list(DIRECTIONS)}."
            )
        least = math.degrees(OrientationRule.tolerance)
        if len(self.angles) != 2 or not least < self.angles[0] <= self.angles[1] <= 180.0:
            raise ValueError(
                f"angles={self.angles}: give the least and the largest angle, above the tolerance "
                f"of {least:.1f} and up to 180 degrees."
            )

    def goal(self, rng: np.random.Generator, orientation: FloatArray) -> FloatArray:
        """Draw the goal `(4,)` of a cube that starts at an orientation `(4,)`."""
        if self.axis == "any":
            axis = rng.normal(size=3)
            axis /= np.linalg.norm(axis)
        else:
            axis = _DIRECTION_OF[self.axis]
        least, largest = self.angles
        angle = math.radians(rng.uniform(least, largest))
        left = rng.random() < 0.5 if self.direction == "both" else self.direction == "left"
        return product(about(axis, angle if left else -angle), orientation)
