"""Random shooting: try many plans, keep the best."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from .candidates import Candidates
from .noise import Streams
from .search import SearchPlanner, Strategy
from .settings import require_count
from .start import Start


@dataclass(frozen=True)
class RandomShooting(SearchPlanner):
    """Plans uniform within the bounds, the best of which is returned.

    The baseline of every other planner; close to the optimum only for very few decisions.

    Raises:
        ValueError: A setting is out of its range.
    """

    iterations: int = 1
    """Populations drawn, one after another; more than one only serves a time budget."""
    samples: int = 1000
    """Candidates of an iteration, the plan to start from included."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "samples")

    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return uniform samples."""
        return _Uniform(candidates, start, streams, self.samples)


class _Uniform:
    std = None
    alternatives = None

    def __init__(
        self, candidates: Candidates, start: Start, streams: Streams, samples: int
    ) -> None:
        self._candidates = candidates
        self._start = start
        self._streams = streams
        self._samples = samples

    def propose(self, iteration: int) -> Float[Tensor, "batch candidates horizon action"]:
        candidates = self._candidates
        shape = (self._samples, candidates.horizon, candidates.low.shape[0])
        actions = candidates.centre + candidates.half_range * self._streams.uniform(*shape)
        # The plan to start from is the mean here; the others need to be tried once only.
        given = min(self._start.plans.shape[1], self._samples) if iteration == 0 else 1
        actions[:, :given] = self._start.plans[:, :given]
        return actions

    def learn(self, actions: Float[Tensor, "batch candidates horizon action"]) -> None:
        self._candidates.evaluate(actions)
