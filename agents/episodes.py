"""Episodes as the rows of a dataset, and who plays them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Space
from numpy.typing import NDArray

from ..world_models.base import GOAL_PREFIX, HOLD_ACTION
from ..world_models.data.lerobot import Feature, encode_mp4, encode_png
from .base import Agent

EnvMaker = Callable[[], gym.Env[Any, Any]]
Frames = dict[str, "NDArray[Any] | list[bytes] | bytes"]
"""Columns of a dataset by key, a row for each observation of an episode; images as files."""

ACTION, REWARD, SUCCESS, DONE = "action", "next.reward", "next.success", "next.done"
IMAGES = {"none": None, "png": "image", "video": "video"}
"""How images are kept, and as what: not at all, as PNG files in the table, as a video beside it."""


@runtime_checkable
class ChoosesStarts(Protocol):
    """An agent whose episodes begin where it says; those of others begin where their seed says."""

    def reset_arguments(self, seed: int) -> dict[str, Any]:
        """Return the arguments of the environment's `reset` for the episode of a seed."""
        ...


@dataclass(frozen=True)
class Episode:
    """An episode of `T` actions, `T + 1` rows long.

    Row `t` holds the observation before action `t`, the action, and what came of it under `next.`;
    the last row holds the last observation, the rest being that of the row before.
    """

    seed: int
    frames: Frames

    @property
    def steps(self) -> int:
        """Actions in the episode."""
        return len(self.frames[ACTION]) - 1

    @property
    def success(self) -> bool:
        """Whether the environment told of success at any time."""
        return bool(np.any(self.frames[SUCCESS]))


def is_image(space: Space[Any]) -> bool:
    """Return whether observations of a space are RGB images, `(height, width, 3)` bytes."""
    shape = space.shape or ()
    return space.dtype == np.uint8 and len(shape) == 3 and shape[-1] == 3


def dataset_key(key: str, space: Space[Any]) -> str:
    """Return the dataset's name of an observation key: `pixels_<camera>` is the image of a camera."""
    if not is_image(space):
        return f"observation.{key}"
    camera = "top" if key == "pixels" else key.removeprefix("pixels_")
    return f"observation.images.{camera}"


def features_of(env: gym.Env[Any, Any], images: str) -> dict[str, Feature]:
    """Return the columns of a dataset of an environment's episodes, those of observations first.

    Images keep their shape; everything else is flattened to one dimension. Goals and the action
    that holds still, which are shown to agents only, are left out.

    Raises:
        ValueError: images are kept in no such way.
        TypeError: observations are no flat `Dict` of arrays, or actions neither `Box` nor
            `Discrete`.
    """
    if images not in IMAGES:
        raise ValueError(f"images={images!r}: choose one of {list(IMAGES)}.")
    observed, acted, kept = env.observation_space, env.action_space, IMAGES[images]
    if not isinstance(observed, Dict) or not isinstance(acted, (Box, Discrete)):
        raise TypeError(
            f"only episodes of Dict observations and Box or Discrete actions are recorded, not of "
            f"{observed} and {acted}."
        )
    features = {}
    for key, space in observed.spaces.items():
        if key == HOLD_ACTION or key.startswith(GOAL_PREFIX):
            continue
        if not is_image(space):
            features[dataset_key(key, space)] = _vector(key, space)
        elif kept is not None:
            features[dataset_key(key, space)] = Feature(kept, space.shape or ())
    features[ACTION] = _vector(ACTION, acted)
    features[REWARD] = Feature("float32", (1,))
    features[SUCCESS] = Feature("bool", (1,))
    features[DONE] = Feature("bool", (1,))
    return features


def _vector(key: str, space: Space[Any]) -> Feature:
    if space.shape is None or space.dtype is None:
        raise TypeError(f"{key}: observations of {space} are no arrays, and cannot be recorded.")
    kind = space.dtype
    dtype = "bool" if kind == np.bool_ else "int64" if kind.kind in "iu" else "float32"
    if kind == np.float64 and key != ACTION:
        dtype = "float64"  # exact simulator states
    places = list(np.ndindex(space.shape))
    names = tuple("_".join([key, *map(str, place)]) for place in places)
    return Feature(dtype, (len(places),), names)


