"""How far the members of an ensemble disagree where they may be believed."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dexworld.experiments.training import column
from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.windows import ACTION, WindowSampler, WindowSettings, split
from dexworld.world_models.latent import DISAGREEMENT, LatentWorldModel

WINDOWS = 512
HELD_OUT = 0.05
"""Part of the episodes that `dexworld-train` leaves out, unless it is told otherwise."""


def greatest_disagreement(
    model: LatentWorldModel, dataset: Path, percentile: float, steps: int
) -> float:
    """Return a percentile of the disagreement of an ensemble along recorded motions.

    They are those of the episodes that it was not trained on, where the dataset is the one that it
    was trained on; each is predicted open loop, for so many environment steps.

    Raises:
        ValueError: the model is no ensemble, or no episode is long enough.
    """
    if DISAGREEMENT not in model.predicts:
        raise ValueError(
            "the model is one predictor, which agrees with itself: train an ensemble "
            "(model.predictor.members=3), or set trusted=null."
        )
    chunk, history = model.config.chunk, model.config.predictor.history
    names = {column(key): key for key in model.observes}
    cache = Cache.open(dataset, [*names, ACTION])
    _, held_out = split(cache.episodes, HELD_OUT, int(model.metadata.get("seed", 0)))
    settings = WindowSettings(steps // chunk + 1, (chunk, chunk), chunk, history)
    sampler = WindowSampler(
        cache, settings, batch_size=WINDOWS, seed=0, episodes=held_out, keys=list(names)
    )
    windows = sampler.batch(0)
    belief = model.encode({names[key]: each[:, 0] for key, each in windows.frames.items()})
    found = model.rollout(belief, windows.actions.flatten(2)[:, None], {DISAGREEMENT})
    return float(np.percentile(found[DISAGREEMENT].cpu().numpy(), percentile))
