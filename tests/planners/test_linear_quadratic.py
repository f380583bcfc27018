"""The toys with a known optimum are what they say."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dexworld.planners.linear_quadratic import bounded_problem, effort_problem


def test_two_ways_to_the_optimum_agree_where_no_bound_is_active() -> None:
    problem = effort_problem(horizon=4, action=2, reach=0.3)
    torch.testing.assert_close(
        problem.riccati_cost(), problem.optimal_cost(), rtol=1e-9, atol=1e-12
    )


def test_bounds_cost_something_where_they_are_active() -> None:
    problem = effort_problem(horizon=4, action=2, reach=1.8)
    assert (problem.optimal_cost() > 1.05 * problem.riccati_cost()).all()


def test_nothing_is_below_the_optimum() -> None:
    problem = effort_problem(horizon=2, action=1, reach=1.8)
    grid = torch.linspace(-1, 1, 401, dtype=torch.float64)
    actions = torch.cartesian_prod(grid, grid)[None, :, :, None].expand(3, -1, -1, -1)
    predictions = problem.model.rollout(problem.state, actions)
    costs = problem.objective.cost(predictions, actions, problem.state, problem.goal)
    torch.testing.assert_close(costs.amin(dim=1), problem.optimal_cost(), rtol=2e-3, atol=0)


def test_the_benchmark_is_the_one_of_the_issue() -> None:
    problem = bounded_problem(seed=3)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(
        problem.model.a.numpy(), 0.95 * np.eye(8) + 0.05 * rng.standard_normal((8, 8))
    )
    np.testing.assert_array_equal(problem.model.b.numpy(), 0.3 * rng.standard_normal((8, 10)))
    assert problem.horizon == 5
    assert problem.state["state"].shape == (8, 8)
    assert problem.state["state"].std().item() == pytest.approx(0.3, rel=0.3)
    # The other seed: other starts and goals, the same dynamics.
    other = bounded_problem(seed=4)
    assert torch.equal(other.model.a, problem.model.a)
    assert not torch.equal(other.goal["state"], problem.goal["state"])
