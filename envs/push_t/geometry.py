"""The T: its outline, keypoints and coverage of a goal; pixels and radians, y down the screen.

A pose is `(x, y, angle)` of the body frame, whose origin lies in the middle of the bar's outer
edge: in the public PushT that is `body.position`, which is not the centre of mass.
"""

from __future__ import annotations

import math

import numpy as np
import shapely
from numpy.typing import ArrayLike

from ..mujoco_env import FloatArray

BOARD = 512.0
"""Side of the square board [px]."""
AGENT_RADIUS = 15.0
"""Radius of the pusher [px]."""
WALL_NEAR, WALL_FAR = 7.0, 504.0
"""Inner faces of the walls in x and in y [px]: segments at 5 and 506 of radius 2."""
CENTRE_OF_MASS = 45.0
"""The centre of mass is `(0, 45)` in the body frame [px]: the mean of the two boxes' centroids."""

OUTLINE: FloatArray = np.array(
    [(-60, 0), (60, 0), (60, 30), (15, 30), (15, 120), (-15, 120), (-15, 30), (-60, 30)], np.float64
)
"""Corners of the T in the body frame `(8, 2)`: a bar of 120 x 30 and a stem of 30 x 90."""
KEYPOINTS: FloatArray = np.array([(-60, 15), (60, 15), (0, 30), (0, 120)], np.float64)
"""Ends of the bar, top and bottom of the stem, in the body frame `(4, 2)`."""
AREA = 120.0 * 30.0 + 30.0 * 90.0
"""Area of the T [px^2]."""

_REACH = 2.0 * math.hypot(15.0, 75.0) + 1e-6  # two T further apart than this cannot overlap


def placed(points: FloatArray, poses: FloatArray) -> FloatArray:
    """Return body-frame points `(K, 2)` of blocks at poses `(..., 3)`: `(..., K, 2)`."""
    poses = np.asarray(poses, np.float64)
    cos, sin = np.cos(poses[..., 2, None]), np.sin(poses[..., 2, None])
    x = poses[..., 0, None] + cos * points[:, 0] - sin * points[:, 1]
    y = poses[..., 1, None] + sin * points[:, 0] + cos * points[:, 1]
    return np.stack([x, y], axis=-1)


def fitted_poses(points: FloatArray, body: FloatArray = KEYPOINTS) -> FloatArray:
    """Return the poses `(..., 3)` at which body-frame points `(K, 2)` come closest to given ones.

    `points` `(..., K, 2)` may be of no rigid body, as predicted ones are: the sum of the squared
    distances is least (Procrustes). With `p` and `q` the given and the body's points about their
    means, the angle is `atan2(sum q x p, sum q . p)`, in [-pi, pi].
    """
    points = np.asarray(points, np.float64)
    middle, own_middle = points.mean(axis=-2), body.mean(axis=0)
    p, q = points - middle[..., None, :], body - own_middle
    across = (q[:, 0] * p[..., 1] - q[:, 1] * p[..., 0]).sum(axis=-1)
    angle = np.arctan2(across, (q * p).sum(axis=(-2, -1)))
    turned = placed(own_middle[None], np.stack([0 * angle, 0 * angle, angle], axis=-1))[..., 0, :]
    return np.concatenate([middle - turned, angle[..., None]], axis=-1)


def centre_of_mass(poses: FloatArray) -> FloatArray:
    """Return the centres of mass `(..., 2)` of blocks at poses `(..., 3)`."""
    return placed(np.array([[0.0, CENTRE_OF_MASS]]), poses)[..., 0, :]


def legacy_pose(poses: FloatArray) -> FloatArray:
    """Return where a block ends up if its position is set before its angle, `(..., 3)`.

    The public PushT does so, and a turn in pymunk is about the centre of mass: the position that
    was asked for moves by `c - R(angle) c`, with `c` the centre of mass in the body frame.
    """
    legacy = np.array(poses, np.float64)
    legacy[..., 0] += CENTRE_OF_MASS * np.sin(legacy[..., 2])
    legacy[..., 1] += CENTRE_OF_MASS * (1.0 - np.cos(legacy[..., 2]))
    return legacy


def angle_difference(a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Return `|a - b|` on the circle, in [0, pi]."""
    turn = np.asarray(a, np.float64) - np.asarray(b, np.float64)
    return np.asarray(np.abs((turn + np.pi) % (2.0 * np.pi) - np.pi))


def coverage(poses: FloatArray, goals: FloatArray) -> FloatArray:
    """Return the share of the goal T that the block covers, in [0, 1].

    `poses` and `goals`, `(..., 3)`, broadcast against each other; areas are exact (shapely).
    Poses that are not finite have coverage NaN.
    """
    poses, goals = np.broadcast_arrays(np.asarray(poses, float), np.asarray(goals, float))
    apart = np.linalg.norm(centre_of_mass(poses) - centre_of_mass(goals), axis=-1)
    covered = np.where(np.isfinite(apart), 0.0, np.nan)
    near = apart < _REACH
    if near.any():
        blocks = shapely.polygons(placed(OUTLINE, poses[near]))
        targets = shapely.polygons(placed(OUTLINE, goals[near]))
        covered[near] = shapely.area(shapely.intersection(blocks, targets)) / AREA
    return covered


class GoalCoverage:
    """Coverage of one goal, remembered while the block rests: what an environment calls per step."""

    def __init__(self, goal: FloatArray) -> None:
        goal = np.array(goal, np.float64)
        self.goal = goal
        self._polygon = shapely.polygons(placed(OUTLINE, goal))
        self._centre = tuple(centre_of_mass(goal).tolist())
        self._last_pose: tuple[float, float, float] | None = None
        self._last = 0.0

    def __call__(self, x: float, y: float, angle: float) -> float:
        """Return the coverage of a block at a pose."""
        pose = (x, y, angle)
        if pose != self._last_pose:
            self._last_pose, self._last = pose, self._measure(x, y, angle)
        return self._last

    def _measure(self, x: float, y: float, angle: float) -> float:
        cos, sin = math.cos(angle), math.sin(angle)
        dx = x - CENTRE_OF_MASS * sin - self._centre[0]
        dy = y + CENTRE_OF_MASS * cos - self._centre[1]
        if math.hypot(dx, dy) >= _REACH:
            return 0.0
        # Added up as in `placed`, so that it is the same to the last bit.
        across, down = OUTLINE.T
        corners = np.stack([x + cos * across - sin * down, y + sin * across + cos * down], axis=-1)
        overlap = shapely.intersection(shapely.polygons(corners), self._polygon)
        return float(shapely.area(overlap)) / AREA
