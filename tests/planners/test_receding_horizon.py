"""What is left of a plan."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from dexworld.planners import Plan, Search, WarmStart, shift


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


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="executed is -1"):
        shift(plan_of(ACTIONS), -1)
    with pytest.raises(ValueError, match="horizon is 0"):
        shift(plan_of(ACTIONS), 1, 0)
