"""Costs of how a body is kept while it is turned: where it is, upright, and up."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import State
from .settings import require_at_least
from .terms import Keyed, Term, goal_of


@dataclass(frozen=True)
class PoseTerm(Term, Keyed):
    """What terms on poses share: poses `[x, y, z, qw, qx, qy, qz]`, and a tolerance that is free.

    Predictions `[B, N, T, 7]` against `goal[key]` `[B, 7]`.
    """

    key: str = "pose"
    """Prediction and goal that are compared."""
    tolerance: float = 0.0
    """What costs nothing."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, "tolerance", 0.0)

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `max(0, excess - tolerance)`."""
        pose, target = predictions[self.key], goal_of(self.key, goal, predictions)
        if pose.shape[-1] != 7:
            raise ValueError(
                f"{type(self).__name__}(key='{self.key}') reads poses of {pose.shape[-1]} numbers; "
                "it knows spatial ones of 7, [x, y, z, qw, qx, qy, qz]."
            )
        return (self.excess(pose, target) - self.tolerance).clamp(min=0.0)

    def excess(
        self,
        pose: Float[Tensor, "batch candidates horizon 7"],
        target: Float[Tensor, "batch 1 1 7"],
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return what may be as large as the tolerance."""
        raise NotImplementedError


@dataclass(frozen=True)
class Drift(PoseTerm):
    """Distance from the goal's position beyond a tolerance [m]: `max(0, |p - g| - tolerance)`."""

    tolerance: float = 0.01
    """Distance that costs nothing [m]."""

    def excess(
        self,
        pose: Float[Tensor, "batch candidates horizon 7"],
        target: Float[Tensor, "batch 1 1 7"],
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `|p - g|`."""
        distance: Tensor = torch.linalg.vector_norm(pose[..., :3] - target[..., :3], dim=-1)
        return distance


@dataclass(frozen=True)
class Fall(PoseTerm):
    """Height below the goal's position beyond a tolerance [m]: `max(0, g_z - p_z - tolerance)`."""

    tolerance: float = 0.015
    """Height that costs nothing [m]."""

    def excess(
        self,
        pose: Float[Tensor, "batch candidates horizon 7"],
        target: Float[Tensor, "batch 1 1 7"],
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `g_z - p_z`."""
        return target[..., 2] - pose[..., 2]


@dataclass(frozen=True)
class Tilt(PoseTerm):
    """How far a body leans over from its goal, whichever way it faces, beyond a tolerance [rad].

    It is the angle between `axis` and what the rotation from the goal to the body makes of it:
    zero for bodies that differ from the goal by a turn about the axis.
    """

    tolerance: float = 0.3
    """Angle that costs nothing [rad]."""
    axis: tuple[float, ...] = (0.0, 0.0, 1.0)
    """A direction in the world, of any length; up."""

    def __post_init__(self) -> None:
        super().__post_init__()
        length = math.hypot(*self.axis)
        if len(self.axis) != 3 or not math.isfinite(length) or length == 0.0:
            raise ValueError(f"Tilt(axis={self.axis}): give three numbers, not all zero.")

    def excess(
        self,
        pose: Float[Tensor, "batch candidates horizon 7"],
        target: Float[Tensor, "batch 1 1 7"],
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return the angle between `n` and `R R_goal^-1 n`."""
        axis = pose.new_tensor(self.axis) / math.hypot(*self.axis)
        back = target[..., 3:] * target.new_tensor([1.0, -1.0, -1.0, -1.0])
        leaning = turned(pose[..., 3:], turned(back, axis))
        away = torch.linalg.vector_norm(
            torch.linalg.cross(leaning, axis.expand_as(leaning)), dim=-1
        )
        return torch.atan2(away, (leaning * axis).sum(dim=-1))


def turned(
    rotation: Float[Tensor, "*shape 4"], vector: Float[Tensor, "*#shape 3"]
) -> Float[Tensor, "*shape 3"]:
    """Return vectors after rotations by unit quaternions `(w, u)`: `v + 2 u x (u x v + w v)`."""
    scalar, axis = rotation[..., :1], rotation[..., 1:]
    vector = vector.expand_as(axis)
    aside = torch.linalg.cross(axis, vector) + scalar * vector
    moved: Tensor = vector + 2 * torch.linalg.cross(axis, aside)
    return moved
