"""What `dexworld-train` reads, and how it becomes a model, batches and an evaluation."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args, get_type_hints

import numpy as np
import torch
from hydra.core.config_store import ConfigStore
from numpy.typing import NDArray
from omegaconf import MISSING

from dexworld.experiments.action_bounds import action_bounds
from dexworld.experiments.frame_rate import check_rates
from dexworld.experiments.schema import build, schema
from dexworld.world_models.configuration import from_json, to_json
from dexworld.world_models.data.cache import Cache, Progress, Transform
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.windows import (
    ACTION,
    Windows,
    WindowSampler,
    WindowSettings,
    split,
)
from dexworld.world_models.head_errors import head_errors
from dexworld.world_models.head_training import TERMINAL
from dexworld.world_models.heads import REWARD
from dexworld.world_models.inverse import InverseModel, action_errors
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.open_loop import STEPS, open_loop_errors
from dexworld.world_models.training_settings import TrainingSettings

VALIDATION_WINDOWS = 256
WORLD_MODEL, INVERSE, HEADS = "world_model", "inverse", "heads"
TINY_ENCODER, PATCH_DECODER, DEXWM = "tiny_encoder", "patch_decoder", "dexwm"
"""What can be trained."""
AHEAD = {WORLD_MODEL: STEPS, INVERSE: STEPS, HEADS: (*STEPS, 50)}
"""Environment steps after which predictions are measured."""
MEASURED_EPISODES = 256
"""Of which mean and deviation of observed numbers are taken."""
ENCODED_AT_ONCE = 256
"""Frames that a frozen encoder is given at once."""
PIXELS = "pixels"


@dataclass
class DataConfig:
    """What is learned from."""

    path: str = MISSING
    """Folder of a dataset, made by dexworld-collect."""
    observes: list[str] = field(default_factory=lambda: ["proprio", "keypoints"])
    """Observations that the model encodes."""
    validation_fraction: float = 0.05
    """Part of the episodes that is not trained on, but measured."""
    frames: int = 11
    """Observations in a training window."""
    gaps: list[int] = field(default_factory=lambda: [1, 1])
    """Fewest and most steps between them; random in between."""
    irregular: bool = False
    """Draw these steps for every two frames of every window, as DexWM does, and not for a batch."""
    batch_size: int = 512
    """Windows in a batch, over all processes."""
    max_episodes: int | None = None
    """Use only so many episodes, the first ones; all where null."""
    rebuild_cache: bool = False
    """Replace a cache that was built from other data."""
    reward: str = "next.reward"
    """Column of the reward that heads learn."""
    terminal: str | None = "next.success"
    """Column that says where episodes end for good, so that nothing more is to be had; null where
    it goes on being worth something."""


@dataclass
class TrainConfig:
    """Everything that `dexworld-train` reads."""

    kind: str = WORLD_MODEL
    """What is trained: a world_model, an inverse model on the latents of one, the heads of one
    (reward and value), a tiny_encoder of frames, a patch_decoder of a frame encoder's
    features, or a dexwm on them."""
    data: DataConfig = field(default_factory=DataConfig)
    model: dict[str, Any] = field(default_factory=dict)
    """Settings of the model; what is not given is the default of LatentConfig or InverseConfig."""
    world_model: str | None = None
    """The model (folder or name) whose latents an inverse model reads."""
    encoder: str | None = None
    """The frame encoder (folder or name) whose features are learned from."""
    training: schema(TrainingSettings) = field(  # type: ignore[valid-type]
        default_factory=schema(TrainingSettings)
    )
    initial: str | None = None
    """A model (folder or name) whose weights to begin with, where they have the same shapes; the
    one whose heads are trained."""
    freeze_encoder: bool = False
    """Keep the encoder of `initial`, encode all frames once, and train the rest on latents."""
    name: str = "train"
    """Name of the experiment."""
    seed: int = 0
    """Base of all random streams: first weights, split, batches."""
    resume: str = "auto"
    """auto: go on from a checkpoint in `output` if there is one; never; must."""
    output: str = "outputs/train"
    """Folder of the training; the model is written to its subfolder `model`."""


def register_schemas() -> None:
    """Tell Hydra the schema."""
    ConfigStore.instance().store(name="train_schema", node=TrainConfig)


def column(key: str) -> str:
    """Return the column of a dataset that holds an observation."""
    if key.startswith("pixels"):
        return f"observation.images.{key.removeprefix('pixels').removeprefix('_') or 'top'}"
    return f"observation.{key}"


def with_defaults(kind: Any, given: Any) -> Any:
    """Return the JSON of a dataclass of which only a part is given."""
    if not dataclasses.is_dataclass(kind) or not isinstance(given, Mapping):
        return given
    hints, complete = get_type_hints(kind), dict(given)
    for part in dataclasses.fields(kind):
        if part.name in given:
            nested = (hints[part.name], *get_args(hints[part.name]))
            chosen = next((k for k in nested if dataclasses.is_dataclass(k)), None)
            if chosen is not None and isinstance(given[part.name], Mapping):
                complete[part.name] = with_defaults(chosen, given[part.name])
        elif part.default is not dataclasses.MISSING:
            complete[part.name] = to_json(part.default)
        elif part.default_factory is not dataclasses.MISSING:
            complete[part.name] = to_json(part.default_factory())
    return complete


def make_model(config: TrainConfig, dataset: Dataset) -> LatentWorldModel:
    """Return the model with its first weights, which depend on the seed alone.

    Raises:
        KeyError: the dataset lacks an observation.
        ValueError: the settings of the model, or the weights to begin with, are wrong.
    """
    check_columns(dataset, config.data.observes)
    shapes = {k: list(dataset.features[column(k)].shape) for k in config.data.observes}
    given = {"observes": shapes, **config.model}
    if not {"action_low", "action_high"} <= set(given):
        low, high = action_bounds(dataset)
        given = {"action_low": low, "action_high": high, **given}
    made = from_json(LatentConfig, with_defaults(LatentConfig, given), "model")
    made.loss.check_frames(config.data.frames)
    _check_taught(dataset, made)
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        model = LatentWorldModel(made)
    model.fit(_some_numbers(config, dataset, made))
    if config.initial is not None:
        start_from(model, LatentWorldModel.from_pretrained(config.initial), config.freeze_encoder)
    elif config.freeze_encoder:
        raise ValueError("freeze_encoder=true needs the model whose encoder is kept: initial=...")
    if config.freeze_encoder:
        model.encoder.requires_grad_(False)
    return model


def check_columns(dataset: Dataset, observes: Sequence[str]) -> None:
    """Raise `KeyError` if a dataset lacks an observation."""
    for key in observes:
        if column(key) not in dataset.features:
            raise KeyError(
                f"{dataset.folder} has no {column(key)}; it has {', '.join(dataset.features)}. "
                "Collect it (dexworld-collect observe=[...] images=png), or choose data.observes "
                "and model.points."
            )


def _check_taught(dataset: Dataset, model: LatentConfig) -> None:
    """Raise `KeyError` or `ValueError` if a dataset lacks what a model is to learn from."""
    check_columns(dataset, [each.label for each in model.points.sets])
    for each in model.points.sets:
        size = math.prod(dataset.features[column(each.label)].shape)
        if size != 2 * each.count:
            raise ValueError(
                f"model.points.sets: '{each.name}' has {each.count} points, and {column(each.label)} "
                f"of {dataset.folder} has {size} numbers."
            )
    if model.decoder is not None:
        check_columns(dataset, [PIXELS])
        shape, size = tuple(dataset.features[column(PIXELS)].shape), model.decoder.size
        if shape != (size, size, 3):
            raise ValueError(
                f"model.decoder.size={size}, but the frames of {dataset.folder} are {shape}."
            )


def _some_numbers(
    config: TrainConfig, dataset: Dataset, model: LatentConfig
) -> dict[str, torch.Tensor]:
    """Return what is observed and labelled, but for frames, of some episodes to train on."""
    keys = dict.fromkeys([*model.observes, *(each.label for each in model.points.sets)])
    numbers = [key for key in keys if not dataset.features[column(key)].pictures]
    train, _ = chosen_episodes(config, dataset)
    some = np.random.default_rng(config.seed).permutation(train)[:MEASURED_EPISODES]
    episodes = [dataset.episode(int(index), [*map(column, numbers)]) for index in np.sort(some)]
    return {
        key: torch.from_numpy(np.concatenate([frames[column(key)] for frames in episodes]))
        for key in numbers
    }


def chosen_episodes(
    config: TrainConfig, dataset: Dataset
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the episodes to train on and those to measure on; raise `ValueError` for too few."""
    data, there = config.data, len(dataset)
    count = there if data.max_episodes is None else data.max_episodes
    if not 1 <= count <= there:
        raise ValueError(f"data.max_episodes={count}: {dataset.folder} has {there} episodes.")
    if not data.validation_fraction > 0:
        raise ValueError(
            f"data.validation_fraction={data.validation_fraction}: choose more than 0, or there is "
            "nothing to measure on."
        )
    return split(count, data.validation_fraction, config.seed)


