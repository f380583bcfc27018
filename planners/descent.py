"""Adam on plans, in coordinates in which every point is inside the bounds."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from .candidates import Candidates

FIRST_DECAY, SECOND_DECAY, EPSILON = 0.9, 0.999, 1e-8
"""Adam's decay rates and the guard of its division (Kingma and Ba 2015)."""
LARGEST = 4.0
"""Largest coordinate: `tanh` 4 is 0.9993, and its slope still carries a gradient."""


class Descent:
    """Gradient descent of many plans at once, by Adam.

    The coordinates are `u` in `a = centre + half_range tanh(u)`, so decisions stay inside any
    bounds. Steps shrink linearly to zero over `steps`.

    Args:
        candidates: The problem whose bounds hold.
        actions: Plans to start from, `[B, N, T, A]`, inside the bounds.
        steps: Steps that will be made.
        learning_rate: First step size, in coordinates.
        gradient_clip: Largest norm of the gradient of one plan, in coordinates; None does not
            clip.
    """

    def __init__(
        self,
        candidates: Candidates,
        actions: Float[Tensor, "batch candidates horizon action"],
        *,
        steps: int,
        learning_rate: float,
        gradient_clip: float | None,
    ) -> None:
        self._centre = candidates.centre
        self._half_range = candidates.half_range.clamp(min=torch.finfo(actions.dtype).tiny)
        unit = ((actions - self._centre) / self._half_range).clamp(-1, 1)
        # The inverse of tanh; torch.atanh rounds differently from one batch size to another.
        inverse = 0.5 * torch.log((1 + unit) / (1 - unit))
        self._coordinates = inverse.clamp(-LARGEST, LARGEST)
        self._first = torch.zeros_like(actions)
        self._second = torch.zeros_like(actions)
        self._steps = steps
        self._made = 0
        self._learning_rate = learning_rate
        self._gradient_clip = gradient_clip

    @property
    def actions(self) -> Float[Tensor, "batch candidates horizon action"]:
        """The plans now."""
        return self._centre + self._half_range * torch.tanh(self._coordinates)

    @property
    def remaining(self) -> float:
        """Share of the steps still to be made, which is also the size of the next step."""
        return max(0.0, 1.0 - self._made / self._steps)

    def step(
        self,
        gradients: Float[Tensor, "batch candidates horizon action"],
        noise: Tensor | None = None,
    ) -> None:
        """Move down the gradients with respect to the actions, and by `noise` (coordinates)."""
        slope = self._half_range * (1 - torch.tanh(self._coordinates).square())
        gradient = gradients * slope
        if self._gradient_clip is not None:
            norm = torch.linalg.vector_norm(gradient, dim=(2, 3), keepdim=True)
            gradient = gradient * (self._gradient_clip / norm.clamp(min=self._gradient_clip))
        rate = self._learning_rate * self.remaining
        self._made += 1
        self._first = torch.lerp(gradient, self._first, FIRST_DECAY)
        self._second = torch.lerp(gradient.square(), self._second, SECOND_DECAY)
        first = self._first / (1 - FIRST_DECAY**self._made)
        second = self._second / (1 - SECOND_DECAY**self._made)
        moved = self._coordinates - rate * first / (second.sqrt() + EPSILON)
        if noise is not None:
            moved = moved + noise
        self._coordinates = moved.clamp(-LARGEST, LARGEST)
