"""The protocol of a world model, and the adapter that lets one act on coarser decisions.

Letters used in shapes throughout the package: `B` problems planned for at once (one per
environment), `N` candidates each, `T` decisions ahead, `A` action dimension, `k` model actions
per decision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor

State = dict[str, Tensor]
"""Everything a model carries (history, physics, camera) and what it predicts; leading dim `B`."""

COMMAND = "command"
"""State key, `[B, A]`: the last command of the controller, in units of the action space."""

Observation = Mapping[str, Any]
"""A batch of observations by key, each `[B, ...]`, as arrays or tensors."""


@runtime_checkable
class WorldModel(Protocol):
    """Dynamics behind a planner: a simulator, a learned latent model, or an ensemble of them.

    Laws, checked by `dexworld.world_models.conformance.WorldModelConformance`:
    `rollout` equals chained `step`; rows of a batch do not influence each other; later actions
    cannot change earlier predictions; whatever is random is drawn in `encode` and carried.
    """

    @property
    def action_space(self) -> Box:
        """Bounds of the actions that the model takes, shape `(A,)`."""
        ...

    @property
    def observes(self) -> frozenset[str]:
        """Observation keys that `encode` needs."""
        ...

    @property
    def predicts(self) -> frozenset[str]:
        """Keys that `rollout` can return and objectives may read."""
        ...

    @property
    def differentiable(self) -> bool:
        """Whether gradients flow from predictions to actions."""
        ...

    @property
    def device(self) -> torch.device:
        """Where states live."""
        ...

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Return the belief after seeing `observation`.

        `actions` were executed since `previous`; rows with `episode_start` forget `previous`.
        """
        ...

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict what follows each candidate: for each key `[B, N, T, ...]`, after each action."""
        ...

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the carried state one action later; it can be stepped or rolled out again."""
        ...


@runtime_checkable
class ActionMap(Protocol):
    """What a planner optimises (decisions), expressed as what a model and an environment take."""

    @property
    def action_space(self) -> Box:
        """Bounds of the decisions, shape `(A,)`."""
        ...

    @property
    def steps(self) -> int:
        """Environment actions that make up one decision."""
        ...

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Return the model's actions, `k` per decision; differentiable."""
        ...

    def to_env(
        self, decisions: Float[Tensor, "batch horizon action"], state: State
    ) -> Float[Tensor, "batch env_horizon env_action"]:
        """Return the environment's actions, the same number for every decision."""
        ...


def take(state: State, rows: Tensor) -> State:
    """Return the given rows (indices or a mask) of every tensor of a state."""
    return {key: value[rows] for key, value in state.items()}


def check_keys(wanted: Collection[str], model: WorldModel, reader: str) -> None:
    """Raise `KeyError` if `reader` reads what `model` does not predict."""
    missing = sorted(set(wanted) - model.predicts)
    if missing:
        raise KeyError(
            f"{reader} reads {missing}, which {type(model).__name__} does not predict; "
            f"it predicts {sorted(model.predicts)}. Choose another objective or model."
        )


def check_actions(actions: Tensor, space: Box, name: str = "actions") -> None:
    """Raise `ValueError` unless the last dimension of `actions` is that of a flat action space."""
    if actions.shape[-1:] != space.shape:
        raise ValueError(
            f"{name} have shape {tuple(actions.shape)}; "
            f"the last dimension must be that of the action space, {space.shape}."
        )


def check_observation(observation: Observation, model: WorldModel) -> None:
    """Raise `KeyError` if an observation lacks what the model observes."""
    missing = sorted(model.observes - set(observation))
    if missing:
        raise KeyError(
            f"the observation lacks {missing}, which {type(model).__name__} observes; "
            f"it has {sorted(observation)}. Make the environment with "
            f"observation={sorted(model.observes)}."
        )


class Mapped:
    """A world model over decisions: `model` behind an `action_map`.

    It predicts after each decision, not after each of the `k` model actions that make it up.
    """

    def __init__(self, model: WorldModel, action_map: ActionMap) -> None:
        self.model = model
        self.action_map = action_map

    @property
    def action_space(self) -> Box:
        """Bounds of the decisions."""
        return self.action_map.action_space

    @property
    def observes(self) -> frozenset[str]:
        """What the wrapped model observes."""
        return self.model.observes

    @property
    def predicts(self) -> frozenset[str]:
        """What the wrapped model predicts."""
        return self.model.predicts

    @property
    def differentiable(self) -> bool:
        """Action maps are differentiable, so this is the wrapped model's property."""
        return self.model.differentiable

    @property
    def device(self) -> torch.device:
        """The wrapped model's device."""
        return self.model.device

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Encode with the executed decisions expressed as model actions."""
        if actions is not None and previous is not None:
            actions = self.action_map.to_model(actions.unsqueeze(1), previous).squeeze(1)
        return self.model.encode(observation, previous, actions, episode_start)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict `[B, N, T, ...]` after each decision."""
        check_actions(actions, self.action_space, "decisions")
        model_actions = self.action_map.to_model(actions, state)
        per_decision = model_actions.shape[2] // actions.shape[2]
        predictions = self.model.rollout(state, model_actions, keys)
        return {
            key: value[:, :, per_decision - 1 :: per_decision] for key, value in predictions.items()
        }

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one decision later."""
        check_actions(actions, self.action_space, "decisions")
        model_actions = self.action_map.to_model(actions[:, None, None], state).squeeze(1)
        for action in model_actions.unbind(1):
            state = self.model.step(state, action)
        return state
