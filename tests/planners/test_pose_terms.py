"""Terms on poses against what they say in words, and the laws of an objective."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dexworld.planners.base import Objective
from dexworld.planners.conformance_objective import ObjectiveConformance
from dexworld.planners.pose_terms import Drift, Fall, Tilt, turned

AXIS = (0.3, 0.0, 0.9)
N = torch.tensor(AXIS, dtype=torch.float64) / math.hypot(*AXIS)
GOAL = torch.nn.functional.normalize(
    torch.tensor([0.3, -0.5, 0.2, 0.7], dtype=torch.float64), dim=0
)
PLACE = torch.tensor([0.4, -0.1, 0.3], dtype=torch.float64)


class PoseTermConformance(ObjectiveConformance):
    tolerance = 1e-9

    def poses(self, *shape: int) -> dict[str, Tensor]:
        orientation = torch.nn.functional.normalize(self.random(*shape, 4), dim=-1)
        return {"pose": torch.cat([self.random(*shape, 3), orientation], dim=-1)}

    def make_predictions(self) -> dict[str, Tensor]:
        return self.poses(*self.shape)

    def make_goal(self) -> dict[str, Tensor]:
        return self.poses(self.shape[0])


class TestDrift(PoseTermConformance):
    def make_objective(self) -> Objective:
        return Drift(running=0.5)


class TestFall(PoseTermConformance):
    def make_objective(self) -> Objective:
        return Fall(running=0.5, tolerance=0.1)


class TestTilt(PoseTermConformance):
    def make_objective(self) -> Objective:
        return Tilt(running=0.5, axis=AXIS)


def about(axis: Tensor, angle: float) -> Tensor:
    half = torch.tensor([angle / 2], dtype=torch.float64)
    return torch.cat([half.cos(), half.sin() * axis])


def product(second: Tensor, first: Tensor) -> Tensor:
    w, u, a, v = second[0], second[1:], first[0], first[1:]
    return torch.cat([(w * a - u @ v)[None], w * v + a * u + torch.linalg.cross(u, v)])


def cost(term: Drift | Fall | Tilt, place: Tensor, orientation: Tensor) -> float:
    pose, goal = torch.cat([place, orientation]), torch.cat([PLACE, GOAL])
    decisions = torch.zeros(1, 1, 1, 2, dtype=torch.float64)
    predicted = {"pose": pose[None, None, None]}
    return float(term.cost(predicted, decisions, {}, {"pose": goal[None]}))


def test_near_its_place_a_body_costs_nothing() -> None:
    near, far = torch.tensor([0.003, 0.004, 0.0]), torch.tensor([0.03, 0.0, -0.04])
    assert cost(Drift(tolerance=0.01), PLACE + near, GOAL) == 0.0
    assert cost(Drift(tolerance=0.01), PLACE + far, GOAL) == pytest.approx(0.04)


def test_only_what_is_too_low_falls() -> None:
    for height, expected in ((0.2, 0.0), (-0.01, 0.0), (-0.05, 0.03)):
        place = PLACE + torch.tensor([0.5, 0.0, height])
        assert cost(Fall(tolerance=0.02), place, GOAL) == pytest.approx(expected, abs=1e-8)


@pytest.mark.parametrize("turn", [0.0, 1.5, -2.8])
@pytest.mark.parametrize("lean", [0.0, 0.2, 1.2, 3.0])
def test_turns_about_the_axis_do_not_tilt(turn: float, lean: float) -> None:
    side = torch.linalg.cross(N, torch.tensor([0.0, 1.0, 0.0], dtype=torch.float64))
    side = side / torch.linalg.vector_norm(side)
    moved = product(about(side, lean), product(about(N, turn), GOAL))
    assert cost(Tilt(tolerance=0.3, axis=AXIS), PLACE, moved) == pytest.approx(
        max(0.0, lean - 0.3), abs=1e-9
    )
    assert cost(Tilt(tolerance=0.3, axis=AXIS), PLACE, -moved) == pytest.approx(
        max(0.0, lean - 0.3), abs=1e-9
    )


def test_vectors_turn_right_handed() -> None:
    x, y, z = torch.eye(3, dtype=torch.float64)
    torch.testing.assert_close(turned(about(z, math.pi / 2), x), y)


def test_settings_that_cannot_be() -> None:
    with pytest.raises(ValueError, match="tolerance"):
        Drift(tolerance=-0.1)
    for axis in ((0.0, 0.0, 0.0), (math.inf, 0.0, 0.0)):
        with pytest.raises(ValueError, match=r"Tilt\(axis=.*three numbers, not all zero"):
            Tilt(axis=axis)
    planar = {"pose": torch.zeros(1, 1, 1, 3)}
    with pytest.raises(ValueError, match=r"Fall\(key='pose'\) reads poses of 3 numbers"):
        Fall().cost(planar, torch.zeros(1, 1, 1, 2), {}, {"pose": torch.zeros(1, 3)})
