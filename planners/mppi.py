"""Model predictive path integral control: candidates vote with exponential weights."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from .candidates import Candidates
from .noise import Streams, colour_filter
from .population import Population
from .search import SearchPlanner, Strategy
from .settings import require_at_least, require_count, require_fraction, require_positive
from .start import Start


@dataclass(frozen=True)
class MPPI(SearchPlanner):
    """Model predictive path integral control, iterated.

    The new mean is the mean of all candidates under the weights
    `exp(-(cost - least cost) / (temperature s))`, where `s` is the mean excess over the least
    cost, so that the temperature does not depend on the unit of the cost. The spread follows
    the same weights (`std_smoothing` 1 keeps it constant, as in the original).

    Source of the idea: Williams et al. 2017, "Information Theoretic MPC for Model-Based
    Reinforcement Learning".

    Raises:
        ValueError: A setting is out of its range.
    """

    samples: int = 200
    """Candidates of an iteration, the mean included."""
    temperature: float = 0.1
    """How far above the best a candidate still counts, relative to the mean excess."""
    noise_exponent: float = 0.0
    """Exponent of the power spectrum of the noise along time: 0 white, 2 a random walk."""
    initial_std: float = 0.7
    """Spread at the start, as a fraction of half the range of the bounds."""
    std_floor: float = 0.05
    """Least spread, as the same fraction."""
    smoothing: float = 0.0
    """Share of the old mean in the new one."""
    std_smoothing: float = 0.5
    """Share of the old spread in the new one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "samples")
        require_positive(self, "temperature")
        require_at_least(self, "noise_exponent", 0.0)
        require_positive(self, "initial_std")
        require_at_least(self, "std_floor", 0.0)
        require_fraction(self, "smoothing")
        require_fraction(self, "std_smoothing")

    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return exponentially weighted candidates."""
        low = candidates.low
        colour = colour_filter(
            candidates.horizon, self.noise_exponent, device=low.device, dtype=low.dtype
        )

        def draw(iteration: int) -> Tensor:
            if self.noise_exponent == 0:
                return streams.normal(self.samples, candidates.horizon, low.shape[0])
            return streams.coloured(self.samples, low.shape[0], colour)

        population = Population(
            candidates,
            start,
            draw=draw,
            initial_std=self.initial_std,
            std_floor=self.std_floor,
            smoothing=self.smoothing,
            std_smoothing=self.std_smoothing,
        )
        return _PathIntegral(candidates, population, self.temperature)


class _PathIntegral:
    alternatives = None

    def __init__(self, candidates: Candidates, population: Population, temperature: float) -> None:
        self._candidates = candidates
        self._population = population
        self._temperature = temperature

    @property
    def std(self) -> Float[Tensor, "batch horizon action"]:
        return self._population.std

    def propose(self, iteration: int) -> Float[Tensor, "batch candidates horizon action"]:
        return self._population.propose(iteration)

    def learn(self, actions: Float[Tensor, "batch candidates horizon action"]) -> None:
        costs = self._candidates.evaluate(actions)
        weights = path_integral_weights(costs, self._temperature)
        self._population.fit(actions, weights.to(actions.dtype))


def path_integral_weights(
    costs: Float[Tensor, "batch candidates"], temperature: float
) -> Float[Tensor, "batch candidates"]:
    """Return `exp(-(c - c_min) / (temperature mean(c - c_min)))`; zero where `c` is infinite."""
    finite = torch.isfinite(costs)
    least = costs.amin(dim=1, keepdim=True)
    excess = torch.where(finite, costs - torch.where(least.isinf(), 0.0, least), 0.0)
    scale = excess.sum(dim=1, keepdim=True) / finite.sum(dim=1, keepdim=True).clamp(min=1)
    scale = torch.where(scale > 0, scale, 1.0)
    return torch.where(finite, torch.exp(-excess / (temperature * scale)), 0.0)
