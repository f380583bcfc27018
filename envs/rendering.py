"""Images of a scene's cameras, drawn by whatever this machine can draw with."""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib.util
import logging
import os
from typing import Any, Final, Protocol, runtime_checkable
from weakref import WeakSet

import mujoco
import numpy as np
from numpy.typing import NDArray

from .cameras import camera_id
from .gl_context import GL_BACKENDS, library_fault
from .rasteriser import Quality, Rasteriser

logger = logging.getLogger(__name__)

BACKENDS: Final = ("egl", "osmesa", "warp")
"""Ways of drawing without a screen, in the order in which they are tried."""

_REMEDIES: Final = {
    "egl": "apt-get install --no-install-recommends libegl1 libopengl0 libgl1-mesa-dri",
    "osmesa": "apt-get install --no-install-recommends libosmesa6",
    "glfw": "it needs a screen; without one choose egl or osmesa",
    "warp": "pip install 'dexworld[warp]' (slower; needs no system library)",
}


class RenderingUnavailableError(RuntimeError):
    """No way of drawing works on this machine; the message says what to install."""


@runtime_checkable
class _Painter(Protocol):
    """One way of drawing one model at one size."""

    def pixels(self, data: mujoco.MjData, camera: int) -> NDArray[np.uint8]: ...

    def segmentation(self, data: mujoco.MjData, camera: int) -> NDArray[np.int32]: ...

    def close(self) -> None: ...


class Renderer:
    """Draws the cameras of a model by name.

    Opens at the first image, so it can be made, copied and pickled anywhere; a copy opens its own.
    Use it as a context manager, or `close` it: open contexts cost memory of the driver.

    `backend` is `egl`, `osmesa`, `glfw` or `warp`; by default it is what the environment variable
    MUJOCO_GL says, or else the first of `BACKENDS` that works. A named backend that does not work
    is an error, never another one.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        height: int,
        width: int,
        backend: str | None = None,
        quality: Quality | None = None,
    ) -> None:
        if height < 1 or width < 1:
            raise ValueError(f"an image of {height} x {width} pixels cannot be drawn.")
        self.model = model
        self.height = height
        self.width = width
        self.quality = Quality() if quality is None else quality
        self._chosen = backend
        self._painter: _Painter | None = None
        self._closed = False

    @property
    def backend(self) -> str:
        """What draws: the one asked for, or the first that works here."""
        return working_backend(self._chosen)

    def pixels(self, data: mujoco.MjData, camera: str) -> NDArray[np.uint8]:
        """Return what `camera` sees, `(H, W, 3)`; `data`'s kinematics must be up to date."""
        return self._open().pixels(data, camera_id(self.model, camera))

    def segmentation(self, data: mujoco.MjData, camera: str) -> NDArray[np.int32]:
        """Return the number of the geom that each pixel shows, `(H, W)`, -1 for none."""
        return self._open().segmentation(data, camera_id(self.model, camera))

    def close(self) -> None:
        """Give everything back; a second time does nothing."""
        if self._painter is not None:
            self._painter.close()
        self._painter = None
        self._closed = True
        _open_renderers.discard(self)

    def _open(self) -> _Painter:
        if self._closed:
            raise RuntimeError("this renderer is closed: make a new one to draw more images.")
        if self._painter is None:
            size = (self.height, self.width)
            self._painter = _paint(self.backend, self.model, *size, self.quality)
            if not _open_renderers:
                # Handlers run in reverse: this one before the library closes its displays.
                atexit.unregister(_close_all)
                atexit.register(_close_all)
            _open_renderers.add(self)
        return self._painter

    def __enter__(self) -> Renderer:  # noqa: PYI034 the tests' checker of types trips over Self
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_painter": None}

    def __del__(self) -> None:
        with contextlib.suppress(AttributeError, TypeError):  # half made, or at the very end
            self.close()


def working_backend(wanted: str | None = None) -> str:
    """Return `wanted` (by default: MUJOCO_GL, or else the first of `BACKENDS` that works).

    Raises `ValueError` for an unknown name and `RenderingUnavailableError`, with what is wrong with
    each and the package that mends it, if none works.
    """
    if wanted is None:
        wanted = os.environ.get("MUJOCO_GL", "").strip().lower() or None
    known = (*GL_BACKENDS, "warp")
    if wanted is not None and wanted not in known:
        raise ValueError(f"the backend {wanted!r} is unknown: images are drawn by one of {known}.")
    faults = {}
    for backend in BACKENDS if wanted is None else (wanted,):
        fault = _fault(backend)
        if fault is None:
            return backend
        faults[backend] = fault
    raise RenderingUnavailableError(
        "images cannot be drawn on this machine. "
        + " ".join(f"{name}: {fault}; {_REMEDIES[name]}." for name, fault in faults.items())
    )


@functools.cache
def _fault(backend: str) -> str | None:
    """Return what is wrong with a backend on this machine, None if it draws."""
    if backend == "warp":
        missing = [n for n in ("warp", "mujoco_warp") if importlib.util.find_spec(n) is None]
        if not missing:
            logger.warning("Images are ray-traced, which is slow: %s", _REMEDIES["egl"])
        return f"{' and '.join(missing)} not installed" if missing else None
    if (fault := library_fault(backend)) is not None:
        return fault
    world = mujoco.MjModel.from_xml_string("<mujoco/>")
    try:
        painter = Rasteriser(backend, world, 8, 8, Quality())
        painter.pixels(mujoco.MjData(world), -1)
    except Exception as error:  # noqa: BLE001 anything that a library can come up with; the message tells
        return f"{type(error).__name__} ({str(error).splitlines()[0] if str(error) else ''})"
    painter.close()
    return None


def _paint(
    backend: str, model: mujoco.MjModel, height: int, width: int, quality: Quality
) -> _Painter:
    if backend != "warp":
        return Rasteriser(backend, model, height, width, quality)
    from .ray_tracer import RayTracer

    if quality.samples:
        raise ValueError(f"samples={quality.samples}: the ray tracer smooths no edges; set 0.")
    return RayTracer(model, height, width, quality.shadows)


_open_renderers: WeakSet[Renderer] = WeakSet()


def _close_all() -> None:
    for renderer in list(_open_renderers):
        renderer.close()
