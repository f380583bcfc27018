"""A toy that a policy learns within seconds: a point, a place to be at, and a world that is not quite so."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box, Dict

from dexworld.envs.imagination import ImaginationVectorEnv
from dexworld.envs.stable_baselines import ImaginationVecEnv
from dexworld.planners.linear_quadratic import LinearModel
from dexworld.world_models.base import State

SPACE = Box(-1.0, 1.0, (2,), np.float32)
SPEED, NEAR, HORIZON = 0.2, 0.15, 10


def point(speed: float = SPEED) -> LinearModel:
    """Return the model `x' = x + speed u`."""
    return LinearModel(torch.eye(2), speed * torch.eye(2), SPACE)


def distance(state: State, goal: State | None) -> torch.Tensor:
    assert goal is not None
    return torch.linalg.vector_norm(state["state"] - goal["state"], dim=1)


def progress(
    before: State, actions: torch.Tensor, after: State, goal: State | None
) -> torch.Tensor:
    return distance(before, goal) - distance(after, goal)


def arrived(state: State, goal: State | None) -> torch.Tensor:
    return distance(state, goal) < NEAR


def anywhere(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    start, goal = rng.uniform(-0.7, 0.7, (2, count, 2)).astype(np.float32)
    return {"state": start, "goal_state": goal}


def imagined(copies: int = 64, model: Any = None) -> ImaginationVectorEnv:
    return ImaginationVectorEnv(
        model or point(),
        copies,
        anywhere,
        horizon=HORIZON,
        reward=progress,
        success=arrived,
        observes=["state"],
    )


def worlds(copies: int = 64, model: Any = None) -> ImaginationVecEnv:
    return ImaginationVecEnv(imagined(copies, model))


class Reaching(gym.Env[Any, Any]):
    """The point in the real world."""

    def __init__(self, speed: float = SPEED) -> None:
        self.speed = speed
        self.action_space = SPACE
        plane = Box(-9.0, 9.0, (2,), np.float32)
        self.observation_space = Dict({"state": plane, "goal_state": plane})

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.seen = {key: value[0] for key, value in anywhere(1, self.np_random).items()}
        self.left = HORIZON
        return dict(self.seen), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self.seen["state"] = self.seen["state"] + np.float32(self.speed) * np.asarray(action)
        self.left -= 1
        near = np.linalg.norm(self.seen["state"] - self.seen["goal_state"]) < NEAR
        return dict(self.seen), float(near), False, self.left == 0, {"is_success": bool(near)}


class Seeker:
    """A policy that goes straight to the goal, and remembers what it was shown."""

    def __init__(self, space: Any = None, action_space: Box = SPACE) -> None:
        plane = Box(-np.inf, np.inf, (2,), np.float32)
        self.observation_space = space or Dict({"state": plane, "goal_state": plane})
        self.action_space = action_space
        self.shown: list[dict[str, np.ndarray]] = []

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: Any = None,
        deterministic: bool = False,
    ) -> tuple[np.ndarray, Any]:
        assert deterministic
        self.shown.append(observation)
        away = (observation["goal_state"] - observation["state"]) / SPEED
        return np.clip(away, -1.0, 1.0).astype(np.float32), None
