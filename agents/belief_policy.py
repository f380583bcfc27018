"""A policy that was trained inside a world model, acting in the world."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from numpy.typing import NDArray
from torch import Tensor

from ..planners.base import Clock, Objective, Plan, Search, WarmStart
from ..world_models.base import GOAL_PREFIX, ActionMap, Mapped, State, WorldModel
from .base import Actions, BatchedObservation
from .decider import Decider
from .disagreement import NoisyPlans
from .planning import PlanningAgent, PlanningState
from .policy import Policy


class BeliefPolicy:
    """Encodes what it observes, asks a policy, and carries its decision out.

    So the policy sees in the world what it saw in the model's imagination. It is a planning agent
    whose plans are one decision long and found without a search: belief, queue and goals are kept
    as there, and `predict` has the same state.

    Args:
        model: what the policy was trained in, without its action map.
        policy: anything with stable-baselines3's `predict`, over a `Dict`.
        action_map: what a decision means in actions; a decision is an action where None.
        noise: standard deviation of noise on the decisions, as a share of half their range; it
            depends on the seed of the episode. For exploring.
        seed: base of the random streams where `predict` is called without a state.

    Raises:
        TypeError: the policy observes no `Dict`.
        ValueError: it decides in another space than the action map.
    """

    def __init__(
        self,
        model: WorldModel,
        policy: Policy,
        *,
        action_map: ActionMap | None = None,
        noise: float = 0.0,
        seed: int = 0,
    ) -> None:
        mapped = model if action_map is None else Mapped(model, action_map)
        self.decider = Decider(mapped, policy)
        self.model = mapped
        asked = Asked(self.decider)
        self._agent = PlanningAgent(
            model,
            asked if noise == 0 else NoisyPlans(asked, noise, 0.0),
            Indifferent(),
            action_map=action_map,
            seed=seed,
        )

    @property
    def observes(self) -> frozenset[str]:
        """What the model observes, and the goal of the same keys where the policy has goals."""
        keys = self.model.observes
        goals = {GOAL_PREFIX + key for key in keys} if self.decider.needs_goal else set()
        return keys | goals

    def start(self, seeds: Sequence[int]) -> PlanningState:
        """Return the state in which episodes begin."""
        return self._agent.start(seeds)

    def take(self, state: PlanningState, rows: NDArray[np.intp]) -> PlanningState:
        """Return the given rows."""
        return self._agent.take(state, rows)

    def predict(
        self,
        observation: BatchedObservation,
        state: PlanningState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, PlanningState]:
        """Return the next action `(B, A)` of every environment.

        Raises:
            KeyError: the observation lacks what the model observes, or the goal.
            ValueError: the policy was trained on other observations than the model gives, or the
                state is that of another number of environments.
        """
        return self._agent.predict(observation, state, episode_start, deterministic)


@dataclass(frozen=True)
class Asked:
    """What a policy decides, as a plan of one decision; the `Planner` that does not search."""

    decider: Decider
    """Who is asked."""

    @property
    def horizon(self) -> int:
        """One decision."""
        return 1

    @torch.no_grad()
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
        """Ask; nothing is compared, so the cost is zero."""
        began = clock()
        decision = self.decider(state, goal)
        rows = len(decision)
        record = Search(
            best_cost=decision.new_zeros(1, rows),
            evaluations=0,
            non_finite=torch.zeros(rows, dtype=torch.int64),
            seconds=clock() - began,
        )
        return Plan(decision[:, None], decision.new_zeros(rows), {}, None, record)


@dataclass(frozen=True)
class Indifferent:
    """Every motion costs nothing: the objective of those who do not compare."""

    reads: frozenset[str] = frozenset()
    """Nothing."""

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return zeros."""
        return actions.new_zeros(actions.shape[:2])