class EpisodeRunner:
    """Plays seeded episodes, several side by side; what an episode is depends on its seed alone.

    Args:
        agent: who acts, in all rows at once.
        make_env: makes an environment whose observations hold what the agent observes.
        images: how images are recorded, one of `IMAGES`; they are encoded here, in the worker.
        fps: steps per second of videos.

    Raises:
        ValueError, TypeError: the episodes cannot be recorded.
        KeyError: the environment does not observe what the agent needs.
    """

    def __init__(
        self, agent: Agent, make_env: EnvMaker, images: str = "none", fps: float = 10.0
    ) -> None:
        self.agent, self.make_env, self.fps = agent, make_env, fps
        self._envs = [make_env()]
        self.features = features_of(self._envs[0], images)
        self._spaces: Mapping[str, Space[Any]] = self._envs[0].observation_space.spaces  # type: ignore[attr-defined]
        missing = sorted(agent.observes - set(self._spaces))
        if missing:
            raise KeyError(
                f"the agent observes {missing}, the environment gives {sorted(self._spaces)}."
            )

    @property
    def env(self) -> gym.Env[Any, Any]:
        """One of the environments."""
        return self._envs[0]

    def run(self, seeds: Sequence[int]) -> list[Episode]:
        """Play the episodes of the seeds, side by side, and return them in this order.

        Raises:
            RuntimeError: an environment or the agent failed; the message names the seed.
        """
        self._envs += [self.make_env() for _ in range(len(self._envs), len(seeds))]
        traces = [_Trace(seed, env) for seed, env in zip(seeds, self._envs, strict=False)]
        for trace in traces:
            trace.reset(self._reset_arguments(trace.seed))
        state = self.agent.start(list(seeds))
        active = traces
        while active:
            observation = {
                key: np.array([trace.observations[key][-1] for trace in active])
                for key in self.agent.observes or list(self._spaces)[:1]
            }
            try:
                actions, state = self.agent.predict(observation, state)
            except Exception as error:
                raise _failure([trace.seed for trace in active], error) from error
            going = [row for row, trace in enumerate(active) if trace.step(actions[row])]
            if len(going) < len(active):
                active = [active[row] for row in going]
                if active:
                    state = self.agent.take(state, np.asarray(going, np.intp))
        return [Episode(trace.seed, self._frames(trace)) for trace in traces]

    def close(self) -> None:
        """Close the environments."""
        for env in self._envs:
            env.close()

    def _reset_arguments(self, seed: int) -> dict[str, Any]:
        if isinstance(self.agent, ChoosesStarts):
            return self.agent.reset_arguments(seed)
        return {"seed": seed}

    def _frames(self, trace: _Trace) -> Frames:
        """Return the columns of an episode."""
        columns: dict[str, NDArray[Any]] = {
            dataset_key(key, self._spaces[key]): np.array(values)
            for key, values in trace.observations.items()
        }
        columns[ACTION] = _last_repeated(trace.actions)
        columns[REWARD] = _last_repeated(trace.rewards)
        columns[SUCCESS] = _last_repeated(trace.successes)
        columns[DONE] = _last_repeated([False] * (len(trace.actions) - 1) + [True])
        frames: Frames = {}
        for key, feature in self.features.items():
            column = columns[key]
            if feature.dtype == "image":
                frames[key] = encode_png(column)
            elif feature.dtype == "video":
                frames[key] = encode_mp4(column, self.fps)
            else:
                frames[key] = column.reshape(len(column), *feature.shape).astype(feature.dtype)
        return frames


class _Trace:
    """What has happened in an episode so far."""

    def __init__(self, seed: int, env: gym.Env[Any, Any]) -> None:
        self.seed, self.env = seed, env
        self.observations: dict[str, list[NDArray[Any]]] = {}
        self.actions: list[NDArray[Any]] = []
        self.rewards: list[float] = []
        self.successes: list[bool] = []

    def reset(self, arguments: Mapping[str, Any]) -> None:
        try:
            observation, _ = self.env.reset(**arguments)
        except Exception as error:
            raise _failure([self.seed], error) from error
        self.observations = {key: [np.array(value)] for key, value in observation.items()}

    def step(self, action: NDArray[Any]) -> bool:
        """Act, and return whether the episode goes on."""
        try:
            observation, reward, terminated, truncated, info = self.env.step(action)
        except Exception as error:
            raise _failure([self.seed], error) from error
        for key, value in observation.items():
            self.observations[key].append(np.array(value))  # some environments reuse theirs
        self.actions.append(np.array(action))
        self.rewards.append(float(reward))
        self.successes.append(bool(info.get("is_success", False)))
        return not (terminated or truncated)


def _last_repeated(values: Sequence[Any]) -> NDArray[Any]:
    return np.array([*values, values[-1]])


def _failure(seeds: Sequence[int], error: Exception) -> RuntimeError:
    which = f"seed {seeds[0]}" if len(seeds) == 1 else f"seeds {list(seeds)}"
    return RuntimeError(f"the episode of {which} failed: {type(error).__name__}: {error}")
