"""Action maps against their equations; gradients and bounds of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from dexworld.envs.robots.allegro_hand import JOINTS, right_hand
from dexworld.world_models.actions import (
    Chain,
    Chunks,
    Forked,
    Hold,
    Increments,
    Interpolate,
    JointsToKeypoints,
)
from dexworld.world_models.base import COMMAND, ActionMap, State
from dexworld.world_models.cameras import Camera
from dexworld.world_models.conformance_actions import BATCH, HORIZON, ActionMapConformance
from dexworld.world_models.hand_keypoints import FLEXIONS_AND_TIP, hand_frames
from dexworld.world_models.kinematics import Kinematics

B, N, T, A = 2, 3, 4, 2
SPACE = Box(np.array([-1.0, 0.0]), np.array([2.0, 5.0]), dtype=np.float64)
STATE = {"command": torch.tensor([[0.5, 1.0], [2.0, 4.5]], dtype=torch.float64)}
MAPS: dict[str, Callable[[], ActionMap]] = {
    "hold": lambda: Hold(SPACE, 3),
    "interpolate": lambda: Interpolate(SPACE, 3),
    "increments": lambda: Increments(SPACE, 0.7),
    "chain": lambda: Chain([Increments(SPACE, 0.7), Interpolate(SPACE, 2), Hold(SPACE, 2)]),
}


def decisions_for(action_map: ActionMap) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    low, high = torch.from_numpy(action_map.action_space.low), action_map.action_space.high
    unit = torch.rand(B, N, T, A, generator=generator, dtype=torch.float64)
    return low + (torch.from_numpy(high) - low) * unit


class TestHold(ActionMapConformance):
    model_space = SPACE

    def make_action_map(self) -> ActionMap:
        return MAPS["hold"]()


class TestInterpolate(TestHold):
    def make_action_map(self) -> ActionMap:
        return MAPS["interpolate"]()


class TestIncrements(TestHold):
    def make_action_map(self) -> ActionMap:
        return MAPS["increments"]()


class TestChain(TestHold):
    def make_action_map(self) -> ActionMap:
        return MAPS["chain"]()


CHUNKED = Box(np.tile(SPACE.low, 2), np.tile(SPACE.high, 2), dtype=np.float64)
"""Actions of a model that takes two of the environment's at once."""


class TestChunks(ActionMapConformance):
    """Of decisions that are held for four steps, two chunks of two."""

    model_space, shares_space = CHUNKED, False

    def make_action_map(self) -> ActionMap:
        return Chain([Hold(SPACE, 4), Chunks(SPACE, 2)])

    def make_state(self) -> State:
        return {COMMAND: self._inside(SPACE, BATCH)}

    def test_mapping_goes_on_where_it_left_off(self) -> None:
        """From the last command, which is an environment's action and not a chunk of them."""
        action_map, decisions, state = self.setup()
        together = action_map.to_model(decisions, state)
        executed = action_map.to_env(decisions[:, 2], state)
        for time in range(1, HORIZON):
            later = {**state, COMMAND: executed[:, 4 * time - 1]}
            rest = action_map.to_model(decisions[:, 2:3, time:], later)
            self.assert_same(rest, together[:, 2:3, 2 * time :], f"from decision {time} on")

    def test_the_environment_gets_what_the_chunks_are_made_of(self) -> None:
        action_map, decisions, state = self.setup()
        assert action_map.steps == 4
        chunks = action_map.to_model(decisions, state)[:, 2]
        actions = action_map.to_env(decisions[:, 2], state)
        assert actions.shape == (BATCH, 4 * HORIZON, 2)
        self.assert_same(actions, chunks.reshape(BATCH, 4 * HORIZON, 2), "in a row")


class TestChunksOfInterpolatedIncrements(TestChunks):
    tolerance = 1e-15

    def make_action_map(self) -> ActionMap:
        return Chain([Increments(SPACE, 0.7), Interpolate(SPACE, 4), Chunks(SPACE, 2)])


HAND = Kinematics(right_hand().compile(), hand_frames(), JOINTS)
JOINT_TARGETS = Box(HAND.low.numpy(), HAND.high.numpy(), dtype=np.float64)
NORMALISED = Box(-1.0, 1.0, (16,), np.float64)
SIDEWAYS = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]]).double()
CAMERA = Camera.from_view(torch.tensor([-0.5, 0.0, 0.0]).double(), SIDEWAYS, 60.0, 224, 392)


