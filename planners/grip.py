"""Costs of an object that is not in the hand as it shall be, or does not stay there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import State
from .objectives import rotation_angle
from .pose_terms import turned
from .settings import require_at_least, require_count, require_finite
from .terms import Addable, Keyed, Term, goal_of


@dataclass(frozen=True)
class Grip(Term, Keyed):
    """How far an object is from where it is in the goal's hand, wherever the hand is.

    In the frame of the palm, position `p` and rotation `r` of the object differ from the goal's by

        d = |p - p_goal| + rotation_scale angle(r, r_goal)

    Before the object is touched, `d` leads the hand around it; at the end of a motion that lifts the
    hand, it is how far the object has been left behind. Poses `[x, y, z, qw, qx, qy, qz]`,
    predictions `[B, N, T, 7]` against goals `[B, 7]`.
    """

    key: str = "object"
    """Pose of the object."""
    palm: str = "palm"
    """Pose of the palm."""
    rotation_scale: float = 0.1
    """Cost of an angle [m / rad]."""
    enough: float = 0.0
    """Distance that costs nothing [m]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, "rotation_scale", 0.0)
        require_at_least(self, "enough", 0.0)

    @property
    def reads(self) -> frozenset[str]:
        """Both poses."""
        return frozenset({self.key, self.palm})

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `max(0, d - enough)`."""
        held, wanted = (
            _in_palm(*poses)
            for poses in (
                (predictions[self.key], predictions[self.palm]),
                (goal_of(self.key, goal, predictions), goal_of(self.palm, goal, predictions)),
            )
        )
        moved: Tensor = torch.linalg.vector_norm(held[..., :3] - wanted[..., :3], dim=-1)
        angle = rotation_angle(held[..., 3:], wanted[..., 3:])
        return (moved + self.rotation_scale * angle - self.enough).clamp(min=0.0)


@dataclass(frozen=True)
class Slip(Addable):
    """How far an object moves in the palm during the last decisions, wherever the hand goes.

        cost = weight max(0, |p[T-1] - p[T-1-n]| - enough)

    with `p` its position in the frame of the palm. Where these decisions lift the hand, it is what a
    grasp lacks, up to all of the lift. Poses as of `Grip`; the goal has no say.
    """

    weight: float = 1.0
    """Factor of the whole term."""
    decisions: int = 1
    """How many, `n`; shorter plans are looked at as a whole."""
    enough: float = 0.0
    """Distance that costs nothing [m]."""
    key: str = "object"
    """Pose of the object."""
    palm: str = "palm"
    """Pose of the palm."""

    def __post_init__(self) -> None:
        require_finite(self, "weight")
        require_count(self, "decisions")
        require_at_least(self, "enough", 0.0)

    @property
    def reads(self) -> frozenset[str]:
        """Both poses."""
        return frozenset({self.key, self.palm})

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the weighted distance."""
        held = _in_palm(predictions[self.key], predictions[self.palm])[..., :3]
        before = held[:, :, max(0, held.shape[2] - 1 - self.decisions)]
        moved: Tensor = torch.linalg.vector_norm(held[:, :, -1] - before, dim=-1)
        return self.weight * (moved - self.enough).clamp(min=0.0)


def _in_palm(
    thing: Float[Tensor, "*shape 7"], palm: Float[Tensor, "*shape 7"]
) -> Float[Tensor, "*shape 7"]:
    """Return the pose of a thing in the frame of the palm."""
    back = palm[..., 3:] * palm.new_tensor([1.0, -1.0, -1.0, -1.0])
    w, u, x, v = back[..., :1], back[..., 1:], thing[..., 3:4], thing[..., 4:]
    vector = w * v + x * u + torch.linalg.cross(u, v)
    turn = torch.cat([w * x - (u * v).sum(-1, keepdim=True), vector], dim=-1)
    return torch.cat([turned(back, thing[..., :3] - palm[..., :3]), turn], dim=-1)
