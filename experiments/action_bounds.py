"""The least and the greatest action of what a dataset was collected in."""

from __future__ import annotations

import math

from gymnasium.spaces import Box

from dexworld.experiments.environments import environment
from dexworld.experiments.trajectories import collected_with
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.windows import ACTION


def action_bounds(dataset: Dataset) -> tuple[list[float], list[float]]:
    """Return least and greatest action of the environment that a dataset was collected in.

    Of a dataset that does not say which one, actions are taken to be normalised, in [-1, 1].

    Raises:
        ValueError: the environment's actions have no bounds, or those of the dataset leave [-1, 1].
    """
    remedy = "give model.action_low=[...] and model.action_high=[...]."
    made = collected_with(dataset.folder)
    if made is not None:
        env = environment(made["env"]["id"], made["env"]["kwargs"], made["env"]["steps"], ())()
        space = env.action_space
        env.close()
        if not isinstance(space, Box) or not space.is_bounded():
            raise ValueError(f"actions of {made['env']['id']}, {space}, have no bounds: {remedy}")
        return space.low.flatten().tolist(), space.high.flatten().tolist()
    actions = dataset.columns([ACTION])[ACTION]
    least, greatest = float(actions.min()), float(actions.max())
    if not -1.0 <= least <= greatest <= 1.0:
        raise ValueError(
            f"{dataset.folder} does not say which environment it was collected in, and its actions "
            f"reach from {least:g} to {greatest:g}: {remedy}"
        )
    size = math.prod(dataset.features[ACTION].shape)
    return [-1.0] * size, [1.0] * size
