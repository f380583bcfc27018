"""Frames of PushT at any resolution, drawn with OpenCV: no GL, no window.

Colours and proportions are those of the public PushT (real-stanford/diffusion_policy). Its frames
are drawn at 512 px on whole pixels and shrunk; these are drawn at their own size with subpixel
coordinates and smooth edges, and the same board point lies in the same place to half a pixel.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ..mujoco_env import FloatArray
from .geometry import AGENT_RADIUS, BOARD, OUTLINE, WALL_FAR, WALL_NEAR, placed

Colour = tuple[int, int, int]
"""Red, green, blue."""
Frame = NDArray[np.uint8]
"""`(size, size, 3)`, red, green, blue."""

MIN_SIZE = 8
"""Frames are at least so wide [px]."""

WHITE: Colour = (255, 255, 255)
LIGHT_GRAY: Colour = (211, 211, 211)
LIGHT_GREEN: Colour = (144, 238, 144)
LIGHT_SLATE_GRAY: Colour = (119, 136, 153)
ROYAL_BLUE: Colour = (65, 105, 225)
RED: Colour = (255, 0, 0)

_EDGE = 2.0  # half the width of a drawn edge [px]
_FRACTION_BITS = 6  # subpixel bits of OpenCV's fixed-point coordinates
_SMOOTH_EDGE = 0.6  # by how much OpenCV's smooth edges enlarge a polygon [image px], measured
_CIRCLE = 2.0 * np.pi * np.arange(32) / 32
_UNIT_DISC = np.stack([np.cos(_CIRCLE), np.sin(_CIRCLE)], axis=-1)
_BAR, _STEM = ((-60.0, 60.0), (0.0, 30.0)), ((-15.0, 15.0), (30.0, 120.0))  # x and y ranges


def _lighter(colour: Colour) -> Colour:
    red, green, blue = (min(255, round(1.2 * channel)) for channel in colour)
    return red, green, blue


_COLOURS = (LIGHT_SLATE_GRAY, _lighter(LIGHT_SLATE_GRAY)) * 2 + (ROYAL_BLUE, _lighter(ROYAL_BLUE))


@dataclass(frozen=True)
class Appearance:
    """What may be changed of a scene without changing the task."""

    background: Colour = WHITE
    """Colour of the board."""
    goal: Colour = LIGHT_GREEN
    """Colour of the goal T."""
    background_object: Colour | None = None
    """Colour of a disc of radius 50 px drawn at (400, 112), under everything that moves."""


DISTURBANCES: dict[str, Appearance] = {
    "BgColor-0": Appearance(background=(255, 224, 178)),
    "BgColor-1": Appearance(background=(179, 229, 252)),
    "BgColor-2": Appearance(background=(225, 190, 231)),
    "BgObject-0": Appearance(background_object=(255, 140, 0)),
    "BgObject-1": Appearance(background_object=(128, 0, 128)),
    "BgObject-2": Appearance(background_object=(0, 128, 128)),
    "GoalColor-0": Appearance(goal=(255, 182, 193)),
    "GoalColor-1": Appearance(goal=(255, 215, 0)),
    "GoalColor-2": Appearance(goal=(135, 206, 250)),
}
"""The visual disturbances that UVA names (section on robustness), on three fixed colours each.

