"""Actions of hands: how far keypoints go between two moments, and how the camera moves meanwhile.

Actions have the rows that `hand_keypoints.hand_action` describes. A hand that is missing does not
move. Source: DexWM, section 3.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .cameras import Camera
from .hand_keypoints import ACTION_ROWS, KEYPOINTS

WRIST_ROWS = (0, len(KEYPOINTS))
CAMERA_ROWS = (ACTION_ROWS - 2, ACTION_ROWS - 1)


@dataclass(frozen=True)
class HandState:
    """Where both hands are at one moment, and the camera that sees them; one for each row."""

    keypoints: Float[Tensor, "*rows 2 21 3"]
    """Left and right, in the world [m]; of any value where a hand is missing."""
    present: Bool[Tensor, "*rows 2"]
    """Which hands there are."""
    camera: Camera
    """What sees them; its rows broadcast to those of the hands."""

    @classmethod
    def of(
        cls,
        camera: Camera,
        *,
        left: Float[Tensor, "*rows 21 3"] | None = None,
        right: Float[Tensor, "*rows 21 3"] | None = None,
    ) -> HandState:
        """Return the state of the hands that are given; raise `ValueError` if there are none."""
        given = right if left is None else left
        if given is None:
            raise ValueError("HandState.of: give it a left or a right hand, or both.")
        hands = [torch.zeros_like(given) if each is None else each for each in (left, right)]
        present = torch.tensor([left is not None, right is not None], device=given.device)
        return cls(torch.stack(hands, dim=-3), present.expand(*given.shape[:-2], 2), camera)


def action_between(
    before: HandState, after: HandState, *, frame: Camera | None = None, official: bool = False
) -> Float[Tensor, "*rows 132"]:
    """Return the action that leads from one state to another, as one camera sees it.

    With `R` and `t` the camera's rotation and position, and `F` the rotation of `frame`,

        keypoints: F^T (H(after) - H(before))      way: F^T (t(after) - t(before))
        turn: Euler angles of F^T R(after) R(before)^T F

    `frame` is by default the camera before, so that the turn is that from one camera to the other;
    for a sequence, give it the first camera. `official` takes way and turn as the published model
    was trained: in the world, the turn as the difference of Euler angles modulo 2 pi, which is why
    the smallest turn back is there nearly a whole one.
    """
    frame = before.camera if frame is None else frame
    moved = after.keypoints - before.keypoints
    seen = torch.einsum("...ji,...hkj->...hki", frame.rotation, moved)
    both = (before.present & after.present)[..., None, None]
    # Selected, not multiplied: a missing hand's keypoints need not be numbers.
    hands = torch.where(both, seen, 0.0).flatten(-3, -2)
    first, last = before.camera, after.camera
    way = last.position - first.position
    if official:
        angles = (euler_angles(last.rotation) - euler_angles(first.rotation)) % (2 * math.pi)
    else:
        axes = frame.rotation
        turned = axes.mT @ last.rotation @ first.rotation.mT @ axes
        way, angles = (axes.mT @ way[..., None])[..., 0], euler_angles(turned)
    camera = [each.to(hands)[..., None, :].expand_as(hands[..., :1, :]) for each in (way, angles)]
    return torch.cat([hands, *camera], dim=-2).flatten(-2)


def difference(
    before: Float[Tensor, "*rows 44 3"], after: Float[Tensor, "*rows 44 3"], official: bool = False
) -> Float[Tensor, "*rows 132"]:
    """Return the action between states in the form in which DexWM's data has them.

    Each is 44 rows: keypoints in one camera's frame, the camera's position and its Euler angles.
    Angles are wrapped to (-pi, pi]; `official` takes them modulo 2 pi instead.
    """
    moved = after - before
    turn = moved[..., -1:, :]
    turn = turn % (2 * math.pi) if official else wrap_angles(turn)
    return torch.cat([moved[..., :-1, :], turn], dim=-2).flatten(-2)


def camera_only(actions: Float[Tensor, "*rows 132"]) -> Float[Tensor, "*rows 132"]:
    """Return actions without the hands: what NWM* is told in DexWM's comparison."""
    return _keep(actions, CAMERA_ROWS)


def wrists_and_camera(actions: Float[Tensor, "*rows 132"]) -> Float[Tensor, "*rows 132"]:
    """Return actions without the fingers: PEVA* in DexWM's comparison, as far as hands go.

    (Its body has arms and a spine too, which these 44 rows do not have.)
    """
    return _keep(actions, WRIST_ROWS + CAMERA_ROWS)


def _keep(actions: Tensor, rows: tuple[int, ...]) -> Tensor:
    kept = torch.zeros(ACTION_ROWS, 3, dtype=torch.bool, device=actions.device)
    kept[list(rows)] = True
    return torch.where(kept.flatten(), actions, 0.0)


def wrap_angles(angles: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the same angles in (-pi, pi]."""
    turns = torch.ceil((angles - math.pi) / (2 * math.pi))
    return angles - 2 * math.pi * turns  # which leaves small angles as they are, to the last bit


def euler_angles(rotation: Float[Tensor, "*rows 3 3"]) -> Float[Tensor, "*rows 3"]:
    """Return the angles about the fixed axes x, y and z, in that order: `R = Rz Ry Rx` [rad].

    Those about x and z are in (-pi, pi], that about y in [-pi/2, pi/2], at whose ends the two
    others are not told apart, and rotations have no gradient.
    """
    (xx, _, _), (yx, _, _), (zx, zy, zz) = (row.unbind(-1) for row in rotation.unbind(-2))
    about_y = torch.atan2(-zx, torch.hypot(zy, zz))
    return torch.stack([torch.atan2(zy, zz), about_y, torch.atan2(yx, xx)], dim=-1)
