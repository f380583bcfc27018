"""Textures drawn by arithmetic: wood, stone, plaster and tiles that repeat without a seam."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
from numpy.typing import NDArray

SIZE = 256
"""Pixels on each side."""

Image = NDArray[np.uint8]
FloatArray = NDArray[np.float64]


@cache
def texture(name: str) -> Image:
    """Return a texture `(SIZE, SIZE, 3)`, the same in every process.

    Raises `ValueError` for a name that is not in `TEXTURES`.
    """
    if name not in TEXTURES:
        raise ValueError(f"texture={name!r}: those there are: {sorted(TEXTURES)}.")
    # Each has its own stream, so that adding one changes none of the others.
    rng = np.random.default_rng([ord(letter) for letter in name])
    drawn = np.clip(TEXTURES[name](rng), 0.0, 1.0)
    image: Image = np.round(drawn * 255.0).astype(np.uint8)
    return image


def _noise(
    rng: np.random.Generator,
    roughness: float,
    stretch: tuple[float, float] = (1.0, 1.0),
    lowest: float = 1.0,
) -> FloatArray:
    """Return smooth periodic noise `(SIZE, SIZE)` of zero mean and unit variance.

    Its amplitude falls with the `roughness`-th power of the frequency, from the `lowest` on [1 /
    image]; `stretch` makes it longer along rows or columns.
    """
    rows = np.fft.fftfreq(SIZE)[:, None] * SIZE * stretch[0]
    columns = np.fft.fftfreq(SIZE)[None, :] * SIZE * stretch[1]
    frequency = np.hypot(rows, columns)
    spectrum = np.fft.fft2(rng.normal(size=(SIZE, SIZE)))
    spectrum *= np.where(frequency >= lowest, np.maximum(frequency, 1.0) ** -roughness, 0.0)
    noise: FloatArray = np.fft.ifft2(spectrum).real
    noise /= noise.std()
    return noise


def _mixed(amount: FloatArray, low: tuple[float, ...], high: tuple[float, ...]) -> FloatArray:
    """Return colours `(..., 3)` between `low` at 0 and `high` at 1."""
    share = np.clip(amount, 0.0, 1.0)[..., None]
    colours: FloatArray = (1.0 - share) * np.array(low) + share * np.array(high)
    return colours


def _grid(rows: int, columns: int, shift: bool) -> tuple[FloatArray, NDArray[np.int64]]:
    """Return how far each pixel is from the edge of its tile [pixels], and the tile's number."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float64)
    height, width = SIZE / rows, SIZE / columns
    row = np.floor(y / height)
    if shift:  # every other row by half a tile, as bricks are laid
        x = (x + (row % 2) * width / 2) % SIZE
    column = np.floor(x / width)
    in_y, in_x = y - row * height, x - column * width
    edge = np.minimum.reduce([in_y, height - in_y, in_x, width - in_x])
    return edge, (row * columns + column).astype(np.int64)


def _tiles(
    rng: np.random.Generator, rows: int, columns: int, shift: bool, spread: float, joint: float
) -> FloatArray:
    """Return tiles of slightly different shades, white, in darker joints."""
    edge, number = _grid(rows, columns, shift)
    shade = 1.0 - spread * rng.uniform(size=rows * columns)[number]
    shade = shade + 0.01 * _noise(rng, 1.0)
    shade = shade * (0.94 + 0.06 * np.clip(edge / 4.0, 0.0, 1.0))
    face = np.clip((edge - 1.0) / 1.5, 0.0, 1.0)
    grey = face * shade + (1.0 - face) * joint
    return np.repeat(grey[..., None], 3, axis=2)


def _plaster(rng: np.random.Generator) -> FloatArray:
    shade = 0.95 + 0.015 * _noise(rng, 1.2) + 0.008 * _noise(rng, 0.3)
    return np.repeat(shade[..., None], 3, axis=2)


def _concrete(rng: np.random.Generator) -> FloatArray:
    shade = 0.62 + 0.05 * _noise(rng, 1.4) + 0.02 * _noise(rng, 0.2)
    return _mixed(shade, (0.05, 0.05, 0.06), (0.98, 0.97, 0.95))


def _granite(rng: np.random.Generator) -> FloatArray:
    ground = 0.20 + 0.05 * _noise(rng, 0.8)
    sparks = np.clip(_noise(rng, 0.35) - 1.6, 0.0, 1.0)
    return _mixed(ground + 0.5 * sparks, (0.03, 0.03, 0.04), (0.85, 0.85, 0.88))


