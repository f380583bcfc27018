"""Explorers without eyes: coloured noise, and recorded trajectories under it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dexworld.agents.exploration import (
    ColouredNoise,
    ColouredNoiseSettings,
    NoisyReplay,
    Trajectory,
    coloured_noise,
    folded,
)
from dexworld.world_models.base import HOLD_ACTION

SPACE = Box(np.float32([-1.0, 2.0]), np.float32([1.0, 5.0]))
STEPS = 40


def held(step: int, rows: int) -> dict[str, np.ndarray]:
    """Return where things would hold still: other places at every step."""
    rng = np.random.default_rng(step)
    return {HOLD_ACTION: rng.uniform(SPACE.low, SPACE.high, (rows, 2)).astype(np.float32)}


def acted(agent: Any, seeds: list[int], steps: int, rows: list[int] | None = None) -> np.ndarray:
    """Return actions [steps, B, A], chosen rows of six being observed."""
    state, actions = agent.start(seeds), []
    for step in range(steps):
        seen = held(step, 6)
        if rows is not None:
            seen = {key: value[rows] for key, value in seen.items()}
        action, state = agent.predict(seen, state)
        actions.append(action)
    return np.stack(actions)


RECORDED = [
    Trajectory(np.linspace(SPACE.low, SPACE.high, 10).astype(np.float32), {"seed": 70}),
    Trajectory(np.float32([[0.0, 3.0]] * 4), {"seed": 71, "options": {"state": np.zeros(5)}}),
]
EXPLORERS = {
    "start": ColouredNoise(SPACE, STEPS),
    "current": ColouredNoise(SPACE, STEPS, ColouredNoiseSettings(around="current", scale=0.1)),
    "space": ColouredNoise(SPACE, STEPS, ColouredNoiseSettings(around="space", exponent=1.0)),
    "replay": NoisyReplay(SPACE, RECORDED, scale=0.3),
}


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0])
def test_the_spectrum_of_noise_is_a_power_law(exponent: float) -> None:
    noise = np.concatenate(
        [coloured_noise(np.random.default_rng(n), 256, 4, exponent) for n in range(200)], axis=1
    )
    assert noise.shape == (256, 800)
    assert np.mean(noise**2) == pytest.approx(1.0, rel=0.1)
    assert np.abs(noise.mean(1)).max() < 0.2, "the mean depends on time"
    taper = np.hanning(256)[:, None]
    power = (np.abs(np.fft.rfft(taper * noise, axis=0)) ** 2).mean(1)
    frequency = np.fft.rfftfreq(256)
    slope, _ = np.polyfit(np.log(frequency[6:100]), np.log(power[6:100]), 1)
    assert slope == pytest.approx(-exponent, abs=0.15)


def test_noise_of_one_step() -> None:
    assert coloured_noise(np.random.default_rng(0), 1, 3, 2.0).shape == (1, 3)


def test_actions_are_reflected_at_the_bounds() -> None:
    given = np.array([[-1.0, 2.0], [1.5, 5.5], [-1.25, 1.0], [9.0, 11.0], [0.25, 4.0]])
    inside = [[-1.0, 2.0], [0.5, 4.5], [-0.75, 3.0], [1.0, 5.0], [0.25, 4.0]]
    np.testing.assert_allclose(folded(given, SPACE), inside, atol=1e-6)


@pytest.mark.parametrize("name", list(EXPLORERS))
def test_actions_are_within_bounds_and_fill_them(name: str) -> None:
    actions = acted(EXPLORERS[name], list(range(6)), STEPS)
    assert actions.dtype == np.float32 and actions.shape == (STEPS, 6, 2)
    assert (actions >= SPACE.low).all() and (actions <= SPACE.high).all()
    assert (np.ptp(actions, axis=(0, 1)) > 0.6 * (SPACE.high - SPACE.low)).all()


@pytest.mark.parametrize("name", list(EXPLORERS))
def test_a_row_depends_on_its_seed_alone(name: str) -> None:
    agent = EXPLORERS[name]
    together = acted(agent, [10, 11, 12, 13, 14, 15], STEPS)
    alone = acted(agent, [12], STEPS, rows=[2])
    np.testing.assert_array_equal(together[:, 2], alone[:, 0])
    assert not np.array_equal(alone, acted(agent, [14], STEPS, rows=[2]))


@pytest.mark.parametrize("name", list(EXPLORERS))
def test_asking_changes_nothing(name: str) -> None:
    agent = EXPLORERS[name]
    state = agent.start([0, 1, 2])
    for step in range(STEPS + 5):
        first, after = agent.predict(held(step, 3), state)
        again, same = agent.predict(held(step, 3), state)
        np.testing.assert_array_equal(first, again)
        for one, other in zip(vars(after).values(), vars(same).values(), strict=True):
            np.testing.assert_array_equal(one, other)
        state = after


@pytest.mark.parametrize("name", list(EXPLORERS))
def test_rows_that_go_on_are_taken_along(name: str) -> None:
    agent = EXPLORERS[name]
    expected = acted(agent, [1, 2, 3, 4, 5, 6], 20)
    state = agent.start([1, 2, 3, 4, 5, 6])
    for step in range(8):
        _, state = agent.predict(held(step, 6), state)
    kept = np.array([0, 4])
    state = agent.take(state, kept)
    for step in range(8, 20):
        actions, state = agent.predict({HOLD_ACTION: held(step, 6)[HOLD_ACTION][kept]}, state)
        np.testing.assert_array_equal(actions, expected[step, kept])


@pytest.mark.parametrize("name", list(EXPLORERS))
def test_a_row_that_starts_over_draws_other_noise(name: str) -> None:
    agent = EXPLORERS[name]
    first = acted(agent, [3, 4], 5, rows=[0, 1])
    state = agent.start([3, 4])
    for step in range(5):
        _, state = agent.predict({HOLD_ACTION: held(step, 6)[HOLD_ACTION][:2]}, state)
    again = []
    for step in range(5):
        restart = np.array([step == 0, False])
        actions, state = agent.predict(
            {HOLD_ACTION: held(step, 6)[HOLD_ACTION][:2]}, state, restart
        )
        again.append(actions[0])
    assert not np.array_equal(first[:, 0], np.stack(again))
    assert state.age.tolist() == [5, 10]


def test_noise_is_around_what_it_was_told() -> None:
    quiet = {
        around: ColouredNoise(SPACE, 9, ColouredNoiseSettings(scale=0.0, around=around))
        for around in ("start", "current", "space")
    }
    seen = [held(step, 6)[HOLD_ACTION] for step in range(9)]
    np.testing.assert_allclose(acted(quiet["start"], list(range(6)), 9), [seen[0]] * 9, atol=1e-6)
    np.testing.assert_allclose(acted(quiet["current"], list(range(6)), 9), seen, atol=1e-6)
    middle = (SPACE.low + SPACE.high) / 2
    space = acted(quiet["space"], list(range(6)), 9)
    np.testing.assert_allclose(space, np.broadcast_to(middle, space.shape), atol=1e-6)
    assert quiet["space"].observes == frozenset() and quiet["start"].observes == {HOLD_ACTION}


def test_red_noise_moves_smoothly() -> None:
    def jump(exponent: float) -> float:
        settings = ColouredNoiseSettings(exponent, 0.3, "space")
        actions = acted(ColouredNoise(SPACE, STEPS, settings), list(range(6)), STEPS)
        return float(np.abs(np.diff(actions, axis=0)).mean() / actions.std())

    assert jump(2.0) < 0.5 * jump(0.0)


def test_without_noise_the_recording_is_repeated_and_its_last_action_held() -> None:
    agent = NoisyReplay(SPACE, RECORDED, scale=0.0)
    actions = acted(agent, [4, 7], 12, rows=[0, 1])
    np.testing.assert_allclose(actions[:10, 0], RECORDED[0].actions, atol=1e-6)
    np.testing.assert_allclose(actions[10:, 0], RECORDED[0].actions[[9, 9]], atol=1e-6)
    np.testing.assert_allclose(actions[:, 1], [RECORDED[1].actions[0]] * 12, atol=1e-6)


def test_an_episode_begins_where_its_trajectory_began() -> None:
    agent = NoisyReplay(SPACE, RECORDED)
    assert agent.reset_arguments(4) == {"seed": 70}
    assert set(agent.reset_arguments(5)) == {"seed", "options"}
    assert agent.reset_arguments(5)["seed"] == 71


@pytest.mark.parametrize(
    ("make", "kind", "complaint"),
    [
        (lambda: ColouredNoiseSettings(scale=-1.0), ValueError, "noise has neither below 0"),
        (lambda: ColouredNoiseSettings(around="here"), ValueError, "choose one of"),
        (lambda: ColouredNoise(SPACE, 0), ValueError, "at least 1 action"),
        (lambda: ColouredNoise(Discrete(3), 5), TypeError, "actions of a bounded Box"),
        (lambda: ColouredNoise(Box(-np.inf, 1.0, (2,)), 5), TypeError, "bounded Box"),
        (lambda: NoisyReplay(SPACE, []), ValueError, "no trajectories"),
        (
            lambda: NoisyReplay(SPACE, [Trajectory(np.zeros((4, 3), np.float32))]),
            ValueError,
            r"trajectory 0 has actions of shape \(4, 3\)",
        ),
        (
            lambda: NoisyReplay(SPACE, [Trajectory(np.zeros((0, 2), np.float32))]),
            ValueError,
            "T at least 1",
        ),
    ],
)
def test_what_cannot_explore(make: Any, kind: type[Exception], complaint: str) -> None:
    with pytest.raises(kind, match=complaint):
        make()


def test_noise_around_what_is_not_observed() -> None:
    with pytest.raises(KeyError, match=r"lacks \['hold_action'\]; it has \['state'\]"):
        ColouredNoise(SPACE, 5).predict({"state": np.zeros((1, 2), np.float32)})
