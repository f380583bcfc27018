"""What is left of a plan."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dexworld.planners import ICEM, Plan, Search, WarmStart, shift
from dexworld.planners.conformance import Recorder, active_problem
from dexworld.planners.start import fit_horizon


def plan_of(actions: Tensor, std: Tensor | None = None, others: Tensor | None = None) -> Plan:
    rows = torch.zeros(actions.shape[0])
    search = Search(rows[None], 1, torch.zeros(actions.shape[0], dtype=torch.int64), 0.0)
    return Plan(actions, rows, {}, std, search, others)


def decisions(warm_start: WarmStart) -> list[list[float]]:
    return warm_start.actions[0, :, :, 0].tolist()


ACTIONS = torch.tensor([1.0, 2.0, 3.0])[None, :, None]


@pytest.mark.parametrize(
    ("executed", "horizon", "expected"),
    [
        (0, None, [1, 2, 3]),
        (1, None, [2, 3, 3]),
        (2, 5, [3, 3, 3, 3, 3]),
        (1, 1, [2]),
        (3, 2, [3, 3]),
        (9, None, [3, 3, 3]),
    ],
)
def test_executed_decisions_are_dropped_and_the_last_one_repeated(
    executed: int, horizon: int | None, expected: list[float]
) -> None:
    assert decisions(shift(plan_of(ACTIONS), executed, horizon)) == [expected]


def test_alternatives_and_spread_are_shifted_too() -> None:
    plan = plan_of(ACTIONS, std=ACTIONS / 10, others=torch.stack([ACTIONS + 1, ACTIONS + 2], 1))
    assert shift(plan, 1).std is None
    warm_start = shift(plan, 1, keep_std=True)
    assert decisions(warm_start) == [[2, 3, 3], [3, 4, 4], [4, 5, 5]]
    assert warm_start.std is not None
    torch.testing.assert_close(warm_start.std[0, :, 0], torch.tensor([0.2, 0.3, 0.3]))


def test_the_spread_of_a_warm_start_is_searched_with() -> None:
    problem = active_problem(4)
    std = torch.full((3, 4, 2), 1e-6, dtype=torch.float64)
    mean = torch.full((3, 1, 4, 2), 0.5, dtype=torch.float64)
    valid = torch.tensor([True, False, True])
    recorder = Recorder(problem.model)
    ICEM(horizon=4, samples=20, elites=4, iterations=1, std_floor=0.0).plan(
        recorder,
        problem.objective,
        problem.state,
        problem.goal,
        warm_start=WarmStart(mean, std, valid),
    )
    distance = (recorder.rollouts[0] - 0.5).abs().amax(dim=(1, 2, 3))
    assert (distance[valid] < 1e-4).all()
    assert distance[1] > 0.5


def test_fit_horizon_repeats_or_cuts() -> None:
    assert fit_horizon(ACTIONS, 5)[0, :, 0].tolist() == [1, 2, 3, 3, 3]
    assert fit_horizon(ACTIONS, 2)[0, :, 0].tolist() == [1, 2]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="executed is -1"):
        shift(plan_of(ACTIONS), -1)
    with pytest.raises(ValueError, match="horizon is 0"):
        shift(plan_of(ACTIONS), 1, 0)
