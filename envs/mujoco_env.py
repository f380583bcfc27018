"""What every simulated environment here shares: exact states, batched hooks, checked actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

EXACT = mujoco.mjtState.mjSTATE_INTEGRATION
"""What a saved state holds: all that the next step depends on, warm start and controls included."""


def state_slices(model: mujoco.MjModel) -> dict[int, slice]:
    """Return where each non-empty component (`mjSTATE_QPOS`, ...) stands in an exact state.

    Components follow one another in the order of their bits, which are the keys.
    """
    slices, start = {}, 0
    for index in range(int(mujoco.mjtState.mjNSTATE)):
        bit = 1 << index
        if not bit & int(EXACT):
            continue
        size = mujoco.mj_stateSize(model, bit)
        if size:
            slices[bit] = slice(start, start + size)
        start += size
    return slices


@runtime_checkable
class Simulation(Protocol):
    """A physics engine that an environment steps, one control period at a time."""

    def step(self, command: FloatArray) -> None:
        """Advance one control period; `command` `(A,)` is in raw units."""
        ...

    def get_state(self) -> FloatArray:
        """Return everything that the next step depends on, `(P,)`."""
        ...

    def set_state(self, physics: FloatArray) -> None:
        """Restore what `get_state` returned; the motion that follows is bit-identical."""
        ...

    def get_task_state(self) -> FloatArray:
        """Return the task state in user units, `(S,)`."""
        ...

    def set_task_state(self, task_state: FloatArray) -> None:
        """Start from a task state: what it does not say (contacts, controller) is at rest."""
        ...


class MujocoSimulation(ABC):
    """A MuJoCo model stepped at a control period, with the batched hooks that rollouts need.

    Two rules keep a rollout, a step and a restored state equal to the last bit:

    - Where `controls` interpolates, it ends exactly on the commanded target, since the next period
      starts from the target that the state remembers: `(1 - f) a + f b`, which is `b` at `f = 1`,
      and not `a + f (b - a)`, which rounds.
    - `step` does not call `mj_forward` (or anything else that solves) on its own data: that would
      rewrite the solver's warm start, which is part of the saved state. Read what a forward pass
      gives from a copy, or from sensors.
    """

    scenes: int = 1
    """Variants of the world that there are, numbered from 0, all of the same sizes."""

    def __init__(self, model: mujoco.MjModel, substeps: int) -> None:
        self.model = model
        self.scene = 0
        self.substeps = substeps
        self.data = mujoco.MjData(model)
        self.state_size = mujoco.mj_stateSize(model, EXACT)

    def model_of(self, scene: int) -> mujoco.MjModel:
        """Return the model of a variant of the world; keep those that were compiled lately."""
        return self.model

    def set_scene(self, scene: int) -> None:
        """Change to a variant of the world, at its default state.

        Exact states do not say which variant they are of: restore them in their own.
        """
        self.check_scene(scene)
        self.model, self.scene = self.model_of(scene), scene
        mujoco.mj_resetData(self.model, self.data)

    def check_scene(self, scene: int) -> None:
        """Raise `ValueError` for a variant that there is not."""
        if not 0 <= scene < self.scenes:
            raise ValueError(
                f"scene={scene}: {type(self).__name__} has the scenes 0 to {self.scenes - 1}."
            )

    def step(self, command: FloatArray) -> None:
        """Advance one control period towards `command`, in raw units."""
        for control in self.controls(command[None, None], self.get_state()[None])[0]:
            self.data.ctrl[:] = control
            mujoco.mj_step(self.model, self.data)

    def get_state(self) -> FloatArray:
        """Return MuJoCo's integration state, `(P,)`."""
        physics = np.empty(self.state_size)
        mujoco.mj_getState(self.model, self.data, physics, EXACT)
        return physics

    def set_state(self, physics: FloatArray) -> None:
        """Restore an integration state exactly."""
        mujoco.mj_setState(self.model, self.data, self._checked(physics), EXACT)

    def get_task_state(self) -> FloatArray:
        """Return the task state in user units, `(S,)`."""
        task_state: FloatArray = self.task_state(self.get_state()[None])[0]
        return task_state

    def set_task_state(self, task_state: FloatArray) -> None:
        """Start from a task state `(S,)` in user units."""
        task_state = np.asarray(task_state, np.float64)
        expected = self.get_task_state().shape
        if task_state.shape != expected:
            raise ValueError(
                f"a task state of shape {task_state.shape} cannot be started from: those of "
                f"{type(self).__name__} have shape {expected}."
            )
        self.set_state(self.physics(task_state[None])[0])

    def _checked(self, physics: FloatArray) -> FloatArray:
        physics = np.ascontiguousarray(physics, np.float64)
        if physics.shape != (self.state_size,):
            raise ValueError(
                f"a state of shape {physics.shape} cannot be restored: this simulation's states "
                f"have shape ({self.state_size},). Was it saved in another environment?"
            )
        if not np.isfinite(physics).all():
            raise ValueError("a state with NaN or infinite entries cannot be restored.")
        return physics

    # Hooks, all batched: M states or trajectories at once, no loop over them.

    @abstractmethod
    def controls(self, commands: FloatArray, physics: FloatArray) -> FloatArray:
        """Return actuator controls `(M, T * substeps, nu)` for raw commands `(M, T, A)`.

        `physics` `(M, P)` holds the states that the commands start from.
        """

    @abstractmethod
    def command(self, physics: FloatArray) -> FloatArray:
        """Return the last command `(M, A)` that states `(M, P)` remember, in raw units."""

    @abstractmethod
    def task_state(self, physics: FloatArray) -> FloatArray:
        """Return task states `(M, S)` of states `(M, P)`."""

    @abstractmethod
    def physics(self, task_state: FloatArray) -> FloatArray:
        """Return states `(M, P)` with the given task states `(M, S)`, the controller holding still."""

    @abstractmethod
    def features(self, sensors: FloatArray, keys: Collection[str]) -> dict[str, FloatArray]:
        """Return what objectives read, `(..., *)` for each key, from sensor rows `(..., nsensordata)`."""

    feature_names: ClassVar[frozenset[str]]
    """Keys that `features` can return."""


