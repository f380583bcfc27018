"""The receding horizon: what is left of a plan starts the next search."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .base import Plan, WarmStart
from .start import fit_horizon


def shift(
    plan: Plan, executed: int, horizon: int | None = None, *, keep_std: bool = False
) -> WarmStart:
    """Return the warm start that is left after the first `executed` decisions of a plan.

    The free decisions at the end repeat the last one. A target that is repeated holds still and
    an increment that is repeated goes on, so the motion stays as smooth as it was, whatever the
    decisions mean; a zero would be a jump to the middle of the bounds for absolute targets.

    Args:
        plan: The last plan.
        executed: Decisions that have been executed since.
        horizon: Decisions of the next plan; as many as in the last one where None.
        keep_std: Whether the next search starts with the spread that the last one ended with
            (quick to settle) instead of the planner's own (able to change its mind).

    Raises:
        ValueError: `executed` is negative, or the horizon is below one.
    """
    if executed < 0:
        raise ValueError(f"executed is {executed}; it counts decisions, so it is at least 0.")
    horizon = plan.actions.shape[1] if horizon is None else horizon
    if horizon < 1:
        raise ValueError(f"the horizon is {horizon}; a plan needs at least 1 decision.")
    plans = plan.actions.unsqueeze(1)
    if plan.alternatives is not None:
        plans = torch.cat([plans, plan.alternatives], dim=1)
    std = plan.std if keep_std else None
    return WarmStart(
        actions=_rest(plans, executed, horizon),
        std=None if std is None else _rest(std, executed, horizon),
    )


def _rest(
    decisions: Float[Tensor, "*batch given action"], executed: int, horizon: int
) -> Float[Tensor, "*batch horizon action"]:
    # The last decision always stays, so that there is something to repeat.
    executed = min(executed, decisions.shape[-2] - 1)
    return fit_horizon(decisions[..., executed:, :], horizon)
