"""Lists of goals that are reached one after another: when an agent moves on to the next."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ..planners.base import Objective
from ..world_models.base import GOAL_PREFIX, State


@dataclass(frozen=True)
class SubGoals:
    """When a planning agent that is given a list of goals moves on from one to the next.

    It does where either rule says so, whenever it is about to plan; the last goal stays. DexWM's
    tasks have three sub-goals each, given as images.

    Raises:
        ValueError: there is no rule, or one that cannot be.
    """

    decisions: int | None = None
    """Decisions for each goal, whatever came of them; any number where None."""
    below: float | None = None
    """Cost of being where it is, below which a goal is reached; it need not be where None. The
    objective prices what the belief says of now, as a plan of one decision."""

    def __post_init__(self) -> None:
        if self.decisions is None and self.below is None:
            raise ValueError(
                "SubGoals needs a rule: decisions (so many for each goal), below (a cost), or both."
            )
        if self.decisions is not None and self.decisions < 1:
            raise ValueError(f"SubGoals(decisions) must be at least 1, got {self.decisions}.")

    def passed(
        self,
        objective: Objective,
        belief: State,
        goal: State,
        last: Float[Tensor, "batch decisions action"],
        decided: Int[Tensor, " batch"],
    ) -> Bool[Tensor, " batch"]:
        """Return which rows are done with their goal.

        Args:
            objective: What plans are for.
            belief: What is believed of now.
            goal: What is headed for.
            last: Decisions that led here.
            decided: How many were made since this goal was taken up.

        Raises:
            KeyError: beliefs do not say what the objective reads.
        """
        done = torch.zeros_like(decided, dtype=torch.bool)
        if self.decisions is not None:
            done |= decided >= self.decisions
        if self.below is not None:
            missing = sorted(objective.reads - set(belief))
            if missing:
                raise KeyError(
                    f"SubGoals(below={self.below}) prices the present, and the belief has no "
                    f"{missing}, which the objective reads; it has {sorted(belief)}. Set decisions "
                    "instead."
                )
            now = {key: belief[key][:, None, None] for key in objective.reads}
            cost = objective.cost(now, last[:, None, -1:], belief, goal)[:, 0]
            done |= (cost < self.below).to(done.device)
        return done


def listed(goal: Mapping[str, Any], observation: Mapping[str, Any]) -> int | None:
    """Return how many goals an observed goal `{key: [B, G, ...]}` lists; None for a single one.

    A list has one dimension more than the observation of the same key.

    Raises:
        ValueError: parts of the goal list different numbers of goals, or none.
    """
    counts = {
        key: value.shape[1] if value.ndim == observation[key].ndim + 1 else None
        for key, value in goal.items()
    }
    if len(set(counts.values())) > 1 or 0 in counts.values():
        raise ValueError(
            f"the parts of a goal list as many goals each, and these list {counts} (None: one goal "
            f"alone): give `{GOAL_PREFIX}<key>` of shape [B, G, ...] for every key, or [B, ...]."
        )
    return next(iter(counts.values()), None)
