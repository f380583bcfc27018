"""Several searches of a problem: the best one counts, and the laws of a planner still hold."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from dexworld.planners import CEM
from dexworld.planners.base import Plan, Planner, WarmStart
from dexworld.planners.conformance import PlannerConformance, active_problem
from dexworld.planners.linear_quadratic import LinearQuadraticProblem, bounded_problem
from dexworld.planners.recorder import Recorder
from dexworld.planners.search import STREAMS


class TestCEMWithRestarts(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return CEM(horizon=horizon, samples=30, iterations=4, elites=6, starts=3)

    def make_precise_planner(self, horizon: int) -> Planner:
        return CEM(horizon=horizon, samples=200, iterations=30, elites=20, std_floor=0.01, starts=2)


@pytest.fixture
def problem() -> LinearQuadraticProblem:
    return bounded_problem(problems=4)


def search(problem: LinearQuadraticProblem, seeds: torch.Tensor, **settings: int) -> Plan:
    planner = CEM(horizon=5, samples=30, iterations=4, elites=6, **settings)
    return planner.plan(problem.model, problem.objective, problem.state, problem.goal, seeds=seeds)


def test_the_best_of_searches_with_streams_of_their_own(problem) -> None:
    seeds = torch.arange(4)
    alone = [search(problem, seeds + STREAMS * start) for start in range(3)]
    together = search(problem, seeds, starts=3)
    costs = torch.stack([plan.cost for plan in alone])
    assert len(costs.argmin(dim=0).unique()) > 1, "one of the searches is always the best"
    torch.testing.assert_close(together.cost, costs.amin(dim=0))
    torch.testing.assert_close(together.search.best_cost[-1], together.cost)
    for row, best in enumerate(costs.argmin(dim=0).tolist()):
        torch.testing.assert_close(together.actions[row], alone[best].actions[row])
    assert together.search.evaluations == 3 * alone[0].search.evaluations


def test_a_warm_search_starts_once_and_may_be_shorter(problem) -> None:
    planner = CEM(horizon=5, samples=30, iterations=6, elites=6, starts=3, warm_iterations=2)
    given = problem.model, problem.objective, problem.state, problem.goal
    cold = planner.plan(*given)
    warm = planner.plan(*given, warm_start=WarmStart(cold.actions[:, None]))
    assert len(cold.search.best_cost) == 6 and len(warm.search.best_cost) == 2
    assert warm.search.evaluations < cold.search.evaluations / 6
    assert (warm.cost <= cold.cost + 1e-6).all()


def test_a_warm_search_may_start_with_a_spread_of_its_own(problem) -> None:
    given = problem.model, problem.objective, problem.state, problem.goal
    settings = {"horizon": 5, "samples": 30, "iterations": 1, "elites": 6}
    cold = CEM(**settings).plan(*given)
    start = WarmStart(cold.actions[:, None])

    def spread(**more: float) -> torch.Tensor:
        recorder = Recorder(problem.model)
        CEM(**settings, **more).plan(recorder, *given[1:], warm_start=start)
        return (recorder.searched - cold.actions[:, None]).std()

    assert spread(warm_std=0.1) < 0.3 * spread()
    unchanged = CEM(**settings, warm_std=0.1).plan(*given)
    torch.testing.assert_close(unchanged.cost, cold.cost, rtol=0, atol=0)


@pytest.mark.parametrize("settings", [{"starts": 0}, {"warm_iterations": 0}])
def test_unusable_settings_are_refused(settings) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        CEM(**settings)


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warm_start": WarmStart(zeros(2, 1, 4, 2))}, r"must be \[B, K, T, A\] with B=3"),
        ({"warm_start": WarmStart(zeros(3, 1, 4, 1))}, "A=2"),
        ({"warm_start": WarmStart(zeros(3, 0, 4, 2))}, "at least one plan"),
        ({"warm_start": WarmStart(zeros(3, 1, 4, 2) + torch.nan)}, "not finite; mark such rows"),
        ({"seeds": torch.arange(2)}, r"int64 of shape \(3,\)"),
        ({"seeds": torch.arange(3, dtype=torch.int32)}, "got torch.int32"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    problem = active_problem(4)
    with pytest.raises(ValueError, match=message):
        CEM(horizon=4).plan(
            problem.model, problem.objective, problem.state, problem.goal, **arguments
        )


def test_more_warm_plans_than_samples() -> None:
    problem = active_problem(4)
    plan = CEM(horizon=4, samples=3, elites=2, kept=1).plan(
        problem.model,
        problem.objective,
        problem.state,
        problem.goal,
        warm_start=WarmStart(zeros(3, 9, 4, 2)),
    )
    assert torch.isfinite(plan.cost).all()
