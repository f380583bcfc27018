"""The 21 keypoints of a hand, their names and order, and what of a robot's hand stands for them."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

FINGERS = ("Thumb", "Index", "Middle", "Ring", "Little")
PHALANXES = ("Knuckle", "IntermediateBase", "IntermediateTip", "Tip")
KEYPOINTS = ("Hand", *(finger + part for finger in FINGERS for part in PHALANXES))
"""Names of the keypoints in their order, the wrist (`Hand`) first: those of EgoDex and DexWM."""

WRIST_AND_TIPS = (0, 4, 8, 12, 16, 20)
"""The keypoints that DexWM draws in heatmaps, predicts, and compares with the goal's."""

HANDS = ("left", "right")
ACTION_ROWS = 2 * len(KEYPOINTS) + 2
"""Rows of three numbers in an action: left hand, right hand, the camera's way and its turn."""

FLEXIONS_AND_TIP = ("proximal", "medial", "distal", "tip")
"""What stands for a finger's four keypoints: its three bending joints and its very tip."""
LINK_ORIGINS = ("base", "proximal", "medial", "distal")
"""The same as in DexWM: the origins of its four links, of which the last is not a fingertip."""


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


def hand_action(
    moved: Float[Tensor, "*rows 21 3"], hand: str = "right"
) -> Float[Tensor, "*rows 132"]:
    """Return the action of one hand under a camera that stands still.

    `moved` is how far each keypoint goes, `H(after) - H(before)`, both in one camera's frame [m].
    An action is 44 rows of three: 21 of the left hand, 21 of the right, the camera's way and its
    turn. What does not move is zero. Source: DexWM, section 3.

    Raises:
        ValueError: there is no such hand.
    """
    if hand not in HANDS:
        raise ValueError(f"there is no hand {hand!r}; there are {list(HANDS)}.")
    before = HANDS.index(hand) * len(KEYPOINTS)
    padding = (0, 0, before, ACTION_ROWS - before - len(KEYPOINTS))
    return functional.pad(moved, padding).flatten(-2)
