"""When an episode at the counter has succeeded: DexWM's three rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..mujoco_env import FloatArray

HELD_STEPS: Final = 10
"""Consecutive control steps for which a rule has to be met."""

Features = Mapping[str, FloatArray]

_REWARDED = 0.5  # distance from which on nothing is earned [m]


@runtime_checkable
class SuccessRule(Protocol):
    """Whether features `(..., *)` of a moment meet a goal's; how far they are from it."""

    reads: ClassVar[frozenset[str]]
    """The features that it reads."""

    @property
    def name(self) -> str:
        """The rule in words, as reports print it."""
        ...

    def distance(self, features: Features, goal: Features) -> FloatArray:
        """Return the distance `(...)` that is compared [m]."""
        ...

    def __call__(self, features: Features, goal: Features) -> NDArray[np.bool_]:
        """Return whether the rule is met, `(...)`."""
        ...

    def rewards(self, features: Features, goal: Features) -> dict[str, FloatArray]:
        """Return the terms of the reward `(...)`, which add up to at most 1."""
        ...


@dataclass(frozen=True)
class ReachRule:
    """Wrist and fingertips are near those of the goal, on average."""

    reads: ClassVar[frozenset[str]] = frozenset({"keypoints"})
    tolerance: float = 0.15
    """[m]"""

    @property
    def name(self) -> str:
        """The rule in words."""
        return (
            f"mean distance of wrist and fingertips < {self.tolerance:g} m, held for "
            f"{HELD_STEPS} steps"
        )

    def distance(self, features: Features, goal: Features) -> FloatArray:
        """Return the mean distance of the keypoints."""
        away: FloatArray = np.linalg.norm(features["keypoints"] - goal["keypoints"], axis=-1)
        return np.asarray(away.mean(axis=-1))

    def __call__(self, features: Features, goal: Features) -> NDArray[np.bool_]:
        """Compare with the tolerance."""
        return np.asarray(self.distance(features, goal) < self.tolerance)

    def rewards(self, features: Features, goal: Features) -> dict[str, FloatArray]:
        """Return `distance`."""
        return {"distance": _closeness(self.distance(features, goal))}


@dataclass(frozen=True)
class GraspRule:
    """The hand touches the object, and the wrist is near it; the goal does not matter."""

    reads: ClassVar[frozenset[str]] = frozenset({"keypoints", "object", "contact"})
    tolerance: float = 0.20
    """[m]"""

    @property
    def name(self) -> str:
        """The rule in words."""
        return (
            f"wrist-object distance < {self.tolerance:g} m and contact, held for {HELD_STEPS} steps"
        )

    def distance(self, features: Features, goal: Features) -> FloatArray:
        """Return the distance from the wrist to the middle of the object."""
        wrist, place = features["keypoints"][..., 0, :], features["object"][..., :3]
        return np.asarray(np.linalg.norm(wrist - place, axis=-1))

    def touches(self, features: Features) -> NDArray[np.bool_]:
        """Return whether any part of the hand touches the object."""
        return np.asarray(features["contact"][..., -1] > 0)

    def __call__(self, features: Features, goal: Features) -> NDArray[np.bool_]:
        """Ask for both."""
        near = self.distance(features, goal) < self.tolerance
        return np.asarray(near & self.touches(features))

    def rewards(self, features: Features, goal: Features) -> dict[str, FloatArray]:
        """Return `distance` and `contact`, a half each."""
        return {
            "distance": np.asarray(0.5 * _closeness(self.distance(features, goal))),
            "contact": np.asarray(0.5 * self.touches(features)),
        }


@dataclass(frozen=True)
class PlaceRule:
    """The object is near where it is in the goal."""

    reads: ClassVar[frozenset[str]] = frozenset({"object"})
    tolerance: float = 0.10
    """[m]"""

    @property
    def name(self) -> str:
        """The rule in words."""
        return f"object-goal distance < {self.tolerance:g} m, held for {HELD_STEPS} steps"

    def distance(self, features: Features, goal: Features) -> FloatArray:
        """Return the distance of the object's middle from the goal's."""
        away = features["object"][..., :3] - goal["object"][..., :3]
        return np.asarray(np.linalg.norm(away, axis=-1))

    def __call__(self, features: Features, goal: Features) -> NDArray[np.bool_]:
        """Compare with the tolerance."""
        return np.asarray(self.distance(features, goal) < self.tolerance)

    def rewards(self, features: Features, goal: Features) -> dict[str, FloatArray]:
        """Return `distance`."""
        return {"distance": _closeness(self.distance(features, goal))}


def _closeness(distance: FloatArray) -> FloatArray:
    return np.asarray(np.clip(1.0 - distance / _REWARDED, 0.0, 1.0))
