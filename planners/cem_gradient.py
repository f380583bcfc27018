"""The cross-entropy method whose elites descend the gradient before they are fitted to."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from .candidates import Candidates
from .cem import CEM
from .descent import Descent
from .noise import Streams
from .search import Strategy
from .settings import require_count, require_positive
from .start import Start


@dataclass(frozen=True)
class CEMGradient(CEM):
    """CEM with gradient refinement: samples find the valley, gradients its floor.

    After each selection the elites make a few Adam steps through the model; each goes on as the
    best plan along its path.

    Source of the idea: Bharadhwaj et al. 2020, "Model-Predictive Control via Cross-Entropy and
    Gradient-Based Optimization".

    Raises:
        ValueError: A setting is out of its range; when planning, the model is not differentiable.
    """

    samples: int = 100
    """Candidates of an iteration, the mean included."""
    elites: int = 10
    """Candidates that are refined, and that mean and spread are fitted to."""
    refinement_steps: int = 3
    """Gradient steps of each elite in each iteration."""
    learning_rate: float = 0.1
    """First step size, in coordinates `u` with `a = centre + half_range tanh(u)`."""
    gradient_clip: float | None = 1.0
    """Largest norm of the gradient of one plan; None does not clip."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "refinement_steps")
        require_positive(self, "learning_rate")
        if self.gradient_clip is not None:
            require_positive(self, "gradient_clip")

    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return elites of white noise, refined by gradients."""
        candidates.check_differentiable()

        def refine(elites: Tensor, costs: Tensor) -> tuple[Tensor, Tensor]:
            return self._refined(candidates, elites, costs)

        return self._elite_strategy(candidates, start, streams, refine)

    def _refined(
        self, candidates: Candidates, elites: Tensor, costs: Tensor
    ) -> tuple[Tensor, Tensor]:
        descent = Descent(
            candidates,
            elites,
            steps=self.refinement_steps,
            learning_rate=self.learning_rate,
            gradient_clip=self.gradient_clip,
        )
        moved = elites
        for _ in range(self.refinement_steps):
            moved_costs, gradients = candidates.evaluate_with_gradients(moved)
            elites, costs = _better(elites, costs, moved, moved_costs)
            descent.step(gradients)
            moved = candidates.clip(descent.actions)
        return _better(elites, costs, moved, candidates.evaluate(moved))


def _better(
    actions: Tensor, costs: Tensor, others: Tensor, other_costs: Tensor
) -> tuple[Tensor, Tensor]:
    """Return, plan by plan, the one of less cost."""
    better = other_costs < costs
    return torch.where(better[:, :, None, None], others, actions), torch.where(
        better, other_costs, costs
    )
