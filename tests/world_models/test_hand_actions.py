"""Actions of hands against DexWM's numbers, against geometry, and against those of planners."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from gymnasium.spaces import Box
from safetensors.torch import load_file
from scipy.spatial.transform import Rotation
from torch import Tensor

from dexworld.envs.robots.allegro_hand import JOINTS, right_hand
from dexworld.world_models.actions import JointsToKeypoints
from dexworld.world_models.base import COMMAND
from dexworld.world_models.cameras import Camera
from dexworld.world_models.hand_actions import (
    HandState,
    action_between,
    camera_only,
    difference,
    euler_angles,
    wrap_angles,
    wrists_and_camera,
)
from dexworld.world_models.hand_keypoints import hand_action, hand_frames
from dexworld.world_models.kinematics import Kinematics

DATA = Path(__file__).parents[1] / "data" / "dexwm"
ROWS = (2, 3)


def camera(seed: int, *rows: int) -> Camera:
    """Return cameras anywhere, turned anyhow."""
    generator = torch.Generator().manual_seed(seed)
    position = torch.randn(*rows, 3, generator=generator, dtype=torch.float64)
    quaternions = torch.randn(*rows, 4, generator=generator, dtype=torch.float64).reshape(-1, 4)
    rotation = torch.from_numpy(Rotation.from_quat(quaternions.numpy()).as_matrix())
    return Camera.from_view(position, rotation.reshape(*rows, 3, 3), 60.0, 224, 392)


def state(seed: int) -> HandState:
    generator = torch.Generator().manual_seed(seed)
    keypoints = torch.randn(*ROWS, 2, 21, 3, generator=generator, dtype=torch.float64)
    present = torch.ones(*ROWS, 2, dtype=torch.bool)
    return HandState(keypoints, present, camera(seed, *ROWS))


def seen(points: Tensor, by: Camera) -> Tensor:
    return by.directions(points.flatten(-3, -2) - by.position[..., None, :])


def test_official_actions_are_those_of_the_published_code() -> None:
    tensors = load_file(DATA / "config2.safetensors")
    before, after = tensors["in/actions_pair"].split(44, dim=-2)
    expected = tensors["out/prepared_actions_pair"]
    actions = difference(before, after, official=True)
    torch.testing.assert_close(actions, expected, rtol=1e-6, atol=1e-6)
    wrapped = difference(before, after)
    assert torch.equal(wrapped[..., :-3], actions[..., :-3])
    turns = (wrapped - actions)[..., -3:] / (2 * math.pi)
    torch.testing.assert_close(turns, turns.round(), atol=1e-6, rtol=0)
    assert wrapped[..., -3:].abs().max() <= math.pi and (turns.round() == -1).any()


def test_differences_of_angles_take_the_short_way() -> None:
    before, after = torch.zeros(44, 3).double(), torch.zeros(44, 3).double()
    before[43], after[43] = torch.tensor([3.0, 0.1, -3.0]), torch.tensor([-3.0, 0.0, 3.0])
    short, tau = 2 * math.pi - 6, 2 * math.pi
    turn, official = (difference(before, after, each)[-3:].tolist() for each in (False, True))
    assert turn == pytest.approx([short, -0.1, -short], abs=1e-7)
    assert official == pytest.approx([short, tau - 0.1, 6.0], abs=1e-7)


def test_official_states_are_seen_from_the_first_camera_and_cameras_in_the_world() -> None:
    before, after, first = state(0), state(1), camera(2, *ROWS)
    rows = [
        torch.cat(
            [
                seen(each.keypoints, first),
                each.camera.position[..., None, :],
                torch.from_numpy(
                    Rotation.from_matrix(each.camera.rotation.reshape(-1, 3, 3).numpy())
                    .as_euler("xyz")
                    .reshape(*ROWS, 1, 3)
                ),
            ],
            dim=-2,
        )
        for each in (before, after)
    ]
    actions = action_between(before, after, frame=first, official=True)
    torch.testing.assert_close(actions, difference(*rows, official=True))


def test_by_default_everything_is_in_the_first_camera_s_frame() -> None:
    before, after = state(0), state(1)
    rows = action_between(before, after).unflatten(-1, (44, 3))
    eye = before.camera
    torch.testing.assert_close(
        rows[..., :42, :], seen(after.keypoints, eye) - seen(before.keypoints, eye)
    )
    way = eye.directions((after.camera.position - eye.position)[..., None, :])
    torch.testing.assert_close(rows[..., 42:43, :], way)
    turn = Rotation.from_euler("xyz", rows[..., 43, :].reshape(-1, 3).numpy()).as_matrix()
    expected = (eye.rotation.mT @ after.camera.rotation).reshape(-1, 3, 3)
    torch.testing.assert_close(torch.from_numpy(turn), expected)


def test_actions_do_not_depend_on_where_the_world_begins() -> None:
    """Unlike the official ones, of which only the hands do not."""
    before, after, frame = state(0), state(1), camera(2, *ROWS)
    world = camera(5)

    def moved(eye: Camera) -> Camera:
        position = world.position + eye.position @ world.rotation.mT
        return Camera.from_view(position, world.rotation @ eye.rotation, 60.0, 224, 392)

    elsewhere = [
        HandState(
            world.position + each.keypoints @ world.rotation.mT, each.present, moved(each.camera)
        )
        for each in (before, after)
    ]
    torch.testing.assert_close(
        action_between(*elsewhere, frame=moved(frame)), action_between(before, after, frame=frame)
    )
    official, there = (
        action_between(*pair, official=True) for pair in ((before, after), elsewhere)
    )
    torch.testing.assert_close(there[..., :126], official[..., :126])
    assert not torch.allclose(there[..., 126:], official[..., 126:])


def test_a_small_turn_back_is_small() -> None:
    eye, points = camera(0), torch.zeros(21, 3).double()
    back = torch.from_numpy(Rotation.from_rotvec([0.0, 0.0, -1e-3]).as_matrix())
    turned = Camera.from_view(eye.position, eye.rotation @ back, 60.0, 224, 392)
    states = [HandState.of(each, right=points) for each in (eye, turned)]
    torch.testing.assert_close(
        action_between(*states)[-3:], torch.tensor([0.0, 0.0, -1e-3]).double()
    )
    assert action_between(*states, official=True)[-3:].max() > 6


def test_a_missing_hand_does_not_move() -> None:
    before, after = state(0), state(1)
    present = torch.tensor([[[True, True], [False, True], [True, False]]] * 2)
    points = before.keypoints.clone()
    points[~present] = torch.nan
    actions = action_between(HandState(points, present, before.camera), after)
    whole = action_between(before, after)
    hands = actions[..., :126].unflatten(-1, (2, 63))
    torch.testing.assert_close(hands[present], whole[..., :126].unflatten(-1, (2, 63))[present])
    assert (hands[~present] == 0).all()
    torch.testing.assert_close(actions[..., 126:], whole[..., 126:])


def test_states_of_one_hand() -> None:
    points = torch.randn(5, 2, 21, 3, generator=torch.Generator().manual_seed(0)).double()
    before, after = (HandState.of(camera(0), left=points[:, time]) for time in (0, 1))
    moved = camera(0).directions(points[:, 1] - points[:, 0])
    torch.testing.assert_close(action_between(before, after), hand_action(moved, "left"))
    both = HandState.of(camera(0), left=points[:, 0], right=points[:, 1])
    assert both.present.all() and torch.equal(both.keypoints, points)
    with pytest.raises(ValueError, match="a left or a right hand"):
        HandState.of(camera(0))


def test_an_allegro_hand_acts_as_planners_say() -> None:
    kinematics = Kinematics(right_hand().compile(), hand_frames(), JOINTS)
    low, high = kinematics.low, kinematics.high
    joints = low + (high - low) * torch.rand(2, 16, generator=torch.Generator().manual_seed(0))
    states = [HandState.of(camera(0), right=kinematics.positions(each)) for each in joints]
    plan = JointsToKeypoints(Box(low.numpy(), high.numpy(), dtype=float), kinematics, camera(0))
    planned = plan.to_model(joints[1].view(1, 1, 1, 16), {COMMAND: joints[:1]})
    torch.testing.assert_close(action_between(*states), planned.flatten())


def test_reduced_actions_keep_the_camera_and_the_wrists() -> None:
    actions = torch.rand(2, 5, 132, generator=torch.Generator().manual_seed(0)) + 1
    for reduced, rows in ((camera_only, [42, 43]), (wrists_and_camera, [0, 21, 42, 43])):
        expected = torch.zeros(2, 5, 44, 3)
        expected[:, :, rows] = actions.unflatten(-1, (44, 3))[:, :, rows]
        assert torch.equal(reduced(actions), expected.flatten(-2))


def test_angles_are_wrapped() -> None:
    pi = math.pi
    angles = torch.tensor([0.0, -1e-12, 3.0, pi, -pi, 4.0, -4.0, 7.0, 20.0], dtype=torch.float64)
    wrapped = wrap_angles(angles)
    assert torch.equal(wrapped[:4], angles[:4]) and wrapped[4] == pi
    assert (wrapped > -pi).all() and (wrapped <= pi).all()
    torch.testing.assert_close(wrapped.sin(), angles.sin())
    torch.testing.assert_close(wrapped.cos(), angles.cos())


def test_euler_angles_have_the_gradients_of_finite_differences() -> None:
    rotation = camera(3, 4).rotation.requires_grad_()
    assert torch.autograd.gradcheck(euler_angles, rotation)