def start_from(model: LatentWorldModel, other: LatentWorldModel, whole_encoder: bool) -> None:
    """Copy the weights of `other` that `model` has in the same shape.

    Raises:
        ValueError: nothing fits, or the encoder does not and has to.
    """
    mine, theirs = model.state_dict(), other.state_dict()
    fits = {k: v for k, v in theirs.items() if k in mine and mine[k].shape == v.shape}
    left = [k for k in mine if k.startswith("encoder.") and k not in fits]
    if not fits or (whole_encoder and left):
        raise ValueError(
            f"the weights to begin with do not fit the model ({left[:3] or 'none does'}): their "
            f"encoder is {other.config.encoder} of {dict(other.config.observes)}. Choose the same."
        )
    model.load_state_dict({**mine, **fits})


@dataclass(frozen=True)
class TrainingData:
    """Batches to train on, and windows to measure."""

    batches: Callable[[int, int, int], Windows]
    validation: Windows
    """Frames one step apart."""
    fingerprint: str


def make_data(
    config: TrainConfig, dataset: Dataset, model: LatentWorldModel, progress: Progress | None = None
) -> TrainingData:
    """Open the cache, and return the data.

    Raises:
        KeyError, ValueError: as `Cache.open`, `WindowSampler` and `chosen_episodes`.
    """
    data, chunk, past = config.data, model.config.chunk, model.config.predictor.history
    if data.irregular:
        raise ValueError(
            f"data.irregular=true is for learning from frames; kind={config.kind} takes as many actions "
            "between any two: set it to false."
        )
    if len(data.gaps) != 2:
        raise ValueError(f"data.gaps={list(data.gaps)}: give fewest and most, two numbers.")
    # An inverse model says single actions, whatever the model whose latents it reads predicts.
    multiple = 1 if config.kind == INVERSE else chunk
    settings = WindowSettings(data.frames, (data.gaps[0], data.gaps[1]), multiple, past)
    train, validate = chosen_episodes(config, dataset)
    keys = [] if config.freeze_encoder else list(data.observes)
    if config.kind == WORLD_MODEL:  # an inverse model learns from latents alone
        keys += [each.label for each in model.config.points.sets]
        keys += [PIXELS] if model.decoder is not None else []
    keys = list(dict.fromkeys(keys))
    outcomes = {data.reward: REWARD} if config.kind == HEADS else {}
    outcomes |= {data.terminal: TERMINAL} if outcomes and data.terminal else {}
    frozen = {LATENT: frozen_encoder(model, data.observes)} if config.freeze_encoder else {}
    cache = Cache.open(
        dataset,
        [*map(column, keys), *outcomes, ACTION],
        transforms=frozen,
        rebuild=data.rebuild_cache,
        recompute=True,
        progress=progress,
    )
    names = {column(key): key for key in keys} | dict.fromkeys(frozen, LATENT) | outcomes

    def draw(settings: WindowSettings, count: int, episodes: NDArray[np.int64]) -> WindowSampler:
        return WindowSampler(
            cache,
            settings,
            batch_size=count,
            seed=config.seed,
            episodes=episodes,
            keys=list(names),
        )

    sampler = draw(settings, data.batch_size, train)
    furthest = -(-max(AHEAD[config.kind]) // chunk) * chunk
    longest = min(furthest, int(cache.lengths[validate].max()) - 1)
    single = WindowSettings(longest + 1, (1, 1), 1, past)
    measured = draw(single, VALIDATION_WINDOWS, validate).batch(0)
    fingerprints = [dataset.fingerprint(), *(each.fingerprint for each in frozen.values())]
    return TrainingData(
        lambda index, rank, world: _renamed(sampler.batch(index, rank, world), names),
        _renamed(measured, names),
        ".".join(fingerprints),
    )


def frozen_encoder(model: LatentWorldModel, observes: list[str]) -> Transform:
    """Return the transform that encodes all frames of a dataset once."""
    if len(observes) != 1:
        raise ValueError(f"freeze_encoder=true encodes one observation, not {observes}.")
    parts = [model.config.encoder, model.config.points, model.config.points_in_latent]
    digest = hashlib.sha256(repr([to_json(part) for part in parts]).encode())
    for name, tensor in model.encoder.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())

    def compute(frames: NDArray[Any]) -> NDArray[Any]:
        with torch.no_grad():
            parts = torch.split(torch.from_numpy(frames.copy()), ENCODED_AT_ONCE)
            return torch.cat([model.encoder({observes[0]: part}) for part in parts]).numpy()

    return Transform(column(observes[0]), compute, digest.hexdigest()[:16], "float32")