class MujocoEnv(gym.Env[dict[str, NDArray[Any]], NDArray[Any]], ABC):
    """Base of the environments: chosen observation keys, checked actions, exact save and restore."""

    simulation: Simulation
    observation_keys: ClassVar[tuple[str, ...]]
    """Every observation key that the environment can give."""

    def select_observations(self, keys: str | Sequence[str]) -> tuple[str, ...]:
        """Check the `observation=` argument and return it as a tuple of keys."""
        chosen = (keys,) if isinstance(keys, str) else tuple(keys)
        unknown = [key for key in chosen if key not in self.observation_keys]
        if unknown or not chosen:
            raise ValueError(
                f"observation={keys!r}: {type(self).__name__} gives {list(self.observation_keys)}."
            )
        return chosen

    def check_action(self, action: NDArray[Any]) -> FloatArray:
        """Return a valid action as float64; raise `ValueError` for a wrong shape or NaN."""
        assert isinstance(self.action_space, Box)
        space = self.action_space
        checked = np.asarray(action, np.float64)
        if checked.shape != space.shape:
            raise ValueError(
                f"the action has shape {checked.shape}; {type(self).__name__} takes "
                f"{space.shape} in [{space.low.min():g}, {space.high.max():g}]."
            )
        if not np.isfinite(checked).all():
            raise ValueError(f"the action {checked.tolist()} is not finite.")
        return np.minimum(np.maximum(checked, space.low), space.high)

    @abstractmethod
    def raw_action(self, action: FloatArray) -> FloatArray:
        """Return actions `(..., A)` of the action space in raw units."""

    @abstractmethod
    def normalised_action(self, command: FloatArray) -> FloatArray:
        """Return raw commands `(..., A)` as actions of the action space; undoes `raw_action`."""

    @property
    def reward_reads(self) -> frozenset[str]:
        """Features that `reward_of` reads; none where it cannot tell the reward from features."""
        return frozenset()

    @property
    def predicts_reward(self) -> bool:
        """Whether `reward_of` can tell the reward: it depends on features alone, in any episode."""
        return bool(self.reward_reads)

    def reward_of(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Return the rewards `(...)` of the features `(..., *)` that `reward_reads` names."""
        raise NotImplementedError(f"{type(self).__name__} cannot tell rewards from features alone.")

    def get_state(self) -> FloatArray:
        """Return the exact state of the simulation, `(P,)`."""
        return self.simulation.get_state()

    def set_state(self, physics: FloatArray) -> None:
        """Restore an exact state."""
        self.simulation.set_state(physics)

    @property
    def task_state(self) -> FloatArray:
        """The task state in user units."""
        return self.simulation.get_task_state()
