"""A simulated environment behind the `WorldModel` protocol: a world model without error."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Bool, Float
from torch import Tensor

from ..world_models.actions import COMMAND
from ..world_models.base import (
    ROLLOUT,
    STEP,
    Observation,
    State,
    check_actions,
    check_observation,
    check_state,
)
from .mujoco_env import FloatArray, MujocoEnv, MujocoSimulation
from .rollout import Rollout

PHYSICS = "physics"
TASK_STATE = "state"
REWARD = "reward"
SCENE = "scene"
SOURCES = (PHYSICS, TASK_STATE)


class SimulatorModel:
    """The simulator of an environment as the model of its dynamics.

    It carries exact physics states (`physics`, float64) and the controller's last `command`, and
    predicts the task state (`state`), the features that the environment's sensors give
    (`keypoints`, `pose`, ...) and, where the reward needs no goal of its own, `reward`.
    After an action that is not finite, or a divergence of the simulator, everything is NaN.
    Where the world has variants, the observed `scene` says in which one each problem is.

    Args:
        environment: a registered id, or an environment made by `gymnasium.make`.
        source: what states are encoded from. `physics` restores the observed exact state.
            `state` builds one from the observed task state: positions are taken from it, and
            velocities and contacts from the previous belief rolled forward with the executed
            actions. So the simulator can be the model of another simulator, or of a robot.
        threads: cores to roll out on; all where None.
        **kwargs: arguments of `gymnasium.make`, where `environment` is an id.

    Raises:
        ValueError: an unknown source.
        TypeError: the environment's physics cannot be rolled out by MuJoCo.
    """

    differentiable = False
    device = torch.device("cpu")

    def __init__(
        self,
        environment: str | gym.Env[Any, Any],
        source: str = PHYSICS,
        threads: int | None = None,
        **kwargs: Any,
    ) -> None:
        if source not in SOURCES:
            raise ValueError(f"source={source!r}: choose one of {list(SOURCES)}.")
        env = gym.make(environment, **kwargs) if isinstance(environment, str) else environment
        base = env.unwrapped
        simulation = getattr(base, "simulation", None)
        if not isinstance(base, MujocoEnv) or not isinstance(simulation, MujocoSimulation):
            raise TypeError(
                f"{type(base).__name__} does not run on MuJoCo, so its physics cannot be rolled "
                "out here. Make its MuJoCo twin the model (source='state'), or wrap the "
                "environment in GymnasiumModel."
            )
        assert isinstance(base.action_space, Box)
        self.env: MujocoEnv = base
        self.simulation = simulation
        self.source = source
        self.action_space: Box = base.action_space
        self._rollout = Rollout(simulation.model, threads)
        self._varied = simulation.scenes > 1
        exact = source == PHYSICS
        self._size_of_source = simulation.state_size if exact else len(simulation.get_task_state())

    @property
    def observes(self) -> frozenset[str]:
        """The key of the source, and the scene where the world has variants."""
        return frozenset({self.source, SCENE} if self._varied else {self.source})

    @property
    def predicts(self) -> frozenset[str]:
        """The sensors' features (the task state among them) and, where it can be told, the reward."""
        reward = {REWARD} if self.env.predicts_reward else set()
        return self.simulation.feature_names | reward

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Float[Tensor, "batch executed action"] | None = None,
        episode_start: Bool[Tensor, " batch"] | None = None,
    ) -> State:
        """Return the belief: exact from `physics`, rebuilt from `state`."""
        check_observation(observation, self)
        observed = np.array(observation[self.source], np.float64)  # a copy, which nobody changes
        if not np.isfinite(observed).all():
            raise ValueError(f"the observation {self.source!r} has NaN or infinite entries.")
        size = self._size_of_source
        if observed.ndim != 2 or observed.shape[1] != size:
            raise ValueError(
                f"the observation {self.source!r} has shape {observed.shape}; a batch of those of "
                f"{type(self.env).__name__} has (B, {size}). Is it from another environment?"
            )
        scene = self._observed_scene(observation)
        if self.source == PHYSICS:
            return self._carried(observed, scene)
        physics = self.simulation.physics(observed)
        if previous is not None and actions is not None:
            check_actions(actions, self.action_space, dims="BKA", state=previous)
            expected = self._advance(previous, actions)
            positions = self._rollout.slice(mujoco.mjtState.mjSTATE_QPOS)
            expected[:, positions] = physics[:, positions]
            started = np.zeros(len(physics), bool)
            if episode_start is not None:
                started = episode_start.cpu().numpy()
            physics = np.where(started[:, None], physics, expected)
        return self._carried(physics, scene)

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Roll all candidates of all problems out at once, on all cores."""
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        batch, candidates = actions.shape[:2]
        physics = np.repeat(self._physics(state), candidates, axis=0)
        commands = self._commands(actions.flatten(0, 1))
        controls = self.simulation.controls(commands, physics)
        models = self._models(state.get(SCENE), candidates)
        result = self._rollout(physics, controls, self.simulation.substeps, models)
        predictions = self._predictions(result.sensors, keys)
        return {
            key: torch.from_numpy(value.reshape(batch, candidates, *value.shape[1:]))
            for key, value in predictions.items()
        }

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return the exact state one control period later."""
        check_actions(actions, self.action_space, dims=STEP, state=state)
        return self._carried(self._advance(state, actions.unsqueeze(1)), state.get(SCENE))

    def close(self) -> None:
        """End the rollout threads."""
        self._rollout.close()

    def _advance(self, state: State, actions: Tensor) -> FloatArray:
        """Return exact states `(B, P)` after `actions` `[B, K, A]`."""
        physics = self._physics(state)
        controls = self.simulation.controls(self._commands(actions), physics)
        return self._rollout.advance(physics, controls, self._models(state.get(SCENE)))

    def _commands(self, actions: Tensor) -> FloatArray:
        """Return actions `[M, T, A]` as raw commands, NaN where they are not finite."""
        numbers = actions.detach().double()
        # Infinity would warn on its way through the controller, which multiplies it by zero.
        return self.env.raw_action(numbers.where(numbers.isfinite(), torch.nan).numpy())

    def _physics(self, state: State) -> FloatArray:
        shapes = {PHYSICS: (self.simulation.state_size,)} | ({SCENE: (1,)} if self._varied else {})
        check_state(state, shapes, self)
        physics: FloatArray = state[PHYSICS].numpy()
        return physics

    def _observed_scene(self, observation: Observation) -> Tensor | None:
        """Return the variant of each problem `[B, 1]`; None where there is only one."""
        if not self._varied:
            return None
        scene = np.array(observation[SCENE], np.int64)
        if scene.shape != (len(observation[self.source]), 1):
            raise ValueError(
                f"the observation {SCENE!r} has shape {scene.shape}; a batch of scenes has (B, 1)."
            )
        for number in np.unique(scene).tolist():
            self.simulation.check_scene(number)
        return torch.from_numpy(scene)

    def _models(self, scene: Tensor | None, times: int = 1) -> list[mujoco.MjModel] | None:
        """Return the model of each problem, `times` in a row; None where all share the first."""
        if scene is None or not self._varied:
            return None
        numbers = scene[:, 0].tolist()
        models = {number: self.simulation.model_of(number) for number in set(numbers)}
        return [models[number] for number in numbers for _ in range(times)]

    def _carried(self, physics: FloatArray, scene: Tensor | None) -> State:
        command = self.env.normalised_action(self.simulation.command(physics))
        sensors = self._rollout.sensors(physics, self._models(scene))
        predictions = self._predictions(sensors, None)
        return {
            **({} if scene is None else {SCENE: scene}),
            PHYSICS: torch.from_numpy(physics),
            COMMAND: torch.from_numpy(command),
            **{key: torch.from_numpy(value) for key, value in predictions.items()},
        }

    def _predictions(
        self, sensors: FloatArray, keys: Collection[str] | None
    ) -> dict[str, FloatArray]:
        wanted = self.predicts if keys is None else frozenset(keys)
        unknown = sorted(wanted - self.predicts)
        if unknown:
            raise KeyError(f"{unknown} cannot be predicted; choose among {sorted(self.predicts)}.")
        needed = wanted - {REWARD} | (self.env.reward_reads if REWARD in wanted else frozenset())
        features = self.simulation.features(sensors, needed)
        if REWARD in wanted:
            features[REWARD] = self.env.reward_of(features)
        return {key: features[key] for key in wanted}
