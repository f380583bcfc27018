"""Path integral control obeys the laws of a planner; its weights are what they should be."""

from __future__ import annotations

import torch

from dexworld.planners import MPPI
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance, assert_equal
from dexworld.planners.mppi import path_integral_weights


class TestMPPI(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return MPPI(horizon=horizon, samples=40, iterations=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return MPPI(horizon=horizon, samples=300, iterations=30, std_floor=0.01)


class TestColouredMPPI(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return MPPI(horizon=horizon, samples=40, iterations=5, noise_exponent=1.0)

    def make_precise_planner(self, horizon: int) -> Planner:
        return MPPI(horizon=horizon, samples=300, iterations=40, std_floor=0.01, noise_exponent=1.0)


def test_path_integral_weights() -> None:
    costs = torch.tensor([[1.0, 2.0, 6.0, torch.inf], [torch.inf] * 4, [5.0] * 4])
    weights = path_integral_weights(costs, 0.5)
    expected = torch.exp(-torch.tensor([0.0, 1.0, 5.0]) / (0.5 * 2.0))
    torch.testing.assert_close(weights[0, :3], expected)
    assert weights[0, 3] == 0
    assert (weights[1] == 0).all()
    assert (weights[2] == 1).all()
    # A cost in other units means the same.
    assert_equal(path_integral_weights(4 * costs, 0.5), weights)
