"""Images without OpenGL: MuJoCo Warp's ray tracer, for machines that have no GL library."""

from __future__ import annotations

import importlib
import logging
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

_DRAWN = ("geom_xpos", "geom_xmat", "cam_xpos", "cam_xmat", "light_xpos", "light_xdir")
"""What images depend on, all of it placed by MuJoCo's own kinematics."""


class RayTracer:
    """Draws the cameras of one model, all at once, on the processor or a GPU.

    The kernels are compiled at the first image ever drawn on a machine, which takes a minute, and
    cached for later ones. Shading differs a little from OpenGL's.
    """

    def __init__(self, model: mujoco.MjModel, height: int, width: int, shadows: bool) -> None:
        self._warp, self._library = _import()
        if not model.ncam:
            raise ValueError("the ray tracer draws cameras, and the scene has none: add one.")
        logger.info("The ray tracer compiles its kernels at first use: about a minute, once.")
        self._size = (height, width)
        self._model = self._library.put_model(model)
        self._data = self._library.make_data(model)
        self._context = self._library.create_render_context(
            model,
            cam_res=(width, height),
            render_rgb=True,
            render_depth=False,
            render_seg=True,
            use_shadows=shadows,
            render_skybox=True,  # if there is one
            background_color=(0.0, 0.0, 0.0, 1.0),  # as OpenGL's
        )

    def pixels(self, data: mujoco.MjData, camera: int) -> NDArray[np.uint8]:
        """Return what camera number `camera` sees, `(H, W, 3)`."""
        self._trace(data)
        image = self._warp.zeros((1, *self._size), dtype=self._warp.vec3)
        self._library.get_rgb(self._context, camera, image)
        shown: NDArray[np.uint8] = np.rint(255.0 * image.numpy()[0].clip(0.0, 1.0)).astype(np.uint8)
        return shown

    def segmentation(self, data: mujoco.MjData, camera: int) -> NDArray[np.int32]:
        """Return which geom each pixel shows, `(H, W)`, -1 for none."""
        self._trace(data)
        image = self._warp.zeros((1, *self._size), dtype=self._warp.vec2i)
        self._library.get_segmentation(self._context, camera, image)
        ids, kinds = np.moveaxis(image.numpy()[0], -1, 0)
        return np.where(kinds == int(mujoco.mjtObj.mjOBJ_GEOM), ids, -1).astype(np.int32)

    def close(self) -> None:
        """Let go of the copies of model and data."""
        self._model = self._data = self._context = None

    def _trace(self, data: mujoco.MjData) -> None:
        for name in _DRAWN:
            place = getattr(self._data, name)
            place.assign(np.asarray(getattr(data, name), np.float32).reshape(place.numpy().shape))
        self._library.refit_bvh(self._model, self._data, self._context)
        self._library.render(self._model, self._data, self._context)


def _import() -> tuple[Any, Any]:
    """Return `warp` and `mujoco_warp`."""
    warp: Any = importlib.import_module("warp")
    warp.config.quiet = True  # it greets on the standard output
    return warp, importlib.import_module("mujoco_warp")
