"""What acts: the protocol of agents, and the agents that every other one is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

Actions = NDArray[np.float32]
BatchedObservation = Mapping[str, Any]


@runtime_checkable
class Agent(Protocol):
    """Stable-baselines3's `predict`, plus episodes that are seeded one by one.

    The `state` that `predict` returns holds everything the agent remembers, a row for every
    environment, so that an agent serves any number of environments and has no hidden memory.
    """

    @property
    def observes(self) -> frozenset[str]:
        """Observation keys that the agent needs."""
        ...

    def start(self, seeds: Sequence[int]) -> Any:
        """Return the state in which episodes begin; row `i` draws from `seeds[i]` alone."""
        ...

    def take(self, state: Any, rows: NDArray[np.intp]) -> Any:
        """Return the given rows of a state, for environments whose episode goes on."""
        ...

    def predict(
        self,
        observation: BatchedObservation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, Any]:
        """Return one action for each row of `observation` and the next state."""
        ...


def rows_of(observation: BatchedObservation) -> int:
    """Return how many environments an observation comes from."""
    return len(next(iter(observation.values())))


def restarted(state: Any, episode_start: NDArray[np.bool_] | None, rows: int) -> NDArray[np.bool_]:
    """Return which rows begin an episode: all where there is no state yet."""
    if state is None:
        return np.ones(rows, bool)
    return np.zeros(rows, bool) if episode_start is None else np.asarray(episode_start, bool)


@dataclass
class _RandomState:
    generators: list[np.random.Generator]
    actions: Actions
    age: NDArray[np.int64]


class RandomAgent:
    """Uniform actions, each held for `hold` steps: the floor that a plan must rise above."""

    observes: frozenset[str] = frozenset()

    def __init__(self, action_space: Box, hold: int = 1, seed: int = 0) -> None:
        if hold < 1:
            raise ValueError(f"hold must be at least 1, got {hold}.")
        self.action_space, self.hold, self.seed = action_space, hold, seed

    def start(self, seeds: Sequence[int]) -> _RandomState:
        """Return one generator for each episode."""
        shape = (len(seeds), *self.action_space.shape)
        return _RandomState(
            [np.random.default_rng(seed) for seed in seeds],
            np.zeros(shape, np.float32),
            np.zeros(len(seeds), np.int64),
        )

    def take(self, state: _RandomState, rows: NDArray[np.intp]) -> _RandomState:
        """Return the given rows."""
        return _RandomState(
            [state.generators[row] for row in rows], state.actions[rows], state.age[rows]
        )

    def predict(
        self,
        observation: BatchedObservation,
        state: _RandomState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, _RandomState]:
        """Draw an action where the last one was held long enough."""
        rows = rows_of(observation)
        started = restarted(state, episode_start, rows)
        state = state or self.start([self.seed + row for row in range(rows)])
        age = np.where(started, 0, state.age)
        actions = state.actions.copy()
        low, high = self.action_space.low, self.action_space.high
        for row in np.flatnonzero(age % self.hold == 0):
            actions[row] = state.generators[row].uniform(low, high)
        return actions, _RandomState(state.generators, actions, age + 1)


HOLD_ACTION = "hold_action"
"""Observation key, added by `dexworld.envs.hold_action.HoldAction`: what keeps things still."""


class NoOpAgent:
    """Does nothing: repeats the action that held still when its episode began."""

    observes = frozenset({HOLD_ACTION})

    def start(self, seeds: Sequence[int]) -> Actions | None:
        """Nothing is known before the first observation."""
        return None

    def take(self, state: Actions, rows: NDArray[np.intp]) -> Actions:
        """Return the given rows."""
        return state[rows]

    def predict(
        self,
        observation: BatchedObservation,
        state: Actions | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, Actions]:
        """Return the held actions."""
        now = np.asarray(observation[HOLD_ACTION], np.float32)
        started = restarted(state, episode_start, len(now))
        held = now if state is None else np.where(started[:, None], now, state)
        return held, held


@dataclass
class _ReplayState:
    episodes: list[Actions]
    step: NDArray[np.int64]


class ReplayAgent:
    """Repeats recorded actions, and then the last one of them.

    Args:
        episodes: for each episode seed, its actions `(T, A)`.
    """

    observes: frozenset[str] = frozenset()

    def __init__(self, episodes: Mapping[int, Actions]) -> None:
        empty = [seed for seed, actions in episodes.items() if len(actions) == 0]
        if empty:
            raise ValueError(f"episodes {empty} have no actions to replay.")
        self.episodes = episodes

    def start(self, seeds: Sequence[int]) -> _ReplayState:
        """Look the episodes up; raise `KeyError` for a seed that was not recorded."""
        missing = [seed for seed in seeds if seed not in self.episodes]
        if missing:
            raise KeyError(f"no actions were recorded for the episode seeds {missing}.")
        return _ReplayState(
            [np.asarray(self.episodes[seed], np.float32) for seed in seeds],
            np.zeros(len(seeds), np.int64),
        )

    def take(self, state: _ReplayState, rows: NDArray[np.intp]) -> _ReplayState:
        """Return the given rows."""
        return _ReplayState([state.episodes[row] for row in rows], state.step[rows])

    def predict(
        self,
        observation: BatchedObservation,
        state: _ReplayState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, _ReplayState]:
        """Return the next recorded action of each row."""
        if state is None:
            rows, seeds = rows_of(observation), list(self.episodes)
            if rows > len(seeds):
                raise ValueError(f"{rows} environments, but {len(seeds)} recorded episodes.")
            state = self.start(seeds[:rows])
        step = np.where(restarted(state, episode_start, len(state.episodes)), 0, state.step)
        actions = [
            episode[min(index, len(episode) - 1)]
            for episode, index in zip(state.episodes, step, strict=True)
        ]
        return np.stack(actions), _ReplayState(state.episodes, step + 1)
