"""Demonstrations by mouse: the pusher follows the pointer, and every episode is saved."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from ..mujoco_env import FloatArray
from .drawing import Frame
from .env import PushTEnv
from .geometry import BOARD
from .window import Pointer

GRASP_RADIUS = 30.0
"""The pusher begins to follow the pointer once they are this close [px]."""


@runtime_checkable
class Screen(Protocol):
    """Where frames are shown and the pointer comes from: a `Window`, or a test."""

    def show(self, frame: Frame) -> Pointer:
        """Show a frame and return what the user did meanwhile."""
        ...


@dataclass(frozen=True)
class Demonstration:
    """One episode as it was steered; `T` control steps."""

    states: FloatArray
    """Exact states, before the first step and after each `(T + 1, P)`."""
    task_states: FloatArray
    """Task states alike `(T + 1, 5)` [px, rad]."""
    commands: FloatArray
    """Targets of the pusher `(T, 2)` [px]."""
    rewards: FloatArray
    """`(T,)`"""
    goal: FloatArray
    """Goal state `(5,)` [px, rad]."""
    success: bool
    """Whether the episode ended in success."""
    seed: int
    """What the episode was reset with."""


class Teleoperation:
    """Steers a PushT environment by a pointer, one episode at a time.

    The pusher stands still until the pointer comes near it, so that an episode does not begin with
    a jump. Keys: `r` throws the episode away and starts it again, `n` ends and keeps it, `q` or
    closing the window ends the session and throws the unfinished episode away.
    """

    def __init__(self, env: gym.Env[Any, Any], screen: Screen) -> None:
        """Steer `env`, made with `render_mode="rgb_array"`, through `screen`."""
        push_t = env.unwrapped
        if not isinstance(push_t, PushTEnv):
            raise TypeError(f"teleoperation steers PushT, not {type(push_t).__name__}.")
        if push_t.render_mode != "rgb_array":
            raise ValueError('teleoperation shows frames itself: make the env with "rgb_array".')
        self.env, self.push_t, self.screen = env, push_t, screen

    def episode(self, seed: int) -> Demonstration | None:
        """Steer one episode; None if the user quit."""
        while True:
            demonstration, key = self._attempt(seed)
            if key == "q":
                return None
            if key != "r" and len(demonstration.commands):
                return demonstration

    def _attempt(self, seed: int) -> tuple[Demonstration, str | None]:
        push_t = self.push_t
        self.env.reset(seed=seed)
        states, task_states = [push_t.get_state()], [push_t.task_state]
        commands: list[FloatArray] = []
        rewards: list[float] = []
        ended, success, key = False, False, None
        while not ended:
            pointer = self.screen.show(self._frame())
            key = "q" if pointer.closed else pointer.key
            if key in ("q", "r", "n"):
                break
            place = np.clip(np.array([pointer.x, pointer.y]) * BOARD, 0.0, BOARD)
            if not commands and np.linalg.norm(place - task_states[0][:2]) > GRASP_RADIUS:
                continue
            action = push_t.normalised_action(place).astype(np.float32)
            _, reward, terminated, truncated, info = self.env.step(action)
            commands.append(push_t.raw_action(action.astype(np.float64)))
            rewards.append(float(reward))
            states.append(push_t.get_state())
            task_states.append(push_t.task_state)
            ended, success = terminated or truncated, bool(info["is_success"])
        demonstration = Demonstration(
            states=np.array(states),
            task_states=np.array(task_states),
            commands=np.array(commands).reshape(-1, 2),
            rewards=np.array(rewards),
            goal=push_t.goal_state.copy(),
            success=success,
            seed=seed,
        )
        return demonstration, key

    def _frame(self) -> Frame:
        frame = self.push_t.render()
        assert frame is not None
        return frame


def save_demonstration(
    demonstration: Demonstration, folder: Path, settings: dict[str, Any]
) -> Path:
    """Write one episode as the next `episode_NNNNNN.npz` of a folder and return its path.

    `settings` (how the environment was made) are kept beside it as JSON. The file appears under
    its name only when it is complete, and no file is ever overwritten: a crash loses at most the
    episode being written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".writing_{os.getpid()}.npz"
    with partial.open("wb") as file:
        np.savez_compressed(
            file,
            states=demonstration.states,
            task_states=demonstration.task_states,
            commands=demonstration.commands,
            rewards=demonstration.rewards,
            goal=demonstration.goal,
            success=np.array(demonstration.success),
            seed=np.array(demonstration.seed),
            settings=np.array(json.dumps(settings)),
        )
        file.flush()
        os.fsync(file.fileno())
    try:
        number = len(list(folder.glob("episode_*.npz")))
        while True:
            path = folder / f"episode_{number:06d}.npz"
            try:
                os.link(partial, path)
            except FileExistsError:
                number += 1
            else:
                return path
    finally:
        partial.unlink()


def load_demonstration(path: Path) -> tuple[Demonstration, dict[str, Any]]:
    """Return a saved episode and the settings it was recorded with; nothing is unpickled."""
    with np.load(path, allow_pickle=False) as saved:
        arrays: dict[str, NDArray[Any]] = {name: saved[name] for name in saved.files}
    settings = json.loads(str(arrays.pop("settings")))
    success, seed = bool(arrays.pop("success")), int(arrays.pop("seed"))
    return Demonstration(**arrays, success=success, seed=seed), settings
