"""What a camera is calibrated to: intrinsics and pose, as an observation and for projection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from .mujoco_env import FloatArray

CALIBRATION_SIZE: Final = 16
"""Numbers in a calibration as a vector."""

# MuJoCo's cameras look along -z with y up; here, as in computer vision, along z with y down.
_TURN: Final = np.diag([1.0, -1.0, -1.0])


@dataclass(frozen=True)
class Calibration:
    """A pinhole camera: x points right in the image, y down, z along the line of sight.

    A point p in the world has camera coordinates c = R^T (p - t) and falls on u = fx cx / cz + px,
    v = fy cy / cz + py, in pixels from the image's upper left corner; pixel (row, column) covers
    row <= v < row + 1 and column <= u < column + 1.
    """

    intrinsics: FloatArray
    """`[[fx, 0, px], [0, fy, py], [0, 0, 1]]` in pixels."""
    position: FloatArray
    """t, `(3,)` in the world [m]."""
    rotation: FloatArray
    """R, `(3, 3)`, whose columns are the camera's axes in the world."""

    def project(self, points: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
        """Return pixels `(..., 2)` of world points `(..., 3)`, and which lie before the camera.

        The pixels of points behind the camera mean nothing.
        """
        seen = (np.asarray(points, np.float64) - self.position) @ self.rotation
        before = np.asarray(seen[..., 2] > 0.0)
        depth = np.where(before, seen[..., 2], 1.0)
        image = (seen / depth[..., None]) @ self.intrinsics.T
        return image[..., :2], before

    def as_vector(self) -> NDArray[np.float32]:
        """Return fx, fy, px, py, the position and the rotation row by row, `(16,)`."""
        k = self.intrinsics
        parts = ([k[0, 0], k[1, 1], k[0, 2], k[1, 2]], self.position, self.rotation.ravel())
        vector: NDArray[np.float32] = np.concatenate(parts).astype(np.float32)
        return vector

    @classmethod
    def from_vector(cls, vector: NDArray[Any]) -> Calibration:
        """Undo `as_vector`, up to the rounding to float32."""
        fx, fy, px, py, *pose = np.asarray(vector, np.float64).tolist()
        intrinsics = np.array([[fx, 0.0, px], [0.0, fy, py], [0.0, 0.0, 1.0]])
        return cls(intrinsics, np.array(pose[:3]), np.array(pose[3:]).reshape(3, 3))


def camera_id(model: mujoco.MjModel, camera: str) -> int:
    """Return the id of a camera; raise `ValueError`, with the names there are, if it has none."""
    found = int(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_CAMERA, camera))
    if found < 0:
        names = [model.camera(index).name for index in range(model.ncam)]
        raise ValueError(f"there is no camera {camera!r}; the scene has {names}.")
    return found


def calibration(
    model: mujoco.MjModel, data: mujoco.MjData, camera: str, height: int, width: int
) -> Calibration:
    """Return the calibration of a camera that draws images of `height` x `width` pixels.

    The focal length follows from the vertical field of view, f = height / (2 tan(fovy / 2)), and
    the pose from `data`, whose kinematics must be up to date.
    """
    index = camera_id(model, camera)
    if model.cam_sensorsize[index].any() or model.cam_projection[index]:
        raise ValueError(
            f"camera {camera!r} is not calibrated by its vertical field of view alone: give it "
            "`fovy`, and neither a sensor size nor an orthographic projection."
        )
    focal = 0.5 * height / math.tan(math.radians(float(model.cam_fovy[index])) / 2)
    return Calibration(
        np.array([[focal, 0.0, width / 2], [0.0, focal, height / 2], [0.0, 0.0, 1.0]]),
        data.cam_xpos[index].copy(),
        data.cam_xmat[index].reshape(3, 3) @ _TURN,
    )
