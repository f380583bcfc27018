"""Decisions that are seen from a body, and turn with it: what works somewhere works everywhere."""

from __future__ import annotations

from collections.abc import Collection

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .base import (
    ROLLOUT,
    STEP,
    Observation,
    State,
    WorldModel,
    Wrapper,
    check_actions,
    check_keys,
    name_of,
    take,
)
from .planar_contact import axes_of, turn


def direction_of(points: Float[Tensor, "*rows points 2"]) -> Float[Tensor, "*rows 2"]:
    """Return `(cos, sin)` of the way from the first to the second point of a body."""
    along = points[..., 1, :] - points[..., 0, :]
    length = torch.linalg.vector_norm(along, dim=-1, keepdim=True)
    direction: Tensor = along / length.clamp(min=1e-9)
    return direction


def to_world(
    decisions: Float[Tensor, "*rows 2"], points: Float[Tensor, "*rows points 2"]
) -> Float[Tensor, "*rows 2"]:
    """Return decisions, which are seen from a body, as the world sees them.

    They are held inside the unit circle first, so that turned they stay inside the unit square.
    """
    length = torch.linalg.vector_norm(decisions, dim=-1, keepdim=True)
    inside = decisions / length.clamp(min=1.0)
    return turn(inside, axes_of(direction_of(points).to(inside))).clamp(-1.0, 1.0)


class SeenFromBody(Wrapper):
    """A model whose decisions are seen from a body; a world model itself.

    Each decision is turned by where the body points when it is made: along a plan, by where it is
    predicted to point then.

    Args:
        model: its decisions are two numbers in [-1, 1], changes of a place in the plane.
        key: prediction with the body's points `[B, K, 2]`.

    Raises:
        KeyError: the model does not predict them.
        ValueError: its decisions are others.
    """

    def __init__(self, model: WorldModel, key: str = "keypoints") -> None:
        check_keys({key}, model, type(self).__name__)
        space = model.action_space
        if space.shape != (2,) or (space.low > -1).any() or (space.high < 1).any():
            raise ValueError(
                f"decisions that are seen from a body are changes of a place in the plane, two "
                f"numbers in [-1, 1]; those of {name_of(model)} are in {space}. Take increments "
                "(agent.increment), or decide in the world's frame."
            )
        self.model, self.key = model, key

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Encode with the executed decisions as the world saw them."""
        if actions is not None and previous is not None:
            state, seen = previous, []
            for decision in actions.unbind(1):
                seen.append(self._to_world(decision, state))
                state = self.model.step(state, seen[-1])
            actions = torch.stack(seen, dim=1)
        return self.model.encode(observation, previous, actions, episode_start)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Predict `[B, N, T, ...]`, step by step: where the body will point is not known before."""
        check_actions(actions, self.action_space, "decisions", dims=ROLLOUT, state=state)
        wanted = self.predicts if keys is None else frozenset(keys)
        check_keys(wanted, self, "rollout")
        batch, candidates = actions.shape[:2]
        rows = torch.arange(batch, device=actions.device).repeat_interleave(candidates)
        state = take(state, rows)
        steps: dict[str, list[Tensor]] = {key: [] for key in wanted}
        for decision in actions.flatten(0, 1).unbind(1):
            state = self.step(state, decision)
            for key, values in steps.items():
                values.append(state[key])
        return {
            key: torch.unflatten(torch.stack(values, dim=1), 0, (batch, candidates))
            for key, values in steps.items()
        }

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the state one decision later."""
        check_actions(actions, self.action_space, "decisions", dims=STEP, state=state)
        return self.model.step(state, self._to_world(actions, state))

    def _to_world(self, decisions: Tensor, state: State) -> Tensor:
        if self.key not in state:
            raise KeyError(
                f"the state lacks ['{self.key}'], which decisions are seen from; it has "
                f"{sorted(state)}. Was it encoded by another model?"
            )
        return to_world(decisions, state[self.key])
