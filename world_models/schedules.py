"""Learning rates over a training, each a pure function of the step: resuming needs nothing else."""

from __future__ import annotations

import math
from collections.abc import Callable

ONE_CYCLE_START = 1 / 25
ONE_CYCLE_RISE = 0.3


def cosine(progress: float) -> float:
    """Fall along half a cosine, from 1 to 0 (Loshchilov and Hutter 2017, without restarts)."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def linear(progress: float) -> float:
    """Fall along a line, from 1 to 0."""
    return 1 - progress


def constant(progress: float) -> float:
    """Stay at 1."""
    return 1.0


SCHEDULES: dict[str, Callable[[float], float]] = {
    "cosine": cosine,
    "linear": linear,
    "constant": constant,
    "one_cycle": cosine,
}
"""How the learning rate goes on after the warm-up, by what of the rest is done, from 0 to 1."""


def rate_factor(schedule: str, step: int, steps: int, warmup: float) -> float:
    """Return what the learning rate of a step is multiplied by, in (0, 1].

    Args:
        schedule: A name of `SCHEDULES`.
        step: The step to take, from 0.
        steps: All steps of the training.
        warmup: Part of the steps, in [0, 1), during which the rate rises along a line from zero.
            `one_cycle` (Smith and Topin 2018) rises along half a cosine from 1/25 instead, over
            three tenths of the steps where `warmup` is 0.
    """
    one_cycle = schedule == "one_cycle"
    rise = (warmup or ONE_CYCLE_RISE * one_cycle) * steps
    if step < rise:
        if one_cycle:
            return ONE_CYCLE_START + (1 - ONE_CYCLE_START) * (1 - cosine(step / rise))
        return min((step + 1) / rise, 1.0)
    return SCHEDULES[schedule]((step - rise) / (steps - rise))
