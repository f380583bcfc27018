"""Costs of predicted motions, in the form of terms that scale and add."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import COMMAND, State
from .settings import require_at_least, require_count, require_finite, require_fraction
from .terms import Addable, Keyed, Term, goal_of


@dataclass(frozen=True)
class KeypointDistance(Term, Keyed):
    """Mean over keypoints of the Euclidean distance to the goal's, in the keypoints' unit.

    Predictions `[B, N, T, K, D]` against `goal[key]` `[B, K, D]`.
    """

    key: str = "keypoints"
    """Prediction and goal that are compared."""

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `mean_k |p_k - g_k|`."""
        difference = predictions[self.key] - goal_of(self.key, goal, predictions)
        distances: Tensor = torch.linalg.vector_norm(difference, dim=-1)
        return distances.mean(dim=-1)


@dataclass(frozen=True)
class LatentDistance(Term, Keyed):
    """Mean squared difference over all latent dimensions.

    Predictions `[B, N, T, ...]` against `goal[key]` `[B, ...]`.
    """

    key: str = "latent"
    """Prediction and goal that are compared."""

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `mean_i (z_i - g_i)^2`."""
        difference = predictions[self.key] - goal_of(self.key, goal, predictions)
        return difference.square().flatten(3).mean(dim=3)


@dataclass(frozen=True)
class PoseError(Term, Keyed):
    """Distance between poses: position and angle, each with its scale.

    Planar poses are `[x, y, angle]`, spatial ones `[x, y, z, qw, qx, qy, qz]` (unit quaternion,
    either sign): predictions `[B, N, T, 3 or 7]` against `goal[key]` `[B, 3 or 7]`. With
    `position_scale` 0 it is the orientation error alone.
    """

    key: str = "pose"
    """Prediction and goal that are compared."""
    position_scale: float = 1.0
    """Cost per unit of distance."""
    rotation_scale: float = 1.0
    """Cost of an angle between the orientations [1 / rad]."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_at_least(self, "position_scale", 0.0)
        require_at_least(self, "rotation_scale", 0.0)

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `position_scale |p - p_g| + rotation_scale |angle between|`."""
        pose, target = predictions[self.key], goal_of(self.key, goal, predictions)
        if pose.shape[-1] == 3:
            position, angle = 2, wrapped_angle(pose[..., 2] - target[..., 2])
        elif pose.shape[-1] == 7:
            position, angle = 3, rotation_angle(pose[..., 3:], target[..., 3:])
        else:
            raise ValueError(
                f"PoseError(key='{self.key}') reads poses of {pose.shape[-1]} numbers; it knows "
                "planar ones of 3, [x, y, angle], and spatial ones of 7, [x, y, z, qw, qx, qy, qz]."
            )
        offset = pose[..., :position] - target[..., :position]
        moved: Tensor = torch.linalg.vector_norm(offset, dim=-1)
        return self.position_scale * moved + self.rotation_scale * angle.abs()


@dataclass(frozen=True)
class Reach(Term):
    """Mean over points of a body of the distance to the nearest point of what it shall touch.

    A small weight keeps a hand at work on its object: far from it, all plans that do not touch
    the object cost the same, and a search has nothing to go by. Both sets of points are predicted,
    `[B, N, T, K, D]` and `[B, N, T, L, D]`; the goal has no say.
    """

    key: str = "agent"
    """Prediction that holds the points of the body."""
    target: str = "keypoints"
    """Prediction that holds the points of the object."""

    @property
    def reads(self) -> frozenset[str]:
        """Both sets of points."""
        return frozenset({self.key, self.target})

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `mean_k min_l |p_k - q_l|`."""
        offsets = predictions[self.key].unsqueeze(4) - predictions[self.target].unsqueeze(3)
        distances: Tensor = torch.linalg.vector_norm(offsets, dim=-1)
        return distances.amin(dim=-1).mean(dim=-1)


