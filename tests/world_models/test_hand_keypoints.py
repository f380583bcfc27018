"""Names and order of a hand's keypoints: of robots, people, grippers; where actions have them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from dexworld.envs.robots.allegro_hand import JOINTS, right_hand
from dexworld.world_models.hand_keypoints import (
    FINGERS,
    FLEXIONS_AND_TIP,
    KEYPOINTS,
    LINK_ORIGINS,
    PHALANXES,
    WRIST_AND_TIPS,
    egodex_joints,
    gripper_keypoints,
    hand_action,
    hand_frames,
    mano_keypoints,
)
from dexworld.world_models.kinematics import Kinematics


def test_the_order_is_wrist_thumb_index_middle_ring_little() -> None:
    assert len(KEYPOINTS) == 21
    assert KEYPOINTS[:6] == (
        *("Hand", "ThumbKnuckle", "ThumbIntermediateBase", "ThumbIntermediateTip", "ThumbTip"),
        "IndexKnuckle",
    )
    tips = [KEYPOINTS[index] for index in WRIST_AND_TIPS]
    assert tips == ["Hand", "ThumbTip", "IndexTip", "MiddleTip", "RingTip", "LittleTip"]


def test_the_ring_finger_is_the_little_finger_too() -> None:
    frames = hand_frames()
    assert frames[0] == "wrist" and frames[1:5] == tuple(f"thumb_{p}" for p in FLEXIONS_AND_TIP)
    assert frames[13:17] == frames[17:21] == tuple(f"ring_{part}" for part in FLEXIONS_AND_TIP)


def test_the_allegro_hand_shows_them() -> None:
    kinematics = Kinematics(right_hand().compile(), hand_frames(), JOINTS)
    found = dict(zip(KEYPOINTS, kinematics.positions(torch.zeros(16)).tolist(), strict=True))
    golden = {  # fingertips of the straight hand [m]
        "IndexTip": (0.0, 0.05531, 0.13344),
        "MiddleTip": (0.0, 0.0, 0.13620),
        "RingTip": (0.0, -0.05531, 0.13344),
        "LittleTip": (0.0, -0.05531, 0.13344),
        "ThumbTip": (-0.0132, 0.16770, -0.08607),
        "Hand": (0.0, 0.0, -0.095),
    }
    for name, expected in golden.items():
        assert found[name] == pytest.approx(expected, abs=1e-4), name


def test_dexwms_tips_are_the_origins_of_the_last_links() -> None:
    model = right_hand().compile()
    tips, links = (
        Kinematics(model, hand_frames(parts), JOINTS).positions(torch.full((16,), 0.5))
        for parts in (FLEXIONS_AND_TIP, LINK_ORIGINS)
    )
    short = (tips - links)[[4, 8, 12, 16]].norm(dim=1)
    torch.testing.assert_close(short, torch.tensor([0.0423, 0.0267, 0.0267, 0.0267]))
    torch.testing.assert_close(tips[1:4], links[2:5])


def test_mano_counts_its_fingers_differently() -> None:
    """Index, middle, little, ring, thumb, three joints each; then the tips, thumb first."""
    fingers = ["Index", "Middle", "Little", "Ring", "Thumb"]
    names = ["Hand", *(finger + part for finger in fingers for part in PHALANXES[:3])]
    names += [finger + "Tip" for finger in FINGERS]
    joints = torch.tensor([float(KEYPOINTS.index(name)) for name in names])
    found = mano_keypoints(joints[None, :, None].expand(4, 21, 3))
    assert torch.equal(found, torch.arange(21.0)[None, :, None].expand(4, 21, 3))


def test_egodex_names_sides_and_fingers() -> None:
    names = egodex_joints("left")
    assert names[:2] == ("leftHand", "leftThumbKnuckle") and names[8] == "leftIndexFingerTip"
    plain = [name.removeprefix("left").replace("Finger", "") for name in names]
    assert plain == list(KEYPOINTS)
    assert all(name.startswith("right") for name in egodex_joints("right"))


def test_a_gripper_is_five_rays() -> None:
    position = torch.tensor([[0.5, 0.1, 0.3]] * 2, dtype=torch.float64)
    keypoints = gripper_keypoints(position, torch.tensor([False, True]))
    for row, radii in enumerate([(0.03, 0.04, 0.05, 0.06), (0.03, 0.04, 0.035, 0.03)]):
        torch.testing.assert_close(keypoints[row, 0], position[row])
        for finger, part in np.ndindex(5, 4):
            angle = 2 * math.pi * finger / 5
            ray = torch.tensor([math.cos(angle), math.sin(angle), 0.0], dtype=torch.float64)
            expected = position[row] + radii[part] * ray
            torch.testing.assert_close(keypoints[row, 1 + 4 * finger + part], expected)
    # In the plane of a gripper that points along x: nothing along its own third axis.
    axes = torch.tensor([[0.0, 0.0, 1.0], [0.0, 1.0, 0.0], [-1.0, 0.0, 0.0]]).double()
    turned = gripper_keypoints(position, torch.tensor([False, True]), axes.expand(2, 3, 3))
    torch.testing.assert_close(turned[..., 0], position[:, :1].expand(2, 21))
    torch.testing.assert_close(turned[1, 1], position[1] + 0.03 * axes[:, 0])


@pytest.mark.parametrize(("hand", "first"), [("left", 0), ("right", 21)])
def test_an_action_has_44_rows_of_which_the_hands_are_42(hand: str, first: int) -> None:
    moved = torch.randn(2, 5, 21, 3, generator=torch.Generator().manual_seed(0))
    action = hand_action(moved, hand)
    assert action.shape == (2, 5, 132)
    rows = action.reshape(2, 5, 44, 3)
    assert torch.equal(rows[:, :, first : first + 21], moved)
    rows[:, :, first : first + 21] = 0
    assert (rows == 0).all()


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="there is no hand 'third'; there are"):
        hand_action(torch.zeros(21, 3), "third")
    with pytest.raises(ValueError, match="there is no hand 'third'; there are"):
        egodex_joints("third")
    with pytest.raises(
        ValueError, match=r"5 fingers of 4 keypoints; there are.*Name a finger twice"
    ):
        hand_frames(fingers=("thumb", "index", "middle", "ring"))