They change frames only, so a policy trained without them can be tested with them.
"""


def appearance(disturbance: str | None) -> Appearance:
    """Return the appearance of a named disturbance, or the usual one for None."""
    if disturbance is None:
        return Appearance()
    if disturbance not in DISTURBANCES:
        raise ValueError(
            f"disturbance={disturbance!r} is unknown; choose None or one of {list(DISTURBANCES)}."
        )
    return DISTURBANCES[disturbance]


def box_corners(inset: float) -> FloatArray:
    """Return the corners of bar and stem in the body frame `(2, 4, 2)`, moved inwards by `inset`."""
    corners = []
    for (left, right), (top, bottom) in (_BAR, _STEM):
        left, right, top, bottom = left + inset, right - inset, top + inset, bottom - inset
        corners.append([(left, top), (right, top), (right, bottom), (left, bottom)])
    return np.array(corners)


class Scene:
    """A board with a goal, drawn once; `draw` adds what moves."""

    def __init__(
        self,
        size: int,
        goal_pose: FloatArray | None,
        look: Appearance | None = None,
        goal_agent: FloatArray | None = None,
    ) -> None:
        """Draw the background at `size` px, with the goal T and the agent's goal where given."""
        if size < MIN_SIZE:
            raise ValueError(f"frames must be at least {MIN_SIZE} px wide, got {size}.")
        self.size = int(size)
        self.scale = self.size / BOARD
        self.look = Appearance() if look is None else look
        # What moves, in fixed-point units about its own origin: edge and face of bar and of stem,
        # edge and face of the pusher.
        thin = _SMOOTH_EDGE / self.scale
        edges, faces = box_corners(thin - _EDGE), box_corners(thin + _EDGE)
        unit = self.scale * (1 << _FRACTION_BITS)
        self._block = unit * np.stack([edges, faces], axis=1).reshape(-1, 2)
        radii = np.array([AGENT_RADIUS, AGENT_RADIUS - 2 * _EDGE]) - thin
        self._agent = unit * radii[:, None, None] * _UNIT_DISC
        self._background = self._draw_background(goal_pose, goal_agent)

    def draw(self, task_state: FloatArray, action: FloatArray | None = None) -> Frame:
        """Return the frame of a task state, with a red cross at the target `action` [px] if given."""
        frame = self._background.copy()
        origins = _fixed_point(task_state[:4].reshape(2, 2), self.size)
        cos, sin = np.cos(task_state[4]), np.sin(task_state[4])
        turned = self._block @ np.array([[cos, sin], [-sin, cos]])
        corners = np.rint(turned + origins[1]).astype(np.int32).reshape(4, 4, 2)
        discs = np.rint(self._agent + origins[0]).astype(np.int32)
        for points, colour in zip([*corners, *discs], _COLOURS, strict=True):
            cv2.fillConvexPoly(frame, points, colour, cv2.LINE_AA, _FRACTION_BITS)
        if action is not None:
            self._draw_cross(frame, np.asarray(action, np.float64))
        return frame

    def draw_path(self, frame: Frame, points: FloatArray) -> Frame:
        """Draw a line through board points `(n, 2)` [px] into `frame`, and return it."""
        line = np.rint(_fixed_point(points, self.size)).astype(np.int32)[:, None]
        width = max(1, self.size // 256)
        cv2.polylines(frame, [line], False, ROYAL_BLUE, width, cv2.LINE_AA, _FRACTION_BITS)
        return frame

    def _draw_background(
        self, goal_pose: FloatArray | None, goal_agent: FloatArray | None
    ) -> Frame:
        """Draw at about 512 px or more and average: smooth edges, once per goal."""
        size = self.size * max(2, round(512 / self.size))
        frame = np.empty((size, size, 3), np.uint8)
        frame[:] = self.look.background
        if self.look.background_object is not None:
            disc = np.array([400.0, 112.0]) + 50.0 * _UNIT_DISC
            _fill(frame, [disc], self.look.background_object)
        inner = _square(WALL_NEAR, WALL_FAR)
        outer = _square(WALL_NEAR - 2 * _EDGE, WALL_FAR + 2 * _EDGE)
        _fill(frame, [outer, inner], LIGHT_GRAY)
        if goal_pose is not None:
            _fill(frame, [placed(OUTLINE, goal_pose)], self.look.goal)
        if goal_agent is not None:
            _fill(frame, [goal_agent + AGENT_RADIUS * _UNIT_DISC], self.look.goal)
        resized = cv2.resize(frame, (self.size, self.size), interpolation=cv2.INTER_AREA)
        return np.asarray(resized, np.uint8)

    def _draw_cross(self, frame: Frame, action: FloatArray) -> None:
        column, row = np.round((action + 0.5) * self.scale - 0.5).astype(int).tolist()
        length, width = max(3, self.size // 12), max(1, self.size // 96)
        cv2.drawMarker(frame, (column, row), RED, cv2.MARKER_CROSS, length, width)


def _fill(frame: Frame, polygons: list[FloatArray], colour: Colour) -> None:
    """Fill between polygons given in board pixels, without smoothing."""
    points = [np.rint(_fixed_point(polygon, len(frame))).astype(np.int32) for polygon in polygons]
    cv2.fillPoly(frame, points, colour, cv2.LINE_8, _FRACTION_BITS)


def _fixed_point(points: FloatArray, size: int) -> FloatArray:
    """Return OpenCV's image coordinates of board points; a pixel's centre has whole coordinates."""
    image = (points + 0.5) * (size / BOARD) - 0.5
    return image * (1 << _FRACTION_BITS)


def _square(near: float, far: float) -> FloatArray:
    return np.array([(near, near), (far, near), (far, far), (near, far)])
