"""The cross-entropy method."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from .candidates import Candidates
from .elites import EliteStrategy, Refine
from .noise import Streams
from .population import Population
from .search import SearchPlanner, Strategy
from .settings import (
    require_at_least,
    require_at_most_field,
    require_count,
    require_fraction,
    require_positive,
)
from .start import Start


@dataclass(frozen=True)
class CEM(SearchPlanner):
    """Cross-entropy method with a clipped Gaussian.

    Each iteration draws candidates around a mean, fits mean and spread to the elites, and keeps
    the best few elites for the next. The best plan ever evaluated is returned, not the last mean.

    Source of the idea: Rubinstein and Kroese 2004, "The Cross-Entropy Method". The defaults are
    those that did best on PushT, where the spread needed a floor and the elites a memory.

    Raises:
        ValueError: A setting is out of its range, or there are more elites than samples.
    """

    samples: int = 200
    """Candidates of an iteration, the mean included."""
    elites: int = 20
    """Candidates that mean and spread are fitted to."""
    kept: int = 3
    """Elites that compete again in the next iteration."""
    initial_std: float = 0.7
    """Spread at the start, as a fraction of half the range of the bounds."""
    warm_std: float | None = None
    """The same where there is a plan to start from, which only needs refining; as anywhere where
    None, so that the search can change its mind."""
    std_floor: float = 0.05
    """Least spread, as the same fraction; keeps the search awake after it has converged."""
    smoothing: float = 0.1
    """Share of the old mean and spread in the new ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "samples")
        require_count(self, "elites")
        require_at_most_field(self, "elites", "samples")
        require_count(self, "kept", 0)
        require_at_most_field(self, "kept", "elites")
        require_positive(self, "initial_std")
        if self.warm_std is not None:
            require_positive(self, "warm_std")
        require_at_least(self, "std_floor", 0.0)
        require_fraction(self, "smoothing")

    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return elites of white noise."""
        return self._elite_strategy(candidates, start, streams)

    def _elite_strategy(
        self,
        candidates: Candidates,
        start: Start,
        streams: Streams,
        refine: Refine | None = None,
    ) -> EliteStrategy:
        def draw(iteration: int) -> Tensor:
            return streams.normal(self.samples, candidates.horizon, candidates.low.shape[0])

        population = Population(
            candidates,
            start,
            draw=draw,
            initial_std=self.initial_std,
            warm_std=self.warm_std,
            std_floor=self.std_floor,
            smoothing=self.smoothing,
            std_smoothing=self.smoothing,
        )
        return EliteStrategy(
            candidates, population, elites=self.elites, kept=self.kept, refine=refine
        )
