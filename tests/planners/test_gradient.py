"""Gradient descent obeys the laws of a planner and wastes nothing."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch

from dexworld.planners import CEMGradient, GradientPlanner, SearchPlanner
from dexworld.planners.base import Planner
from dexworld.planners.conformance import PlannerConformance, active_problem, assert_equal
from dexworld.planners.linear_quadratic import LinearModel
from dexworld.planners.recorder import Recorder
from dexworld.world_models.actions import Hold
from dexworld.world_models.base import Mapped


class TestGradientPlanner(PlannerConformance):
    def make_planner(self, horizon: int) -> Planner:
        return GradientPlanner(horizon=horizon, iterations=6, restarts=5)

    def make_precise_planner(self, horizon: int) -> Planner:
        return GradientPlanner(horizon=horizon, iterations=200, restarts=8)


def test_no_step_is_made_for_nothing() -> None:
    """The last point of each path is evaluated, and nothing follows it."""
    problem = active_problem(4)
    recorder = Recorder(problem.model)
    planner = GradientPlanner(horizon=4, iterations=4, restarts=5, noise=0.0)
    plan = planner.plan(recorder, problem.objective, problem.state, problem.goal)
    searched = recorder.rollouts
    assert len(searched) == 4
    for before, after in pairwise(searched):
        assert not torch.equal(before, after), "a point was evaluated twice"
    assert plan.search.evaluations_at == (15, 30, 45, 50), "the last point needs no gradient"
    assert_equal(plan.cost, plan.search.best_cost[-1])
    assert (plan.search.best_cost[-1] < plan.search.best_cost[-2]).all(), "the last step was wasted"


def test_a_longer_search_takes_the_same_first_steps() -> None:
    problem = active_problem(4)
    arguments = (problem.model, problem.objective, problem.state, problem.goal)
    planner = GradientPlanner(horizon=4, iterations=6, restarts=5)
    full = planner.plan(*arguments)
    short = planner.plan(*arguments, budget_s=0.0)
    assert short.search.best_cost.shape[0] == 1
    assert_equal(short.cost, full.search.best_cost[0])


@pytest.mark.parametrize("planner", [GradientPlanner(horizon=4, iterations=1), CEMGradient()])
def test_a_model_without_gradients_is_refused_at_once(planner: SearchPlanner) -> None:
    class Rigid(LinearModel):
        differentiable = False

    problem = active_problem(4)
    rigid = Rigid(problem.model.a, problem.model.b, problem.model.action_space)
    recorder = Recorder(Mapped(rigid, Hold(rigid.action_space, 2)))
    with pytest.raises(ValueError, match="Recorder is not differentiable"):
        planner.plan(recorder, problem.objective, problem.state, problem.goal)
    assert not recorder.rollouts
    with pytest.raises(ValueError, match="Rigid is not differentiable"):
        planner.plan(recorder.model, problem.objective, problem.state, problem.goal)
