"""Random shooting obeys the laws of a planner."""

from __future__ import annotations

from dexworld.planners import RandomShooting
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance


class TestRandomShooting(PlannerConformance):
    max_decisions = 2

    def make_planner(self, horizon: int) -> Planner:
        return RandomShooting(horizon=horizon, samples=60, iterations=4)

    def make_precise_planner(self, horizon: int) -> Planner:
        return RandomShooting(horizon=horizon, samples=400_000)
