"""Every planner obeys the laws of a planner."""

from __future__ import annotations

from dexworld.planners import CEM, ICEM, MPPI, CEMGradient, GradientPlanner, RandomShooting
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance


class TestRandomShooting(PlannerConformance):
    max_decisions = 2

    def make_planner(self, horizon: int) -> Planner:
        return RandomShooting(horizon=horizon, samples=60, iterations=4)

    def make_precise_planner(self, horizon: int) -> Planner:
        return RandomShooting(horizon=horizon, samples=400_000)


class TestCEM(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return CEM(horizon=horizon, samples=40, iterations=5, elites=6)

    def make_precise_planner(self, horizon: int) -> Planner:
        return CEM(horizon=horizon, samples=200, iterations=30, elites=20, std_floor=0.01)


class TestICEM(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return ICEM(horizon=horizon, samples=40, iterations=5, elites=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return ICEM(
            horizon=horizon, samples=200, iterations=40, elites=20, decay=1.05, std_floor=0.01
        )


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


class TestGradientPlanner(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return GradientPlanner(horizon=horizon, iterations=6, restarts=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return GradientPlanner(horizon=horizon, iterations=200, restarts=8)


class TestCEMGradient(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return CEMGradient(horizon=horizon, samples=30, iterations=4, elites=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return CEMGradient(
            horizon=horizon, samples=100, iterations=30, learning_rate=0.03, std_floor=0.01
        )
