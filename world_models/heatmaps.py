"""Keypoints as heatmaps and back: what heads learn to draw, and how what they drew is read.

Pixels are those of `cameras`: the cell in row `i` and column `j` of a map whose cells are `stride`
pixels wide covers `stride i <= v < stride (i + 1)` and `stride j <= u < stride (j + 1)`. A position
that is read off is the middle of its cell; the official code gives the cell, half a pixel less.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

OFFICIAL_HEIGHT = 224
"""Rows of the images to which published radii belong."""


class CorrectKeypoints(NamedTuple):
    """Shares of keypoints found within a radius (PCK)."""

    of_all: Float[Tensor, ""]
    """Of all keypoints; those outside of the image count as missed, so that 1 is out of reach."""
    of_valid: Float[Tensor, ""]
    """Of those that are to be seen; not a number where there is none."""


def draw_heatmaps(
    pixels: Float[Tensor, "*rows maps 2"],
    visible: Bool[Tensor, "*rows maps"],
    size: tuple[int, int],
    *,
    stride: int = 1,
    sigma: float = 2.0,
) -> Float[Tensor, "*rows maps height width"]:
    """Return the true heatmaps of keypoints: `exp(-d^2 / 2 sigma^2)` around each one's cell.

    `d` [cells] is the distance to the cell that the keypoint falls in, whose own value is 1. It is
    drawn up to `2 sigma` cells away in each direction. A map stays empty where its keypoint is not
    visible, or is so close to the edge that this window leaves the image. Source: DexWM's code.

    Args:
        pixels: Where keypoints are, `(u, v)`; of any value where they are not visible.
        visible: Whether they are in the image.
        size: Rows and columns of a map.
        stride: Side of a cell [px].
        sigma: Width of the bell [cells].

    Raises:
        ValueError: sigma or stride are not positive.
    """
    if not sigma > 0 or stride < 1:
        raise ValueError(
            f"draw_heatmaps(sigma={sigma}, stride={stride}): sigma must be positive, and stride "
            "at least 1."
        )
    reach = int(2 * sigma)
    limit = pixels.new_tensor([size[1], size[0]]) - 1
    centre = torch.floor(pixels / stride)
    inside = ((centre >= reach) & (centre + reach <= limit)).all(-1) & visible
    bells = []
    for axis, cells in ((1, size[0]), (0, size[1])):
        away = torch.arange(cells, device=pixels.device) - centre[..., axis, None]
        near = (away.abs() <= reach) & inside[..., None]
        # Selected, not multiplied: positions of what is not visible need not be numbers.
        bells.append(torch.where(near, torch.exp(away.square() / (-2 * sigma**2)), 0.0))
    return bells[0][..., :, None] * bells[1][..., None, :]


def hand_consistency(
    drawn: Float[Tensor, "*rows maps height width"],
    truth: Float[Tensor, "*rows maps height width"],
    valid: Bool[Tensor, "*rows maps"] | None = None,
) -> Float[Tensor, ""]:
    """Return DexWM's hand-consistency loss: the mean squared error of the maps that are `valid`.

    Valid are keypoints known to be in the image, by default all. What has no hands, as robots with
    grippers, has none and adds nothing; without any the loss is 0. DexWM weighs it by 100.
    """
    wide = torch.promote_types(drawn.dtype, torch.float32)
    errors = (drawn.to(wide) - truth).square().mean((-1, -2))
    if valid is None:
        return errors.mean()
    return torch.where(valid, errors, 0.0).sum() / valid.sum().clamp(min=1)


def hard_argmax(
    heatmaps: Float[Tensor, "*rows maps height width"], stride: int = 1
) -> Float[Tensor, "*rows maps 2"]:
    """Return where each map is highest, `(u, v)` [px]: the middle of a cell, without gradient."""
    width = heatmaps.shape[-1]
    peak = heatmaps.flatten(-2).argmax(-1)
    cells = torch.stack([peak % width, peak // width], dim=-1)
    return (cells.to(torch.promote_types(heatmaps.dtype, torch.float32)) + 0.5) * stride


def soft_argmax(
    heatmaps: Float[Tensor, "*rows maps height width"], stride: int = 1, sharpness: float = 20.0
) -> Float[Tensor, "*rows maps 2"]:
    """Return where each map is high, `(u, v)` [px]: a mean of all cells, with gradients.

    Weights are `softmax(sharpness h / c)`, with `c` how far the peak stands above the map's mean.
    So it does not matter how faint a map is. Around `sharpness` 20 the background of 224 x 392
    cells weighs nothing; less pulls positions to the image's middle, more leaves gradients to few
    cells.
    """
    wide = heatmaps.to(torch.promote_types(heatmaps.dtype, torch.float32))
    flat = wide.flatten(-2)
    contrast = flat.amax(-1, keepdim=True) - flat.mean(-1, keepdim=True)
    # An empty map has no contrast, and its middle is as good as any place.
    weights = torch.softmax(flat * (sharpness / contrast.clamp(min=1e-6)), dim=-1)
    weights = weights.view_as(wide)
    v, u = (torch.arange(cells, device=wide.device) + 0.5 for cells in wide.shape[-2:])
    return torch.stack([(weights.sum(-2) * u).sum(-1), (weights.sum(-1) * v).sum(-1)], -1) * stride


def confidence(
    heatmaps: Float[Tensor, "*rows maps height width"],
) -> Float[Tensor, "*rows maps"]:
    """Return how high each map is: about 1 where a keypoint is seen, about 0 where it is not."""
    return heatmaps.amax((-1, -2))


def correct_keypoints(
    found: Float[Tensor, "*rows maps 2"],
    truth: Float[Tensor, "*rows maps 2"],
    valid: Bool[Tensor, "*rows maps"],
    height: int,
    radius: float = 20.0,
) -> CorrectKeypoints:
    """Return the share of keypoints found within a radius of where they are (PCK@20).

    Args:
        found: Positions read off heatmaps [px].
        truth: True positions [px].
        valid: Whether a keypoint is in the image at all.
        height: Rows of the image.
        radius: In an image of 224 rows [px]; in others it is scaled with their height.
    """
    distance = torch.linalg.vector_norm(found - truth, dim=-1)
    correct = valid & (distance <= radius * height / OFFICIAL_HEIGHT)
    share = correct.sum().to(distance)
    return CorrectKeypoints(share / correct.numel(), share / valid.sum())
