"""The cost of an object in the hand: where it is there, wherever the hand is."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dexworld.planners.base import Objective
from dexworld.planners.conformance_objective import Motion, ObjectiveConformance
from dexworld.planners.grip import Grip, Slip
from dexworld.planners.pose_terms import turned


class TestGrip(ObjectiveConformance):
    def make_objective(self) -> Objective:
        return Grip(running=0.5)

    def make_predictions(self) -> dict[str, Tensor]:
        return {key: self.poses(*self.shape) for key in ("object", "palm")}

    def make_goal(self) -> dict[str, Tensor]:
        return {key: self.poses(self.shape[0]) for key in ("object", "palm")}

    def poses(self, *shape: int) -> Tensor:
        turn = torch.nn.functional.normalize(self.random(*shape, 4), dim=-1)
        return torch.cat([self.random(*shape, 3), turn], dim=-1)


class TestSlip(TestGrip):
    def make_objective(self) -> Objective:
        return Slip(decisions=2)

    def make_goal(self) -> dict[str, Tensor]:
        return {}

    def at_the_goal(self, motion: Motion) -> tuple[dict[str, Tensor], Tensor]:
        still = {key: value[:, :, :1].expand_as(value) for key, value in motion.predictions.items()}
        return still, motion.actions


def pose(place: tuple[float, ...], axis: tuple[float, ...], angle: float) -> Tensor:
    turn = [math.cos(angle / 2), *(math.sin(angle / 2) * each for each in axis)]
    return torch.tensor([*place, *turn], dtype=torch.float64)


def cost(term: Grip, thing: Tensor, palm: Tensor, goal: dict[str, Tensor]) -> float:
    predictions = {"object": thing[None, None, None], "palm": palm[None, None, None]}
    goal = {key: value[None] for key, value in goal.items()}
    return float(term.cost(predictions, torch.zeros(1, 1, 1, 2), {}, goal))


PALM = pose((0.4, 0.1, 0.2), (0.0, 1.0, 0.0), math.pi)
THING = pose((0.45, 0.1, 0.08), (0.0, 0.0, 1.0), 0.3)
GOAL = {"object": THING, "palm": PALM}


def moved(thing: Tensor, shift: Tensor, turn: Tensor) -> Tensor:
    """Return a pose after a motion of the whole world: a turn about the origin, then a shift."""
    w, u, x, v = turn[:1], turn[1:], thing[3:4], thing[4:]
    product = torch.cat([w * x - u @ v, w * v + x * u + torch.linalg.cross(u, v)])
    return torch.cat([turned(turn, thing[:3]) + shift, product])


def test_where_the_hand_is_does_not_matter() -> None:
    shift = torch.tensor([0.2, -0.3, 0.1], dtype=torch.float64)
    turn = pose((0, 0, 0), (0.6, 0.0, 0.8), 1.1)[3:]
    whole = cost(Grip(), moved(THING, shift, turn), moved(PALM, shift, turn), GOAL)
    assert whole == pytest.approx(0.0, abs=1e-9)
    assert cost(Grip(), moved(THING, shift, turn), PALM, GOAL) > 0.3


def test_what_is_left_behind_in_a_lift_costs_the_lift() -> None:
    up = torch.tensor([0.0, 0.0, 0.1], dtype=torch.float64)
    lifted = torch.cat([PALM[:3] + up, PALM[3:]])
    assert cost(Grip(), THING, lifted, GOAL) == pytest.approx(0.1)
    assert cost(Grip(weight=2.0), THING, lifted, GOAL) == pytest.approx(0.2)


def test_angles_count_as_lengths_and_little_as_nothing() -> None:
    leaning = moved(THING, torch.zeros(3, dtype=torch.float64), pose((0, 0, 0), (1, 0, 0), 0.0)[3:])
    turned_object = torch.cat([leaning[:3], pose((0, 0, 0), (0.0, 0.0, 1.0), 0.8)[3:]])
    assert cost(Grip(rotation_scale=0.2), turned_object, PALM, GOAL) == pytest.approx(0.1)
    assert cost(Grip(rotation_scale=0.2, enough=0.03), turned_object, PALM, GOAL) == pytest.approx(
        0.07
    )
    assert cost(Grip(rotation_scale=0.2, enough=0.2), turned_object, PALM, GOAL) == 0.0


def slipped(term: Slip, *heights: float) -> float:
    """Return the cost of a hand that goes through these heights, while the object stays."""
    palm = torch.stack([PALM + torch.tensor([0, 0, h, 0, 0, 0, 0]) for h in heights])
    thing = THING.expand(len(heights), 7)
    predictions = {"object": thing[None, None], "palm": palm[None, None]}
    return float(term.cost(predictions, torch.zeros(1, 1, len(heights), 2), {}, {}))


def test_slip_is_what_happens_in_the_last_decisions() -> None:
    way = (0.0, 0.02, 0.1, 0.13)
    assert slipped(Slip(), *way) == pytest.approx(0.03)
    assert slipped(Slip(decisions=2), *way) == pytest.approx(0.11)
    assert slipped(Slip(decisions=2, enough=0.01, weight=5.0), *way) == pytest.approx(0.5)
    assert slipped(Slip(decisions=9), *way) == pytest.approx(0.13)
    assert slipped(Slip(enough=0.05), *way) == 0.0


@pytest.mark.parametrize(
    ("kind", "name"), [(Grip, "rotation_scale"), (Grip, "enough"), (Slip, "enough")]
)
def test_settings_are_checked(kind: type[Grip | Slip], name: str) -> None:
    with pytest.raises(ValueError, match=name):
        kind(**{name: -1.0})
    with pytest.raises(ValueError, match="decisions"):
        Slip(decisions=0)