class TestJointsToKeypoints(ActionMapConformance):
    model_space, shares_space = Box(-0.4, 0.4, (132,), np.float64), False
    tolerance = 1e-14

    def make_action_map(self) -> ActionMap:
        return JointsToKeypoints(JOINT_TARGETS, HAND, CAMERA)

    def make_state(self) -> State:
        return {COMMAND: self._inside(self.make_action_map().action_space, BATCH)}

    def test_gradients_reach_every_decision(self) -> None:
        """And weigh, since movements add up to one that depends on the last decision alone."""
        action_map, decisions, state = self.setup()
        decisions = decisions[:, 2:].requires_grad_()
        actions = action_map.to_model(decisions, state)
        (gradient,) = torch.autograd.grad(actions.square().sum(), decisions, retain_graph=True)
        assert torch.isfinite(gradient).all() and (gradient != 0).all()
        (own,) = torch.autograd.grad(actions[1, 0].square().sum(), decisions)
        own[1, 0] = 0
        assert (own == 0).all(), "a gradient reaches other problems or candidates"

    def test_mapping_goes_on_where_it_left_off(self) -> None:
        """From the last command, which is the last decision."""
        action_map, decisions, state = self.setup()
        together = action_map.to_model(decisions, state)
        for time in range(1, HORIZON):
            later = {**state, COMMAND: decisions[:, 2, time - 1]}
            rest = action_map.to_model(decisions[:, 2:3, time:], later)
            self.assert_same(rest, together[:, 2:3, time:], f"from decision {time} on")

    def test_actions_are_how_far_keypoints_move_in_the_cameras_frame(self) -> None:
        action_map, decisions, state = self.setup()
        rows = action_map.to_model(decisions, state).reshape(BATCH, -1, HORIZON, 44, 3)
        for b, n, time in np.ndindex(BATCH, decisions.shape[1], HORIZON):
            before = state[COMMAND][b] if time == 0 else decisions[b, n, time - 1]
            seen = [self.seen(joints) for joints in (before, decisions[b, n, time])]
            torch.testing.assert_close(rows[b, n, time, 21:42], seen[1] - seen[0])
        assert (rows[:, :, :, :21] == 0).all() and (rows[:, :, :, 42:] == 0).all()

    def seen(self, joints: Tensor) -> Tensor:
        """Return the keypoints in the camera's frame."""
        return torch.stack([CAMERA.rotation.T @ (p - CAMERA.position) for p in self.place(joints)])

    def place(self, joints: Tensor) -> Tensor:
        return HAND.positions(joints)

    def test_the_environment_gets_the_joint_targets(self) -> None:
        action_map, decisions, state = self.setup()
        assert action_map.steps == 1
        assert torch.equal(action_map.to_env(decisions[:, 1], state), decisions[:, 1])


class TestNormalisedJointsToKeypoints(TestJointsToKeypoints):
    """In units of an environment that takes -1 to 1, under a camera that the state carries."""

    def make_action_map(self) -> ActionMap:
        limits = (HAND.low.numpy(), HAND.high.tolist())
        return JointsToKeypoints(NORMALISED, HAND, "camera_front", joint_range=limits)

    def make_state(self) -> State:
        calibration = CAMERA.as_vector().expand(BATCH, -1)
        return {**super().make_state(), "camera_front": calibration}

    def place(self, joints: Tensor) -> Tensor:
        return HAND.positions(HAND.low + (joints + 1) / 2 * (HAND.high - HAND.low))


def test_a_chain_may_end_in_keypoints() -> None:
    first, last = Increments(JOINT_TARGETS, 0.3), JointsToKeypoints(JOINT_TARGETS, HAND, CAMERA)
    generator = torch.Generator().manual_seed(0)
    decisions = 2 * torch.rand(2, 3, 4, 16, generator=generator, dtype=torch.float64) - 1
    state = {COMMAND: (HAND.low + HAND.high).expand(2, -1) / 2}
    targets = first.to_model(decisions, state)
    chain = Chain([first, last])
    assert torch.equal(chain.to_model(decisions, state), last.to_model(targets, state))
    assert torch.equal(chain.to_env(decisions[:, 1], state), targets[:, 1])
    assert chain.action_space == Box(-1.0, 1.0, (16,))


def test_cameras_of_the_state_are_those_of_their_problems() -> None:
    decisions = torch.full((2, 1, 1, 16), 0.3).double()
    mirrored = torch.diag(torch.tensor([-1.0, -1.0, 1.0])).double()
    other = Camera.from_view(CAMERA.position, SIDEWAYS @ mirrored, 60.0, 224, 392)
    state = {
        COMMAND: torch.zeros(2, 16).double(),
        "camera": torch.stack([CAMERA.as_vector(), other.as_vector()]),
    }
    actions = JointsToKeypoints(JOINT_TARGETS, HAND, "camera").to_model(decisions, state)
    first, second = actions.reshape(2, 44, 3)
    torch.testing.assert_close(second, first @ mirrored)
    assert first.any()


