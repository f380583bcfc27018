"""Intervals and seeds, against known values."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from dexworld.experiments.statistics import (
    STAGES,
    episode_seeds,
    percentiles,
    standard_error,
    wilson_interval,
)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    [
        # scipy.stats.binomtest(x, n).proportion_ci(method="wilson")
        (0, 10, 0.0, 0.2775328),
        (1, 10, 0.01787621, 0.4041500),
        (5, 10, 0.2365931, 0.7634069),
        (95, 100, 0.8882495, 0.9784563),
        (100, 100, 0.9630065, 1.0),
        (15, 148, 0.06238640, 0.1604872),
    ],
)
def test_wilson_interval(successes, trials, low, high) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=2e-6)
    mirrored = wilson_interval(trials - successes, trials)
    assert mirrored == pytest.approx((1 - high, 1 - low), abs=2e-6)


@pytest.mark.parametrize(("successes", "trials"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_rate_is_refused(successes, trials) -> None:
    with pytest.raises(ValueError, match=f"{successes} successes in {trials} trials is not a rate"):
        wilson_interval(successes, trials)


def test_no_two_stages_or_seeds_share_an_episode() -> None:
    streams = [episode_seeds(seed, stage, 200) for stage in STAGES for seed in (0, 1)]
    for some, others in itertools.combinations(streams, 2):
        assert not set(some) & set(others)
    assert all(len(set(stream)) == 200 for stream in streams)


def test_the_first_episodes_stay_the_same_when_more_are_asked_for() -> None:
    assert episode_seeds(0, "evaluate", 100)[:7] == episode_seeds(0, "evaluate", 7)


def test_seeds_are_plain_numbers_that_environments_take() -> None:
    for seed in episode_seeds(0, "tune", 5):
        assert type(seed) is int and 0 <= seed < 2**32


def test_seeds_do_not_change_from_version_to_version() -> None:
    assert episode_seeds(0, "evaluate", 2) == PUBLISHED


PUBLISHED = [1706515667, 1192758757]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"stage='test': choose one of \['train', 'tune', 'eval"):
        episode_seeds(0, "test", 3)
    with pytest.raises(ValueError, match="episodes=0: evaluate at least one"):
        episode_seeds(0, "tune", 0)


def test_percentiles() -> None:
    assert percentiles([]) == {}
    assert percentiles([3.0]) == {"p50": 3.0, "p95": 3.0}
    values = [float(value) for value in range(101)]
    assert percentiles(values) == pytest.approx({"p50": 50.0, "p95": 95.0})


def test_the_standard_error_is_that_of_a_mean() -> None:
    rng = np.random.default_rng(0)
    means = rng.normal(2.0, 3.0, (4000, 25)).mean(axis=1)
    assert means.std() == pytest.approx(3.0 / 5, rel=0.05)
    told = [standard_error(each) for each in rng.normal(2.0, 3.0, (4000, 25))]
    assert np.mean(told) == pytest.approx(3.0 / 5, rel=0.05)
    assert standard_error([1.0, 3.0]) == pytest.approx(1.0)
    assert np.isnan(standard_error([1.0]))
