"""What acts: the protocol of agents, and the agents that every other one is measured against."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.spaces import Box, Discrete, Space
from numpy.typing import NDArray

from ..world_models.base import HOLD_ACTION

Actions = NDArray[Any]
"""A row for each environment: float32 where actions are continuous, integers where discrete."""
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
    """Return how many environments an observation comes from.

    Raises:
        ValueError: the observation has no keys.
    """
    if not observation:
        raise ValueError(
            "the observation is empty; agents tell the number of environments from its keys."
        )
    return len(next(iter(observation.values())))


def restarted(state: Any, episode_start: NDArray[np.bool_] | None, rows: int) -> NDArray[np.bool_]:
    """Return which rows begin an episode: all where there is no state yet."""
    if state is None:
        return np.ones(rows, bool)
    return np.zeros(rows, bool) if episode_start is None else np.asarray(episode_start, bool)


@dataclass(frozen=True)
class _RandomState:
    seeds: NDArray[np.int64]
    """Seed of the episode, `(B,)`."""
    draws: NDArray[np.int64]
    """Actions drawn so far, `(B,)`."""
    age: NDArray[np.int64]
    """Steps since the episode began, `(B,)`."""
    actions: Actions
    """What was drawn last, `(B, ...)`."""


class RandomAgent:
    """Uniform actions, each held for `hold` steps: the floor that a plan must rise above.

    Draw `n` of an episode comes from a generator of its own, seeded with (episode seed, `n + 1`), so
    that `predict` changes nothing and the same state always gives the same action.

    Raises:
        ValueError: `hold` is below 1, or the actions have no bounds to draw between.
        TypeError: actions are neither `Box` nor `Discrete`.
    """

    observes: frozenset[str] = frozenset()

    def __init__(self, action_space: Space[Any], hold: int = 1, seed: int = 0) -> None:
        if hold < 1:
            raise ValueError(f"hold must be at least 1, got {hold}.")
        if not isinstance(action_space, (Box, Discrete)):
            raise TypeError(f"random actions are drawn from a Box or Discrete, not {action_space}.")
        if isinstance(action_space, Box) and not action_space.is_bounded():
            raise ValueError(
                f"random actions need bounds to draw between, {action_space} has none."
            )
        self.action_space, self.hold, self.seed = action_space, hold, seed

    def start(self, seeds: Sequence[int]) -> _RandomState:
        """Nothing is drawn yet."""
        zeros = np.zeros(len(seeds), np.int64)
        kind = np.float32 if isinstance(self.action_space, Box) else np.int64
        actions: Actions = np.zeros((len(seeds), *(self.action_space.shape or ())), kind)
        return _RandomState(np.asarray(seeds, np.int64), zeros, zeros, actions)

    def take(self, state: _RandomState, rows: NDArray[np.intp]) -> _RandomState:
        """Return the given rows."""
        return _RandomState(
            state.seeds[rows], state.draws[rows], state.age[rows], state.actions[rows]
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
        due = age % self.hold == 0
        actions = state.actions.copy()
        for row in np.flatnonzero(due):
            actions[row] = self._draw(int(state.seeds[row]), int(state.draws[row]))
        return actions, _RandomState(state.seeds, state.draws + due, age + 1, actions)

    def _draw(self, seed: int, number: int) -> Any:
        # numpy takes (seed, 0) for (seed,), which is the stream that environments are reset from.
        generator = np.random.default_rng((seed, number + 1))
        if isinstance(self.action_space, Box):
            return generator.uniform(self.action_space.low, self.action_space.high)
        return self.action_space.start + generator.integers(self.action_space.n)


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
        """Return the held actions; raise `KeyError` where none is observed."""
        if HOLD_ACTION not in observation:
            raise KeyError(
                f"the observation lacks '{HOLD_ACTION}'; it has {sorted(observation)}. "
                "Wrap the environment in dexworld.envs.hold_action.HoldAction."
            )
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
            raise KeyError(
                f"no actions were recorded for the episode seeds {missing}; "
                f"recorded are those of {sorted(self.episodes)}."
            )
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
