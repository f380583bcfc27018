"""When a PushT episode has succeeded: two rules of the literature, never to be compared."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..mujoco_env import FloatArray
from .geometry import angle_difference, coverage


@runtime_checkable
class SuccessRule(Protocol):
    """Whether task states `(..., 5)` meet goal states `(..., 5)` [px, rad]."""

    @property
    def name(self) -> str:
        """The rule in words, as reports print it."""
        ...

    def __call__(self, task_state: FloatArray, goal_state: FloatArray) -> NDArray[np.bool_]:
        """Return `(...)` booleans."""
        ...


@dataclass(frozen=True)
class CoverageRule:
    """The block covers more than a share of the goal T (Diffusion Policy)."""

    threshold: float = 0.95

    @property
    def name(self) -> str:
        """The rule in words."""
        return f"coverage > {self.threshold:g}"

    def __call__(self, task_state: FloatArray, goal_state: FloatArray) -> NDArray[np.bool_]:
        """Compare the coverage, which the agent's place does not change."""
        covered = coverage(np.asarray(task_state)[..., 2:], np.asarray(goal_state)[..., 2:])
        return self.met(covered)

    def met(self, covered: FloatArray | float) -> NDArray[np.bool_]:
        """Return whether coverages `(...)`, measured elsewhere, are enough."""
        return np.asarray(covered > self.threshold)


@dataclass(frozen=True)
class PoseRule:
    """Agent and block lie within a distance of the goal, and the block within an angle (DINO-WM).

    The distance is the norm of the differences of both positions together, four numbers; without
    the agent, of the block's position alone.
    """

    position_tolerance: float = 20.0
    """[px]"""
    angle_tolerance: float = math.pi / 9.0
    """[rad]"""
    includes_agent: bool = True

    @property
    def name(self) -> str:
        """The rule in words."""
        who = "agent and block" if self.includes_agent else "block"
        return f"{self.position_tolerance:g} px and pi/{math.pi / self.angle_tolerance:g} ({who})"

    def errors(
        self, task_state: FloatArray, goal_state: FloatArray
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return the distance [px] and the angle [rad] that are compared, `(...)` each."""
        task_state, goal_state = np.asarray(task_state), np.asarray(goal_state)
        first = 0 if self.includes_agent else 2
        difference = task_state[..., first:4] - goal_state[..., first:4]
        distance = np.asarray(np.sqrt((difference * difference).sum(axis=-1)))
        return distance, angle_difference(task_state[..., 4], goal_state[..., 4])

    def __call__(self, task_state: FloatArray, goal_state: FloatArray) -> NDArray[np.bool_]:
        """Compare both errors with their tolerances."""
        return self.met(*self.errors(task_state, goal_state))

    def met(self, distance: FloatArray, angle: FloatArray) -> NDArray[np.bool_]:
        """Return whether `errors` `(...)` are small enough."""
        return np.asarray((distance < self.position_tolerance) & (angle < self.angle_tolerance))
