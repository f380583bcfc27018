"""The improved cross-entropy method obeys the laws of a planner; its population shrinks."""

from __future__ import annotations

from dexworld.planners import ICEM
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance, active_problem
from dexworld.planners.recorder import Recorder


class TestICEM(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return ICEM(horizon=horizon, samples=40, iterations=5, elites=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return ICEM(
            horizon=horizon, samples=200, iterations=40, elites=20, decay=1.05, std_floor=0.01
        )


def test_the_population_of_icem_shrinks() -> None:
    planner = ICEM(samples=100, elites=10, decay=1.5, iterations=6, horizon=4)
    problem = active_problem(4)
    recorder = Recorder(problem.model)
    plan = planner.plan(recorder, problem.objective, problem.state, problem.goal)
    sizes = [rollout.shape[1] for rollout in recorder.rollouts]
    assert sizes == [100, 66, 44, 29, 20, 20]
    assert plan.search.evaluations == sum(sizes)
    assert plan.search.evaluations_at == (100, 166, 210, 239, 259, 279)
    assert plan.alternatives is not None
    assert plan.alternatives.shape == (3, 3, 4, 2)
