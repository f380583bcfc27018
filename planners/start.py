"""Where a search starts from: a warm start fitted to a problem, or the centre of the bounds."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .base import WarmStart
from .candidates import Candidates


@dataclass(frozen=True)
class Start:
    """Where a search starts from, after the warm start has been fitted to the problem."""

    plans: Float[Tensor, "batch plans horizon action"]
    """Plans inside the bounds, the mean to start from first."""
    std: Float[Tensor, "batch horizon action"] | None
    """Spread handed on by the last search, where there is one."""
    valid: Bool[Tensor, " batch"]
    """Rows that were warm-started; the plans of the others are the centre of the bounds."""

    @classmethod
    def of(cls, warm_start: WarmStart | None, candidates: Candidates) -> Start:
        """Return the start of a search; `ValueError` if the warm start does not fit it."""
        batch, horizon, action = candidates.batch, candidates.horizon, candidates.low.shape[0]
        centre = candidates.centre.expand(batch, 1, horizon, action)
        if warm_start is None:
            valid = torch.zeros(batch, dtype=torch.bool, device=centre.device)
            return cls(plans=centre, std=None, valid=valid)
        plans = warm_start.actions
        if (
            plans.ndim != 4
            or plans.shape[0] != batch
            or plans.shape[3] != action
            or not plans.numel()
        ):
            raise ValueError(
                f"warm_start.actions has shape {tuple(plans.shape)}; it must be [B, K, T, A] with "
                f"B={batch}, at least one plan and one decision, and A={action}."
            )
        everywhere = torch.ones(batch, dtype=torch.bool)
        valid = everywhere if warm_start.valid is None else warm_start.valid
        if valid.shape != (batch,) or valid.dtype != torch.bool:
            raise ValueError(
                f"warm_start.valid must be bool of shape ({batch},); "
                f"got {valid.dtype} of shape {tuple(valid.shape)}."
            )
        valid = valid.to(centre.device)
        plans = fit_horizon(plans.to(centre), horizon)
        plans = torch.where(valid[:, None, None, None], plans, centre)
        if not torch.isfinite(plans).all():
            raise ValueError(
                "warm_start.actions holds values that are not finite; mark such rows in `valid`."
            )
        std = warm_start.std
        if std is not None:
            if std.ndim != 3 or std.shape[0] != batch or std.shape[2] != action:
                raise ValueError(
                    f"warm_start.std has shape {tuple(std.shape)}; it must be [B, T, A] with "
                    f"B={batch} and A={action}."
                )
            std = fit_horizon(std.to(centre), horizon)
        return cls(plans=candidates.clip(plans), std=std, valid=valid)

    def take(self, rows: Tensor) -> Start:
        """Return the given rows."""
        std = None if self.std is None else self.std[rows]
        return Start(self.plans[rows], std, self.valid[rows])

    @property
    def mean(self) -> Float[Tensor, "batch horizon action"]:
        """The plan to start from."""
        return self.plans[:, 0]


def fit_horizon(
    actions: Float[Tensor, "*batch given action"], horizon: int
) -> Float[Tensor, "*batch horizon action"]:
    """Return the first `horizon` decisions, the last one repeated where there are fewer."""
    missing = horizon - actions.shape[-2]
    if missing <= 0:
        return actions[..., :horizon, :]
    return torch.cat([actions, actions[..., -1:, :].expand(*actions.shape[:-2], missing, -1)], -2)
