"""Where searches for joint targets start from: the joints of now, or a motion that was recorded."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from ..planners.base import WarmStart
from ..planners.start import fit_horizon
from ..world_models.base import COMMAND, State


class ReferenceMotion:
    """Proposes to stay as the joints are, or to follow a motion, with a spread for every joint.

    Decisions are absolute targets. At the start of an episode the plan is the motion, `T` waypoints
    evenly spaced in time up to its end, or the last command `T` times where there is none. Later it
    is what is left of the last plan. What is new in a plan is searched with `std` around it; what is
    left of one with the spread that its search ended with, where the agent keeps that (`keep_std`),
    and with `std` otherwise.

    Args:
        std: Spread of the targets, in their unit, `(A,)`.
        motion: Joint positions over time; stay where None.
        execute: Decisions carried out of every plan: as many are new in the next one.

    Raises:
        ValueError: the motion is of another number of joints than the spread.

    Source: Goswami et al. 2025, DexWM, appendix on planning: means are the joints of now, or, for
    grasps, those of a teleoperated motion; spreads .3 rad for the arm, .1 for the hand, .01 to place.
    """

    def __init__(
        self,
        std: Float[Tensor, " action"],
        motion: Float[Tensor, "times joints"] | None = None,
        *,
        execute: int = 1,
    ) -> None:
        if motion is not None and motion.shape[1] != len(std):
            raise ValueError(
                f"a motion of {motion.shape[1]} joints for {len(std)} joint targets: give one of the "
                "joints that are commanded."
            )
        self.std, self.motion, self.execute = std, motion, execute

    @property
    def evaluations(self) -> int:
        """None: nothing is rolled out."""
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
        """Return the plan to search around, and how far.

        Raises:
            KeyError: the state does not say where the joints are.
        """
        rows = len(seeds)
        if left is not None:
            plans = fit_horizon(left.actions, horizon)
            std = self.std.to(plans).expand(rows, horizon, -1)
            kept = horizon - self.execute
            if left.std is not None and kept > 0:
                std = torch.cat([left.std[:, :kept].to(std), std[:, kept:]], dim=1)
            return WarmStart(plans, std)
        if self.motion is not None:
            plan = waypoints(self.motion, horizon).expand(rows, -1, -1)
        elif COMMAND in state:
            plan = state[COMMAND][:, None].expand(-1, horizon, -1)
        else:
            raise KeyError(
                f"plans start at the joints of now, state['{COMMAND}'], which this model does not "
                f"carry; the state has {sorted(state)}. Give a motion."
            )
        return WarmStart(plan[:, None], self.std.to(plan).expand(rows, horizon, -1))


def waypoints(motion: Float[Tensor, "times action"], count: int) -> Float[Tensor, "count action"]:
    """Return waypoints of a motion, evenly spaced in time; the last one is its end.

    Where it begins is none: at `k / count` of its duration, with `k = 1 .. count`.
    """
    at = torch.arange(1, count + 1, dtype=torch.float64) * (len(motion) - 1) / count
    before = at.floor().long()
    after = (before + 1).clamp(max=len(motion) - 1)
    share = (at - before).to(motion)[:, None]
    return torch.lerp(motion[before], motion[after], share)