@dataclass(frozen=True)
class Smoothness(Term):
    """Mean squared change from one decision to the next, over action dimensions.

    The first decision is compared with the last command, `state["command"]` `[B, A]`, where the
    state has one and `from_command` is set; clear it where decisions and command are not in the
    same units (increments, for instance). Otherwise the first change counts as zero.
    """

    terminal: float = 0.0
    """Factor of the last change."""
    running: float = 1.0
    """Factor of the mean over time."""
    from_command: bool = True
    """Whether the first decision is compared with the last command."""

    @property
    def reads(self) -> frozenset[str]:
        """Nothing: it looks at the actions."""
        return frozenset()

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `mean_i (a_i[t] - a_i[t-1])^2`."""
        before = actions[:, :, :1]
        if self.from_command and COMMAND in state:
            command = state[COMMAND].to(actions)
            if command.shape[-1] != actions.shape[-1]:
                raise ValueError(
                    f"Smoothness compares decisions of {actions.shape[-1]} numbers with a command "
                    f"of {command.shape[-1]}; set from_command=False."
                )
            before = command[:, None, None].expand_as(before)
        return torch.diff(actions, dim=2, prepend=before).square().mean(dim=3)


@dataclass(frozen=True)
class NegativeReward(Term, Keyed):
    """Minus the predicted reward `[B, N, T]` of each decision, by default its mean over time."""

    terminal: float = 0.0
    """Factor of the last reward."""
    running: float = 1.0
    """Factor of the mean over time."""
    key: str = "reward"
    """Prediction that holds the reward."""

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `-reward[t]`."""
        return -predictions[self.key]


@dataclass(frozen=True)
class NegativeReturn(Addable):
    """Minus what a plan earns and what its end is worth: a short plan that sees far.

        cost = -weight (g sum_{t<T} discount^(m t) reward[t] + discount^(m T) value[T-1])

    Rewards and values are predicted, `[B, N, T]`; a decision lasts `m` actions of the model, whose
    rewards are added up (`dexworld.world_models.base.Mapped`). Each is taken to earn an equal share,
    so `g = sum_{i<m} discount^i / m`. The discount is the one that the value was learned with.

    Source of the idea: Hansen et al. 2022, "Temporal Difference Learning for Model Predictive
    Control"; Lowrey et al. 2019, "Plan Online, Learn Offline".
    """

    weight: float = 1.0
    """Factor of the whole term."""
    discount: float = 0.95
    """Factor of a reward that comes one action of the model later."""
    actions: int = 1
    """Actions of the model that a decision lasts, `m`."""
    reward: str | None = "reward"
    """Prediction that holds the reward; the value at the end counts alone where None."""
    value: str = "value"
    """Prediction that holds the value."""

    def __post_init__(self) -> None:
        require_fraction(self, "discount")
        require_count(self, "actions")
        require_finite(self, "weight")

    @property
    def reads(self) -> frozenset[str]:
        """Value, and reward where it counts."""
        return frozenset({self.value} if self.reward is None else {self.reward, self.value})

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return minus the discounted sum of rewards and the value at the end."""
        values = predictions[self.value]
        horizon = values.shape[2]
        gained = self.discount ** (self.actions * horizon) * values[:, :, -1]
        if self.reward is not None:
            rewards = predictions[self.reward]
            times = torch.arange(horizon, device=rewards.device, dtype=rewards.dtype)
            every = sum(self.discount**i for i in range(self.actions)) / self.actions
            gained = gained + every * (self.discount ** (self.actions * times) * rewards).sum(dim=2)
        return -self.weight * gained

    def __mul__(self, factor: float) -> NegativeReturn:
        """Scale the weight."""
        return replace(self, weight=self.weight * factor)


@dataclass(frozen=True)
class Disagreement(Term, Keyed):
    """Minus the predicted disagreement of an ensemble `[B, N, T]`, by default its mean over time.

    Least where the members differ most: it leads to what the model has not learned yet.

    Source of the idea: Sekar et al. 2020, "Planning to Explore via Self-Supervised World Models".
    """

    terminal: float = 0.0
    """Factor of the last disagreement."""
    running: float = 1.0
    """Factor of the mean over time."""
    key: str = "disagreement"
    """Prediction that holds the disagreement."""

    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return `-disagreement[t]`."""
        return -predictions[self.key]


def wrapped_angle(angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the same angle in [-pi, pi) [rad]."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def rotation_angle(
    first: Float[Tensor, "*#shape 4"], second: Float[Tensor, "*#shape 4"]
) -> Float[Tensor, "*#shape"]:
    """Return the angle of the rotation between two unit quaternions (w first), in [0, pi] [rad].

    `2 atan2(|v|, |w|)` of the relative quaternion `(w, v)`: unlike the arc cosine of the dot
    product, it is accurate for small angles and its gradient stays finite.
    """
    scalar = (first * second).sum(dim=-1)
    # Vector part of conjugate(first) * second.
    vector = (
        first[..., :1] * second[..., 1:]
        - second[..., :1] * first[..., 1:]
        - torch.linalg.cross(first[..., 1:], second[..., 1:])
    )
    return 2 * torch.atan2(torch.linalg.vector_norm(vector, dim=-1), scalar.abs())
