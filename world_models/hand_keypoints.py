"""The 21 keypoints of a hand, their names and order, and what of a robot's hand stands for them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
PHALANXES = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
KEYPOINTS = ("Hand", *(finger + part for finger in FINGERS for part in PHALANXES))
"""Names of the keypoints in their order, the wrist (`Hand`) first: the order of DexWM."""

WRIST_AND_TIPS = (0, 4, 8, 12, 16, 20)
"""The keypoints that DexWM draws in heatmaps, predicts, and compares with the goal's."""

HANDS = ("left", "right")
ACTION_ROWS = 2 * len(KEYPOINTS) + 2
"""Rows of three numbers in an action: left hand, right hand, the camera's way and its turn."""

MANO_ORDER = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)
"""Where MANO has each keypoint among its 16 joints and the five tips, appended thumb first.

(It counts index, middle, little, ring, thumb. Which vertices are the tips differs between
libraries: note it beside data.)
"""

FLEXIONS_AND_TIP = ("proximal", "medial", "distal", "tip")
"""What stands for a finger's four keypoints: its three bending joints and its very tip."""
LINK_ORIGINS = ("base", "proximal", "medial", "distal")
"""The same as in DexWM: the origins of its four links, of which the last is not a fingertip."""

OPEN_RADII = (0.03, 0.04, 0.05, 0.06)
CLOSED_RADII = (0.03, 0.04, 0.035, 0.03)
"""Distances from a gripper that stand for the keypoints of each finger [m]."""


def hand_frames(
    parts: Sequence[str] = FLEXIONS_AND_TIP,
    fingers: Sequence[str] = ("thumb", "index", "middle", "ring", "ring"),
    wrist: str = "wrist",
) -> tuple[str, ...]:
    """Return the frames of a robot's hand in the order of `KEYPOINTS`, for a `Kinematics`.

    A hand of four fingers shows its ring finger twice, the second time as the little one.

    Args:
        parts: The four frames of each finger, called `<finger>_<part>`.
        fingers: The five fingers, from the thumb on.
        wrist: The frame of the wrist.

    Raises:
        ValueError: there are not five fingers of four parts.
    """
    if len(fingers) != len(FINGERS) or len(parts) != len(PHALANXES):
        raise ValueError(
            f"a hand has {len(FINGERS)} fingers of {len(PHALANXES)} keypoints; there are "
            f"{list(fingers)} of {list(parts)}. Name a finger twice where the robot lacks one."
        )
    return (wrist, *(f"{finger}_{part}" for finger in fingers for part in parts))


def egodex_joints(hand: str) -> tuple[str, ...]:
    """Return what EgoDex calls the keypoints of a hand, in the order of `KEYPOINTS`.

    It has a metacarpal for each finger but the thumb besides, which is none of them.

    Raises:
        ValueError: there is no such hand.
    """
    if hand not in HANDS:
        raise ValueError(f"there is no hand {hand!r}; there are {list(HANDS)}.")
    named = (f"{each}Finger" if each != "Thumb" else each for each in FINGERS)
    return (f"{hand}Hand", *(f"{hand}{finger}{part}" for finger in named for part in PHALANXES))


def mano_keypoints(joints: Float[Tensor, "*rows 21 3"]) -> Float[Tensor, "*rows 21 3"]:
    """Return MANO's joints and tips in the order of `KEYPOINTS`."""
    return joints[..., MANO_ORDER, :]


def gripper_keypoints(
    position: Float[Tensor, "*rows 3"],
    closed: Bool[Tensor, "*rows"],
    rotation: Float[Tensor, "*rows 3 3"] | None = None,
) -> Float[Tensor, "*rows 21 3"]:
    """Return the keypoints of the hand that stands for a parallel gripper.

    Its wrist is the end effector, and its fingers are rays around it, 72 degrees apart, in the
    x-y plane; they draw in when it closes. Source: DexWM, what it makes of DROID.

    Args:
        position: Of the end effector [m].
        closed: Whether the gripper is (DROID: its position is at least .5).
        rotation: Axes of that plane, as columns. By default those of the frame that positions are
            in: there the published code puts the rays, however the gripper is turned.
    """
    angles = torch.arange(len(FINGERS), dtype=position.dtype, device=position.device)
    angles = angles * (2 * math.pi / len(FINGERS))
    rays = torch.stack([angles.cos(), angles.sin(), torch.zeros_like(angles)], dim=-1)
    radii = torch.where(
        closed[..., None], position.new_tensor(CLOSED_RADII), position.new_tensor(OPEN_RADII)
    )
    fingers = (radii[..., None, :, None] * rays[:, None]).flatten(-3, -2)
    if rotation is not None:
        fingers = fingers @ rotation.mT
    wrist = position[..., None, :]
    return torch.cat([wrist, wrist + fingers], dim=-2)


def hand_action(
    moved: Float[Tensor, "*rows 21 3"], hand: str = "right"
) -> Float[Tensor, "*rows 132"]:
    """Return the action of one hand under a camera that stands still.

    `moved` is how far each keypoint goes, `H(after) - H(before)`, both in one camera's frame [m].
    An action is 44 rows of three: 21 of the left hand, 21 of the right, the camera's way [m] and
    its turn [rad]. What does not move is zero. Source: DexWM, section 3.

    Raises:
        ValueError: there is no such hand.
    """
    if hand not in HANDS:
        raise ValueError(f"there is no hand {hand!r}; there are {list(HANDS)}.")
    before = HANDS.index(hand) * len(KEYPOINTS)
    padding = (0, 0, before, ACTION_ROWS - before - len(KEYPOINTS))
    return functional.pad(moved, padding).flatten(-2)
