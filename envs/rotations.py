"""Rotations of space as unit quaternions `(..., 4)`, w first, either sign; all functions are batched."""

from __future__ import annotations

import numpy as np

from .mujoco_env import FloatArray

IDENTITY = np.array([1.0, 0.0, 0.0, 0.0])


def about(axis: FloatArray, angle: FloatArray | float) -> FloatArray:
    """Return the rotation by `angle` `(...)` [rad] about unit vectors `(..., 3)`, right-handed."""
    half = np.asarray(angle, np.float64)[..., None] / 2
    vector = np.sin(half) * axis
    return np.concatenate([np.broadcast_to(np.cos(half), (*vector.shape[:-1], 1)), vector], axis=-1)


def product(second: FloatArray, first: FloatArray) -> FloatArray:
    """Return the rotation that does `first`, then `second`."""
    w, x, y, z = np.moveaxis(np.asarray(second), -1, 0)
    a, b, c, d = np.moveaxis(np.asarray(first), -1, 0)
    return np.stack(
        [
            w * a - x * b - y * c - z * d,
            w * b + x * a + y * d - z * c,
            w * c - x * d + y * a + z * b,
            w * d + x * c - y * b + z * a,
        ],
        axis=-1,
    )


def inverse(rotation: FloatArray) -> FloatArray:
    """Return the rotation back."""
    return np.asarray(rotation) * (1.0, -1.0, -1.0, -1.0)


def turned(rotation: FloatArray, vector: FloatArray) -> FloatArray:
    """Return vectors `(..., 3)` after a rotation: `v + 2 u x (u x v + w v)`, `(w, u)` the quaternion."""
    w, u = rotation[..., :1], rotation[..., 1:]
    vector = np.asarray(vector, np.float64)
    moved: FloatArray = vector + 2.0 * np.cross(u, np.cross(u, vector) + w * vector)
    return moved


def angle_between(first: FloatArray, second: FloatArray) -> FloatArray:
    """Return the angle `(...)` in [0, pi] of the rotation from one orientation to the other [rad].

    `2 atan2(|u|, |w|)` of the relative quaternion `(w, u)`, accurate for small angles.
    """
    relative = product(inverse(first), second)
    away = np.linalg.norm(relative[..., 1:], axis=-1)
    return np.asarray(2.0 * np.arctan2(away, np.abs(relative[..., 0])))


def unit(rotation: FloatArray) -> FloatArray:
    """Return quaternions scaled to length one."""
    scaled: FloatArray = rotation / np.linalg.norm(rotation, axis=-1, keepdims=True)
    return scaled
