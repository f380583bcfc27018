"""Refined elites obey the laws of a planner."""

from __future__ import annotations

from dexworld.planners import CEMGradient
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance


class TestCEMGradient(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return CEMGradient(horizon=horizon, samples=30, iterations=4, elites=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return CEMGradient(
            horizon=horizon, samples=100, iterations=30, learning_rate=0.03, std_floor=0.01
        )
