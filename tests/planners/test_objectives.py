"""Objectives against their equations, written out, and the laws of an objective."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dexworld.planners.base import Objective
from dexworld.planners.conformance_objective import Motion, ObjectiveConformance
from dexworld.planners.linear_quadratic import QuadraticCost
from dexworld.planners.objectives import (
    Disagreement,
    KeypointDistance,
    LatentDistance,
    NegativeReturn,
    NegativeReward,
    PoseError,
    Reach,
    Smoothness,
    rotation_angle,
    wrapped_angle,
)
from dexworld.planners.terms import Addable

B, N, T, A = 2, 3, 4, 5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PREDICTIONS = {
    "keypoints": random(B, N, T, 6, 2),
    "agent": random(B, N, T, 2, 2, seed=4),
    "latent": random(B, N, T, 3, 4),
    "pose": random(B, N, T, 3),
    "reward": random(B, N, T),
    "value": random(B, N, T, seed=6),
    "disagreement": random(B, N, T, seed=5).square(),
}
GOAL = {
    "keypoints": random(B, 6, 2, seed=1),
    "latent": random(B, 3, 4, seed=1),
    "pose": random(B, 3, seed=1),
}
ACTIONS = random(B, N, T, A, seed=2)
STATE = {"command": random(B, A, seed=3)}


class TestKeypointDistance(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return KeypointDistance(running=0.5, discount=0.9)

    def make_predictions(self) -> dict[str, Tensor]:
        return {"keypoints": self.random(*self.shape, 4, 2)}

    def make_goal(self) -> dict[str, Tensor]:
        return {"keypoints": self.random(self.shape[0], 4, 2)}


class TestLatentDistance(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return LatentDistance()

    def make_predictions(self) -> dict[str, Tensor]:
        return {"latent": self.random(*self.shape, 3, 4)}

    def make_goal(self) -> dict[str, Tensor]:
        return {"latent": self.random(self.shape[0], 3, 4)}


class TestPlanarPoseError(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return PoseError(rotation_scale=10.0)

    def make_predictions(self) -> dict[str, Tensor]:
        return {"pose": self.random(*self.shape, 3)}

    def make_goal(self) -> dict[str, Tensor]:
        return {"pose": self.random(self.shape[0], 3)}


class TestSpatialPoseError(ObjectiveConformance):
    tolerance = 1e-9

    def make_objective(self) -> Objective:
        return PoseError()

    def poses(self, *shape: int) -> dict[str, Tensor]:
        turned = torch.nn.functional.normalize(self.random(*shape, 4), dim=-1)
        return {"pose": torch.cat([self.random(*shape, 3), turned], dim=-1)}

    def make_predictions(self) -> dict[str, Tensor]:
        return self.poses(*self.shape)

    def make_goal(self) -> dict[str, Tensor]:
        return self.poses(self.shape[0])


class TestReach(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return Reach()

    def make_predictions(self) -> dict[str, Tensor]:
        points = {"agent": self.random(*self.shape, 2, 2)}
        return points | {"keypoints": self.random(*self.shape, 4, 2)}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        points = motion.predictions["keypoints"]
        return {"agent": points[..., 1:3, :], "keypoints": points}, motion.actions


class TestSmoothness(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return Smoothness()

    def make_state(self) -> dict[str, Tensor]:
        return {"command": self.random(self.shape[0], self.action)}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        return {}, motion.state["command"][:, None, None].expand_as(motion.actions)


class TestNegativeReward(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return NegativeReward()

    def make_predictions(self) -> dict[str, Tensor]:
        return {"reward": self.random(*self.shape)}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        return {"reward": motion.predictions["reward"] + 9.0}, motion.actions


class TestNegativeReturn(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return NegativeReturn(2.0, discount=0.9, actions=3)

    def make_predictions(self) -> dict[str, Tensor]:
        return {"reward": self.random(*self.shape), "value": self.random(*self.shape)}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        return {key: each + 9.0 for key, each in motion.predictions.items()}, motion.actions

    def test_only_the_last_value_counts(self) -> None:
        objective, motion = self.setup()
        changed = motion.predictions["value"].clone()
        changed[:, :, :-1] += 1.0
        before = self.cost(objective, motion)
        motion.predictions["value"] = changed
        self.assert_same(self.cost(objective, motion), before, "the cost")


class TestDisagreement(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return Disagreement()

    def make_predictions(self) -> dict[str, Tensor]:
        return {"disagreement": self.random(*self.shape).square()}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        return {"disagreement": motion.predictions["disagreement"] + 9.0}, motion.actions


class TestSum(TestKeypointDistance):
    def make_objective(self) -> Objective:
        return 2.0 * KeypointDistance() + 0.1 * Smoothness(from_command=False)

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        arrived, actions = super().at_the_goal(motion)
        return arrived, torch.zeros_like(actions)


class TestQuadraticCost(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return QuadraticCost(effort=0.1)

    def make_predictions(self) -> dict[str, Tensor]:
        return {"state": self.random(*self.shape, 3)}

    def make_goal(self) -> dict[str, Tensor]:
        return {"state": self.random(self.shape[0], 3)}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        arrived, actions = super().at_the_goal(motion)
        return arrived, torch.zeros_like(actions)


def cost(objective: Addable, state: dict[str, Tensor] | None = None) -> Tensor:
    return objective.cost(PREDICTIONS, ACTIONS, STATE if state is None else state, GOAL)


def test_keypoint_distance_is_the_mean_euclidean_distance_at_the_end() -> None:
    expected = torch.zeros(B, N, dtype=torch.float64)
    for b, n, k in np.ndindex(B, N, 6):
        offset = PREDICTIONS["keypoints"][b, n, -1, k] - GOAL["keypoints"][b, k]
        expected[b, n] += offset.square().sum().sqrt() / 6
    torch.testing.assert_close(cost(KeypointDistance()), expected)


def test_reach_is_the_distance_to_the_nearest_point() -> None:
    expected = torch.zeros(B, N, dtype=torch.float64)
    for b, n, k in np.ndindex(B, N, 2):
        offsets = PREDICTIONS["agent"][b, n, -1, k] - PREDICTIONS["keypoints"][b, n, -1]
        expected[b, n] += offsets.square().sum(dim=-1).sqrt().min() / 2
    torch.testing.assert_close(cost(Reach()), expected)
    assert Reach().reads == {"agent", "keypoints"}


def test_latent_distance_is_the_mean_square() -> None:
    difference = PREDICTIONS["latent"][:, :, -1] - GOAL["latent"][:, None]
    torch.testing.assert_close(cost(LatentDistance()), difference.square().mean(dim=(2, 3)))


def test_planar_pose_error_takes_the_short_way_round() -> None:
    pose = torch.tensor([[[[3.0, 4.0, math.pi - 0.1]]]], dtype=torch.float64)
    goal = {"pose": torch.tensor([[0.0, 0.0, -math.pi + 0.1]], dtype=torch.float64)}
    error = PoseError(rotation_scale=10.0).cost({"pose": pose}, pose, {}, goal)
    torch.testing.assert_close(error, torch.tensor([[5.0 + 10 * 0.2]], dtype=torch.float64))


@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda axis: np.linalg.norm(axis) > 0.1),
    angle=st.floats(0, math.pi),
    sign=st.sampled_from([-1.0, 1.0]),
)
def test_spatial_pose_error_is_the_geodesic(
    axis: tuple[float, ...], angle: float, sign: float
) -> None:
    unit = torch.tensor(axis, dtype=torch.float64) / float(np.linalg.norm(axis))
    start = torch.nn.functional.normalize(random(4), dim=0)
    turn = torch.cat([torch.tensor([math.cos(angle / 2)]), math.sin(angle / 2) * unit])
    turned = sign * quaternion_product(start, turn)
    torch.testing.assert_close(
        rotation_angle(start, turned), torch.tensor(angle, dtype=torch.float64), atol=1e-7, rtol=0
    )
    pose = torch.cat([torch.tensor([1.0, 2.0, 2.0]), turned])[None, None, None]
    goal = {"pose": torch.cat([torch.zeros(3), start])[None]}
    error = PoseError(position_scale=2.0, rotation_scale=0.5).cost({"pose": pose}, pose, {}, goal)
    assert error.item() == pytest.approx(6.0 + 0.5 * angle, abs=1e-7)


def quaternion_product(first: Tensor, second: Tensor) -> Tensor:
    scalar = first[0] * second[0] - first[1:] @ second[1:]
    vector = (
        first[0] * second[1:] + second[0] * first[1:] + torch.linalg.cross(first[1:], second[1:])
    )
    return torch.cat([scalar[None], vector])


def test_gradients_at_the_goal_are_finite() -> None:
    turned = torch.nn.functional.normalize(random(1, 1, 1, 4), dim=-1)
    pose = torch.cat([random(1, 1, 1, 3), turned], dim=-1).requires_grad_()
    goal = {"pose": pose.detach()[:, 0, 0], "keypoints": pose.detach()[:, 0, 0, None]}
    predictions = {"pose": pose, "keypoints": pose.unsqueeze(3)}
    total = (PoseError() + KeypointDistance()).cost(predictions, pose, {}, goal)
    total.sum().backward()
    assert pose.grad is not None
    assert torch.isfinite(pose.grad).all()


def test_smoothness_compares_with_the_last_command() -> None:
    previous = torch.cat([STATE["command"][:, None, None].expand(B, N, 1, A), ACTIONS], dim=2)
    expected = (previous[:, :, 1:] - previous[:, :, :-1]).square().mean(dim=(2, 3))
    torch.testing.assert_close(cost(Smoothness()), expected)


def test_smoothness_without_a_command_sees_differences_only() -> None:
    expected = (ACTIONS[:, :, 1:] - ACTIONS[:, :, :-1]).square().mean(dim=3).sum(dim=2) / T
    torch.testing.assert_close(cost(Smoothness(), state={"x": ACTIONS}), expected)
    torch.testing.assert_close(cost(Smoothness(from_command=False)), expected)
    assert Smoothness().reads == frozenset()


def test_negative_reward_is_minus_the_mean() -> None:
    torch.testing.assert_close(cost(NegativeReward()), -PREDICTIONS["reward"].mean(dim=2))


def test_a_return_is_what_is_earned_and_what_the_end_is_worth() -> None:
    rewards, values = PREDICTIONS["reward"], PREDICTIONS["value"]
    earned = sum(0.9**t * rewards[:, :, t] for t in range(T))
    worth = 0.9**T * values[:, :, -1]
    torch.testing.assert_close(cost(NegativeReturn(discount=0.9)), -earned - worth)
    torch.testing.assert_close(cost(3.0 * NegativeReturn(discount=0.9, reward=None)), -3.0 * worth)
    assert NegativeReturn(reward=None).reads == {"value"}
    # Decisions of two actions of the model are as good as twice as many of one.
    twice = {"reward": rewards.repeat_interleave(2, 2), "value": values.repeat_interleave(2, 2)}
    single = NegativeReturn(discount=0.9).cost(twice, ACTIONS, {}, {})
    decided = {"reward": 2 * rewards, "value": values}  # a decision is paid the sum of its actions
    found = NegativeReturn(discount=0.9, actions=2).cost(decided, ACTIONS, {}, {})
    torch.testing.assert_close(found, single)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"discount": 1.1}, r"NegativeReturn\(discount=1.1\): discount must be in \[0, 1\]"),
        ({"actions": 0}, "actions must be at least 1"),
        ({"weight": float("inf")}, "weight must be finite"),
    ],
)
def test_unusable_returns_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        NegativeReturn(**settings)  # type: ignore[arg-type]


def test_disagreement_is_sought() -> None:
    disagreement = PREDICTIONS["disagreement"]
    torch.testing.assert_close(cost(Disagreement()), -disagreement.mean(dim=2))
    last = cost(Disagreement(weight=2.0, terminal=1.0, running=0.0))
    torch.testing.assert_close(last, -2.0 * disagreement[:, :, -1])
    assert Disagreement().reads == {"disagreement"}


@given(st.floats(-50, 50))
def test_wrapped_angles_are_the_same_angle(angle: float) -> None:
    wrapped = wrapped_angle(torch.tensor(angle, dtype=torch.float64)).item()
    assert -math.pi <= wrapped <= math.pi
    assert math.sin(wrapped - angle) == pytest.approx(0, abs=1e-9)
    assert math.cos(wrapped - angle) == pytest.approx(1, abs=1e-9)


def test_a_goal_without_the_key_is_refused() -> None:
    objective = KeypointDistance("fingertips")
    with pytest.raises(KeyError, match=r"'fingertips'.*\['keypoints', 'latent', 'pose'\]"):
        objective.cost({"fingertips": PREDICTIONS["keypoints"]}, ACTIONS, STATE, GOAL)


def test_a_goal_of_another_shape_is_refused() -> None:
    goal = {"keypoints": random(B, 5, 2)}
    with pytest.raises(ValueError, match="must be the same"):
        KeypointDistance().cost(PREDICTIONS, ACTIONS, STATE, goal)


def test_poses_of_unknown_size_are_refused() -> None:
    pose = random(B, N, T, 6)
    with pytest.raises(ValueError, match="poses of 6 numbers"):
        PoseError().cost({"pose": pose}, ACTIONS, STATE, {"pose": pose[:, 0, 0]})


def test_a_command_in_other_units_is_refused() -> None:
    with pytest.raises(ValueError, match="from_command=False"):
        cost(Smoothness(), state={"command": random(B, A + 1)})
