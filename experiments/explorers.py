"""The explorers that collect data, by name, and how their settings become agents."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym

from dexworld.agents.base import Agent, RandomAgent
from dexworld.agents.disagreement import DisagreementSeeker, NoisyPlans
from dexworld.agents.exploration import ColouredNoise, ColouredNoiseSettings, NoisyReplay
from dexworld.agents.self_play import SelfPlay, SelfPlaySettings
from dexworld.experiments.config import AgentConfig, make_action_map
from dexworld.experiments.counter_scripts import (
    CounterPlaySettings,
    CounterSettings,
    NoisyLiftSettings,
    OpenAndCloseSettings,
    ReachTargetsSettings,
    make_counter_explorer,
)
from dexworld.experiments.trajectories import recorded_trajectories
from dexworld.planners.cem import CEM
from dexworld.world_models.latent import DISAGREEMENT, LatentWorldModel


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


@dataclass(frozen=True)
class DisagreementSettings:
    """Plans to where an ensemble of learned predictors disagrees, under coloured noise."""

    path: str | None = None
    """The ensemble: a folder of dexworld-train, trained with model.predictor.members=3 or so."""
    horizon: int = 5
    """Decisions that a plan looks ahead."""
    samples: int = 32
    """Candidates of an iteration of the search."""
    iterations: int = 2
    """Iterations of the search."""
    elites: int = 6
    """Candidates that the next iteration is drawn around."""
    execute: int = 2
    """Decisions carried out before planning again."""
    steps_per_decision: int = 5
    """Environment steps that a decision lasts."""
    increment: float | None = 0.3125
    """Decisions move the command by at most this, in units of the action; absolute where null."""
    scale: float = 0.3
    """Standard deviation of the noise, as a share of half the range of the decisions."""
    exponent: float = 1.0
    """Of the noise's power spectrum `f^-exponent`, along the decisions of a plan."""


EXPLORERS: dict[str, type[Any]] = {
    "random": RandomSettings,
    "coloured_noise": ColouredNoiseSettings,
    "self_play": SelfPlaySettings,
    "noisy_replay": NoisyReplaySettings,
    "disagreement": DisagreementSettings,
    "reach_targets": ReachTargetsSettings,
    "noisy_lift": NoisyLiftSettings,
    "open_and_close": OpenAndCloseSettings,
    "counter_play": CounterPlaySettings,
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
        ValueError, TypeError, OSError: it cannot act there, or what it replays or plans in cannot
            be read.
    """
    space = env.action_space
    if isinstance(settings, RandomSettings):
        return RandomAgent(space, settings.hold)
    if isinstance(settings, ColouredNoiseSettings):
        return ColouredNoise(space, steps, settings)
    if isinstance(settings, SelfPlaySettings):
        return SelfPlay(space, settings)
    if isinstance(settings, DisagreementSettings):
        return make_seeker(settings)
    if isinstance(settings, CounterSettings):
        return make_counter_explorer(settings, env_id, arguments, steps)
    if settings.path is None:
        raise ValueError(
            "collector=noisy_replay needs collector.path, a folder of dexworld-teleoperate or a "
            "dataset."
        )
    recorded = recorded_trajectories(Path(settings.path), env_id, arguments)
    return NoisyReplay(space, recorded, settings.exponent, settings.scale)


def make_seeker(settings: DisagreementSettings) -> DisagreementSeeker:
    """Return who seeks disagreement; raise `ValueError` where there is no ensemble to disagree."""
    remedy = "train one (dexworld-train ... model.predictor.members=3)"
    if settings.path is None:
        raise ValueError(
            f"collector=disagreement needs collector.path, the folder of an ensemble: {remedy}."
        )
    model = LatentWorldModel.from_pretrained(settings.path)
    if DISAGREEMENT not in model.predicts:
        raise ValueError(
            f"collector.path={settings.path} has one predictor, which agrees with itself: give an "
            f"ensemble, or {remedy}."
        )
    search = CEM(
        horizon=settings.horizon,
        samples=settings.samples,
        iterations=settings.iterations,
        elites=settings.elites,
        kept=min(CEM.kept, settings.elites),
    )
    decisions = AgentConfig(
        steps_per_decision=settings.steps_per_decision, increment=settings.increment
    )
    return DisagreementSeeker(
        model,
        NoisyPlans(search, settings.scale, settings.exponent),
        action_map=make_action_map(decisions, model),
        execute=settings.execute,
    )
