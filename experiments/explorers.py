"""The explorers that collect data, by name, and how their settings become agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from dexworld.agents.base import Agent, RandomAgent
from dexworld.agents.exploration import ColouredNoise, ColouredNoiseSettings, NoisyReplay
from dexworld.agents.self_play import SelfPlay, SelfPlaySettings
from dexworld.experiments.trajectories import recorded_trajectories


@dataclass(frozen=True)
class RandomSettings:
    """Uniform random actions."""

    hold: int = 5
    """Steps for which an action is held."""


@dataclass(frozen=True)
class NoisyReplaySettings:
    """Recorded trajectories under coloured noise."""

    path: str | None = None
    """A folder of dexworld-teleoperate, or a dataset."""
    exponent: float = 2.0
    """Of the noise's power spectrum `f^-exponent`: 0 white, 1 pink, 2 red."""
    scale: float = 0.05
    """Standard deviation of the noise, as a share of half the range of the actions."""


EXPLORERS: dict[str, type[Any]] = {
    "random": RandomSettings,
    "coloured_noise": ColouredNoiseSettings,
    "self_play": SelfPlaySettings,
    "noisy_replay": NoisyReplaySettings,
}
"""Settings of the explorers by name."""


def explorer_settings(kind: type[Any], values: Mapping[str, Any]) -> Any:
    """Return settings of a kind; lists, which YAML and JSON have for tuples, become tuples.

    Raises:
        ValueError: they cannot be.
    """
    return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})


def explorer_name(settings: Any) -> str:
    """Return the name of the explorer that settings are of."""
    return next(name for name, kind in EXPLORERS.items() if isinstance(settings, kind))


def make_explorer(
    settings: Any, env: gym.Env[Any, Any], env_id: str, arguments: dict[str, Any], steps: int
) -> Agent:
    """Return who acts.

    Args:
        settings: of one of `EXPLORERS`.
        env: where it acts.
        env_id: its id.
        arguments: those it was made with.
        steps: actions in an episode.

    Raises:
        ValueError, TypeError, OSError: it cannot act there, or what it replays cannot be read.
    """
    space = env.action_space
    if isinstance(settings, RandomSettings):
        return RandomAgent(space, settings.hold)
    if isinstance(settings, ColouredNoiseSettings):
        return ColouredNoise(space, steps, settings)
    if isinstance(settings, SelfPlaySettings):
        return SelfPlay(space, settings)
    if settings.path is None:
        raise ValueError(
            "collector=noisy_replay needs collector.path, a folder of dexworld-teleoperate or a "
            "dataset."
        )
    recorded = recorded_trajectories(Path(settings.path), env_id, arguments)
    return NoisyReplay(space, recorded, settings.exponent, settings.scale)
