"""Costs of predicted motions: small terms that scale with `*` and add with `+`."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import COMMAND, State
from .base import Objective
from .settings import require_at_least, require_positive


class Addable(ABC):
    """An objective that can be scaled and added to others."""

    @property
    @abstractmethod
    def reads(self) -> frozenset[str]:
        """Keys of the predictions that the cost needs."""

    @abstractmethod
    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the cost of each candidate; lower is better."""

    def __add__(self, other: Objective) -> Sum:
        """Return the objective whose cost is the sum of both."""
        return Sum((*_terms(self), *_terms(other)))

    def __mul__(self, factor: float) -> Addable:
        """Return the objective whose cost is `factor` times this one's."""
        return Sum((self,), (float(factor),))

    def __rmul__(self, factor: float) -> Addable:
        """Return the objective whose cost is `factor` times this one's."""
        return self * factor


@dataclass(frozen=True)
class Sum(Addable):
    """A weighted sum of objectives: `sum_i weights[i] cost_i`."""

    terms: tuple[Objective, ...]
    """Objectives that are added."""
    weights: tuple[float, ...] | None = None
    """Their factors; all one where None."""

    def __post_init__(self) -> None:
        if not self.terms:
            raise ValueError("a Sum needs at least one objective; it has none.")
        if self.weights is not None and len(self.weights) != len(self.terms):
            raise ValueError(
                f"a Sum needs one weight per objective; got {len(self.weights)} weights for "
                f"{len(self.terms)} objectives."
            )

    @property
    def reads(self) -> frozenset[str]:
        """What any of the terms reads."""
        return frozenset().union(*(term.reads for term in self.terms))

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Return the weighted sum of the costs of the terms."""
        weights = self.weights or (1.0,) * len(self.terms)
        costs = [
            term.cost(predictions, actions, state, goal) * weight
            for term, weight in zip(self.terms, weights, strict=True)
        ]
        return torch.stack(costs).sum(dim=0)

    def __mul__(self, factor: float) -> Sum:
        """Scale every weight."""
        weights = self.weights or (1.0,) * len(self.terms)
        return Sum(self.terms, tuple(weight * factor for weight in weights))


@dataclass(frozen=True)
class Term(Addable):
    """A weighted cost of a distance `d[t]` after each decision.

    `cost = weight (terminal d[T-1] + running mean_t(discount^t d[t]))`, with `t = 0 .. T-1`.
    Terminal alone, the default, is the planning cost of DexWM (equation 6).
    """

    weight: float = 1.0
    """Factor of the whole term."""
    terminal: float = 1.0
    """Factor of the last distance."""
    running: float = 0.0
    """Factor of the mean over time."""
    discount: float = 1.0
    """Factor per decision inside the mean: below 1, early counts more; above 1, late does."""

    def __post_init__(self) -> None:
        for name in ("terminal", "running"):
            require_at_least(self, name, 0.0)
        require_positive(self, "discount")
        if not math.isfinite(self.weight):
            raise ValueError(f"{type(self).__name__}(weight={self.weight}): weight must be finite.")
        if self.terminal == 0 and self.running == 0:
            raise ValueError(
                f"{type(self).__name__}(terminal=0, running=0) is zero everywhere; "
                "set one of them, or leave the term out."
            )

    @abstractmethod
    def distance(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates horizon"]:
        """Return the distance after each decision."""

    def cost(
        self,
        predictions: Mapping[str, Tensor],
        actions: Float[Tensor, "batch candidates horizon action"],
        state: State,
        goal: State,
    ) -> Float[Tensor, "batch candidates"]:
        """Weigh the distances over time."""
        distance = self.distance(predictions, actions, state, goal)
        cost = (self.weight * self.terminal) * distance[:, :, -1]
        if self.running == 0:
            return cost
        if self.discount != 1.0:
            steps = torch.arange(distance.shape[2], device=distance.device, dtype=distance.dtype)
            distance = distance * self.discount**steps
        return cost + (self.weight * self.running) * distance.mean(dim=2)

    def __mul__(self, factor: float) -> Term:
        """Scale the weight."""
        return replace(self, weight=self.weight * factor)


@dataclass(frozen=True)
class Keyed(Addable):
    """What a term that reads one prediction has: its key, which comes before the weights."""

    key: str = ""
    """Prediction, and part of the goal, that is read."""

    @property
    def reads(self) -> frozenset[str]:
        """The prediction of that key."""
        return frozenset({self.key})


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
        difference = predictions[self.key] - _goal(self.key, goal, predictions)
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
        difference = predictions[self.key] - _goal(self.key, goal, predictions)
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
        pose, target = predictions[self.key], _goal(self.key, goal, predictions)
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
    """Minus the predicted reward `[B, N, T]`, by default its mean over time."""

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


def wrapped_angle(angle: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Return the same angle in [-pi, pi) [rad]."""
    return torch.remainder(angle + torch.pi, 2 * torch.pi) - torch.pi


def rotation_angle(
    first: Float[Tensor, "*shape 4"], second: Float[Tensor, "*shape 4"]
) -> Float[Tensor, "*shape"]:
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


def _goal(key: str, goal: State, predictions: Mapping[str, Tensor]) -> Tensor:
    """Return `goal[key]` with dimensions to broadcast over candidates and time."""
    if key not in goal:
        raise KeyError(
            f"the objective compares '{key}' with the goal, which has {sorted(goal)}; "
            "encode the goal with the model, or choose an objective that reads one of these."
        )
    target, predicted = goal[key], predictions[key]
    if target.shape[1:] != predicted.shape[3:]:
        raise ValueError(
            f"predictions of '{key}' have shape {tuple(predicted.shape[3:])} after each decision "
            f"and the goal's '{key}' has {tuple(target.shape[1:])}; they must be the same."
        )
    return target[:, None, None]


def _terms(objective: Objective) -> tuple[Objective, ...]:
    """Return the terms of an unweighted sum, so that sums of sums stay flat."""
    if isinstance(objective, Sum) and objective.weights is None:
        return objective.terms
    return (objective,)
