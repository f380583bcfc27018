"""The strategy of the cross-entropy method: fit a Gaussian to the best candidates, and repeat."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from .candidates import Candidates
from .population import Population

Refine = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]
"""Elites `[B, E, T, A]` and their costs `[B, E]` to better ones and theirs."""


class EliteStrategy:
    """Fits a population to its elites, the best of them living on with their costs.

    An elite that is kept competes again without being evaluated again: a rollout from the same
    state gives the same cost.

    Args:
        candidates: The problem searched.
        population: What candidates are drawn from.
        elites: Candidates that the population is fitted to.
        kept: Elites that compete again in the next iteration.
        refine: What happens to elites before the population is fitted to them.
        hand_on: Whether the kept elites join the next warm start.
    """

    def __init__(
        self,
        candidates: Candidates,
        population: Population,
        *,
        elites: int,
        kept: int,
        refine: Refine | None = None,
        hand_on: bool = False,
    ) -> None:
        self._candidates = candidates
        self._population = population
        self._elites = elites
        self._keep = kept
        self._kept: tuple[Tensor, Tensor] | None = None
        self._refine = refine
        self._hand_on = hand_on

    @property
    def std(self) -> Float[Tensor, "batch horizon action"]:
        """Spread of the population."""
        return self._population.std

    @property
    def alternatives(self) -> Float[Tensor, "batch plans horizon action"] | None:
        """The kept elites, if they are to be handed on."""
        return self._kept[0] if self._hand_on and self._kept is not None else None

    def propose(self, iteration: int) -> Float[Tensor, "batch candidates horizon action"]:
        """Draw from the population."""
        return self._population.propose(iteration)

    def learn(self, actions: Float[Tensor, "batch candidates horizon action"]) -> None:
        """Evaluate, select the elites, refine them, and fit the population to them."""
        costs = self._candidates.evaluate(actions)
        elites, elite_costs = best(actions, costs, self._elites)
        if self._kept is not None:
            # Only the best of the new and the old together can be among the elites.
            elites = torch.cat([elites, self._kept[0]], dim=1)
            elite_costs = torch.cat([elite_costs, self._kept[1]], dim=1)
            elites, elite_costs = best(elites, elite_costs, self._elites)
        if self._refine is not None:
            elites, elite_costs = self._refine(elites, elite_costs)
        # Every finite elite counts the same; the others, only there if too few are finite, do not.
        self._population.fit(elites, torch.isfinite(elite_costs).to(elites.dtype))
        if self._keep > 0:
            self._kept = best(elites, elite_costs, self._keep)


def best(
    actions: Float[Tensor, "batch candidates horizon action"],
    costs: Float[Tensor, "batch candidates"],
    count: int,
) -> tuple[Float[Tensor, "batch best horizon action"], Float[Tensor, "batch best"]]:
    """Return the `count` candidates of least cost and their costs, the best one first."""
    least, index = costs.topk(min(count, costs.shape[1]), dim=1, largest=False)
    index = index[:, :, None, None].expand(-1, -1, *actions.shape[2:])
    return actions.gather(1, index), least
