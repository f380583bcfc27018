"""Pictures of hand and cube in any task state, with the goal beside the hand or without it."""

from __future__ import annotations

from typing import Any, Final

import mujoco
import numpy as np
from numpy.typing import NDArray

from ..cameras import Calibration, calibration
from ..mujoco_env import FloatArray
from ..rendering import Renderer
from .appearance import GOAL, drawn_scene
from .scene import CUBE, Cube
from .simulation import N

Frame = NDArray[np.uint8]

_OUT_OF_SIGHT: Final = (0.0, 0.0, -9.0)  # below the floor [m]


class Drawing:
    """Draws square pictures of the scene; what draws them opens for the first of each size."""

    def __init__(self) -> None:
        self._model = drawn_scene(Cube()).compile()
        self._data = mujoco.MjData(self._model)
        self._renderers: dict[int, Renderer] = {}
        model = self._model
        self._goal_position = model.body(GOAL).pos.copy()
        self._cubes = np.isin(model.geom_bodyid, [model.body(CUBE).id, model.body(GOAL).id])
        self._edge = Cube().size
        mujoco.mj_kinematics(model, self._data)
        mujoco.mj_camlight(model, self._data)

    def draw(
        self,
        camera: str,
        size: int,
        task_state: FloatArray,
        goal: FloatArray | None,
        edge: float = Cube.size,
    ) -> Frame:
        """Return what a camera sees `(size, size, 3)` of a task state `(45,)`.

        `goal` `(4,)` is the orientation shown beside the hand; none is where it is None. `edge` is
        the length of the cube's edges [m].
        """
        self._resize(edge)
        self._data.qpos[:] = task_state[: N + 7]
        self._data.mocap_pos[0] = _OUT_OF_SIGHT if goal is None else self._goal_position
        self._data.mocap_quat[0] = (1.0, 0.0, 0.0, 0.0) if goal is None else goal
        mujoco.mj_kinematics(self._model, self._data)
        if size not in self._renderers:
            self._renderers[size] = Renderer(self._model, size, size)
        return self._renderers[size].pixels(self._data, camera)

    def calibration(self, camera: str, size: int) -> Calibration:
        """Return the intrinsics, for pictures of a size, and the pose of a camera."""
        return calibration(self._model, self._data, camera, size, size)

    def _resize(self, edge: float) -> None:
        """Scale both cubes with their stickers; a new model would need new GL contexts."""
        if edge != self._edge:
            for part in (self._model.geom_pos, self._model.geom_size, self._model.geom_rbound):
                part[self._cubes] *= edge / self._edge
            self._edge = edge
            if any(renderer.backend == "warp" for renderer in self._renderers.values()):
                self.close()  # a ray tracer has its own copy of the model

    def close(self) -> None:
        """Give back what pictures are drawn with."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers.clear()

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        Drawing.__init__(self)
