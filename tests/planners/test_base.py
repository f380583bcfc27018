"""The protocols recognise what follows them."""

from __future__ import annotations

import pytest

from dexworld import planners
from dexworld.planners.base import Objective, Planner
from dexworld.planners.linear_quadratic import QuadraticCost


@pytest.mark.parametrize(
    "kind",
    [
        planners.CEM,
        planners.ICEM,
        planners.MPPI,
        planners.RandomShooting,
        planners.GradientPlanner,
        planners.CEMGradient,
    ],
)
def test_planners_are_planners(kind: type) -> None:
    assert isinstance(kind(), Planner)
    assert not isinstance(kind(), Objective)


@pytest.mark.parametrize("kind", [planners.KeypointDistance, planners.Smoothness, QuadraticCost])
def test_objectives_are_objectives(kind: type) -> None:
    assert isinstance(kind(), Objective)
