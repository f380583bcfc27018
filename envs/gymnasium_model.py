"""Any Gymnasium environment that can save and restore its state, as a world model."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict
from jaxtyping import Bool, Float
from numpy.typing import NDArray
from torch import Tensor

from ..world_models.base import (
    ROLLOUT,
    STEP,
    Observation,
    State,
    check_actions,
    check_observation,
    check_state,
)
from .keyed_observation import OBSERVATION

PHYSICS = "physics"
REWARD = "reward"


class ExactState(gym.ObservationWrapper[Any, Any, Any]):
    """Adds `physics`, what `get_state()` of the environment returns, to the observation.

    A `Box` observation becomes `{"observation": ..., "physics": ...}`. Where an environment needs
    no more than its own observation to be restored, `get_state` may return just that.

    Raises:
        TypeError: the environment has no `get_state` and `set_state`.
    """

    def __init__(self, env: gym.Env[Any, Any]) -> None:
        super().__init__(env)
        _check_restorable(env)
        env.reset()  # many environments have no state before
        size = np.asarray(env.unwrapped.get_state()).shape  # type: ignore[attr-defined]
        spaces = {PHYSICS: Box(-np.inf, np.inf, size, np.float64)}
        if isinstance(env.observation_space, Dict):
            spaces |= dict(env.observation_space.spaces)  # type: ignore[arg-type]
        else:
            spaces[OBSERVATION] = env.observation_space  # type: ignore[assignment]
        self.observation_space = Dict(spaces)  # type: ignore[arg-type]

    def observation(self, observation: Any) -> dict[str, NDArray[Any]]:
        """Return the observation with the exact state."""
        observed = observation if isinstance(observation, dict) else {OBSERVATION: observation}
        physics = np.asarray(self.env.unwrapped.get_state(), np.float64)  # type: ignore[attr-defined]
        return {**observed, PHYSICS: physics}


class GymnasiumModel:
    """The environment itself as the model of its dynamics, stepped in Python.

    It predicts `reward` and every numeric key of the observation (`observation` where that is a
    `Box`). After an episode's end a candidate stays where it is, and its reward is zero; after an
    action that is not finite everything is NaN. A belief holds no reward yet: it is zero there.
    Slow, since Gymnasium steps one environment at a time: prefer `SimulatorModel` for MuJoCo
    environments of this package.

    Args:
        make_env: builds the environment; one copy is stepped for planning and for nothing else.
        compared: keys of the observation that objectives compare with the goal's. Only the
            environment can tell them from an exact state, so they are observed beside it.

    Raises:
        TypeError: the environment has no `get_state` and `set_state`, no `Box` actions, or several
            variants of its world.
        KeyError: the environment does not observe what is to be compared.
    """

    differentiable = False
    device = torch.device("cpu")

    def __init__(
        self, make_env: Callable[[], gym.Env[Any, Any]], compared: Collection[str] = ()
    ) -> None:
        self.env = make_env()
        _check_restorable(self.env)
        if not isinstance(self.env.action_space, Box) or len(self.env.action_space.shape) != 1:
            raise TypeError(
                f"planning needs a flat Box of actions, {self.env} has {self.env.action_space}."
            )
        if getattr(getattr(self.env.unwrapped, "simulation", None), "scenes", 1) > 1:
            raise TypeError(
                f"exact states of {self.env} do not say in which variant of its world they are: "
                "plan in SimulatorModel (model=simulator), which observes the scene."
            )
        self.env.reset(seed=0)
        self._simulator: Any = self.env.unwrapped
        self.action_space: Box = self.env.action_space
        space = self.env.observation_space
        spaces = dict(space.spaces) if isinstance(space, Dict) else {OBSERVATION: space}
        self._observed = {k: space.shape for k, space in spaces.items() if isinstance(space, Box)}
        self.predicts = frozenset(self._observed) | {REWARD}
        unknown = sorted(frozenset(compared) - set(self._observed))
        if unknown:
            raise KeyError(
                f"{self.env.unwrapped} observes no arrays {unknown}; it observes "
                f"{sorted(self._observed)}."
            )
        self.observes = frozenset({PHYSICS, *compared})
        self._size = np.shape(self.env.unwrapped.get_state())  # type: ignore[attr-defined]

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Carry the exact state and whatever was observed beside it."""
        check_observation(observation, self)
        known = {PHYSICS, *self._observed} & set(observation)
        state = {key: torch.from_numpy(np.array(observation[key], np.float64)) for key in known}
        physics = state[PHYSICS]
        if physics.shape[1:] != self._size:
            raise ValueError(
                f"the observation 'physics' has shape {tuple(physics.shape)}; a batch of states of "
                f"{self.env.unwrapped} has (B, {', '.join(map(str, self._size))}). "
                "Is it from another environment?"
            )
        if not torch.isfinite(physics).all():
            raise ValueError("the observation 'physics' has NaN or infinite entries.")
        batch = len(physics)
        return {
            **state,
            REWARD: torch.zeros(batch, dtype=torch.float64),
            "done": torch.zeros(batch, dtype=torch.bool),
        }

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Step every candidate through the environment, one after another."""
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        self._check(state)
        wanted = self.predicts if keys is None else frozenset(keys)
        unknown = sorted(wanted - self.predicts)
        if unknown:
            raise KeyError(f"{unknown} cannot be predicted; choose among {sorted(self.predicts)}.")
        batch, candidates = actions.shape[:2]
        trajectories = []
        for row in range(batch):
            for candidate in actions[row].detach().cpu().numpy():
                self._restore(state, row)
                done = bool(state["done"][row])
                steps: list[dict[str, NDArray[np.float64]]] = []
                for action in candidate:
                    step, done = self._step(action, done, steps[-1] if steps else None, state, row)
                    steps.append(step)
                trajectories.append({key: np.stack([s[key] for s in steps]) for key in wanted})
        stacked = {key: np.stack([t[key] for t in trajectories]) for key in wanted}
        return {
            key: torch.from_numpy(value.reshape(batch, candidates, *value.shape[1:]))
            for key, value in stacked.items()
        }

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the exact states one action later."""
        check_actions(actions, self.action_space, dims=STEP, state=state)
        self._check(state)
        rows: list[dict[str, Any]] = []
        for row, action in enumerate(actions.detach().cpu().numpy()):
            self._restore(state, row)
            step, done = self._step(action, bool(state["done"][row]), None, state, row)
            physics = np.asarray(self._simulator.get_state(), np.float64)
            if np.isnan(step[REWARD]):
                physics = np.full(self._size, np.nan)
            rows.append({**step, PHYSICS: physics, "done": np.bool_(done)})
        return {key: torch.from_numpy(np.stack([r[key] for r in rows])) for key in rows[0]}

    def _check(self, state: State) -> None:
        check_state(state, {PHYSICS: self._size, REWARD: (), "done": ()}, self)

    def _restore(self, state: State, row: int) -> None:
        physics = state[PHYSICS][row].numpy()
        if np.isfinite(physics).all():
            self._simulator.set_state(physics)

    def _step(
        self,
        action: NDArray[Any],
        done: bool,
        last: dict[str, NDArray[np.float64]] | None,
        state: State,
        row: int,
    ) -> tuple[dict[str, NDArray[np.float64]], bool]:
        before = state[PHYSICS][row].numpy() if last is None else last[REWARD]
        if not (np.isfinite(before).all() and np.isfinite(action).all()):
            spoilt = {key: np.full(shape, np.nan) for key, shape in self._observed.items()}
            return {**spoilt, REWARD: np.float64(np.nan)}, done  # type: ignore[dict-item]
        if done:
            still = last or {key: state[key][row].numpy() for key in self._observed if key in state}
            return {**still, REWARD: np.float64(0.0)}, True  # type: ignore[dict-item]
        observation, reward, terminated, _, _ = self.env.step(
            action.astype(self.action_space.dtype)
        )
        if not isinstance(observation, dict):
            observation = {OBSERVATION: observation}
        step = {key: np.asarray(observation[key], np.float64) for key in self._observed}
        return {**step, REWARD: np.float64(reward)}, terminated  # type: ignore[dict-item]


def _check_restorable(env: gym.Env[Any, Any]) -> None:
    missing = [name for name in ("get_state", "set_state") if not hasattr(env.unwrapped, name)]
    if missing:
        raise TypeError(
            f"{type(env.unwrapped).__name__} lacks {' and '.join(missing)}: to plan in it, add "
            "get_state() -> array and set_state(array), exact enough to replay from."
        )
