"""Acting without planning: an inverse model says what leads from here to the goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..world_models.base import GOAL_PREFIX
from ..world_models.inverse import InverseModel, latents_fingerprint, read
from ..world_models.latent import LATENT, LatentWorldModel
from .base import Actions, BatchedObservation, restarted, rows_of


@dataclass(frozen=True)
class InverseState:
    """What an inverse agent remembers, a row for every environment."""

    steps: Tensor
    """Actions taken in the episode, `[B]`."""
    cursor: Tensor
    """Actions taken from the queue, `[B]`."""
    queue: Tensor
    """Actions that are to be executed, `[B, Q, A]`."""
    past: Tensor
    """Actions before, newest last, `[B, H, A]`."""
    goal: Tensor
    """Reading of the goal, `[B, D]`."""


class InverseAgent:
    """Asks an inverse model what to do, does the beginning of it, and asks again.

    It looks as often as a planning agent that executes as many steps, at the same latents, and
    differs from it in nothing but the search.

    Args:
        world_model: the model whose latents are read.
        inverse_model: what says how to get to the goal.
        execute: environment steps before asking again.
        episode_steps: actions in an episode; what is left of them is the time to the goal, and the
            longest time that the inverse model knows where None.
        reach_in: steps in which it means to be there instead. They are counted down, and when they
            are over and the episode is not, it has another go.

    Raises:
        ValueError: the inverse model reads the latents of another model, or a number is out of
            bounds.
    """

    def __init__(
        self,
        world_model: LatentWorldModel,
        inverse_model: InverseModel,
        *,
        execute: int = 5,
        episode_steps: int | None = None,
        reach_in: int | None = None,
    ) -> None:
        config = inverse_model.config
        found = latents_fingerprint(world_model)
        if found != config.reads:
            raise ValueError(
                f"the inverse model reads the latents of another world model (fingerprint "
                f"{config.reads}, and this one's is {found}): give the one that it was trained "
                "with, or train an inverse model with this one."
            )
        if not 1 <= execute <= config.chunk:
            raise ValueError(
                f"execute={execute} steps of the {config.chunk} that the inverse model gives at "
                f"once: choose between 1 and {config.chunk}."
            )
        if reach_in is not None and reach_in < 1:
            raise ValueError(f"reach_in={reach_in}: a goal is at least 1 step ahead.")
        self.world_model, self.inverse_model = world_model, inverse_model
        self.execute, self.episode_steps, self.reach_in = execute, episode_steps, reach_in

    @property
    def observes(self) -> frozenset[str]:
        """What the world model observes, and the goal of the same keys."""
        keys = self.world_model.observes
        return keys | {GOAL_PREFIX + key for key in keys}

    def start(self, seeds: Sequence[int]) -> InverseState:
        """Return the state in which episodes begin; they do not depend on seeds."""
        config, rows = self.inverse_model.config, len(seeds)
        zeros, actions = torch.zeros(rows, dtype=torch.int64), self.inverse_model.action_size
        device = self.world_model.device
        return InverseState(
            zeros,
            zeros,
            torch.zeros(rows, self.execute, actions, device=device),
            torch.zeros(rows, config.history, actions, device=device),
            torch.zeros(rows, config.reading_size, device=device),
        )

    def take(self, state: InverseState, rows: NDArray[np.intp]) -> InverseState:
        """Return the given rows."""
        kept = torch.from_numpy(rows)
        parts = {part.name: getattr(state, part.name) for part in fields(state)}
        return InverseState(**{name: part[kept.to(part.device)] for name, part in parts.items()})

    def predict(
        self,
        observation: BatchedObservation,
        state: InverseState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, InverseState]:
        """Return the next action `(B, A)` of every environment.

        Raises:
            KeyError: the observation lacks what the model observes, or the goal.
            ValueError: the state is that of another number of environments.
        """
        rows = rows_of(observation)
        started = torch.from_numpy(restarted(state, episode_start, rows))
        state = state or self.start(range(rows))
        if len(state.steps) != rows:
            raise ValueError(
                f"an observation of {rows} environments, but the agent's state is of "
                f"{len(state.steps)}; use take() where some of them have ended."
            )
        started = started | (state.steps == 0)
        state = replace(state, steps=state.steps.where(~started, 0))
        due = started | (state.cursor >= self.execute)
        if due.any():
            state = self._ask(observation, state, started, due)
        actions = state.queue[torch.arange(rows), state.cursor]
        moved = replace(
            state,
            steps=state.steps + 1,
            cursor=state.cursor + 1,
            past=torch.cat([state.past[:, 1:], actions[:, None]], dim=1),
        )
        return actions.cpu().numpy().astype(np.float32), moved

    def _ask(
        self, observation: BatchedObservation, state: InverseState, started: Tensor, due: Tensor
    ) -> InverseState:
        """Return the state with new queues where they are due, and new goals where they begin."""
        goal, past, queue = state.goal.clone(), state.past.clone(), state.queue.clone()
        reading = self._read({key: observation[key][due.numpy()] for key in observation}, "")
        if started.any():
            first = {key: observation[key][started.numpy()] for key in observation}
            goal[started] = self._read(first, GOAL_PREFIX)
            past[started] = self.inverse_model.hold_action(reading[started[due]])[:, None]
        left = self._left(state.steps[due]).to(reading.device)
        actions = self.inverse_model.act(reading, goal[due], left, past[due])
        queue[due] = actions[:, : self.execute]
        return replace(state, goal=goal, past=past, queue=queue, cursor=state.cursor.where(~due, 0))

    def _left(self, steps: Tensor) -> Tensor:
        """Return how many steps later it shall be at the goal, after so many of an episode."""
        longest = self.inverse_model.config.longest
        reach = longest if self.reach_in is None else self.reach_in
        left = reach - steps % reach
        if self.episode_steps is not None:
            to_end = self.episode_steps - steps
            left = to_end if self.reach_in is None else torch.minimum(left, to_end)
        return left.clamp(min=min(self.execute, reach))

    def _read(self, observation: BatchedObservation, prefix: str) -> Tensor:
        """Return readings of what is observed under keys with a prefix."""
        keys = self.world_model.observes
        missing = sorted({prefix + key for key in keys} - set(observation))
        if missing and prefix:
            raise KeyError(
                f"the observation lacks the goal {missing}; it has {sorted(observation)}. "
                "Wrap the environment in dexworld.envs.goal_observation.GoalObservation."
            )
        seen: dict[str, Any] = {
            k: observation[prefix + k] for k in keys if prefix + k in observation
        }
        return read(self.world_model, self.world_model.encode(seen)[LATENT])
