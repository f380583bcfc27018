"""Pictures of the kitchen, the robot and the things, from any of the cameras."""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any, Final

import cv2
import mujoco
import numpy as np
from numpy.typing import NDArray

from ..cameras import Calibration, calibration
from ..mujoco_env import FloatArray
from ..rasteriser import Quality
from ..rendering import Renderer
from .objects import THINGS
from .scene import Scene, drawn_model
from .simulation import ACTIONS

Frame = NDArray[np.uint8]

_VARIED: Final = (
    "body_pos",
    "body_quat",
    "geom_pos",
    "geom_quat",
    "geom_size",
    "geom_matid",
    "light_diffuse",
)
"""What differs between kitchens, which have the same parts."""

_POSES: Final = slice(2 * ACTIONS, 2 * ACTIONS + 7 * len(THINGS))
"""The things' poses in a task state."""


class Drawing:
    """Draws task states in a scene, which may change; what it needs is made for the first picture.

    `visuals`, `fast` or `mesh`, is what the arm looks like; `quality`, how carefully it is drawn.
    """

    def __init__(
        self, scene: int = 0, visuals: str = "fast", quality: Quality | None = None
    ) -> None:
        self._scene, self._visuals, self._quality = scene, visuals, quality
        self._model: mujoco.MjModel | None = None
        self._renderers: dict[tuple[int, int], Renderer] = {}

    def show(self, scene: int) -> None:
        """Change to another scene."""
        if self._model is not None and _looks(scene) != _looks(self._scene):
            self._dress(self._model, drawn_model(*_looks(scene), self._visuals))
        self._scene = scene

    def draw(self, camera: str, height: int, width: int, task_state: FloatArray) -> Frame:
        """Return what a camera sees, `(height, width, 3)`, of a task state `(124,)`."""
        model, data = self._posed(task_state)
        return self._renderer(model, height, width).pixels(data, camera)

    def shows(
        self, bodies: Collection[str], camera: str, height: int, width: int, task_state: FloatArray
    ) -> NDArray[np.bool_]:
        """Return which pixels `(height, width)` of a camera's picture show one of some bodies."""
        model, data = self._posed(task_state)
        geoms = self._renderer(model, height, width).segmentation(data, camera)
        wanted = [model.body(name).id for name in bodies]
        return (geoms >= 0) & np.isin(model.geom_bodyid[geoms], wanted)

    def calibration(
        self, camera: str, height: int, width: int, task_state: FloatArray
    ) -> Calibration:
        """Return the intrinsics of a camera, for pictures of a size, and its pose."""
        model, data = self._posed(task_state)
        return calibration(model, data, camera, height, width)

    def close(self) -> None:
        """Give back what pictures are made with."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def _renderer(self, model: mujoco.MjModel, height: int, width: int) -> Renderer:
        """Return what draws pictures of a size."""
        renderer = self._renderers.get((height, width))
        if renderer is None:
            renderer = Renderer(model, height, width, quality=self._quality)
            self._renderers[height, width] = renderer
        return renderer

    def _posed(self, task_state: FloatArray) -> tuple[mujoco.MjModel, mujoco.MjData]:
        """Return the model and its data, the kinematics being those of the task state."""
        if self._model is None:
            self._model = copy.copy(drawn_model(*_looks(self._scene), self._visuals))
            self._data = mujoco.MjData(self._model)
        self._data.qpos[:ACTIONS] = task_state[:ACTIONS]
        self._data.qpos[ACTIONS:] = task_state[_POSES]
        mujoco.mj_kinematics(self._model, self._data)
        mujoco.mj_comPos(self._model, self._data)
        mujoco.mj_camlight(self._model, self._data)
        return self._model, self._data

    def _dress(self, model: mujoco.MjModel, other: mujoco.MjModel) -> None:
        """Change a model to another one's kitchen, so that the renderers that draw it can stay."""
        for name in _VARIED:
            getattr(model, name)[:] = getattr(other, name)
        model.vis.headlight.ambient[:] = other.vis.headlight.ambient
        if any(renderer.backend == "warp" for renderer in self._renderers.values()):
            self.close()  # a ray tracer has its own copy of the model

    def __getstate__(self) -> dict[str, Any]:
        return {"scene": self._scene, "visuals": self._visuals, "quality": self._quality}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        Drawing.__init__(self, **saved)


def with_goal(frame: Frame, goal: Frame) -> Frame:
    """Return a picture with another one of the goal, smaller, in its upper right corner."""
    height, width = frame.shape[0] // 3, frame.shape[1] // 3
    small = cv2.resize(goal, (width, height), interpolation=cv2.INTER_AREA)
    framed = cv2.copyMakeBorder(small, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(250, 190, 60))
    shown = frame.copy()
    shown[: framed.shape[0], -framed.shape[1] :] = framed
    return shown


def with_path(frame: Frame, points: FloatArray, seen_by: Calibration) -> Frame:
    """Return a picture with points in the world `(n, 3)` joined to a line."""
    pixels, before = seen_by.project(points)
    shown = frame.copy()
    if before.all() and np.abs(pixels).max() < 1e4:
        line = np.round(pixels).astype(np.int32)[:, None]
        cv2.polylines(shown, [line], False, (250, 190, 60), 2, cv2.LINE_AA)
    return shown


def _looks(scene: int) -> tuple[str, str]:
    shown = Scene.of(scene)
    return shown.layout, shown.style