def _renamed(windows: Windows, names: Mapping[str, str]) -> Windows:
    return dataclasses.replace(windows, frames={names[k]: v for k, v in windows.frames.items()})


def training_settings(config: TrainConfig) -> TrainingSettings:
    """Return the settings of the loop; raise `ValueError` for values that cannot be."""
    settings: TrainingSettings = build(config.training)
    return settings


def open_dataset(config: TrainConfig) -> Dataset:
    """Return the dataset; its errors say what is wrong with it, or with models of another rate."""
    dataset = Dataset(Path(config.data.path))
    if config.kind in AHEAD:
        check_rates((config.initial, config.world_model), dataset.fps, str(dataset.folder))
    return dataset


def make_world_model(
    config: TrainConfig, dataset: Dataset, progress: Progress | None = None
) -> tuple[LatentWorldModel, TrainingData]:
    """Return a world model with its first weights, and its data; raise as their makers do."""
    model = make_model(config, dataset)
    return model, make_data(config, dataset, model, progress)


def measure(model: LatentWorldModel | InverseModel, windows: Windows) -> dict[str, float]:
    """Return the errors of what was trained, on its device.

    Those of a world model are open-loop errors, those of an inverse model are of actions, and where
    windows hold rewards, those of heads.
    """
    if isinstance(model, InverseModel):
        return action_errors(model, windows.to(model.low.device))
    windows = windows.to(model.device)
    if REWARD in windows.frames:
        return head_errors(model, windows, AHEAD[HEADS])
    return open_loop_errors(model, windows)