def _marble(rng: np.random.Generator) -> FloatArray:
    veins = np.exp(-np.abs(_noise(rng, 1.7)) * 9.0) * np.clip(0.6 + 0.5 * _noise(rng, 1.5), 0, 1)
    clouds = 0.06 * _noise(rng, 1.6)
    return _mixed(0.12 + veins * 0.75 + clouds, (0.97, 0.97, 0.96), (0.50, 0.51, 0.54))


def _terrazzo(rng: np.random.Generator) -> FloatArray:
    image = np.repeat((0.90 + 0.01 * _noise(rng, 0.8))[..., None], 3, axis=2)
    chips = ((0.55, 0.42, 0.36), (0.40, 0.47, 0.45), (0.70, 0.60, 0.50), (0.30, 0.30, 0.32))
    for colour in chips:
        inside = np.clip((_noise(rng, 2.0, lowest=9.0) - 1.7) * 6.0, 0.0, 1.0)[..., None]
        image = image * (1.0 - inside) + inside * np.array(colour)
    return image


def _wood(
    rng: np.random.Generator, low: tuple[float, ...], high: tuple[float, ...], boards: int
) -> FloatArray:
    """Return boards side by side, their grain along the rows."""
    grain = _noise(rng, 0.9, (1.0, 12.0))
    rings = np.sin(6.0 * np.pi * _noise(rng, 1.8, (1.0, 6.0)) / 3.0)
    edge, number = _grid(boards, 1, False)
    tone = 0.25 * rng.normal(size=boards)[number] if boards > 1 else 0.0
    image = _mixed(0.5 + 0.14 * grain + 0.12 * rings + tone, low, high)
    return image * (1.0 - 0.45 * (edge < 1.2) * (boards > 1))[..., None]


def _pattern(rng: np.random.Generator) -> FloatArray:
    """Return painted tiles: a ring and a star of blue on white."""
    image = _tiles(rng, 4, 4, False, 0.05, 0.75)
    y, x = np.mgrid[0:SIZE, 0:SIZE] * (4.0 / SIZE) % 1.0 - 0.5
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    ring = np.abs(radius - 0.36) < 0.035
    star = radius < 0.10 + 0.12 * np.cos(4.0 * angle) ** 2
    corner = np.hypot(np.abs(x) - 0.5, np.abs(y) - 0.5) < 0.17
    painted = (ring | star | corner)[..., None]
    return np.where(painted, np.array((0.20, 0.34, 0.58)), image)


def _brick(rng: np.random.Generator) -> FloatArray:
    edge, number = _grid(8, 4, True)
    tone = 0.5 + 0.22 * rng.normal(size=32)[number] + 0.10 * _noise(rng, 0.6)
    brick = _mixed(tone, (0.45, 0.20, 0.14), (0.74, 0.42, 0.31))
    face = np.clip((edge - 1.5) / 1.5, 0.0, 1.0)[..., None]
    wall: FloatArray = face * brick + (1.0 - face) * np.array((0.74, 0.71, 0.67))
    return wall


def _checker(rng: np.random.Generator) -> FloatArray:
    edge, number = _grid(2, 2, False)
    dark = (number % 2 + number // 2) % 2 == 1
    image = np.where(dark[..., None], np.array((0.45, 0.47, 0.48)), np.array((0.93, 0.92, 0.89)))
    image = image + 0.012 * _noise(rng, 1.0)[..., None]
    return np.where((edge < 1.0)[..., None], 0.6, image)


TEXTURES: dict[str, Callable[[np.random.Generator], FloatArray]] = {
    "brick": _brick,
    "checker": _checker,
    "concrete": _concrete,
    "granite": _granite,
    "marble": _marble,
    "oak": lambda rng: _wood(rng, (0.55, 0.38, 0.22), (0.80, 0.62, 0.42), 1),
    "oak_planks": lambda rng: _wood(rng, (0.50, 0.36, 0.23), (0.80, 0.64, 0.46), 4),
    "pattern": _pattern,
    "plaster": _plaster,
    "square_tiles": lambda rng: _tiles(rng, 4, 4, False, 0.10, 0.55),
    "subway_tiles": lambda rng: _tiles(rng, 8, 4, True, 0.05, 0.62),
    "terracotta": lambda rng: _tiles(rng, 3, 3, False, 0.25, 0.75) * np.array((0.76, 0.45, 0.32)),
    "terrazzo": _terrazzo,
    "walnut": lambda rng: _wood(rng, (0.22, 0.13, 0.08), (0.48, 0.31, 0.20), 1),
}
"""What can be drawn, by name; white where a material gives the colour."""
