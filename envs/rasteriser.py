"""Images by OpenGL, through MuJoCo's renderer, without a screen."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import mujoco
import numpy as np
from numpy.typing import NDArray

from .gl_context import open_context


@dataclass(frozen=True)
class Quality:
    """How carefully images are drawn. The defaults are for speed: images of worlds, not of ads."""

    shadows: bool = False
    samples: int = 0
    """Samples of a pixel that smooth edges (MSAA); 0 for none."""
    slices: int = 16
    """Corners of the circles that spheres, capsules and cylinders are drawn with."""

    def __post_init__(self) -> None:
        if self.samples < 0 or self.slices < 4:
            raise ValueError(
                f"samples={self.samples}, slices={self.slices}: at least 0 samples and 4 slices."
            )


class Rasteriser:
    """Draws the cameras of one model; numbers below 0 are a free camera that sees all of it."""

    def __init__(
        self, backend: str, model: mujoco.MjModel, height: int, width: int, quality: Quality
    ) -> None:
        self._model = model
        self._gl = open_context(backend, width, height)
        try:
            with _settings(model.vis, height, width, quality):
                scale = mujoco.mjtFontScale.mjFONTSCALE_50.value  # nothing is written
                self._context = mujoco.MjrContext(model, scale)
        except BaseException:
            self._gl.free()
            raise
        mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN.value, self._context)
        self._scene = mujoco.MjvScene(model, maxgeom=model.ngeom + 100)
        self._scene.flags[mujoco.mjtRndFlag.mjRND_SHADOW] = quality.shadows
        self._options = mujoco.MjvOption()
        self._camera = mujoco.MjvCamera()
        self._area = mujoco.MjrRect(0, 0, width, height)

    def pixels(self, data: mujoco.MjData, camera: int) -> NDArray[np.uint8]:
        """Return what camera number `camera` sees, `(H, W, 3)`."""
        image = np.empty((self._area.height, self._area.width, 3), np.uint8)
        self._draw(data, camera, image)
        return np.ascontiguousarray(image[::-1])  # OpenGL's first row is the lowest

    def segmentation(self, data: mujoco.MjData, camera: int) -> NDArray[np.int32]:
        """Return which geom each pixel shows, `(H, W)`, -1 for none."""
        flags = (mujoco.mjtRndFlag.mjRND_SEGMENT, mujoco.mjtRndFlag.mjRND_IDCOLOR)
        for flag in flags:
            self._scene.flags[flag] = True
        image = np.empty((self._area.height, self._area.width, 3), np.uint8)
        self._draw(data, camera, image)
        for flag in flags:
            self._scene.flags[flag] = False
        drawn: NDArray[np.int64] = image[::-1].astype(np.int64) @ (1, 1 << 8, 1 << 16)
        ids: NDArray[np.int32] = np.full(self._scene.ngeom + 1, -1, np.int32)
        for geom in self._scene.geoms[: self._scene.ngeom]:
            if geom.segid >= 0 and geom.objtype == mujoco.mjtObj.mjOBJ_GEOM:
                ids[geom.segid + 1] = geom.objid
        return ids[drawn]  # 0, the background, is -1

    def close(self) -> None:
        """Free the buffers, then the context that they live in."""
        with contextlib.suppress(Exception):  # the display may be gone already
            self._gl.make_current()
            self._context.free()
            self._gl.free()

    def _draw(self, data: mujoco.MjData, camera: int, image: NDArray[np.uint8]) -> None:
        self._gl.make_current()
        self._camera.fixedcamid = camera
        kinds = mujoco.mjtCamera
        self._camera.type = kinds.mjCAMERA_FREE if camera < 0 else kinds.mjCAMERA_FIXED
        everything = mujoco.mjtCatBit.mjCAT_ALL.value
        mujoco.mjv_updateScene(
            self._model, data, self._options, None, self._camera, everything, self._scene
        )
        mujoco.mjr_render(self._area, self._scene, self._context)
        mujoco.mjr_readPixels(image, None, self._area, self._context)


@contextlib.contextmanager
def _settings(visual: Any, height: int, width: int, quality: Quality) -> Iterator[None]:
    """Change what MuJoCo reads from a model while it makes its buffers, and only then."""
    screen, looks = visual.global_, visual.quality
    size = (screen.offheight, screen.offwidth)
    kept = (looks.offsamples, looks.shadowsize, looks.numslices, looks.numstacks)
    screen.offheight, screen.offwidth = height, width
    looks.offsamples, looks.numslices = quality.samples, quality.slices
    looks.numstacks = quality.slices // 2
    if not quality.shadows:
        looks.shadowsize = 0  # 64 megabytes otherwise
    try:
        yield
    finally:
        screen.offheight, screen.offwidth = size
        looks.offsamples, looks.shadowsize, looks.numslices, looks.numstacks = kept
