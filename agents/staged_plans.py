"""Plans that are first found where searching is cheap, and then refined where it is exact."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..planners.base import Objective, Planner, WarmStart
from ..world_models.base import State, WorldModel, check_keys

Decisions = Callable[[State, State], Tensor]
"""From states and goals to decisions `[B, n, A]`."""


class StagedPlans:
    """Proposes what a search in a rougher model finds, then known decisions, then a trial.

    Decisions are increments: one of zero keeps everything as it is. At the start of an episode the
    plan is a search in the rougher model, followed by `then`; afterwards it is what is left of the
    last plan, or, without `then`, searched for again from there. At its end there may be a `trial`:
    decisions that are never carried out and never varied, and show what the plan before them is
    good for (a lift, whether a grasp holds). The search that follows draws from around the plan
    with a spread of its own for each action.

    Args:
        model: the rougher model, of the same decisions.
        planner: searches in it.
        objective: what it searches for.
        rough_std: spread of that search, for each action `(A,)`; zero leaves an action alone.
        std: spread of the search that follows, alike.
        execute: decisions carried out of every plan.
        then: decisions that follow what was found.
        trial: decisions at the end that are only tried.

    Raises:
        KeyError: the objective reads what the model does not predict.
    """

    def __init__(
        self,
        model: WorldModel,
        planner: Planner,
        objective: Objective,
        *,
        rough_std: Float[Tensor, " action"],
        std: Float[Tensor, " action"],
        execute: int = 1,
        then: Decisions | None = None,
        trial: Decisions | None = None,
    ) -> None:
        check_keys(objective.reads, model, type(objective).__name__)
        self.model, self.planner, self.objective = model, planner, objective
        self.rough_std, self.std, self.execute = rough_std, std, execute
        self.then, self.trial = then, trial

    @property
    def evaluations(self) -> int:
        """None: the rougher model's cost next to nothing, and are not counted."""
        return 0

    def propose(
        self,
        state: State,
        goal: State,
        left: WarmStart | None,
        *,
        horizon: int,
        seeds: Int[Tensor, " batch"],
    ) -> WarmStart | None:
        """Return the plan to search around.

        Raises:
            ValueError: the trial leaves no decision to make.
        """
        nothing = self.std.new_zeros(len(seeds), 0, len(self.std))
        tried = nothing if self.trial is None else self.trial(state, goal).to(nothing)
        body = horizon - tried.shape[1]
        if body < 1:
            raise ValueError(
                f"a plan of {horizon} decisions has no room before a trial of {tried.shape[1]}: "
                "plan further ahead (planner.horizon), also at the end (agent.shrink_horizon=false)."
            )
        known = nothing
        if left is not None:
            # The trial, which moves on with the plan, is no part of what is left.
            known = left.actions[:, 0, : body - self.execute].to(nothing)
        if left is None or self.then is None:
            known = self._found(state, goal, known, body, seeds)
        known = _padded(known, body)
        plan = torch.cat([known, tried], dim=1)
        std = torch.cat([self.std.expand_as(known), torch.zeros_like(tried)], dim=1)
        return WarmStart(plan.unsqueeze(1), std)

    def _found(
        self, state: State, goal: State, start: Tensor, body: int, seeds: Tensor
    ) -> Float[Tensor, "batch horizon action"]:
        """Return what the rough search finds from a plan to start from, and what follows it."""
        after = start[:, :0] if self.then is None else self.then(state, goal).to(start)
        horizon = max(1, min(self.planner.horizon, body - after.shape[1]))
        start = _padded(start, horizon)
        found = self.planner.plan(
            self.model,
            self.objective,
            state,
            goal,
            horizon=horizon,
            warm_start=WarmStart(start.unsqueeze(1), self.rough_std.expand_as(start)),
            seeds=_own(seeds),
        )
        return torch.cat([found.actions.to(start), after], dim=1)


def _padded(
    plan: Float[Tensor, "batch given action"], horizon: int
) -> Float[Tensor, "batch horizon action"]:
    """Return the first decisions of a plan, standing still where there are fewer."""
    missing = horizon - plan.shape[1]
    if missing <= 0:
        return plan[:, :horizon]
    return torch.cat([plan, plan.new_zeros(len(plan), missing, plan.shape[2])], dim=1)


def _own(seeds: Tensor) -> Tensor:
    """Return other streams than the search's that follows."""
    own = [np.random.SeedSequence([seed, 3]).generate_state(1)[0] for seed in seeds.tolist()]
    return torch.tensor(np.asarray(own, np.int64))
