"""The gate between search and model: chunks, gradients, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from dexworld.planners import CEM, GradientPlanner
from dexworld.planners.candidates import Candidates
from dexworld.planners.conformance import active_problem, assert_equal
from dexworld.planners.linear_quadratic import LinearModel, QuadraticCost
from dexworld.planners.recorder import Recorder


class Rigid(LinearModel):
    differentiable = False


class Detached(LinearModel):
    def _next(self, state: Tensor, action: Tensor) -> Tensor:
        return super()._next(state, action).detach()


def candidates_of(model: LinearModel | Recorder | None = None, **settings: int) -> Candidates:
    problem = active_problem(4)
    return Candidates(
        model or problem.model,
        problem.objective,
        problem.state,
        problem.goal,
        horizon=4,
        **settings,
    )


def some_actions(count: int = 7) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return 2 * torch.rand(3, count, 4, 2, generator=generator, dtype=torch.float64) - 1


def test_chunks_bound_the_rollouts_and_change_nothing() -> None:
    recorder = Recorder(active_problem(4).model)
    whole, parts = candidates_of(), candidates_of(recorder, at_once=9)
    actions = some_actions()
    assert_equal(parts.evaluate(actions), whole.evaluate(actions))
    assert [rollout.shape[1] for rollout in recorder.rollouts] == [3, 3, 1]
    costs, gradients = whole.evaluate_with_gradients(actions)
    part_costs, part_gradients = parts.evaluate_with_gradients(actions)
    assert_equal(part_costs, costs)
    assert_equal(part_gradients, gradients)


def test_planning_in_chunks_finds_the_same_plan() -> None:
    problem = active_problem(4)
    arguments = (problem.model, problem.objective, problem.state, problem.goal)
    whole, *parts = [
        CEM(horizon=4, samples=20, elites=4, iterations=3, at_once=at_once).plan(*arguments)
        for at_once in (None, 1, 10)
    ]
    for plan in parts:
        assert_equal(plan.actions, whole.actions)


def test_gradients_are_those_of_finite_differences() -> None:
    actions = some_actions(2)
    costs, gradients = candidates_of().evaluate_with_gradients(actions)
    step = 1e-5
    for index in np.ndindex(4, 2):
        nudge = torch.zeros(4, 2, dtype=torch.float64)
        nudge[index] = step
        above = candidates_of().evaluate(actions + nudge)
        below = candidates_of().evaluate(actions - nudge)
        torch.testing.assert_close((above - below) / (2 * step), gradients[:, :, *index])
    assert_equal(costs, candidates_of().evaluate(actions))


def test_gradients_flow_under_no_grad_and_leave_parameters_alone() -> None:
    problem = active_problem(4)
    problem.model.b.requires_grad_()
    with torch.no_grad():
        plan = GradientPlanner(horizon=4, iterations=3).plan(
            problem.model, problem.objective, problem.state, problem.goal
        )
    assert problem.model.b.grad is None
    assert not plan.actions.requires_grad
    assert not plan.cost.requires_grad
    assert not plan.predictions["state"].requires_grad


def test_a_gradient_that_is_not_finite_is_zero() -> None:
    def poison(actions: Tensor) -> Tensor:
        return actions[:, :, 0, 0] > 0

    actions = some_actions()
    candidates = candidates_of(Recorder(active_problem(4).model, poison))
    costs, gradients = candidates.evaluate_with_gradients(actions)
    healthy_costs, healthy_gradients = candidates_of().evaluate_with_gradients(actions)
    failed = poison(actions)
    assert failed.any()
    assert torch.isinf(costs[failed]).all()
    assert (gradients[failed] == 0).all()
    assert_equal(costs[~failed], healthy_costs[~failed])
    assert_equal(gradients[~failed], healthy_gradients[~failed])


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_every_kind_of_not_finite_counts(value: float) -> None:
    class Broken(QuadraticCost):
        def cost(self, *arguments: object) -> Tensor:
            cost = super().cost(*arguments)  # type: ignore[arg-type]
            cost[:, 2] = value
            return cost

    problem = active_problem(4)
    candidates = Candidates(problem.model, Broken(), problem.state, problem.goal, horizon=4)
    costs = candidates.evaluate(some_actions())
    assert torch.isposinf(costs[:, 2]).all()
    assert candidates.non_finite.tolist() == [1, 1, 1]
    assert candidates.best_cost is not None
    assert torch.isfinite(candidates.best_cost).all()


def test_a_model_without_gradients_is_refused() -> None:
    problem = active_problem(4)
    rigid = Rigid(problem.model.a, problem.model.b, problem.model.action_space)
    with pytest.raises(ValueError, match=r"Rigid is not differentiable.*CEM"):
        candidates_of(rigid).evaluate_with_gradients(some_actions())
    detached = Detached(problem.model.a, problem.model.b, problem.model.action_space)
    candidates = Candidates(detached, QuadraticCost(), problem.state, problem.goal, horizon=4)
    with pytest.raises(ValueError, match="its rollout detaches"):
        candidates.evaluate_with_gradients(some_actions())


@pytest.mark.parametrize(
    ("space", "message"),
    [
        (Box(-np.inf, 1.0, (2,)), "finite bounds"),
        (Box(-1.0, 1.0, (2, 1)), "flat Box"),
        (Box(-1, 1, (2,), dtype=np.int64), "flat Box of floats"),
    ],
)
def test_an_action_space_without_a_range_is_refused(space: Box, message: str) -> None:
    problem = active_problem(4)
    with pytest.raises(ValueError, match=message):
        candidates_of(LinearModel(problem.model.a, problem.model.b, space))


def test_a_wrong_action_dimension_is_refused() -> None:
    with pytest.raises(ValueError, match=r"action space, \(2,\)"):
        candidates_of().evaluate(some_actions()[..., :1])


def test_a_goal_for_another_number_of_problems_is_refused() -> None:
    problem = active_problem(4)
    goal = {"state": problem.goal["state"][:2]}
    with pytest.raises(ValueError, match="same number of problems"):
        Candidates(problem.model, problem.objective, problem.state, goal, horizon=4)


def test_a_cost_of_the_wrong_shape_is_refused() -> None:
    class Flat(QuadraticCost):
        def cost(self, *arguments: object) -> Tensor:
            return super().cost(*arguments).mean(dim=1)  # type: ignore[arg-type]

    problem = active_problem(4)
    candidates = Candidates(problem.model, Flat(), problem.state, problem.goal, horizon=4)
    with pytest.raises(ValueError, match="one cost per candidate"):
        candidates.evaluate(some_actions())
