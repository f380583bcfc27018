"""Adam in bounded coordinates."""

from __future__ import annotations

import pytest
import torch

from dexworld.planners import CEM, CEMGradient, GradientPlanner
from dexworld.planners.candidates import Candidates
from dexworld.planners.conformance import active_problem
from dexworld.planners.descent import Descent


def descent_from(actions: torch.Tensor, gradient_clip: float | None = None) -> Descent:
    problem = active_problem(4)
    candidates = Candidates(
        problem.model, problem.objective, problem.state, problem.goal, horizon=4
    )
    return Descent(candidates, actions, steps=10, learning_rate=0.1, gradient_clip=gradient_clip)


def test_without_gradients_the_plans_stay() -> None:
    actions = torch.linspace(-0.99, 0.99, 24, dtype=torch.float64).view(3, 1, 4, 2)
    descent = descent_from(actions)
    torch.testing.assert_close(descent.actions, actions)
    descent.step(torch.zeros_like(actions))
    torch.testing.assert_close(descent.actions, actions)


def test_the_first_step_goes_down_at_the_learning_rate() -> None:
    actions = torch.zeros(3, 1, 4, 2, dtype=torch.float64)
    descent = descent_from(actions)
    descent.step(torch.full_like(actions, 5.0))
    torch.testing.assert_close(descent.actions, -torch.tanh(0.1 * torch.ones_like(actions)))
    assert descent.remaining == pytest.approx(0.9)


def test_clipping_bounds_the_influence_of_one_spike() -> None:
    actions = torch.zeros(3, 1, 4, 2, dtype=torch.float64)
    spike = torch.full_like(actions, 1e6)
    moved = []
    for clip in (None, 1.0):
        descent = descent_from(actions, clip)
        descent.step(spike)
        before = descent.actions
        for _ in range(3):
            descent.step(torch.full_like(actions, -1.0))
        moved.append((descent.actions - before).mean().item())
    assert moved[0] < -0.1, "without clipping the spike still drives the plans"
    assert moved[1] > 0.5 * moved[0]


def test_plans_on_the_bounds_can_come_back() -> None:
    actions = torch.ones(3, 1, 4, 2, dtype=torch.float64)
    descent = descent_from(actions)
    for _ in range(10):
        descent.step(torch.ones_like(actions))
    assert (descent.actions < 0.9994).all()


@pytest.mark.parametrize("planner", [GradientPlanner(horizon=4), CEMGradient(horizon=4)])
def test_a_smaller_budget_with_gradients_beats_sampling(planner: GradientPlanner) -> None:
    problem = active_problem(4)
    arguments = (problem.model, problem.objective, problem.state, problem.goal)
    sampled = CEM(horizon=4, samples=40, elites=5, iterations=3).plan(*arguments)
    assert planner.plan(*arguments).cost.mean() < sampled.cost.mean()
