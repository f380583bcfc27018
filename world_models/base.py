"""The protocol of a world model, and the adapter that lets one act on coarser decisions.

Letters used in shapes throughout the package: `B` problems planned for at once (one per
environment), `N` candidates each, `T` decisions ahead, `A` action dimension, `k` model actions
per decision.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from functools import reduce
from operator import add
from typing import Any, Protocol, runtime_checkable

import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor

State = dict[str, Tensor]
"""Everything a model carries (history, physics, camera) and what it predicts; leading dim `B`."""

COMMAND = "command"
"""State key, `[B, A]`: the last command of the controller, in units of the action space."""

REWARD = "reward"
"""Prediction, `[B, N, T]`, and state key, `[B]`: what the action that ends there is paid."""

GOAL_PREFIX = "goal_"
"""Observation keys that start with this are the goal, observed."""

HOLD_ACTION = "hold_action"
"""Observation key, added by `dexworld.envs.hold_action.HoldAction`: what keeps things still."""

ROLLOUT, STEP = "BNTA", "BA"
"""Dimensions of the actions that `WorldModel.rollout` and `WorldModel.step` take."""

Observation = Mapping[str, Any]
"""A batch of observations by key, each `[B, ...]`, as arrays or tensors."""


@runtime_checkable
class WorldModel(Protocol):
    """Dynamics behind a planner: a simulator, a learned latent model, or an ensemble of them.

    Laws, checked by `dexworld.world_models.conformance.WorldModelConformance`:
    `rollout` equals chained `step`; rows of a batch do not influence each other; later actions
    cannot change earlier predictions; whatever is random is drawn in `encode` and carried;
    after an action that is not finite the predictions of its candidate are not finite either.

    All predictions are of the moment after an action, but for `reward`, where it is predicted: it is
    what that action is paid, and actions that are taken as one are paid their sum (`Mapped`).
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
    """What a planner optimises (decisions), expressed as what a model and an environment take.

    Laws, checked by `dexworld.world_models.conformance_actions.ActionMapConformance`: actions are
    inside the bounds; later decisions cannot change earlier actions; rows and candidates do not
    influence each other; mapping goes on from `state["command"]` where it left off.
    """

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


def name_of(model: WorldModel) -> str:
    """Return what messages call a model: its class, or that of the model behind an action map."""
    return name_of(model.model) if isinstance(model, Mapped) else type(model).__name__


def check_keys(wanted: Collection[str], model: WorldModel, reader: str) -> None:
    """Raise `KeyError` if `reader` reads what `model` does not predict."""
    missing = sorted(set(wanted) - model.predicts)
    if missing:
        raise KeyError(
            f"{reader} reads {missing}, which {name_of(model)} does not predict; "
            f"it predicts {sorted(model.predicts)}. Choose another objective or model."
        )


def check_actions(
    actions: Tensor,
    space: Box,
    name: str = "actions",
    *,
    dims: str | None = None,
    state: State | None = None,
) -> None:
    """Raise `ValueError` for actions of a shape that no model takes.

    Values are not looked at: what follows an action that is not finite is NaN, in a rollout as in
    a step, so that one broken candidate neither wins a search nor ends it.

    Args:
        actions: What is checked.
        space: Flat action space, whose dimension the last one of `actions` must be.
        name: What to call them.
        dims: Their dimensions, one letter each, none of them empty: `ROLLOUT` or `STEP`.
        state: What they start from, for as many problems.
    """
    shape = tuple(actions.shape)
    if shape[-1:] != space.shape:
        raise ValueError(
            f"{name} have shape {shape}; "
            f"the last dimension must be that of the action space, {space.shape}."
        )
    if dims is not None and (len(shape) != len(dims) or 0 in shape):
        raise ValueError(
            f"{name} have shape {shape}; they must be [{', '.join(dims)}], at least one of each."
        )
    for key, value in (state or {}).items():
        if value.shape[:1] != actions.shape[:1]:
            raise ValueError(
                f"{name} are for {shape[0]} problems (shape {shape}) and state['{key}'] is for "
                f"{tuple(value.shape[:1])}; both must be for the same number."
            )


