"""The gate between a search and a model: every candidate plan is rolled out and priced here."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import ROLLOUT, State, WorldModel, check_actions, check_keys, name_of
from .base import Objective

Pricing = Callable[[Tensor], Tensor]

GRADIENT_EVALUATIONS = 3
"""What one evaluation with its gradient counts as: a forward pass and a backward pass of twice
its cost."""


class Candidates:
    """Prices candidate plans of `B` problems and remembers the best one of each.

    This is the only place that calls `model.rollout` for a search. Where the cost of a candidate
    is not finite it becomes +inf and is counted. Decisions have the dtype of the model's action
    space: float32 as a rule, float64 where the space asks for it.

    Args:
        model: Dynamics that the plans go through.
        objective: Cost of what the model predicts.
        state: Where the plans start, tensors `[B, ...]`.
        goal: Where they should lead, as encoded by the model, tensors `[B, ...]`.
        horizon: Decisions ahead, `T`.
        at_once: Candidates, over all problems, that are rolled out together; all where None.

    Raises:
        KeyError: The objective reads what the model does not predict.
        ValueError: The action space is not a bounded, flat box of floats, or the state and the
            goal are not of the same number of problems.
    """

    def __init__(
        self,
        model: WorldModel,
        objective: Objective,
        state: State,
        goal: State,
        *,
        horizon: int,
        at_once: int | None = None,
    ) -> None:
        check_keys(objective.reads, model, type(objective).__name__)
        self.low, self.high = _bounds(model.action_space, model.device)
        self.batch = _batch(state, goal)
        self.horizon = horizon
        self.model = model
        self.objective = objective
        self.evaluations = 0
        self.non_finite = torch.zeros(self.batch, dtype=torch.int64, device=model.device)
        self.best_actions: Tensor | None = None
        self.best_cost: Tensor | None = None
        self.best_predictions: dict[str, Tensor] = {}
        self._state = state
        self._goal = goal
        self._chunk = None if at_once is None else max(1, at_once // self.batch)

    @property
    def centre(self) -> Float[Tensor, " action"]:
        """Middle of the bounds."""
        return (self.low + self.high) / 2

    @property
    def half_range(self) -> Float[Tensor, " action"]:
        """Half the distance between the bounds."""
        return (self.high - self.low) / 2

    def clip(self, actions: Float[Tensor, "*plans action"]) -> Float[Tensor, "*plans action"]:
        """Return the nearest decisions inside the bounds."""
        return torch.clamp(actions, self.low, self.high)

    def check_differentiable(self) -> None:
        """Raise `ValueError` if gradients do not flow through the model."""
        if not self.model.differentiable:
            raise ValueError(
                f"{name_of(self.model)} is not differentiable, and this planner follows "
                "gradients. Choose a differentiable model, or a planner that samples (CEM, ICEM, "
                "MPPI, RandomShooting)."
            )

    @torch.no_grad()
    def evaluate(
        self, actions: Float[Tensor, "batch candidates horizon action"]
    ) -> Float[Tensor, "batch candidates"]:
        """Return the cost of each candidate, +inf where it is not finite."""
        check_actions(actions, self.model.action_space, dims=ROLLOUT, state=self._state)
        costs = self._in_chunks(actions, self._cost)
        return self._record(costs, evaluations=actions.shape[1])

    def evaluate_with_gradients(
        self, actions: Float[Tensor, "batch candidates horizon action"]
    ) -> tuple[Float[Tensor, "batch candidates"], Float[Tensor, "batch candidates horizon action"]]:
        """Return the cost of each candidate, and its gradient (zero where it is not finite).

        Raises:
            ValueError: Gradients do not flow through the model.
        """
        self.check_differentiable()
        check_actions(actions, self.model.action_space, dims=ROLLOUT, state=self._state)
        both = self._in_chunks(actions, self._cost_and_gradient)
        with torch.no_grad():
            costs = self._record(both[..., 0], evaluations=GRADIENT_EVALUATIONS * actions.shape[1])
        gradients = both[..., 1:].reshape(actions.shape)
        usable = torch.isfinite(gradients) & torch.isfinite(costs)[..., None, None]
        return costs, torch.where(usable, gradients, 0.0)

    def _in_chunks(self, actions: Tensor, price: Pricing) -> Tensor:
        chunk = self._chunk
        if chunk is None or actions.shape[1] <= chunk:
            return price(actions)
        return torch.cat([price(part) for part in torch.split(actions, chunk, dim=1)], dim=1)

    def _cost(self, actions: Tensor) -> Tensor:
        predictions = self.model.rollout(self._state, actions, self.objective.reads)
        costs = self.objective.cost(predictions, actions, self._state, self._goal)
        if costs.shape != actions.shape[:2]:
            raise ValueError(
                f"{type(self.objective).__name__}.cost returned shape {tuple(costs.shape)}; it "
                f"must return one cost per candidate, {tuple(actions.shape[:2])}."
            )
        self._keep_best(actions.detach(), costs.detach(), predictions)
        return costs

    def _cost_and_gradient(self, actions: Tensor) -> Tensor:
        """Return cost and flattened gradient side by side, `[B, N, 1 + T A]`."""
        with torch.enable_grad():
            leaf = actions.detach().requires_grad_()
            costs = self._cost(leaf)
            if not costs.requires_grad:
                raise ValueError(
                    f"the cost of {type(self.objective).__name__} through "
                    f"{name_of(self.model)} does not depend differentiably on the actions; "
                    "the model calls itself differentiable, but its rollout detaches them."
                )
            # A sum over candidates: each one's cost depends on its own actions only.
            (gradient,) = torch.autograd.grad(costs.sum(), leaf)
        return torch.cat([costs.detach().unsqueeze(-1), gradient.flatten(2)], dim=-1)

    @torch.no_grad()
    def _keep_best(self, actions: Tensor, costs: Tensor, predictions: Mapping[str, Tensor]) -> None:
        """Remember the best candidate of each problem, and what is predicted of it."""
        cost, index = torch.where(torch.isfinite(costs), costs, torch.inf).min(dim=1)
        if self.best_actions is None or self.best_cost is None:
            # The first candidate stands in for rows in which nothing is finite yet: index 0.
            better = torch.ones_like(cost, dtype=torch.bool)
            self.best_actions, self.best_cost = actions[:, 0], cost
            self.best_predictions = {key: predictions[key][:, 0] for key in self.objective.reads}
        else:
            better = cost < self.best_cost
            self.best_cost = torch.where(better, cost, self.best_cost)
        rows = torch.arange(self.batch, device=costs.device)

        def chosen(new: Tensor, old: Tensor) -> Tensor:
            picked = new[rows, index].detach()
            return torch.where(better.view(-1, *[1] * (picked.ndim - 1)), picked, old)

        self.best_actions = chosen(actions, self.best_actions)
        self.best_predictions = {
            key: chosen(predictions[key], old) for key, old in self.best_predictions.items()
        }

    def _record(self, costs: Tensor, evaluations: int) -> Tensor:
        finite = torch.isfinite(costs)
        self.non_finite += (~finite).sum(dim=1)
        self.evaluations += evaluations
        return torch.where(finite, costs, torch.inf)


def _bounds(space: Box, device: torch.device) -> tuple[Tensor, Tensor]:
    if len(space.shape) != 1 or not np.issubdtype(space.dtype, np.floating):
        raise ValueError(
            f"planners need a flat Box of floats, got shape {space.shape} of {space.dtype}; "
            "wrap the model's actions in an action map with such a space."
        )
    if not (np.isfinite(space.low).all() and np.isfinite(space.high).all()):
        raise ValueError(
            f"planners need finite bounds, got low {space.low} and high {space.high}; "
            "give the model's action space the range to search in."
        )
    low, high = torch.from_numpy(space.low), torch.from_numpy(space.high)
    return low.to(device), high.to(device)


def _batch(state: State, goal: State) -> int:
    sizes = {f"state['{key}']": value.shape[0] for key, value in state.items()}
    sizes |= {f"goal['{key}']": value.shape[0] for key, value in goal.items()}
    if not state or len(set(sizes.values())) != 1:
        raise ValueError(
            "the state and the goal must hold the same number of problems in their first "
            f"dimension, at least one tensor each; got {sizes}."
        )
    return next(iter(sizes.values()))
