"""The baseline is the common implementation: it looks at the bounds only at the end."""

from __future__ import annotations

import pytest
import torch

from dexworld.experiments.benchmark_baseline import UnboundedCEM
from dexworld.planners.linear_quadratic import bounded_problem


def test_the_baseline_leaves_the_bounds_while_it_searches_only() -> None:
    problem = bounded_problem(seed=101)
    plan = UnboundedCEM(samples=50, iterations=5, elites=10).plan(
        problem.model, problem.objective, problem.state, problem.goal
    )
    assert plan.actions.abs().max() == 1.0
    predicted = plan.predictions["state"][:, -1]
    torch.testing.assert_close(plan.cost, (predicted - problem.goal["state"]).square().sum(dim=1))
    with pytest.raises(ValueError, match="no warm start and no budget"):
        UnboundedCEM().plan(
            problem.model, problem.objective, problem.state, problem.goal, budget_s=1.0
        )
