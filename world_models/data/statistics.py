"""Minimum, maximum, mean, standard deviation and count of every feature, as LeRobot keeps them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FeatureStatistics = dict[str, NDArray[Any]]
"""`min`, `max`, `mean`, `std`, each of the shape of the feature, and `count`, `(1,)`.

Of pictures `(3, 1, 1)`, one for each colour, in [0, 1].
"""
Statistics = dict[str, FeatureStatistics]
"""By feature."""

PICTURES = 8
"""Pictures of an episode that its statistics are taken from, evenly spaced."""


def of_numbers(values: NDArray[Any]) -> FeatureStatistics:
    """Return the statistics of frames `(T, *shape)`."""
    values = values.astype(np.float64, copy=False)
    found = {
        "min": values.min(axis=0),
        "max": values.max(axis=0),
        "mean": values.mean(axis=0),
        "std": values.std(axis=0),
        "count": np.array(len(values)),
    }
    return {name: np.atleast_1d(value) for name, value in found.items()}


def of_pictures(frames: NDArray[np.uint8]) -> FeatureStatistics:
    """Return the statistics of pictures `(T, height, width, 3)`."""
    levels = np.arange(256) / 255
    found: dict[str, list[float]] = {"min": [], "max": [], "mean": [], "std": []}
    for colour in range(3):
        # A histogram has it all, and takes a tenth of the time of the reductions.
        counts = np.bincount(frames[..., colour].ravel(), minlength=256)
        there = np.flatnonzero(counts)
        mean = float(np.average(levels, weights=counts))
        found["min"].append(levels[there[0]])
        found["max"].append(levels[there[-1]])
        found["mean"].append(mean)
        found["std"].append(math.sqrt(np.average((levels - mean) ** 2, weights=counts)))
    shaped = {name: np.array(values).reshape(3, 1, 1) for name, values in found.items()}
    return {**shaped, "count": np.array([len(frames)])}


def chosen_pictures(frames: int) -> list[int]:
    """Return which of the pictures of an episode count, at most `PICTURES`."""
    return [round(place) for place in np.linspace(0, frames - 1, min(frames, PICTURES))]


def merged(stacked: FeatureStatistics) -> FeatureStatistics:
    """Return the statistics of parts together; every array has the parts as its first dimension.

    With n the counts: `mean = sum(n mean) / sum(n)`, `var = sum(n (var + (mean_part - mean)^2)) / sum(n)`.
    """
    count = stacked["count"].reshape(-1, *[1] * (stacked["mean"].ndim - 1))
    share = count / count.sum()
    mean = (share * stacked["mean"]).sum(axis=0)
    variance = (share * (stacked["std"] ** 2 + (stacked["mean"] - mean) ** 2)).sum(axis=0)
    return {
        "min": stacked["min"].min(axis=0),
        "max": stacked["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt(variance),
        "count": stacked["count"].sum(axis=0),
    }


def together(parts: Sequence[Statistics]) -> Statistics:
    """Return the statistics of datasets, or episodes, together."""
    if not parts:
        return {}
    return {
        key: merged({name: np.stack([part[key][name] for part in parts]) for name in parts[0][key]})
        for key in parts[0]
    }


def to_lists(statistics: Statistics) -> dict[str, dict[str, list[Any]]]:
    """Return them as lists, for JSON and Arrow."""
    return {
        key: {name: value.tolist() for name, value in values.items()}
        for key, values in statistics.items()
    }


def from_lists(lists: Mapping[str, Mapping[str, Any]]) -> Statistics:
    """Return what `to_lists` was given."""
    return {
        key: {name: np.asarray(value) for name, value in values.items()}
        for key, values in lists.items()
    }
