"""A scripted policy that pushes the T about: where goals and exploration data come from."""

from __future__ import annotations

import math

import numpy as np

from ..mujoco_env import FloatArray
from .geometry import BOARD, OUTLINE, centre_of_mass, placed

SCRIPTED_PUSHER_VERSION = 1
"""Raised whenever the same seed would give another motion: goals of different versions differ."""

_MARGIN = 24.0  # targets stay this far inside the board [px]
_GRID = 2.0**-10  # targets are multiples of this [px], so that float32 actions in [-1, 1] are exact


class ScriptedPusher:
    """Drives to the block, through it, and off again, at varied speeds and angles.

    It moves its target along straight legs. Three of four legs cross the block: they begin where
    the pusher is and lead through a random point of the outline, by 20 to 120 px beyond. The
    others lead to a place from which the next push goes inwards (from the far side of the block,
    seen from the middle of the board), so that the block does not end up at a wall. The target
    advances by 10 to 28 px per control step, with 4 px of noise.
    """

    def __init__(self, rng: np.random.Generator) -> None:
        """Use `rng`, and nothing else, as the source of randomness."""
        self._rng = rng
        self._aim: FloatArray | None = None
        self._speed = 0.0
        self._target: FloatArray | None = None

    def act(self, task_state: FloatArray) -> FloatArray:
        """Return the next target position of the pusher `(2,)` [px]."""
        if self._target is None:
            self._target = np.array(task_state[:2], np.float64)
        if self._aim is None:
            self._choose_leg(np.asarray(task_state, np.float64))
        assert self._aim is not None
        way = self._aim - self._target
        distance = math.hypot(way[0], way[1])
        if distance <= self._speed:
            self._target, self._aim = self._aim, None
        else:
            self._target = self._target + way * (self._speed / distance)
        noisy = self._target + self._rng.normal(0.0, 4.0, 2)
        target: FloatArray = np.rint(np.clip(noisy, _MARGIN, BOARD - _MARGIN) / _GRID) * _GRID
        return target

    def _choose_leg(self, task_state: FloatArray) -> None:
        rng, agent, pose = self._rng, task_state[:2], task_state[2:]
        self._speed = rng.uniform(10.0, 28.0)
        if rng.random() < 0.75:
            corner = rng.integers(len(OUTLINE))
            side = OUTLINE[[corner, (corner + 1) % len(OUTLINE)]]
            through = placed(side[:1] + rng.random() * (side[1:] - side[:1]), pose)[0]
            beyond = rng.uniform(20.0, 120.0)
        else:
            middle = centre_of_mass(pose)
            outwards = middle - BOARD / 2.0
            angle = math.atan2(outwards[1], outwards[0]) + rng.normal(0.0, 0.8)
            direction = np.array([math.cos(angle), math.sin(angle)])
            through = middle + rng.uniform(90.0, 150.0) * direction
            beyond = 0.0
        way = through - agent
        through = through + beyond * way / max(math.hypot(way[0], way[1]), 1e-9)
        self._aim = np.clip(through, _MARGIN, BOARD - _MARGIN)
