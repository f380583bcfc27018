"""The improved cross-entropy method: coloured noise, kept elites, fewer and fewer samples."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from .candidates import Candidates
from .elites import EliteStrategy
from .noise import Streams, colour_filter
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
class ICEM(SearchPlanner):
    """Cross-entropy method with noise coloured along time and a shrinking population.

    Iteration `i` draws `max(samples / decay^i, 2 elites)` candidates. A share of the elites
    competes again in the next iteration, and, through `Plan.alternatives` and the warm start,
    in the next plan.

    Source of the idea: Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time
    Planning". The mean is a candidate of every iteration here, not of the last one only.

    Raises:
        ValueError: A setting is out of its range, or there are more elites than samples.
    """

    samples: int = 200
    """Candidates of the first iteration, the mean included."""
    elites: int = 10
    """Candidates that mean and spread are fitted to."""
    kept_fraction: float = 0.3
    """Share of the elites that competes again."""
    decay: float = 1.25
    """Factor by which the population shrinks in each iteration."""
    noise_exponent: float = 1.0
    """Exponent of the power spectrum of the noise along time: 0 white, 2 a random walk."""
    initial_std: float = 0.7
    """Spread at the start, as a fraction of half the range of the bounds."""
    warm_std: float | None = None
    """The same where there is a plan to start from, which only needs refining; as anywhere where
    None, so that the search can change its mind."""
    std_floor: float = 0.02
    """Least spread, as the same fraction."""
    smoothing: float = 0.1
    """Share of the old mean and spread in the new ones."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "samples")
        require_count(self, "elites")
        require_at_most_field(self, "elites", "samples")
        require_fraction(self, "kept_fraction")
        require_at_least(self, "decay", 1.0)
        require_at_least(self, "noise_exponent", 0.0)
        require_positive(self, "initial_std")
        if self.warm_std is not None:
            require_positive(self, "warm_std")
        require_at_least(self, "std_floor", 0.0)
        require_fraction(self, "smoothing")

    def population_size(self, iteration: int) -> int:
        """Return how many candidates an iteration draws."""
        least = min(2 * self.elites, self.samples)
        return max(int(self.samples * self.decay**-iteration), least)

    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return elites of coloured noise."""
        low = candidates.low
        colour = colour_filter(
            candidates.horizon, self.noise_exponent, device=low.device, dtype=low.dtype
        )

        def draw(iteration: int) -> Tensor:
            return streams.coloured(self.population_size(iteration), low.shape[0], colour)

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
        kept = math.ceil(self.kept_fraction * self.elites)
        return EliteStrategy(
            candidates, population, elites=self.elites, kept=kept, hand_on=kept > 0
        )
