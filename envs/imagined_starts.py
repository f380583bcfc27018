"""Where imagined episodes begin: drawn by whoever is asked, or from a batch that is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..world_models.base import Observation

StartStates = Callable[[int, np.random.Generator], Observation]
"""Draws so many starts: what the model observes and, where there are goals, `goal_<key>`."""


class GivenStarts:
    """Draws from a fixed batch of starts, as often as it is asked, any of them at any time.

    Args:
        batch: what the model observes, `(B, ...)` by key, and `goal_<key>` where there are goals.

    Raises:
        ValueError: it is empty, or its keys are of different lengths.
    """

    def __init__(self, batch: Observation) -> None:
        self.batch: dict[str, NDArray[Any]] = {k: np.asarray(each) for k, each in batch.items()}
        lengths = {key: len(each) for key, each in self.batch.items()}
        if len(set(lengths.values())) != 1 or 0 in lengths.values():
            raise ValueError(
                f"a batch of starts with so many of each key: {lengths}; give as many of each, at "
                "least one."
            )
        self.count = next(iter(lengths.values()))

    def __call__(self, count: int, rng: np.random.Generator) -> Observation:
        """Return so many of them."""
        rows = rng.integers(self.count, size=count)
        return {key: each[rows] for key, each in self.batch.items()}
