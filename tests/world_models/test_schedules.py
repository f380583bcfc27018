"""Learning rates against their equations."""

from __future__ import annotations

import math

import pytest

from dexworld.world_models.schedules import SCHEDULES, rate_factor

STEPS = 200


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.0, 0.1])
@pytest.mark.parametrize("steps", [1, 3, STEPS])
def test_every_factor_is_positive_and_at_most_one(schedule: str, warmup: float, steps: int) -> None:
    factors = [rate_factor(schedule, step, steps, warmup) for step in range(steps)]
    assert all(0 < factor <= 1 for factor in factors)


@pytest.mark.parametrize("schedule", ["cosine", "linear", "constant"])
def test_the_warm_up_is_a_line_that_ends_at_the_full_rate(schedule: str) -> None:
    for step in range(20):
        expected = pytest.approx((step + 1) / 20)
        assert rate_factor(schedule, step, STEPS, 0.1) == expected
    assert rate_factor(schedule, 20, STEPS, 0.1) == 1


def test_what_follows_the_warm_up_is_its_equation() -> None:
    for step in range(20, STEPS):
        done = (step - 20) / 180
        assert rate_factor("linear", step, STEPS, 0.1) == pytest.approx(1 - done)
        assert rate_factor("constant", step, STEPS, 0.1) == 1
        expected = pytest.approx((1 + math.cos(math.pi * done)) / 2)
        assert rate_factor("cosine", step, STEPS, 0.1) == expected


@pytest.mark.parametrize(("warmup", "top"), [(0.0, 60), (0.1, 20)])
def test_one_cycle_rises_from_a_twenty_fifth_and_falls_to_nothing(warmup: float, top: int) -> None:
    factors = [rate_factor("one_cycle", step, STEPS, warmup) for step in range(STEPS)]
    assert factors[0] == pytest.approx(1 / 25)
    assert factors[top] == 1
    assert factors[: top + 1] == sorted(factors[: top + 1])
    assert factors[top:] == sorted(factors[top:], reverse=True)
    assert factors[-1] < 0.001
