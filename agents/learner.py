"""An algorithm of stable-baselines3 by its name: made, saved and loaded."""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from .bootstrapping import BatchedBootstrap
from .policy import algorithm_class

POLICY, REPLAY = "policy.zip", "replay.npz"
GIVEN = ("self", "policy", "env", "seed", "device", "verbose", "tensorboard_log")
"""Arguments of an algorithm that are given by whoever makes one."""
PASSING = ("_last_obs", "_last_original_obs", "_last_episode_starts")
"""What is made anew with the environment, and is not worth saving for thousands of copies."""
TRANSITIONS = ("actions", "rewards", "dones", "timeouts")
OBSERVED = ("observations", "next_observations")
"""What a replay buffer holds."""


@dataclass(frozen=True)
class Learner:
    """Which algorithm learns, and with what arguments: those of its class, unmodified."""

    algorithm: str = "PPO"
    """Class of stable-baselines3: PPO, SAC, TD3, ..."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the class."""
    device: str = "cpu"
    """Where it computes."""
    attributes: Mapping[str, Any] = field(default_factory=dict)
    """What the algorithm shall remember beside, JSON values: stable-baselines3 saves attributes."""

    def check(self) -> None:
        """Raise `ValueError` for an unknown algorithm or argument, `ImportError` without any."""
        taken = inspect.signature(algorithm_class(self.algorithm)).parameters
        valid = sorted(set(taken) - set(GIVEN))
        for name in self.arguments:
            if name not in valid:
                near = difflib.get_close_matches(name, valid, n=1)
                hint = f"Did you mean {near[0]!r}? " if near else ""
                raise ValueError(
                    f"{self.algorithm} takes no argument {name!r}. {hint}Valid: {', '.join(valid)}."
                )

    def make(self, env: Any, seed: int) -> Any:
        """Return the algorithm, with first weights that depend on the seed alone."""
        self.check()
        kind: Any = algorithm_class(self.algorithm)
        learned = kind("MultiInputPolicy", env, seed=seed, device=self.device, **self.arguments)
        for name, value in self.attributes.items():
            setattr(learned, name, value)
        self.enter(learned, env)
        return learned

    def enter(self, learned: Any, env: Any) -> None:
        """Have an algorithm go on in other copies of a world, or in a fresh start of the same.

        Raises:
            ValueError: observations or decisions are others there.
        """
        copies = BatchedBootstrap(env)
        learned.set_env(copies, force_reset=True)
        copies.learned = learned

    def load(self, folder: Path, env: Any = None) -> Any:
        """Return the algorithm that `save` wrote, to go on in `env`, or to act only.

        Raises:
            ValueError: it was saved with other observations or decisions than those of `env`.
        """
        kind: Any = algorithm_class(self.algorithm)
        learned = kind.load(folder / POLICY, env=env, device=self.device)
        if env is not None:
            self.enter(learned, env)
        if (folder / REPLAY).exists():
            _load_replay(learned.replay_buffer, folder / REPLAY)
        return learned

    def save(self, learned: Any, folder: Path) -> None:
        """Write all that it goes on from: its zip file and, where it has one, its replay buffer."""
        learned.save(folder / POLICY, exclude=PASSING)
        replay = getattr(learned, "replay_buffer", None)
        if replay is not None:
            _save_replay(replay, folder / REPLAY)


def at_rate(learned: Any, rate: float) -> None:
    """Have an algorithm learn at this rate from now on."""
    # A plain number, since a schedule of stable-baselines3 would begin anew with every call of
    # `learn`.
    schedules: Any = importlib.import_module("stable_baselines3.common.utils")
    learned.lr_schedule = schedules.FloatSchedule(rate)


def forget_replay(learned: Any) -> None:
    """Empty the replay buffer, where there is one: its world has changed."""
    replay = getattr(learned, "replay_buffer", None)
    if replay is not None:
        replay.reset()


def _save_replay(replay: Any, file: Path) -> None:
    """Write the transitions of a buffer over a `Dict`, as arrays and not as a pickle."""
    size = replay.buffer_size if replay.full else replay.pos
    arrays = {name: getattr(replay, name)[:size] for name in TRANSITIONS}
    for name in OBSERVED:
        arrays |= {f"{name}.{key}": each[:size] for key, each in getattr(replay, name).items()}
    np.savez(file, position=[replay.pos, int(replay.full)], **arrays)


def _load_replay(replay: Any, file: Path) -> None:
    with np.load(file, allow_pickle=False) as saved:
        for name in saved.files:
            part, _, key = name.partition(".")
            if part == "position":
                replay.pos, replay.full = int(saved[name][0]), bool(saved[name][1])
                continue
            there = getattr(replay, part)
            there = there[key] if key else there
            there[: len(saved[name])] = saved[name]