def check_state(state: State, shapes: Mapping[str, tuple[int, ...]], model: WorldModel) -> None:
    """Raise unless `state` carries what `model` needs, each of the given shape after `B`.

    Raises:
        KeyError: Something is missing.
        ValueError: Something has another shape.
    """
    missing = sorted(set(shapes) - set(state))
    if missing:
        raise KeyError(
            f"the state lacks {missing}, which states of {name_of(model)} carry; "
            f"it has {sorted(state)}. Was it encoded by another model?"
        )
    for key, shape in shapes.items():
        if state[key].ndim == 0 or tuple(state[key].shape[1:]) != shape:
            expected = ", ".join(["B", *map(str, shape)])
            raise ValueError(
                f"state['{key}'] has shape {tuple(state[key].shape)}; states of "
                f"{name_of(model)} have ({expected}). Was it encoded by another model?"
            )


def check_observation(observation: Observation, model: WorldModel) -> None:
    """Raise `KeyError` if an observation lacks what the model observes."""
    missing = sorted(model.observes - set(observation))
    if missing:
        raise KeyError(
            f"the observation lacks {missing}, which {name_of(model)} observes; "
            f"it has {sorted(observation)}. Make the environment with "
            f"observation={sorted(model.observes)}."
        )


class Wrapper:
    """A world model that is another one, `model`, in all that a subclass does not say itself."""

    model: WorldModel

    @property
    def action_space(self) -> Box:
        """Bounds of the actions."""
        return self.model.action_space

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
        """Whether gradients flow through the wrapped model."""
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
        """Return the wrapped model's belief."""
        return self.model.encode(observation, previous, actions, episode_start)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Return the wrapped model's predictions."""
        return self.model.rollout(state, actions, keys)

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the wrapped model's state one action later."""
        return self.model.step(state, actions)


@runtime_checkable
class Decoder(Protocol):
    """A model that gives frames back."""

    def pictures(self, latent: Tensor) -> Tensor:
        """Return frames `[B, height, width, 3]`, uint8, of latents `[B, D]`."""
        ...


def decoder_of(model: WorldModel) -> Decoder:
    """Return what draws the states of a model: itself, or the first that can inside its wrappers.

    Raises:
        TypeError: nothing does.
    """
    inside = model
    while isinstance(inside, Wrapper) and not isinstance(inside, Decoder):
        inside = inside.model
    if not isinstance(inside, Decoder):
        raise TypeError(
            f"{name_of(inside)} draws no pictures of its states: give pictures=, a function of them, "
            "or leave pixels and render_mode out."
        )
    return inside


class Mapped(Wrapper):
    """A world model over decisions: `model` behind an `action_map`.

    It predicts after each decision, not after each of the `k` model actions that make it up; but
    `reward` is the sum over those `k`, as an environment pays them.
    """

    def __init__(self, model: WorldModel, action_map: ActionMap) -> None:
        self.model = model
        self.action_map = action_map

    def __repr__(self) -> str:
        return f"Mapped({name_of(self.model)}, {type(self.action_map).__name__})"

    @property
    def action_space(self) -> Box:
        """Bounds of the decisions."""
        return self.action_map.action_space

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
        check_actions(actions, self.action_space, "decisions", dims=ROLLOUT, state=state)
        model_actions = self.action_map.to_model(actions, state)
        per_decision = model_actions.shape[2] // actions.shape[2]
        predictions = self.model.rollout(state, model_actions, keys)
        decided = {
            key: value[:, :, per_decision - 1 :: per_decision] for key, value in predictions.items()
        }
        if REWARD in decided:
            each = torch.unflatten(predictions[REWARD], 2, (-1, per_decision))
            decided[REWARD] = reduce(add, each.unbind(3))
        return decided

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one decision later."""
        check_actions(actions, self.action_space, "decisions", dims=STEP, state=state)
        model_actions = self.action_map.to_model(actions[:, None, None], state).squeeze(1)
        rewards = []
        for action in model_actions.unbind(1):
            state = self.model.step(state, action)
            rewards += [state[REWARD]] if REWARD in state else []
        return {**state, REWARD: reduce(add, rewards)} if rewards else state