def test_a_left_hand_moves_the_left_rows() -> None:
    decisions = torch.full((1, 1, 1, 16), 0.3).double()
    state = {COMMAND: torch.zeros(1, 16).double()}
    sides = [
        JointsToKeypoints(JOINT_TARGETS, HAND, CAMERA, hand=hand).to_model(decisions, state)
        for hand in ("left", "right")
    ]
    assert torch.equal(sides[0][..., :63], sides[1][..., 63:126])
    assert not torch.equal(sides[0], sides[1])


def test_models_may_get_the_joints_too() -> None:
    limits = (HAND.low.numpy(), HAND.high.numpy())
    plain, keeping = (
        JointsToKeypoints(NORMALISED, HAND, CAMERA, joint_range=limits, keep_joints=keep)
        for keep in (False, True)
    )
    generator = torch.Generator().manual_seed(0)
    decisions = 2 * torch.rand(2, 3, 4, 16, generator=generator, dtype=torch.float64) - 1
    state = {COMMAND: torch.zeros(2, 16).double()}
    actions = keeping.to_model(decisions, state)
    assert actions.shape == (2, 3, 4, 132 + 16)
    assert torch.equal(actions[..., :132], plain.to_model(decisions, state))
    assert torch.equal(actions[..., 132:], decisions)
    assert torch.equal(keeping.to_env(decisions[:, 0], state), decisions[:, 0])


def test_an_action_space_beyond_the_joints_limits_warns() -> None:
    wide = HAND.high.clone()
    wide[5] += 0.1
    space = Box(HAND.low.numpy(), wide.numpy(), dtype=np.float64)
    with pytest.warns(UserWarning, match=r"1 of 16 joints.*number 5 to between.*Narrow the action"):
        JointsToKeypoints(space, HAND, CAMERA)
    with pytest.warns(UserWarning, match="16 of 16 joints may be sent beyond"):
        JointsToKeypoints(Box(-np.inf, np.inf, (16,)), HAND, CAMERA)
    # Turned around, and beyond at either end.
    for beyond in ((HAND.high, HAND.low - 0.01), (HAND.high + 0.01, HAND.low)):
        with pytest.warns(UserWarning, match="16 of 16 joints may be sent beyond"):
            JointsToKeypoints(NORMALISED, HAND, CAMERA, joint_range=beyond)
    # Single precision is not beyond.
    JointsToKeypoints(Box(HAND.low.float().numpy(), HAND.high.float().numpy()), HAND, CAMERA)


@pytest.fixture(params=MAPS)
def action_map(request: pytest.FixtureRequest) -> ActionMap:
    return MAPS[request.param]()


