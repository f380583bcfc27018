"""Plans that others propose, for a search to start from: beside what is left of the last plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..planners.base import WarmStart
from ..planners.noise import Streams
from ..planners.start import fit_horizon
from ..world_models.base import State, WorldModel, take
from .decider import Decider
from .policy import Policy


@runtime_checkable
class Proposer(Protocol):
    """Says where a search starts from; it is asked before every plan."""

    @property
    def evaluations(self) -> int:
        """Candidates that it rolls out for each problem; they count among those of the search."""
        ...

    def propose(
        self,
        state: State,
        goal: State,
        left: WarmStart | None,
        *,
        horizon: int,
        seeds: Int[Tensor, " batch"],
    ) -> WarmStart | None:
        """Return where the searches of `B` problems start; None: nowhere in particular.

        Args:
            state: what the plans start from.
            goal: what they head for; empty where there is none.
            left: what is left of the last plan; None at the start of an episode.
            horizon: decisions ahead.
            seeds: a random stream for each problem.
        """
        ...


class PolicyProposer:
    """Proposes what a policy would do: it is rolled out in the model, again and again.

    The first of the plans is what the policy does without noise; in the others noise is added to its
    decisions, or they are samples of the policy's own distribution. Rolled out they take as many
    steps of the model as so many candidates of a search; what is left of the last plan stays the
    plan that the search begins around. A search that looks at nothing else (`RandomShooting` of no
    more samples than plans) reranks what the policy samples.

    Args:
        model: the dynamics that the planner searches in: over decisions, where it decides.
        policy: trained in such a model (`dexworld-train-agent`).
        plans: how many are proposed, `K`.
        noise: standard deviation of the noise on each decision but those of the first plan, as a
            share of half the range of the decisions. None: the policy samples its decisions
            instead, as its distribution is.

    Raises:
        TypeError: the policy observes no `Dict`.
        ValueError: no plans, noise below zero, or a policy of other decisions.

    Source of the idea: Hansen et al. 2022, "Temporal Difference Learning for Model Predictive
    Control", section 3.1, for noise; Li et al. 2025, "Unified Video Action Model", for samples of a
    policy that a model reranks.
    """

    def __init__(
        self, model: WorldModel, policy: Policy, plans: int = 16, noise: float | None = 0.3
    ) -> None:
        if plans < 1 or (noise is not None and noise < 0):
            raise ValueError(
                f"plans={plans}, noise={noise}: at least one plan, and no less noise than 0."
            )
        self.model, self.decider = model, Decider(model, policy)
        self.plans, self.noise = plans, noise

    @property
    def evaluations(self) -> int:
        """One for each plan."""
        return self.plans

    @torch.no_grad()
    def propose(
        self,
        state: State,
        goal: State,
        left: WarmStart | None,
        *,
        horizon: int,
        seeds: Int[Tensor, " batch"],
    ) -> WarmStart | None:
        """Roll the policy out, all problems and plans at once."""
        low, high = self.decider.low, self.decider.high
        rows = torch.arange(len(seeds), device=low.device).repeat_interleave(self.plans)
        state, goal = take(state, rows), take(goal, rows)
        first = torch.arange(0, len(rows), self.plans, device=rows.device)
        noise, plans = self._disturbance(seeds, horizon), []
        for time in range(horizon):
            if noise is None:
                decision = self.decider(state, goal, _own(seeds, 3, time).tolist())
                decision[first] = self.decider(take(state, first), take(goal, first))
            else:
                decision = torch.clamp(self.decider(state, goal) + noise[:, time], low, high)
            plans.append(decision)
            if len(plans) < horizon:
                state = self.model.step(state, decision)
        return beside(left, torch.unflatten(torch.stack(plans, dim=1), 0, (-1, self.plans)))

    def _disturbance(
        self, seeds: Tensor, horizon: int
    ) -> Float[Tensor, "batch_plans horizon action"] | None:
        """Return what is added to decisions, nothing to those of the first plan of each problem."""
        if self.noise is None:
            return None
        low, high = self.decider.low, self.decider.high
        streams = Streams(_own(seeds, 2), device=low.device, dtype=low.dtype)
        noise = self.noise * (high - low) / 2 * streams.normal(self.plans, horizon, len(low))
        noise[:, 0] = 0.0
        return noise.flatten(0, 1)


def _own(seeds: Tensor, *use: int) -> Tensor:
    """Return other streams than the search's, or the noise would be that of its candidates."""
    own = [np.random.SeedSequence([seed, *use]).generate_state(1)[0] for seed in seeds.tolist()]
    return torch.tensor(np.asarray(own, np.int64))


def beside(left: WarmStart | None, plans: Float[Tensor, "batch plans horizon action"]) -> WarmStart:
    """Return a warm start with more plans than what is left of the last one."""
    if left is None:
        return WarmStart(plans)
    horizon = plans.shape[2]
    kept = fit_horizon(left.actions, horizon)
    std = None if left.std is None else fit_horizon(left.std, horizon)
    return replace(left, actions=torch.cat([kept, plans.to(kept)], dim=1), std=std)
