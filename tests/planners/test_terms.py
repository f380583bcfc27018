"""How terms weigh time, scale and add."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from dexworld.planners.objectives import (
    KeypointDistance,
    LatentDistance,
    NegativeReward,
    PoseError,
    Smoothness,
)
from dexworld.planners.terms import Addable, Sum

B, N, T, A = 2, 3, 4, 5


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


PREDICTIONS = {
    "keypoints": random(B, N, T, 6, 2),
    "latent": random(B, N, T, 3, 4),
}
GOAL = {
    "keypoints": random(B, 6, 2, seed=1),
    "latent": random(B, 3, 4, seed=1),
}
ACTIONS = random(B, N, T, A, seed=2)
STATE = {"command": random(B, A, seed=3)}


def cost(objective: Addable, state: dict[str, Tensor] | None = None) -> Tensor:
    return objective.cost(PREDICTIONS, ACTIONS, STATE if state is None else state, GOAL)


def test_time_weighting() -> None:
    objective = KeypointDistance(weight=2.0, terminal=0.5, running=3.0, discount=0.9)
    distance = objective.distance(PREDICTIONS, ACTIONS, STATE, GOAL)
    mean = sum(0.9**t * distance[:, :, t] for t in range(T)) / T
    torch.testing.assert_close(cost(objective), 2.0 * (0.5 * distance[:, :, -1] + 3.0 * mean))


def test_terms_add_and_scale() -> None:
    total = 2 * KeypointDistance() + 0.5 * (LatentDistance() + Smoothness()) * 3.0
    expected = 2 * cost(KeypointDistance()) + 1.5 * (cost(LatentDistance()) + cost(Smoothness()))
    torch.testing.assert_close(cost(total), expected)
    assert total.reads == {"keypoints", "latent"}
    assert KeypointDistance(weight=2.0) * 3 == KeypointDistance(weight=6.0)
    assert len((KeypointDistance() + LatentDistance() + Smoothness()).terms) == 3


def test_key_and_weight_come_first() -> None:
    assert KeypointDistance("agent", 0.25) == KeypointDistance(key="agent", weight=0.25)
    assert PoseError("hand", 2.0).reads == {"hand"}
    assert NegativeReward("bonus").terminal == 0
    assert Smoothness(0.1) == Smoothness(weight=0.1)


def test_objectives_from_elsewhere_can_join() -> None:
    class Effort:
        reads = frozenset({"latent"})

        def cost(self, predictions: object, actions: Tensor, state: object, goal: object) -> Tensor:
            return actions.square().sum(dim=(2, 3))

    total = KeypointDistance() + Effort()
    torch.testing.assert_close(
        cost(2.0 * total), 2 * cost(KeypointDistance()) + 2 * ACTIONS.square().sum(dim=(2, 3))
    )
    assert total.reads == {"keypoints", "latent"}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weight": math.nan}, "weight must be finite"),
        ({"terminal": -1.0}, "terminal must be at least 0"),
        ({"terminal": 0.0}, "zero everywhere"),
        ({"discount": 0.0}, "discount must be positive"),
    ],
)
def test_unusable_settings_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        KeypointDistance(**settings)  # type: ignore[arg-type]


def test_an_unusable_sum_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one objective"):
        Sum(())
    with pytest.raises(ValueError, match="one weight per objective"):
        Sum((KeypointDistance(),), (1.0, 2.0))
