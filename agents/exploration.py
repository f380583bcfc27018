"""Explorers without eyes: coloured noise, alone or on top of known trajectories."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache
from typing import Any, Final

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from ..world_models.base import HOLD_ACTION
from .base import Actions, BatchedObservation, restarted, rows_of

CENTRES = ("start", "current", "space")
"""What noise is added to: the action that held still at the start, the one that would hold still
now, or the middle of the action space."""

Noise = NDArray[np.float64]

_REMEMBERED: Final = 256  # episodes whose trajectories are kept


def coloured_noise(rng: np.random.Generator, steps: int, actions: int, exponent: float) -> Noise:
    """Return normal noise `(steps, actions)` of variance one and power spectrum `f^-exponent`.

    White noise is filtered by its discrete Fourier transform over twice the steps, so that the
    transform's period does not show; the lowest frequency stands in for zero. `exponent` 0 is
    white, 1 pink, 2 red (a random walk).

    Source of the idea: Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time
    Planning", section 3.1.
    """
    length = 2 * steps
    frequency = np.maximum(np.fft.rfftfreq(length), 1.0 / length)
    gain = frequency ** (-exponent / 2)
    spectrum = gain[:, None] * np.fft.rfft(rng.normal(size=(length, actions)), axis=0)
    # Every frequency but zero and the highest counts twice, for its mirror image.
    variance = (gain[0] ** 2 + 2 * (gain[1:-1] ** 2).sum() + gain[-1] ** 2) / length
    noise: Noise = np.fft.irfft(spectrum, n=length, axis=0)[:steps] / np.sqrt(variance)
    return noise


def folded(actions: Noise, space: Box) -> Actions:
    """Return actions reflected at the bounds, so that noise does not stick to them."""
    low, high = space.low.astype(np.float64), space.high.astype(np.float64)
    width = high - low
    inside = low + width - np.abs(np.mod(actions - low, 2 * width) - width)
    actions = np.clip(inside, low, high).astype(np.float32)
    return actions


@dataclass(frozen=True)
class ColouredNoiseSettings:
    """Noise along time."""

    exponent: float = 2.0
    """Of the power spectrum `f^-exponent`: 0 white, 1 pink, 2 red."""
    scale: float = 0.5
    """Standard deviation, as a share of half the range of the actions."""
    around: str = "start"
    """What it is added to: start (the action that held still at the start of the episode), current
    (the one that would hold still now), space (the middle of the action space)."""

    def __post_init__(self) -> None:
        if self.exponent < 0 or self.scale < 0:
            raise ValueError(
                f"exponent={self.exponent}, scale={self.scale}: noise has neither below 0."
            )
        if self.around not in CENTRES:
            raise ValueError(f"around={self.around!r}: choose one of {list(CENTRES)}.")


@dataclass(frozen=True)
class NoiseState:
    """The noise of an episode, drawn as it begins."""

    seeds: NDArray[np.int64]
    """Seed of the episode, `(B,)`."""
    episodes: NDArray[np.int64]
    """Episodes begun in the row, `(B,)`."""
    age: NDArray[np.int64]
    """Actions taken in the episode, `(B,)`."""
    noise: Noise
    """`(B, T, A)`."""
    centre: Noise
    """Where the episode began, `(B, A)`."""


class ColouredNoise:
    """Smooth random actions; noise is reflected at the bounds of the actions.

    An episode's noise comes from a generator of its own, seeded with the episode's seed, when the
    episode begins; after `steps` actions it repeats.

    Args:
        action_space: bounded.
        steps: actions in an episode.
        settings: of the noise.
        seed: base of the random streams where `predict` is called without a state.

    Raises:
        TypeError: actions are no bounded `Box`.
        ValueError: `steps` is below 1.
    """

    def __init__(
        self,
        action_space: Space[Any],
        steps: int,
        settings: ColouredNoiseSettings | None = None,
        seed: int = 0,
    ) -> None:
        self.settings = settings or ColouredNoiseSettings()
        self.space, self.steps, self.seed = _bounded(action_space), steps, seed
        if steps < 1:
            raise ValueError(f"steps={steps}: an episode has at least 1 action.")

    @property
    def observes(self) -> frozenset[str]:
        """The action that would hold still, unless noise is around the middle of the space."""
        return frozenset() if self.settings.around == "space" else frozenset({HOLD_ACTION})

    def start(self, seeds: Sequence[int]) -> NoiseState:
        """Nothing is drawn yet."""
        return _blank(seeds, self.steps, self.space)

    def take(self, state: NoiseState, rows: NDArray[np.intp]) -> NoiseState:
        """Return the given rows."""
        return _rows(state, rows)

    def predict(
        self,
        observation: BatchedObservation,
        state: NoiseState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, NoiseState]:
        """Return the next actions; raise `KeyError` where what they are around is not observed."""
        missing = sorted(self.observes - set(observation))
        if missing:
            raise KeyError(f"the observation lacks {missing}; it has {sorted(observation)}.")
        rows = rows_of(observation)
        started = restarted(state, episode_start, rows)
        state = state or self.start([self.seed + row for row in range(rows)])
        state = _drawn(state, started, self.settings.exponent)
        middle = (self.space.low.astype(np.float64) + self.space.high) / 2
        centre = np.broadcast_to(middle, state.centre.shape)
        if self.observes:
            centre = np.asarray(observation[HOLD_ACTION], np.float64)
        if self.settings.around == "start":
            centre = np.where((state.age == 0)[:, None], centre, state.centre)
        actions = centre + self.settings.scale * _now(state, self.space)
        return folded(actions, self.space), replace(state, age=state.age + 1, centre=centre)


@dataclass(frozen=True)
class Trajectory:
    """Actions to follow, and where they begin."""

    actions: Actions
    """`(T, A)`."""
    reset: Mapping[str, Any] = field(default_factory=dict)
    """Arguments of the environment's `reset` under which they were recorded."""


