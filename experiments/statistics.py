"""Intervals and seeds: what makes a figure in a table honest."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

STAGES = ("train", "tune", "evaluate")
_NORMAL_QUANTILE = 1.959963984540054


def wilson_interval(successes: int, trials: int) -> tuple[float, float]:
    """Return the Wilson score interval at 95 % of a success rate.

    Raises:
        ValueError: `trials` is not positive, or `successes` not within it.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"{successes} successes in {trials} trials is not a rate.")
    z2 = _NORMAL_QUANTILE**2
    rate = successes / trials
    centre = (rate + z2 / (2 * trials)) / (1 + z2 / trials)
    half = math.sqrt(rate * (1 - rate) / trials + z2 / (4 * trials**2))
    half *= _NORMAL_QUANTILE / (1 + z2 / trials)
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def standard_error(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Return the standard error of the mean of independent values; NaN of a single one."""
    if len(values) < 2:
        return math.nan
    return float(np.std(values, ddof=1) / math.sqrt(len(values)))


def episode_seeds(seed: int, stage: str, episodes: int) -> list[int]:
    """Return the seeds of the episodes of a stage; no two stages share a stream.

    The first episodes stay the same when more are asked for.

    Raises:
        ValueError: an unknown stage, or no episodes.
    """
    if stage not in STAGES:
        raise ValueError(f"stage={stage!r}: choose one of {list(STAGES)}.")
    if episodes < 1:
        raise ValueError(f"episodes={episodes}: evaluate at least one.")
    sequence = np.random.SeedSequence([seed, STAGES.index(stage)])
    return [int(child.generate_state(1)[0]) for child in sequence.spawn(episodes)]


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Return the median and the 95th percentile, or nothing where there are no values."""
    if not values:
        return {}
    p50, p95 = np.percentile(values, [50, 95])
    return {"p50": float(p50), "p95": float(p95)}
