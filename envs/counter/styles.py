"""Styles of the kitchen: what its parts are made of, and its light."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

import mujoco

from .textures import SIZE, TEXTURES, texture

RGB = tuple[float, float, float]


@dataclass(frozen=True)
class Finish:
    """What a surface looks like."""

    colour: RGB
    """Multiplies the texture."""
    texture: str | None = None
    """One of `textures.TEXTURES`, or plain."""
    size: float = 1.0
    """Side of one image of the texture [m]."""
    gloss: float = 0.2
    """Strength and sharpness of highlights."""


@dataclass(frozen=True)
class Style:
    """Finishes of the parts that styles differ in, and the light."""

    cabinet: Finish
    """Lower cabinets and the doors of all."""
    upper: Finish
    """Upper cabinets."""
    handle: Finish
    counter: Finish
    backsplash: Finish
    wall: Finish
    floor: Finish
    lamp: RGB = (0.62, 0.60, 0.57)
    """Colour of the light from the ceiling."""
    daylight: RGB = (0.22, 0.24, 0.27)
    """Colour of the light from the side of the window."""
    ambient: RGB = field(default=(0.33, 0.33, 0.34))


ROLES: Final = ("cabinet", "upper", "handle", "counter", "backsplash", "wall", "floor")
"""Parts whose material the style chooses."""

_STEEL = Finish((0.75, 0.76, 0.78), gloss=0.8)
_BRASS = Finish((0.78, 0.62, 0.32), gloss=0.7)
_BLACK = Finish((0.10, 0.10, 0.11), gloss=0.4)
_WHITE_WALL = Finish((0.93, 0.92, 0.89), "plaster", 1.5, 0.0)

STYLES: Final[Mapping[str, Style]] = {
    "modern": Style(
        cabinet=Finish((0.93, 0.93, 0.92), gloss=0.4),
        upper=Finish((0.93, 0.93, 0.92), gloss=0.4),
        handle=_STEEL,
        counter=Finish((1.0, 1.0, 1.0), "granite", 0.7, 0.5),
        backsplash=Finish((0.96, 0.97, 0.96), "subway_tiles", 0.6, 0.4),
        wall=Finish((0.86, 0.88, 0.89), "plaster", 1.5, 0.0),
        floor=Finish((1.0, 1.0, 1.0), "oak_planks", 0.8, 0.1),
    ),
    "farmhouse": Style(
        cabinet=Finish((1.0, 0.97, 0.92), "oak", 0.8, 0.15),
        upper=Finish((1.0, 0.97, 0.92), "oak", 0.8, 0.15),
        handle=_BLACK,
        counter=Finish((1.0, 1.0, 0.99), "marble", 1.0, 0.5),
        backsplash=Finish((1.0, 0.96, 0.88), "square_tiles", 0.45, 0.4),
        wall=Finish((0.95, 0.91, 0.82), "plaster", 1.5, 0.0),
        floor=Finish((1.0, 1.0, 1.0), "terracotta", 1.0, 0.1),
        lamp=(0.66, 0.60, 0.50),
    ),
    "navy": Style(
        cabinet=Finish((0.13, 0.20, 0.33), gloss=0.3),
        upper=Finish((0.90, 0.91, 0.92), gloss=0.3),
        handle=_BRASS,
        counter=Finish((1.0, 1.0, 1.0), "marble", 0.9, 0.6),
        backsplash=Finish((0.90, 0.94, 0.97), "square_tiles", 0.4, 0.5),
        wall=_WHITE_WALL,
        floor=Finish((0.75, 0.62, 0.52), "oak_planks", 0.8, 0.1),
        daylight=(0.26, 0.30, 0.36),
    ),
    "sage": Style(
        cabinet=Finish((0.56, 0.64, 0.54), gloss=0.2),
        upper=Finish((0.56, 0.64, 0.54), gloss=0.2),
        handle=_BRASS,
        counter=Finish((1.0, 0.99, 0.97), "terrazzo", 0.7, 0.4),
        backsplash=Finish((0.97, 0.94, 0.88), "subway_tiles", 0.7, 0.4),
        wall=Finish((0.94, 0.92, 0.86), "plaster", 1.5, 0.0),
        floor=Finish((1.0, 1.0, 1.0), "checker", 0.9, 0.2),
    ),
    "industrial": Style(
        cabinet=Finish((0.23, 0.24, 0.26), gloss=0.2),
        upper=Finish((0.23, 0.24, 0.26), gloss=0.2),
        handle=_STEEL,
        counter=Finish((1.0, 1.0, 1.0), "concrete", 1.2, 0.2),
        backsplash=Finish((1.0, 1.0, 1.0), "brick", 0.6, 0.0),
        wall=Finish((1.0, 1.0, 1.0), "brick", 0.6, 0.0),
        floor=Finish((0.78, 0.78, 0.80), "concrete", 1.8, 0.1),
        lamp=(0.62, 0.56, 0.46),
        ambient=(0.28, 0.28, 0.29),
    ),
    "mediterranean": Style(
        cabinet=Finish((0.27, 0.52, 0.56), gloss=0.2),
        upper=Finish((0.95, 0.93, 0.88), gloss=0.2),
        handle=_BLACK,
        counter=Finish((1.0, 1.0, 1.0), "oak", 0.5, 0.2),
        backsplash=Finish((1.0, 1.0, 1.0), "pattern", 0.5, 0.4),
        wall=Finish((0.96, 0.86, 0.66), "plaster", 1.5, 0.0),
        floor=Finish((1.0, 0.98, 0.95), "terracotta", 1.0, 0.1),
        lamp=(0.68, 0.63, 0.52),
    ),
    "walnut": Style(
        cabinet=Finish((1.0, 1.0, 1.0), "walnut", 0.8, 0.3),
        upper=Finish((0.88, 0.86, 0.82), gloss=0.3),
        handle=_STEEL,
        counter=Finish((0.96, 0.96, 0.95), "plaster", 1.0, 0.6),
        backsplash=Finish((0.62, 0.66, 0.68), "square_tiles", 0.3, 0.4),
        wall=_WHITE_WALL,
        floor=Finish((0.60, 0.60, 0.62), "square_tiles", 1.6, 0.2),
        ambient=(0.30, 0.30, 0.31),
    ),
}
"""The styles by name; the position in this order is their number in a scene."""

FIXED: Final[Mapping[str, Finish]] = {
    "steel": _STEEL,
    "chrome": Finish((0.85, 0.86, 0.88), gloss=1.0),
    "black": _BLACK,
    "glass": Finish((0.05, 0.05, 0.06), gloss=0.9),
    "sky": Finish((0.66, 0.80, 0.92), gloss=0.3),
    "white": Finish((0.95, 0.95, 0.94), gloss=0.3),
    "leaf": Finish((0.24, 0.45, 0.20), gloss=0.1),
    "clay": Finish((0.72, 0.42, 0.29), gloss=0.1),
    "board": Finish((0.86, 0.70, 0.50), "oak", 0.4, 0.1),
    "red": Finish((0.72, 0.14, 0.12), gloss=0.6),
    "stand": Finish((0.36, 0.38, 0.41), gloss=0.3),
    "ring": Finish((0.30, 0.30, 0.32), gloss=0.5),
}
"""Materials that are the same in every style."""


def material_of(role: str, style: str) -> str:
    """Return the name of the material of a part."""
    return f"{style}_{role}" if role in ROLES else role


def add_materials(spec: mujoco.MjSpec) -> None:
    """Add the materials of all styles, so that a style is a choice among what is there."""
    for name in sorted(TEXTURES):
        image = spec.add_texture(
            name=name, type=mujoco.mjtTexture.mjTEXTURE_2D, width=SIZE, height=SIZE, nchannel=3
        )
        image.data = texture(name).tobytes()
    for name, finish in FIXED.items():
        _add(spec, name, finish)
    for name, style in STYLES.items():
        for role in ROLES:
            _add(spec, material_of(role, name), getattr(style, role))


def _add(spec: mujoco.MjSpec, name: str, finish: Finish) -> None:
    material = spec.add_material(
        name=name,
        rgba=[*finish.colour, 1.0],
        specular=finish.gloss,
        shininess=finish.gloss,
    )
    if finish.texture is not None:
        material.textures[mujoco.mjtTextureRole.mjTEXROLE_RGB] = finish.texture
        material.texuniform = True
        material.texrepeat = [2.0 / finish.size] * 2  # MuJoCo counts in half lengths
