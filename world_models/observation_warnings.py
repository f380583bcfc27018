"""Warnings about what a model of hands observes, each of which is given once."""

from __future__ import annotations

import warnings

from jaxtyping import Float
from torch import Tensor, maximum

from .kinematics import Kinematics

SLACK = 0.02
"""How far joints may be beyond their limits before it is told [rad]: simulated limits give way."""


class ObservationWarnings:
    """Says once what is wrong with observations, and no more: they come in every step of control."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def of_joints(
        self, joints: Float[Tensor, "batch joints"], kinematics: Kinematics, key: str
    ) -> None:
        """Warn of joints [rad], observed as `key`, that are beyond their limits."""
        if "joints" in self._given:
            return
        low, high = kinematics.low.to(joints), kinematics.high.to(joints)
        beyond = maximum(low - joints, joints - high)
        if (beyond > SLACK).any():
            row, worst = divmod(int(beyond.argmax()), kinematics.size)
            self._warn(
                "joints",
                f"{int((beyond > SLACK).sum())} observed joints are beyond their limits: "
                f"'{kinematics.joints[worst]}' is {joints[row, worst]:.4g} (row {row}), and "
                f"{low[worst]:.4g} to {high[worst]:.4g} is allowed. Plans start at the limit: check "
                f"the units [rad] and the order of observation['{key}'].",
            )

    def of_hands(self, peaks: Float[Tensor, " batch"], least: float, hand: str) -> None:
        """Warn of frames whose heatmaps rise to less than `least` in the mean."""
        if "hands" not in self._given and (peaks < least).any():
            row = int(peaks.argmin())
            self._warn(
                "hands",
                f"{int((peaks < least).sum())} goals or first frames show no {hand} hand: the mean "
                f"peak of the heatmaps of row {row} is {peaks[row]:.2g}, and below least_peak={least} "
                "distances of keypoints mean nothing. Choose a goal that shows the hand, or an "
                "objective without keypoints.",
            )

    def _warn(self, what: str, message: str) -> None:
        self._given.add(what)
        warnings.warn(message, stacklevel=4)
