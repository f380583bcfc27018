"""What a population draws and how it is refitted, against a few lines written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dexworld.planners import CEM, ICEM, MPPI
from dexworld.planners.conformance import active_problem
from dexworld.planners.mppi import path_integral_weights
from dexworld.planners.recorder import Recorder
from dexworld.planners.search import SearchPlanner

SMOOTHING = 0.2


def elite_mean(actions: Tensor, costs: Tensor) -> Tensor:
    rows = []
    for row in range(actions.shape[0]):
        order = sorted(range(actions.shape[1]), key=lambda number: costs[row, number].item())
        rows.append(torch.stack([actions[row, number] for number in order[:4]]).mean(dim=0))
    return torch.stack(rows)


def weighted_mean(actions: Tensor, costs: Tensor) -> Tensor:
    weights = path_integral_weights(costs, 0.1)
    weights = weights / weights.sum(dim=1, keepdim=True)
    return torch.einsum("bn,bnta->bta", weights, actions)


@pytest.mark.parametrize(
    ("planner", "centre"),
    [
        (CEM(samples=20, elites=4, kept=0, iterations=4, smoothing=SMOOTHING), elite_mean),
        (
            ICEM(samples=20, elites=4, kept_fraction=0, iterations=4, smoothing=SMOOTHING),
            elite_mean,
        ),
        (MPPI(samples=20, temperature=0.1, iterations=4, smoothing=SMOOTHING), weighted_mean),
    ],
    ids=["CEM", "ICEM", "MPPI"],
)
def test_the_mean_is_a_candidate_of_every_iteration(planner: SearchPlanner, centre: object) -> None:
    assert callable(centre)
    problem = active_problem(4)
    recorder = Recorder(problem.model)
    planner.plan(recorder, problem.objective, problem.state, problem.goal, horizon=4)
    mean = torch.zeros(3, 4, 2, dtype=torch.float64)
    searched = recorder.rollouts
    assert len(searched) == 4
    for actions in searched:
        torch.testing.assert_close(actions[:, 0], mean, rtol=1e-12, atol=1e-12)
        predictions = problem.model.rollout(problem.state, actions)
        costs = problem.objective.cost(predictions, actions, problem.state, problem.goal)
        mean = (1 - SMOOTHING) * centre(actions, costs) + SMOOTHING * mean


@pytest.mark.parametrize(
    "planner",
    [
        CEM(samples=20, elites=6, kept=2, iterations=2, smoothing=0.0),
        ICEM(samples=20, elites=6, iterations=2, smoothing=0.0),
        MPPI(samples=20, temperature=1e6, iterations=2, smoothing=0.0),
    ],
    ids=["CEM", "ICEM", "MPPI"],
)
def test_candidates_that_fail_have_no_say(planner: SearchPlanner) -> None:
    def poison(actions: Tensor) -> Tensor:
        survivors = torch.arange(actions.shape[1]) < 2
        return ~survivors.expand(actions.shape[:2])

    problem = active_problem(4)
    recorder = Recorder(problem.model, poison)
    planner.plan(recorder, problem.objective, problem.state, problem.goal, horizon=4)
    first, second = recorder.rollouts
    torch.testing.assert_close(second[:, 0], first[:, :2].mean(dim=1), rtol=1e-4, atol=1e-4)


def test_the_spread_follows_the_elites_down_to_its_floor() -> None:
    problem = active_problem(4)
    plan = CEM(horizon=4, samples=100, elites=10, iterations=15, std_floor=0.03).plan(
        problem.model, problem.objective, problem.state, problem.goal
    )
    assert plan.std is not None
    assert plan.std.min().item() == pytest.approx(0.03)
    assert (plan.std < 0.2).all()
