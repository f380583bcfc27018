"""A window with a frame in it and a mouse pointer over it, on pygame."""

from __future__ import annotations

import importlib
import os
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

from .drawing import Frame

INVISIBLE = ("dummy", "offscreen")
"""Drivers that SDL falls back on without a display; nobody sees what they show."""


class NoDisplayError(OSError):
    """A window cannot be opened, or nobody would see it."""


@dataclass(frozen=True)
class Pointer:
    """What the user does with mouse and keyboard."""

    x: float
    """Place in the frame, from the left [share of the width]."""
    y: float
    """Place in the frame, from the top [share of the height]."""
    pressed: bool = False
    """Whether the left button is down."""
    key: str | None = None
    """Name of the key that was pressed last since the previous frame, as pygame names it."""
    closed: bool = False
    """Whether the user closed the window."""


class Window:
    """Shows frames at a rate; pygame is imported when the first window opens."""

    def __init__(self, size: int, title: str, fps: float) -> None:
        """Open a window of `size` x `size` px that shows at most `fps` frames per second.

        Raises:
            ImportError: pygame is missing.
            NoDisplayError: there is no display. An invisible window has to be asked for, by the
                environment variable SDL_VIDEODRIVER.
        """
        self._pygame = _import_pygame()
        self._screen = _open(self._pygame, size)
        self._pygame.display.set_caption(title)
        self._clock = self._pygame.time.Clock()
        self._size, self._fps = size, fps
        self._closed = False

    def show(self, frame: Frame) -> Pointer:
        """Show a frame for `1 / fps` seconds and return what the user did meanwhile."""
        pygame = self._pygame
        surface = pygame.surfarray.make_surface(np.swapaxes(frame, 0, 1))
        if surface.get_size() != (self._size, self._size):
            surface = pygame.transform.scale(surface, (self._size, self._size))
        self._screen.blit(surface, (0, 0))
        pygame.display.flip()
        self._clock.tick(self._fps)
        key = None
        for event in pygame.event.get():
            if event.type == pygame.QUIT:
                self._closed = True
            elif event.type == pygame.KEYDOWN:
                key = pygame.key.name(event.key)
        x, y = pygame.mouse.get_pos()
        pressed = bool(pygame.mouse.get_pressed()[0])
        return Pointer(x / self._size, y / self._size, pressed, key, self._closed)

    def close(self) -> None:
        """Close the window."""
        self._pygame.display.quit()


def _open(pygame: Any, size: int) -> Any:
    try:
        pygame.display.init()
        driver = pygame.display.get_driver()
        if driver not in INVISIBLE or os.environ.get("SDL_VIDEODRIVER"):
            return pygame.display.set_mode((size, size))
        reason = f"SDL found none but {driver!r}, which shows nothing"
    except pygame.error as error:
        reason = str(error)
    pygame.display.quit()
    raise NoDisplayError(
        f"there is no display to open a window on ({reason}). Run this where a screen is "
        'attached and DISPLAY or WAYLAND_DISPLAY is set, or choose render_mode="rgb_array".'
    )


def _import_pygame() -> Any:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # pygame's own use of pkg_resources
            return importlib.import_module("pygame")
    except ImportError as error:
        raise ImportError(
            'a window needs pygame: pip install "dexworld[window]", or choose '
            'render_mode="rgb_array".'
        ) from error
