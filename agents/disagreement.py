"""Disagreement-seeking exploration: plans to where the members of an ensemble predict differently."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from ..planners.base import Clock, Objective, Plan, Planner, WarmStart
from ..planners.noise import Streams, colour_filter
from ..planners.objectives import Disagreement
from ..world_models.base import ActionMap, State, WorldModel
from .planning import PlanningAgent


@dataclass(frozen=True)
class NoisyPlans:
    """Finds what another planner finds, and puts noise on it, within the bounds.

    The noise is in the plan and not on top of the actions, so that the agent remembers what was
    really done. Cost and predictions are those of the noisy plan.

    Raises:
        ValueError: `scale` or `exponent` is below 0.
    """

    planner: Planner
    """What searches."""
    scale: float = 0.3
    """Standard deviation, as a share of half the range of the decisions."""
    exponent: float = 1.0
    """Of the noise's power spectrum `f^-exponent` along the decisions."""

    def __post_init__(self) -> None:
        if self.scale < 0 or self.exponent < 0:
            raise ValueError(
                f"scale={self.scale}, exponent={self.exponent}: noise has neither below 0."
            )

    @property
    def horizon(self) -> int:
        """Decisions ahead."""
        return self.planner.horizon

    def plan(
        self,
        model: WorldModel,
        objective: Objective,
        state: State,
        goal: State,
        *,
        horizon: int | None = None,
        warm_start: WarmStart | None = None,
        seeds: Int[Tensor, " batch"] | None = None,
        budget_s: float | None = None,
        clock: Clock = time.perf_counter,
    ) -> Plan:
        """Search, and add noise, which depends on the problem's seed."""
        plan = self.planner.plan(
            model,
            objective,
            state,
            goal,
            horizon=horizon,
            warm_start=warm_start,
            seeds=seeds,
            budget_s=budget_s,
            clock=clock,
        )
        found = plan.actions
        rows, decisions, size = found.shape
        seeds = torch.arange(rows) if seeds is None else seeds
        # Other streams than the search's, or the noise would be one of its candidates.
        own = [np.random.SeedSequence([seed, 1]).generate_state(1)[0] for seed in seeds.tolist()]
        streams = Streams(
            torch.tensor(np.asarray(own, np.int64)), device=found.device, dtype=found.dtype
        )
        colour = colour_filter(decisions, self.exponent, device=found.device, dtype=found.dtype)
        noise = streams.coloured(1, size, colour)[:, 0]
        low, high = (
            torch.as_tensor(bound).to(found)
            for bound in (model.action_space.low, model.action_space.high)
        )
        actions = torch.clamp(found + self.scale * (high - low) / 2 * noise, low, high)
        predictions = model.rollout(state, actions[:, None], objective.reads)
        cost = objective.cost(predictions, actions[:, None], state, goal)[:, 0]
        predicted = {key: value[:, 0] for key, value in predictions.items()}
        return replace(plan, actions=actions, cost=cost, predictions=predicted)


class DisagreementSeeker(PlanningAgent):
    """Goes where the members of an ensemble disagree most about what comes, with some noise.

    What they disagree about is what the data did not teach them; a model that has learned from what
    was met there disagrees about it no more, and the next explorer goes elsewhere.

    Args:
        model: an ensemble, which predicts `disagreement`.
        planner: the search.
        action_map: what a decision means in actions; a decision is an action where None.
        execute: decisions carried out before planning again.
        seed: base of the random streams where `predict` is called without a state.

    Raises:
        KeyError: the model predicts no disagreement.
        ValueError: `execute` is not between 1 and the planner's horizon.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        *,
        action_map: ActionMap | None = None,
        execute: int = 1,
        seed: int = 0,
    ) -> None:
        super().__init__(
            model, planner, Disagreement(), action_map=action_map, execute=execute, seed=seed
        )

    @property
    def observes(self) -> frozenset[str]:
        """What the model observes; there is no goal."""
        return self.model.observes
