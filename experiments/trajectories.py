"""Trajectories to explore around: recorded by hand, or episodes of a dataset."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dexworld.agents.episodes import ACTION
from dexworld.agents.exploration import Trajectory
from dexworld.experiments.environments import module_and_id
from dexworld.experiments.recordings import recorded_actions
from dexworld.world_models.data.lerobot import Dataset

STATE = "observation.state"
SEEN = frozenset({"observation", "pixels_size", "goal_in_pixels", "disturbance", "render_size"})
"""Arguments that change what is seen, and not what happens."""
COLLECTION = "collection"
"""Where a dataset's info holds what it was collected with."""


def collected_with(folder: Path) -> dict[str, Any] | None:
    """Return what `dexworld-collect` made a dataset with; None if it did not, or there is none."""
    try:
        info = json.loads((folder / "meta" / "info.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    found: dict[str, Any] | None = info.get("dexworld", {}).get(COLLECTION)
    return found


def recorded_trajectories(
    path: Path, env_id: str, arguments: Mapping[str, Any]
) -> list[Trajectory]:
    """Return the trajectories of a folder, each with where it began.

    Those of a dataset that was collected in the same environment begin where their seed says, and
    their `T + 1` rows hold `T` actions; those of another dataset begin at their first
    `observation.state`, which the environment's `reset(options={"state": ...})` must take, and
    their `T` rows hold as many actions.

    Args:
        path: episodes of `dexworld-teleoperate`, or a dataset.
        env_id: the environment that they are followed in.
        arguments: its arguments.

    Raises:
        FileNotFoundError: there are none.
        ValueError: they were recorded in another environment, or do not say where they begin.
    """
    if not (path / "meta").is_dir():
        found = recorded_actions(path, env_id, arguments)
        return [Trajectory(actions, {"seed": seed}) for seed, actions in found.items()]
    dataset, made = Dataset(path), collected_with(path)
    if not len(dataset):
        raise ValueError(f"{path} has no episodes to replay.")
    if made is not None:
        _check_same_environment(path, made["env"], env_id, arguments)
    elif STATE not in dataset.features:
        raise ValueError(
            f"{path} does not say where its episodes begin: it has no {STATE}, and was not "
            "collected by dexworld-collect."
        )
    trajectories = []
    for index in range(len(dataset)):
        if made is not None:
            # The last row is that of the last observation: its action repeats the one before.
            actions = dataset.episode(index, [ACTION])[ACTION][:-1]
            reset: dict[str, Any] = {"seed": int(dataset.episodes["seed"][index])}
        else:
            episode = dataset.episode(index, [ACTION, STATE])
            actions = episode[ACTION]
            reset = {"options": {"state": episode[STATE][0].astype(np.float64)}}
        followed = actions.reshape(len(actions), -1).astype(np.float32)
        trajectories.append(Trajectory(followed, reset))
    return trajectories


def _check_same_environment(
    path: Path, env: Mapping[str, Any], env_id: str, arguments: Mapping[str, Any]
) -> None:
    """Raise `ValueError` if episodes would begin or go elsewhere than where they were collected."""
    then = {"id": module_and_id(env["id"])[1], **env["kwargs"]}
    now = {"id": module_and_id(env_id)[1], **arguments}
    changed = [
        f"{name}={then.get(name)!r} then, {now.get(name)!r} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name) and name not in SEEN
    ]
    if changed:
        raise ValueError(
            f"{path} was collected in another environment ({'; '.join(changed)}): choose the same."
        )
