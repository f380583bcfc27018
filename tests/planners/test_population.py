"""What a population draws and how it is refitted, against a few lines written out."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dexworld.planners import CEM, ICEM, MPPI
from dexworld.planners.conformance import Recorder, active_problem, assert_equal
from dexworld.planners.elites import best
from dexworld.planners.mppi import path_integral_weights
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
    searched = recorder.rollouts[:-1]
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
    first, second = recorder.rollouts[:-1]
    torch.testing.assert_close(second[:, 0], first[:, :2].mean(dim=1), rtol=1e-4, atol=1e-4)


def test_the_spread_follows_the_elites_down_to_its_floor() -> None:
    problem = active_problem(4)
    plan = CEM(horizon=4, samples=100, elites=10, iterations=15, std_floor=0.03).plan(
        problem.model, problem.objective, problem.state, problem.goal
    )
    assert plan.std is not None
    assert plan.std.min().item() == pytest.approx(0.03)
    assert (plan.std < 0.2).all()


def test_best_sorts_by_cost() -> None:
    costs = torch.tensor([[3.0, 1.0, 2.0, torch.inf]])
    actions = torch.arange(4.0)[None, :, None, None]
    chosen, least = best(actions, costs, 2)
    assert chosen.flatten().tolist() == [1.0, 2.0]
    assert least.flatten().tolist() == [1.0, 2.0]
    assert best(actions, costs, 9)[0].shape[1] == 4


def test_elites_are_kept_without_being_evaluated_again() -> None:
    problem = active_problem(4)
    recorder = Recorder(problem.model)
    CEM(horizon=4, samples=20, elites=4, kept=3, iterations=3).plan(
        recorder, problem.objective, problem.state, problem.goal
    )
    first, second, third = recorder.rollouts[:-1]
    for earlier, later in ((first, second), (first, third), (second, third)):
        again = (earlier.unsqueeze(1) == later.unsqueeze(2)).all(dim=-1).all(dim=-1)
        assert not again.any()


def test_the_population_of_icem_shrinks() -> None:
    planner = ICEM(samples=100, elites=10, decay=1.5, iterations=6, horizon=4)
    problem = active_problem(4)
    recorder = Recorder(problem.model)
    plan = planner.plan(recorder, problem.objective, problem.state, problem.goal)
    sizes = [rollout.shape[1] for rollout in recorder.rollouts[:-1]]
    assert sizes == [100, 66, 44, 29, 20, 20]
    assert plan.search.evaluations == sum(sizes)
    assert plan.search.evaluations_at == (100, 166, 210, 239, 259, 279)
    assert plan.alternatives is not None
    assert plan.alternatives.shape == (3, 3, 4, 2)


def test_path_integral_weights() -> None:
    costs = torch.tensor([[1.0, 2.0, 6.0, torch.inf], [torch.inf] * 4, [5.0] * 4])
    weights = path_integral_weights(costs, 0.5)
    expected = torch.exp(-torch.tensor([0.0, 1.0, 5.0]) / (0.5 * 2.0))
    torch.testing.assert_close(weights[0, :3], expected)
    assert weights[0, 3] == 0
    assert (weights[1] == 0).all()
    assert (weights[2] == 1).all()
    # A cost in other units means the same.
    assert_equal(path_integral_weights(4 * costs, 0.5), weights)
