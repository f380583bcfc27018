"""The cross-entropy method obeys the laws of a planner."""

from __future__ import annotations

from dexworld.planners import CEM
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance


class TestCEM(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return CEM(horizon=horizon, samples=40, iterations=5, elites=6)

    def make_precise_planner(self, horizon: int) -> Planner:
        return CEM(horizon=horizon, samples=200, iterations=30, elites=20, std_floor=0.01)
