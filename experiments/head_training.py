"""How `dexworld-train` gives a world model heads, and what they are trained and measured on."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from dexworld.experiments.training import (
    TrainConfig,
    TrainingData,
    check_columns,
    chosen_episodes,
    make_data,
    start_from,
    with_defaults,
)
from dexworld.world_models.configuration import from_json
from dexworld.world_models.data.cache import Progress
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.head_training import HeadTraining
from dexworld.world_models.heads import HeadsConfig
from dexworld.world_models.latent import LatentWorldModel


def make_heads(
    config: TrainConfig, dataset: Dataset, progress: Progress | None = None
) -> tuple[HeadTraining, TrainingData]:
    """Return the training of the heads of a model that stays as it is, and its data.

    Heads that the model has already, in the same shapes, are gone on with.

    Raises:
        KeyError: the dataset lacks an observation, or the reward.
        ValueError: no model is given, or the settings are wrong.
        FileNotFoundError: there is no such model.
    """
    if config.initial is None:
        raise ValueError(
            "kind=heads needs initial=..., the folder or name of the model with heads."
        )
    others = sorted(set(config.model) - {"heads"})
    if others:
        raise ValueError(
            f"kind=heads trains model.heads alone; model.{others[0]} is what it is in "
            f"{config.initial}."
        )
    given = LatentWorldModel.from_pretrained(config.initial)
    settings = with_defaults(HeadsConfig, config.model.get("heads") or {})
    made = from_json(HeadsConfig, settings, "model.heads")
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        model = LatentWorldModel(dataclasses.replace(given.config, heads=made))
    start_from(model, given, whole_encoder=True)
    model.eval()
    _check_outcomes(config, dataset)
    observes = list(model.config.observes)
    check_columns(dataset, observes)
    if given.heads is None:  # heads that are gone on with keep their units
        assert model.heads is not None
        model.heads.fit(_rewards(config, dataset))
    learned = any(True for _ in model.encoder.parameters())
    frames = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, observes=observes),
        freeze_encoder=learned and len(observes) == 1,
    )
    return HeadTraining(model), make_data(frames, dataset, model, progress)


def _check_outcomes(config: TrainConfig, dataset: Dataset) -> None:
    for name in ("reward", "terminal"):
        column = getattr(config.data, name)
        if column is not None and column not in dataset.features:
            raise KeyError(
                f"{dataset.folder} has no {column}; it has {', '.join(dataset.features)}. Choose "
                f"data.{name}."
            )


def _rewards(config: TrainConfig, dataset: Dataset) -> torch.Tensor:
    """Return the rewards of the episodes to train on."""
    train, _ = chosen_episodes(config, dataset)
    columns = dataset.columns([config.data.reward, "episode_index"])
    of_training = np.isin(columns["episode_index"], train)
    return torch.from_numpy(columns[config.data.reward][of_training].astype(np.float32))
