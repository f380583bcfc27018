"""Where points of the world fall in an image: pinhole cameras, batched and differentiable."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

CALIBRATION_SIZE = 16
"""Numbers of a calibration as a vector: fx, fy, px, py, position, rotation row by row."""


class Projection(NamedTuple):
    """Points in an image."""

    pixels: Float[Tensor, "*rows points 2"]
    """`(u, v)`, right and down from the upper left corner; of no meaning behind the camera."""
    depth: Float[Tensor, "*rows points"]
    """Distance along the line of sight [m]; negative behind the camera."""
    visible: Bool[Tensor, "*rows points"]
    """Whether they are in front of the camera and inside the image; what hides them is ignored."""


@dataclass(frozen=True)
class Camera:
    """Pinhole cameras, one for each row: x points right in the image, y down, z along the sight.

    With position `t` and rotation `R`, a point `p` of the world is at `c = R^T (p - t)` and falls on
    `u = fx cx / cz + px`, `v = fy cy / cz + py`. The pixel in row `i` and column `j` covers
    `i <= v < i + 1` and `j <= u < j + 1`. (MuJoCo's cameras look along `-z` with y up: their axes
    times `diag(1, -1, -1)` are these.)
    """

    focal: Float[Tensor, "*rows 2"]
    """`(fx, fy)` [px]."""
    centre: Float[Tensor, "*rows 2"]
    """`(px, py)`, where the line of sight falls [px]."""
    position: Float[Tensor, "*rows 3"]
    """In the world [m]."""
    rotation: Float[Tensor, "*rows 3 3"]
    """Matrices whose columns are the camera's axes in the world."""
    height: int
    """Rows of the image."""
    width: int
    """Columns of the image."""

    def __post_init__(self) -> None:
        if self.height < 1 or self.width < 1:
            raise ValueError(f"an image of {self.height} x {self.width} pixels shows nothing.")

    @classmethod
    def from_vector(cls, calibration: Float[Tensor, "*rows 16"], height: int, width: int) -> Camera:
        """Return the cameras of observed calibrations, for images of `height` x `width` pixels."""
        focal, centre, position, rotation = torch.split(calibration, [2, 2, 3, 9], dim=-1)
        return cls(focal, centre, position, torch.unflatten(rotation, -1, (3, 3)), height, width)

    @classmethod
    def from_view(
        cls,
        position: Float[Tensor, "*rows 3"],
        rotation: Float[Tensor, "*rows 3 3"],
        fovy: float,
        height: int,
        width: int,
    ) -> Camera:
        """Return cameras with a vertical field of view [degrees]: `f = height / (2 tan(fovy/2))`."""
        if not 0 < fovy < 180:
            raise ValueError(
                f"Camera(fovy={fovy}): the field of view is between 0 and 180 degrees."
            )
        length = height / (2 * math.tan(math.radians(fovy) / 2))
        focal = torch.full_like(position[..., :2], length)
        centre = position.new_tensor([width / 2, height / 2]).expand_as(focal)
        return cls(focal, centre, position, rotation, height, width)

    def as_vector(self) -> Float[Tensor, "*rows 16"]:
        """Return the calibrations; undone by `from_vector`."""
        return torch.cat([self.focal, self.centre, self.position, self.rotation.flatten(-2)], -1)

    def cropped(self, top: int, left: int, height: int, width: int) -> Camera:
        """Return the cameras of a part of the image."""
        corner = self.centre.new_tensor([left, top])
        return replace(self, centre=self.centre - corner, height=height, width=width)

    def resized(self, height: int, width: int) -> Camera:
        """Return the cameras of the image when it is scaled to another size."""
        scale = self.focal.new_tensor([width / self.width, height / self.height])
        return replace(
            self,
            focal=self.focal * scale,
            centre=self.centre * scale,
            height=height,
            width=width,
        )

    def project(self, points: Float[Tensor, "*#rows points 3"]) -> Projection:
        """Return where points of the world [m] fall."""
        seen = self.directions(points - self.position[..., None, :])
        depth = seen[..., 2]
        ahead = depth > 0
        # Behind the camera there is no image; a depth of 1 keeps the gradient there finite.
        divisor = torch.where(ahead, depth, torch.ones_like(depth))
        pixels = seen[..., :2] / divisor[..., None] * self.focal[..., None, :]
        pixels = pixels + self.centre[..., None, :]
        size = pixels.new_tensor([self.width, self.height])
        inside = ((pixels >= 0) & (pixels < size)).all(-1)
        return Projection(pixels, depth, ahead & inside)

    def directions(
        self, vectors: Float[Tensor, "*#rows points 3"]
    ) -> Float[Tensor, "*rows points 3"]:
        """Return vectors of the world (movements, say) along the camera's axes: `R^T v`."""
        return vectors @ self.rotation
