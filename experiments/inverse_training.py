"""How `dexworld-train` makes an inverse model, and what it is trained and measured on."""

from __future__ import annotations

import dataclasses

import torch

from dexworld.experiments.training import (
    TrainConfig,
    TrainingData,
    check_columns,
    make_data,
    with_defaults,
)
from dexworld.world_models.configuration import from_json
from dexworld.world_models.data.cache import Progress
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.inverse import InverseConfig, InverseModel, of_world_model, read
from dexworld.world_models.latent import LATENT, LatentWorldModel
from dexworld.world_models.open_loop import encode_frames


def make_inverse(
    config: TrainConfig, dataset: Dataset, progress: Progress | None = None
) -> tuple[InverseModel, TrainingData]:
    """Return an inverse model with its first weights, and readings of latents to train it on.

    Raises:
        KeyError: the dataset lacks an observation.
        ValueError: no world model is given, or the settings are wrong.
        FileNotFoundError: there is no such world model.
    """
    if config.world_model is None:
        raise ValueError(
            "kind=inverse needs world_model=..., the folder or name of the model whose latents it "
            "reads."
        )
    world_model = LatentWorldModel.from_pretrained(config.world_model)
    given = {**of_world_model(world_model), **config.model}
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        made = from_json(InverseConfig, with_defaults(InverseConfig, given), "model")
        model = InverseModel(made)
    model.fit(world_model)
    observes = list(world_model.config.observes)
    check_columns(dataset, observes)
    frames = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, observes=observes),
        initial=config.world_model,
        freeze_encoder=any(len(shape) > 1 for shape in world_model.config.observes.values()),
    )
    data = make_data(frames, dataset, world_model, progress)
    return model, TrainingData(
        lambda index, rank, world: _readings(world_model, data.batches(index, rank, world)),
        _readings(world_model, data.validation),
        data.fingerprint,
    )


@torch.no_grad()
def _readings(model: LatentWorldModel, windows: Windows) -> Windows:
    latents = encode_frames(model, windows, range(windows.actions.shape[1] + 1))
    return dataclasses.replace(windows, frames={LATENT: read(model, latents)})