Script = Callable[[int], Trajectory]
"""From the seed of an episode to what happens in it; the same every time."""


class NoisyScript:
    """Follows the trajectory that a script has for the seed, with coloured noise on top.

    The episode begins where the trajectory begins (`reset_arguments`). After its last action, that
    one is held, under noise still.

    Args:
        action_space: bounded.
        script: knows, by whatever means, what to do in an episode.
        steps: actions in an episode; after so many the noise repeats.
        exponent: of the noise's power spectrum `f^-exponent`.
        scale: standard deviation of the noise, as a share of half the range of the actions.
        seed: base of the random streams where `predict` is called without a state.

    Raises:
        TypeError: actions are no bounded `Box`.
        ValueError: noise is below zero.
    """

    observes: frozenset[str] = frozenset()

    def __init__(
        self,
        action_space: Space[Any],
        script: Script,
        steps: int,
        exponent: float = 2.0,
        scale: float = 0.05,
        seed: int = 0,
    ) -> None:
        self.space, self.seed = _bounded(action_space), seed
        ColouredNoiseSettings(exponent, scale)
        self.steps, self.exponent, self.scale = steps, exponent, scale
        self._script = lru_cache(_REMEMBERED)(script)

    def trajectory(self, seed: int) -> Trajectory:
        """Return the trajectory that the episode of a seed follows.

        Raises:
            ValueError: it has no actions, or others than the environment.
        """
        return _followed(self._script(seed), seed, self.space)

    def reset_arguments(self, seed: int) -> dict[str, Any]:
        """Return the arguments of `reset` that begin the episode of a seed."""
        return {"seed": seed, **self.trajectory(seed).reset}

    def start(self, seeds: Sequence[int]) -> NoiseState:
        """Nothing is drawn yet."""
        return _blank(seeds, self.steps, self.space)

    def take(self, state: NoiseState, rows: NDArray[np.intp]) -> NoiseState:
        """Return the given rows."""
        return _rows(state, rows)

    def predict(
        self,
        observation: BatchedObservation,
        state: NoiseState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, NoiseState]:
        """Return the next action of each row's trajectory, with noise."""
        rows = rows_of(observation)
        started = restarted(state, episode_start, rows)
        state = state or self.start([self.seed + row for row in range(rows)])
        state = _drawn(state, started, self.exponent)
        known = [self.trajectory(seed).actions for seed in state.seeds.tolist()]
        ages = state.age.tolist()
        followed = np.stack(
            [actions[min(age, len(actions) - 1)] for actions, age in zip(known, ages, strict=True)]
        )
        actions = followed.astype(np.float64) + self.scale * _now(state, self.space)
        return folded(actions, self.space), replace(state, age=state.age + 1)


