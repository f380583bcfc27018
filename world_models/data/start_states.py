"""Start states, and goals, drawn from the frames of a dataset."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..base import GOAL_PREFIX
from .cache import Cache
from .lerobot import Dataset


class DatasetStarts:
    """Draws frames of a dataset to start from, each with the same probability.

    With `goal_after` the goal is a frame of the same episode, so many steps later: it can be
    reached, since it was (hindsight, as in Andrychowicz et al. 2017). The number of steps is drawn
    with equal probability from those that the episode still has.

    Thousands are drawn at once, from arrays that are mapped into memory.

    Args:
        dataset: the dataset, its folder, or a cache of it that holds the columns.
        columns: column of the dataset by key of the observation, `{"keypoints":
            "observation.keypoints"}`.
        goal_after: fewest and most steps from start to goal; None gives no goals.
        replace: whether a frame may be drawn again. False draws each of them once for every random
            generator: a new one, which a seed makes, begins anew.
        episodes: the episodes to draw from; None takes all.

    Raises:
        KeyError: the dataset, or its cache, has no such column.
        ValueError: steps that cannot be, or no episode with as many.
    """

    def __init__(
        self,
        dataset: Cache | Dataset | str | os.PathLike[str],
        columns: Mapping[str, str],
        *,
        goal_after: tuple[int, int] | None = None,
        replace: bool = True,
        episodes: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> None:
        least, most = goal_after or (0, 0)
        if not 0 <= least <= most or (goal_after and not most):
            raise ValueError(
                f"goal_after={goal_after}: fewest and most steps to the goal, 0 <= fewest <= most, "
                "1 <= most."
            )
        self.cache = dataset if isinstance(dataset, Cache) else _opened(dataset, columns)
        missing = sorted(set(columns.values()) - set(self.cache.arrays))
        if missing or not columns:
            raise KeyError(
                f"the cache {self.cache.folder} was opened without {missing}; it has "
                f"{sorted(self.cache.arrays)}."
            )
        self.columns = dict(columns)
        self.goal_after, self.replace = goal_after, replace
        chosen = (
            np.arange(self.cache.episodes) if episodes is None else np.asarray(episodes, np.int64)
        )
        self._first, lengths = self.cache.starts[chosen], self.cache.lengths[chosen]
        self._last = self._first + lengths - 1
        self._ends = np.maximum(lengths - least, 0).cumsum()
        self.frames = int(self._ends[-1]) if len(chosen) else 0
        """How many frames can be started from."""
        if not self.frames:
            longest = int(lengths.max()) if len(chosen) else 0
            raise ValueError(
                f"none of {len(chosen)} episodes of {self.cache.dataset.folder} has a frame "
                f"{least} steps before its end (the longest has {longest} frames): choose nearer "
                "goals or other episodes, or collect longer ones."
            )
        self._order: tuple[np.random.Generator, NDArray[np.int64]] | None = None

    def __call__(self, count: int, rng: np.random.Generator) -> dict[str, NDArray[Any]]:
        """Return so many observations by key, `(count, ...)`, and `goal_<key>` where there are goals.

        Raises:
            ValueError: fewer frames are left.
        """
        drawn = rng.integers(0, self.frames, count) if self.replace else self._unused(count, rng)
        episode = np.searchsorted(self._ends, drawn, side="right")
        before = np.where(episode > 0, self._ends[episode - 1], 0)
        start = self._first[episode] + drawn - before
        observed = {key: self._read(column, start) for key, column in self.columns.items()}
        if self.goal_after is None:
            return observed
        least, most = self.goal_after
        left = np.minimum(most, self._last[episode] - start)
        goal = start + rng.integers(least, left, endpoint=True)
        goals = {GOAL_PREFIX + key: self._read(col, goal) for key, col in self.columns.items()}
        return {**observed, **goals}

    def _read(self, column: str, rows: NDArray[np.int64]) -> NDArray[Any]:
        return np.asarray(self.cache.arrays[column][rows])

    def _unused(self, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
        """Take the next of all frames, in an order that the generator has drawn."""
        if self._order is None or self._order[0] is not rng:
            self._order = rng, rng.permutation(self.frames)
        left = self._order[1]
        if count > len(left):
            raise ValueError(
                f"{count} starts are wanted, and {len(left)} of the {self.frames} frames of "
                f"{self.cache.dataset.folder} are left: take replace=True, fewer episodes, or a "
                "larger dataset."
            )
        self._order = rng, left[count:]
        return left[:count]


def _opened(dataset: Dataset | str | os.PathLike[str], columns: Mapping[str, str]) -> Cache:
    return Cache.open(dataset, list(dict.fromkeys(columns.values())))
