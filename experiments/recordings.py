"""Recorded demonstrations as actions to replay."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from dexworld.agents.base import Actions
from dexworld.envs.push_t.env import PushTEnv
from dexworld.envs.push_t.teleoperation import load_demonstration
from dexworld.experiments.environments import check_arguments, module_and_id


def recorded_actions(path: Path, env_id: str, kwargs: Mapping[str, Any]) -> dict[int, Actions]:
    """Return the actions `(T, 2)` of recorded episodes of an environment, by episode seed.

    Args:
        path: an episode that `dexworld-teleoperate` recorded, or a folder of them; of several of
            one seed the last one counts.
        env_id: the environment that they are replayed in.
        kwargs: its arguments.

    Raises:
        FileNotFoundError: there are no episodes.
        TypeError: the environment is not PushT, the only one that is recorded so far.
        ValueError: an episode was recorded in another environment or with other arguments.
    """
    files = sorted(path.glob("episode_*.npz")) if path.is_dir() else [path]
    if not files:
        raise FileNotFoundError(f"{path} holds no episode_*.npz; record with dexworld-teleoperate.")
    check_arguments(env_id, kwargs)
    env = gym.make(env_id, **dict(kwargs))
    push_t = env.unwrapped
    if not isinstance(push_t, PushTEnv):
        raise TypeError(f"recordings are replayed in PushT, not in {type(push_t).__name__}.")
    _, name = module_and_id(env_id)
    defaults = inspect.signature(PushTEnv).parameters.values()
    asked = {
        **{parameter.name: parameter.default for parameter in defaults},
        **gym.spec(name).kwargs,
        **kwargs,
        "id": name,
    }
    episodes = {}
    for file in files:
        demonstration, settings = load_demonstration(file)
        settings["id"] = module_and_id(settings["id"])[1]
        other = {key: value for key, value in settings.items() if asked.get(key) != value}
        if other:
            raise ValueError(
                f"{file} was recorded with {other}, and is to be replayed with "
                f"{ {key: asked.get(key) for key in other} }: choose the same."
            )
        actions = push_t.normalised_action(demonstration.commands)
        episodes[demonstration.seed] = actions.astype(np.float32)
    env.close()
    return episodes