class NoisyReplay(NoisyScript):
    """Repeats one of several trajectories, chosen by the seed, with coloured noise on top.

    Args:
        action_space: bounded.
        trajectories: to choose from.
        exponent, scale, seed: as of `NoisyScript`.

    Raises:
        TypeError: actions are no bounded `Box`.
        ValueError: there are no trajectories, or one of them has no actions or others.
    """

    def __init__(
        self,
        action_space: Space[Any],
        trajectories: Sequence[Trajectory],
        exponent: float = 2.0,
        scale: float = 0.05,
        seed: int = 0,
    ) -> None:
        if not trajectories:
            raise ValueError("there are no trajectories to replay.")
        space = _bounded(action_space)
        self.trajectories = tuple(
            _followed(each, number, space) for number, each in enumerate(trajectories)
        )
        longest = max(len(each.actions) for each in self.trajectories)
        super().__init__(space, self._chosen, longest, exponent, scale, seed)

    def _chosen(self, seed: int) -> Trajectory:
        return self.trajectories[seed % len(self.trajectories)]


def _bounded(space: Space[Any]) -> Box:
    if not isinstance(space, Box) or not space.is_bounded() or len(space.shape) != 1:
        raise TypeError(f"noise is added to actions of a bounded Box (A,), not of {space}.")
    return space


def _followed(trajectory: Trajectory, number: int, space: Box) -> Trajectory:
    """Return a trajectory whose actions can be taken; raise `ValueError` for one of others."""
    shape = np.shape(trajectory.actions)
    if len(shape) < 1 or shape[1:] != space.shape or shape[0] == 0:
        raise ValueError(
            f"trajectory {number} has actions of shape {shape}; to be replayed they are "
            f"(T, *{space.shape}), T at least 1."
        )
    return trajectory


def _blank(seeds: Sequence[int], steps: int, space: Box) -> NoiseState:
    zeros, actions = np.zeros(len(seeds), np.int64), space.shape[0]
    noise = np.zeros((len(seeds), steps, actions))
    return NoiseState(np.asarray(seeds, np.int64), zeros, zeros, noise, noise[:, 0])


def _rows(state: NoiseState, rows: NDArray[np.intp]) -> NoiseState:
    return replace(state, **{part.name: getattr(state, part.name)[rows] for part in fields(state)})


def _drawn(state: NoiseState, started: NDArray[np.bool_], exponent: float) -> NoiseState:
    """Return the state with noise for the episodes that begin."""
    first = started | (state.episodes == 0)
    if not first.any():
        return state
    episodes, noise = state.episodes + first, state.noise.copy()
    for row in np.flatnonzero(first):
        rng = np.random.default_rng((int(state.seeds[row]), int(episodes[row])))
        noise[row] = coloured_noise(rng, noise.shape[1], noise.shape[2], exponent)
    return replace(state, episodes=episodes, age=np.where(first, 0, state.age), noise=noise)


def _now(state: NoiseState, space: Box) -> Noise:
    """Return the noise of this step in units of the actions, for a scale of one."""
    half = (space.high.astype(np.float64) - space.low) / 2
    rows = np.arange(len(state.seeds))
    now: Noise = half * state.noise[rows, state.age % state.noise.shape[1]]
    return now
