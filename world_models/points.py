"""Keypoints that latents must give back: which there are, and in what units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class PointSet:
    """Some keypoints of one body, in the plane."""

    name: str
    """Prediction that holds them, `[..., count, 2]`."""
    count: int
    """How many there are."""
    label: str
    """Observation that tells where they are."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"PointSet({self.name}, count={self.count}): at least 1 point.")


@dataclass(frozen=True)
class PointLayout:
    """All keypoints in their order, and the unit of their labels: `label = centre + scale * p`."""

    sets: tuple[PointSet, ...] = ()
    """What the keypoints belong to."""
    centre: float = 0.0
    """Label of a normalised coordinate of 0."""
    scale: float = 1.0
    """Label units in one normalised unit."""

    def __post_init__(self) -> None:
        if not self.scale > 0:
            raise ValueError(f"PointLayout(scale) must be positive, got {self.scale}.")
        names = self.names
        if len(set(names)) < len(names):
            raise ValueError(f"PointLayout(sets) have the names {names}; each may occur once.")

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the sets."""
        return tuple(each.name for each in self.sets)

    @property
    def count(self) -> int:
        """Number of all points."""
        return sum(each.count for each in self.sets)

    def part(self, name: str) -> slice:
        """Return which points belong to a set; raise `KeyError` if there is none of that name."""
        first = 0
        for each in self.sets:
            if each.name == name:
                return slice(first, first + each.count)
            first += each.count
        raise KeyError(f"there are no points '{name}'; there are {list(self.names)}.")

    def normalise(
        self, labels: Mapping[str, Tensor], *, rows: int
    ) -> Float[Tensor, "*rows points 2"]:
        """Return labels by observation key, `[*rows, ...]`, as normalised points.

        `rows` is the number of leading dimensions.

        Raises:
            KeyError: a label is missing.
            ValueError: there are no points, or one of the labels does not hold as many.
        """
        if not self.sets:
            raise ValueError("there are no points to normalise; PointLayout(sets) is empty.")
        parts = []
        for each in self.sets:
            if each.label not in labels:
                raise KeyError(
                    f"the points '{each.name}' are where '{each.label}' says, which is not among "
                    f"{sorted(labels)}."
                )
            label = labels[each.label].float().flatten(rows)
            if label.shape[-1] != 2 * each.count:
                raise ValueError(
                    f"'{each.label}' holds {label.shape[-1]} numbers, and the {each.count} points "
                    f"'{each.name}' have {2 * each.count}."
                )
            parts.append(torch.unflatten(label, -1, (each.count, 2)))
        return (torch.cat(parts, dim=rows) - self.centre) / self.scale

    def labelled(self, frames: Mapping[str, Tensor]) -> bool:
        """Return whether there are points, and labels that say where all of them are."""
        return bool(self.sets) and all(each.label in frames for each in self.sets)

    def split(self, points: Float[Tensor, "*rows points 2"]) -> dict[str, Tensor]:
        """Return points by name, in the unit of their labels."""
        labelled = self.centre + self.scale * points
        return {name: labelled[..., self.part(name), :] for name in self.names}

    def loss(
        self,
        points: Float[Tensor, "*rows points 2"],
        truth: Float[Tensor, "*rows points 2"],
        tolerance: float = 1.0,
    ) -> Float[Tensor, ""]:
        """Return the smooth L1 distance: quadratic below `tolerance` [label unit], linear beyond."""
        return functional.smooth_l1_loss(
            self.scale * points.float(), self.scale * truth, beta=tolerance
        )
