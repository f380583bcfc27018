"""How `dexworld-train` makes a small encoder of frames, and what draws the features of an encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from dexworld.experiments.training import (
    VALIDATION_WINDOWS,
    TrainConfig,
    TrainingData,
    check_columns,
    chosen_episodes,
    column,
    with_defaults,
)
from dexworld.world_models.configuration import from_json
from dexworld.world_models.data.cache import Cache, Progress, Transform
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.windows import ACTION, Windows, WindowSampler, WindowSettings
from dexworld.world_models.frame_encoder import (
    FEATURES,
    feature_key,
    feature_transform,
    load_frame_encoder,
)
from dexworld.world_models.frame_training import (
    DecoderTrainingConfig,
    PatchDecoderTraining,
    TinyEncoderTraining,
    TinyTrainingConfig,
)
from dexworld.world_models.frozen_encoders import FrozenEncoder
from dexworld.world_models.patch_decoder import PatchDecoder
from dexworld.world_models.patch_encoder import TinyEncoder

PERCEPTUAL = "perceptual_network"
"""Setting of `model`: the frozen encoder (folder or name) that judges pictures; none where null."""


def make_tiny_encoder(
    config: TrainConfig, dataset: Dataset, progress: Progress | None = None
) -> tuple[TinyEncoderTraining, TrainingData]:
    """Return the training of a small encoder with its first weights, and frames.

    Raises:
        KeyError: the dataset lacks an observation.
        ValueError: the settings are wrong.
        FileNotFoundError: there is no encoder to begin with at `initial`.
    """
    pixels = _pixels(config, dataset)
    image_size = list(dataset.features[column(pixels)].shape[:2])
    given = {"pixels": pixels, **config.model}
    given["encoder"] = {"image_size": image_size, **(given.get("encoder") or {})}
    settings = with_defaults(TinyTrainingConfig, given)
    made = from_json(TinyTrainingConfig, settings, "model")
    if list(made.encoder.image_size) != image_size:
        raise ValueError(
            f"model.encoder.image_size={list(made.encoder.image_size)}, but the frames of "
            f"{dataset.folder} are {image_size}."
        )
    keys, points = [pixels], 0
    if made.points is not None:
        keys += [made.points, made.camera]
        check_columns(dataset, keys)
        count = dataset.features[column(made.points)].shape[0] // 3
        points = len(made.order) or count
        if made.order and not 0 <= min(made.order) <= max(made.order) < count:
            raise ValueError(
                f"model.order={list(made.order)}: {made.points} of {dataset.folder} has points 0 "
                f"to {count - 1}."
            )
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        training = TinyEncoderTraining(made, points)
    if config.initial is not None:
        _begin_with(training.model, TinyEncoder.from_pretrained(config.initial), config.initial)
    return training, frame_data(config, dataset, keys, {}, progress)


def make_patch_decoder(
    config: TrainConfig, dataset: Dataset, progress: Progress | None = None
) -> tuple[PatchDecoderTraining, TrainingData]:
    """Return the training of a decoder with its first weights, and frames with their features.

    Raises:
        KeyError: the dataset lacks the frames.
        ValueError: no encoder is given, its frames are of another size, or the settings are wrong.
        FileNotFoundError, ImportError: as `load_frame_encoder`.
    """
    pixels = _pixels(config, dataset)
    if config.encoder is None:
        raise ValueError(
            "kind=patch_decoder needs encoder=..., the folder or name of the frame encoder whose "
            "features are drawn."
        )
    height, width, _ = dataset.features[column(pixels)].shape
    image_size = (height, width)
    encoder = load_frame_encoder(config.encoder, image_size=image_size)
    given: dict[str, Any] = {"pixels": pixels, **config.model}
    judge = given.pop(PERCEPTUAL, None)
    given["decoder"] = {
        **(given.get("decoder") or {}),
        "encoder": encoder.name,
        "features": encoder.width,
        "grid": list(encoder.grid),
        "patch": encoder.image_size[0] // encoder.grid[0],
    }
    settings = with_defaults(DecoderTrainingConfig, given)
    made = from_json(DecoderTrainingConfig, settings, "model")
    perceive = judge and FrozenEncoder.from_pretrained(judge, image_size=image_size)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        training = PatchDecoderTraining(made, perceive)
    if config.initial is not None:
        _begin_with(training.model, PatchDecoder.from_pretrained(config.initial), config.initial)
    transform = feature_transform(encoder, column(pixels))
    features = {feature_key(encoder): transform}
    return training, frame_data(config, dataset, [pixels], features, progress)


def _pixels(config: TrainConfig, dataset: Dataset) -> str:
    observes = config.data.observes
    check_columns(dataset, observes)
    if len(observes) != 1 or not dataset.features[column(observes[0])].pictures:
        raise ValueError(
            f"kind={config.kind} learns from one kind of frames, not from {observes}: "
            "data.observes=[pixels], for instance."
        )
    return observes[0]


def _begin_with(model: torch.nn.Module, other: Any, source: str) -> None:
    if model.config != other.config:
        raise ValueError(
            f"{source} is of {other.config}, and what is trained of {model.config}: begin with the "
            "same settings, or anew."
        )
    model.load_state_dict(other.state_dict())


def frame_data(
    config: TrainConfig,
    dataset: Dataset,
    keys: list[str],
    features: Mapping[str, Transform],
    progress: Progress | None,
) -> TrainingData:
    """Return batches of windows that hold the keys, and features under their own key."""
    data = config.data
    if len(data.gaps) != 2:
        raise ValueError(f"data.gaps={list(data.gaps)}: give fewest and most, two numbers.")
    gaps = (data.gaps[0], data.gaps[1])
    settings = WindowSettings(data.frames, gaps, past=0, irregular=data.irregular)
    train, validate = chosen_episodes(config, dataset)
    cache = Cache.open(
        dataset,
        [*map(column, keys), ACTION],
        transforms=features,
        rebuild=data.rebuild_cache,
        progress=progress,
    )
    names = {column(key): key for key in keys} | dict.fromkeys(features, FEATURES)

    def draw(count: int, episodes: Any) -> WindowSampler:
        return WindowSampler(
            cache,
            settings,
            batch_size=count,
            seed=config.seed,
            episodes=episodes,
            keys=list(names),
        )

    def renamed(windows: Windows) -> Windows:
        frames = {names[key]: value for key, value in windows.frames.items()}
        return dataclasses.replace(windows, frames=frames)

    sampler = draw(data.batch_size, train)
    measured = draw(VALIDATION_WINDOWS, validate).batch(0)
    parts = [dataset.fingerprint(), *(each.fingerprint for each in features.values())]
    return TrainingData(
        lambda index, rank, world: renamed(sampler.batch(index, rank, world)),
        renamed(measured),
        ".".join(parts),
    )
