"""How far the members of an ensemble disagree where they may be believed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dexworld.experiments.training import DataConfig, column
from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.windows import ACTION, WindowSampler, WindowSettings, split
from dexworld.world_models.disagreement import disagreement_quantile
from dexworld.world_models.latent import DISAGREEMENT, LatentWorldModel

WINDOWS = 512


def greatest_disagreement(
    model: LatentWorldModel, dataset: Path, percentile: float, steps: int
) -> float:
    """Return a percentile of the disagreement of an ensemble along recorded motions.

    They are those of the episodes that it was not trained on, where the dataset is the one that it
    was trained on; each is predicted open loop, for so many environment steps.

    Raises:
        ValueError: the model is no ensemble, there is no such percentile, or no episode is long
            enough.
    """
    if DISAGREEMENT not in model.predicts:
        raise ValueError(
            "the model is one predictor, which agrees with itself: train an ensemble "
            "(model.predictor.members=3), or set trusted=null."
        )
    if not 0 < percentile < 100:
        raise ValueError(f"trusted={percentile}: give a per cent between 0 and 100, e.g. 95.")
    chunk, history = model.config.chunk, model.config.predictor.history
    names = {column(key): key for key in model.observes}
    cache = Cache.open(dataset, [*names, ACTION])
    sampler = WindowSampler(
        cache,
        WindowSettings(steps // chunk + 1, (chunk, chunk), chunk, history),
        batch_size=WINDOWS,
        seed=0,
        episodes=held_out(model, cache.episodes),
        keys=list(names),
    )
    windows = sampler.batch(0)
    frames = {names[key]: each for key, each in windows.frames.items()}
    return disagreement_quantile(model, replace(windows, frames=frames), percentile / 100)


def held_out(model: LatentWorldModel, episodes: int) -> NDArray[np.int64]:
    """Return the episodes, of so many, that `dexworld-train` held out as its metadata tell.

    What they do not tell (of models that were trained before they did, or otherwise) is taken to be
    as in its defaults.
    """
    data = model.metadata.get("data", {})
    known = min(int(data.get("episodes", episodes)), episodes)
    fraction = float(data.get("validation_fraction", DataConfig.validation_fraction))
    _, validation = split(known, fraction, int(model.metadata.get("seed", 0)))
    return validation
