"""OpenGL without a screen: which library of this machine gives a context, and a context of it."""

from __future__ import annotations

import ctypes
import importlib
import os
from typing import Any, Final

GL_BACKENDS: Final = ("egl", "osmesa", "glfw")

_EGL_PLATFORM_DEVICE: Final = 0x313F
_EGL_MAX_DEVICES: Final = 16


def library_fault(backend: str) -> str | None:
    """Return why `egl` or `osmesa` cannot work on this machine, None if nothing speaks against it.

    It looks without opening a context: MuJoCo and PyOpenGL bind themselves to the first library
    that they meet, for good, so only one backend can be tried in a process.
    """
    if backend == "egl":
        return _egl_fault()
    if backend == "osmesa":
        return _load("libOSMesa.so.8", "libOSMesa.so.6", "libOSMesa.so")[1]
    return None


def open_context(backend: str, width: int, height: int) -> Any:
    """Open an OpenGL context through `egl`, `osmesa` or `glfw` and make it current.

    What is wrong with the library is raised as it comes.
    """
    _rasterise_in_the_calling_thread()
    factory = importlib.import_module(f"mujoco.{backend}").GLContext
    factory._context = None  # what a failed constructor leaves unset and the destructor reads
    context = factory(width, height)
    context.make_current()
    return context


def _rasterise_in_the_calling_thread() -> None:
    # Mesa's rasteriser starts a thread for every core. They do not outlive a fork, so a forked
    # worker would wait for them forever, and processes that share the cores only get in their way.
    os.environ.setdefault("LP_NUM_THREADS", "0")


def _egl_fault() -> str | None:
    """Look for a device that can draw without a screen, as MuJoCo's EGL context will."""
    _rasterise_in_the_calling_thread()
    egl, fault = _load("libEGL.so.1", "libEGL.so")
    if egl is None:
        return fault
    egl.eglGetProcAddress.restype = ctypes.c_void_p
    query = egl.eglGetProcAddress(b"eglQueryDevicesEXT")
    display_of = egl.eglGetProcAddress(b"eglGetPlatformDisplayEXT")
    if not query or not display_of:
        return "this libEGL cannot list devices"
    pointer, number = ctypes.c_void_p, ctypes.c_int
    devices = (pointer * _EGL_MAX_DEVICES)()
    count = number()
    ctypes.CFUNCTYPE(number, number, pointer, pointer)(query)(
        _EGL_MAX_DEVICES, devices, ctypes.byref(count)
    )
    get_display = ctypes.CFUNCTYPE(pointer, ctypes.c_uint, pointer, pointer)(display_of)
    initialise = ctypes.CFUNCTYPE(number, pointer, pointer, pointer)(("eglInitialize", egl))
    for device in devices[: count.value]:
        display = get_display(_EGL_PLATFORM_DEVICE, device, None)
        if display and initialise(display, None, None):
            return _load("libOpenGL.so.0", "libGL.so.1")[1]
    return f"libEGL has no driver that works (of {count.value})"


def _load(*names: str) -> tuple[Any, str | None]:
    """Return the first of these libraries, or what the loader says of the first."""
    fault = None
    for name in names:
        try:
            return ctypes.CDLL(name), None
        except OSError as error:
            fault = fault or str(error)
    return None, fault