def test_hold_repeats() -> None:
    decisions = decisions_for(Hold(SPACE, 3))
    actions = Hold(SPACE, 3).to_model(decisions, {})
    for time in range(3 * T):
        assert torch.equal(actions[:, :, time], decisions[:, :, time // 3])


def test_interpolate_follows_straight_lines_from_the_last_command() -> None:
    decisions = decisions_for(Interpolate(SPACE, 3))
    actions = Interpolate(SPACE, 3).to_model(decisions, STATE)
    for b, n, time in np.ndindex(B, N, T):
        previous = STATE["command"][b] if time == 0 else decisions[b, n, time - 1]
        for step in range(3):
            expected = previous + (step + 1) / 3 * (decisions[b, n, time] - previous)
            torch.testing.assert_close(actions[b, n, 3 * time + step], expected)


def test_increments_accumulate_within_the_bounds() -> None:
    decisions = decisions_for(Increments(SPACE, 0.7))
    actions = Increments(SPACE, 0.7).to_model(decisions, STATE)
    for b, n in np.ndindex(B, N):
        command = STATE["command"][b]
        for time in range(T):
            command = (command + 0.7 * decisions[b, n, time]).clamp(
                torch.from_numpy(SPACE.low), torch.from_numpy(SPACE.high)
            )
            torch.testing.assert_close(actions[b, n, time], command)
    assert Increments(SPACE, 0.7).action_space == Box(-1.0, 1.0, (2,))


def test_each_dimension_may_have_its_own_increment() -> None:
    decisions = decisions_for(Increments(SPACE, 0.1))
    actions = Increments(SPACE, [0.1, 0.3]).to_model(decisions, STATE)
    moved = actions[:, :, 0] - STATE["command"][:, None]
    torch.testing.assert_close(
        moved,
        (decisions[:, :, 0] * torch.tensor([0.1, 0.3]).double()).clamp(
            torch.from_numpy(SPACE.low) - STATE["command"][:, None],
            torch.from_numpy(SPACE.high) - STATE["command"][:, None],
        ),
    )
    with pytest.raises(ValueError, match="one number or 2, got"):
        Increments(SPACE, [0.1, 0.2, 0.3])


def test_a_fork_is_one_map_for_the_model_and_another_for_the_environment() -> None:
    hold, line = Hold(SPACE, 1), Interpolate(SPACE, 3)
    fork, decisions = Forked(hold, line), decisions_for(hold)
    assert torch.equal(fork.to_model(decisions, STATE), decisions)
    expected = line.to_env(decisions[:, 0], STATE)
    assert torch.equal(fork.to_env(decisions[:, 0], STATE), expected)
    assert fork.steps == 3
    chain = Chain([Increments(SPACE, 0.7), fork])
    assert chain.to_model(decisions, STATE).shape[2] == T
    assert chain.to_env(decisions[:, 0], STATE).shape[1] == 3 * T
    with pytest.raises(ValueError, match="take the same decisions"):
        Forked(hold, Hold(Box(0.0, 1.0, (2,)), 1))


def test_chain_applies_the_first_map_first() -> None:
    first, second = Increments(SPACE, 0.7), Interpolate(SPACE, 2)
    decisions = decisions_for(first)
    expected = second.to_model(first.to_model(decisions, STATE), STATE)
    torch.testing.assert_close(Chain([first, second]).to_model(decisions, STATE), expected)
    assert Chain([first, second]).action_space is first.action_space


def test_a_chain_ends_with_what_the_environment_takes() -> None:
    hold, chunks = Hold(SPACE, 4), Chunks(SPACE, 2)
    decisions = decisions_for(hold)
    chain = Chain([hold, chunks])
    assert torch.equal(chain.to_env(decisions[:, 0], STATE), hold.to_env(decisions[:, 0], STATE))
    plain = Chain([Increments(SPACE, 0.7), Interpolate(SPACE, 2)])
    expected = plain.to_model(decisions, STATE)[:, 1]
    assert torch.equal(plain.to_env(decisions[:, 1], STATE), expected)
    assert torch.equal(chunks.to_env(decisions[:, 1], {}), decisions[:, 1])


def test_gradients_are_those_of_finite_differences(action_map: ActionMap) -> None:
    decisions = decisions_for(action_map).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: action_map.to_model(u, STATE), decisions, eps=1e-7)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Hold\(steps\) must be at least 1, got 0"):
        Hold(SPACE, 0)
    with pytest.raises(ValueError, match=r"Increments\(scale\) must be positive"):
        Increments(SPACE, 0.0)
    with pytest.raises(ValueError, match=r"Chunks\(chunk\) must be at least 1, got 0"):
        Chunks(SPACE, 0)
    with pytest.raises(ValueError, match="4 environment actions are not chunks of 3"):
        Chunks(SPACE, 3).to_model(decisions_for(Hold(SPACE, 1)), {})
    with pytest.raises(ValueError, match="at least one action map"):
        Chain([])
    with pytest.raises(KeyError, match=r"state\['command'\].*Use Hold"):
        Interpolate(SPACE, 2).to_model(decisions_for(Hold(SPACE, 1)), {"x": torch.zeros(2)})


def test_nonsense_about_keypoints_is_refused() -> None:
    few = Kinematics(right_hand().compile(), hand_frames(), JOINTS[:7])
    with pytest.raises(ValueError, match=r"shape \(16,\) and Kinematics.* takes \(7,\)"):
        JointsToKeypoints(JOINT_TARGETS, few, CAMERA)
    tips = Kinematics(right_hand().compile(), [f"index_{p}" for p in FLEXIONS_AND_TIP], JOINTS)
    with pytest.raises(ValueError, match=r"moves the 21 keypoints.*given 4 frames of 'right'"):
        JointsToKeypoints(JOINT_TARGETS, tips, CAMERA)
    with pytest.raises(ValueError, match="given 21 frames of 'both'"):
        JointsToKeypoints(JOINT_TARGETS, HAND, CAMERA, hand="both")
    unbounded, limits = Box(-np.inf, np.inf, (16,)), (HAND.low, HAND.high)
    with pytest.raises(ValueError, match="has no bounds that joint_range could stand for"):
        JointsToKeypoints(unbounded, HAND, CAMERA, joint_range=limits)
    start = {COMMAND: torch.zeros(1, 16).double()}
    decisions = torch.zeros(1, 1, 1, 16).double()
    with pytest.raises(KeyError, match=r"state\['camera_torso'\].*Give it a Camera"):
        JointsToKeypoints(JOINT_TARGETS, HAND, "camera_torso").to_model(decisions, start)
    with pytest.raises(KeyError, match=r"state\['command'\]"):
        JointsToKeypoints(JOINT_TARGETS, HAND, CAMERA).to_model(decisions, {})
