"""How `dexworld-train` makes a DexWM on the features of a frame encoder."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch

from dexworld.envs.robots.franka_allegro import JOINTS, franka_allegro
from dexworld.experiments.frame_training import frame_data
from dexworld.experiments.training import (
    TrainConfig,
    TrainingData,
    check_columns,
    column,
    with_defaults,
)
from dexworld.world_models.configuration import from_json
from dexworld.world_models.data.cache import Progress
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.dexwm_training import DexWMTraining, DexWMTrainingConfig
from dexworld.world_models.frame_encoder import (
    FrameEncoder,
    feature_key,
    feature_transform,
    load_frame_encoder,
)
from dexworld.world_models.hand_keypoints import FLEXIONS_AND_TIP, hand_frames
from dexworld.world_models.kinematics import Kinematics


def make_dexwm(
    config: TrainConfig, dataset: Dataset, progress: Progress | None = None
) -> tuple[DexWMTraining, TrainingData]:
    """Return the training of a DexWM with its first weights, and frames as features.

    Raises:
        KeyError: the dataset lacks frames, joints or the camera's calibration.
        ValueError: no encoder is given, or the settings are wrong.
        FileNotFoundError, ImportError: as `load_frame_encoder`.
    """
    observes = config.data.observes
    if len(observes) != 1:
        raise ValueError(f"kind=dexwm sees one kind of frames, not {observes}.")
    pixels = observes[0]
    check_columns(dataset, observes)
    if config.encoder is None:
        raise ValueError(
            "kind=dexwm needs encoder=..., the folder or name of the frame encoder whose features "
            "are predicted."
        )
    image_size = dataset.features[column(pixels)].shape[:2]
    encoder = load_frame_encoder(config.encoder, image_size=(image_size[0], image_size[1]))
    made = from_json(
        DexWMTrainingConfig,
        with_defaults(DexWMTrainingConfig, _fitting(config.model, encoder, pixels)),
        "model",
    )
    check_columns(dataset, [made.joints, made.camera])
    if dataset.features[column(made.joints)].shape != (len(JOINTS),):
        raise ValueError(
            f"model.joints={made.joints}: {column(made.joints)} has shape "
            f"{dataset.features[column(made.joints)].shape}, and Franka and Allegro have "
            f"{len(JOINTS)} joints."
        )
    with torch.random.fork_rng([]):
        torch.manual_seed(config.seed)
        training = DexWMTraining(made, franka_kinematics(made.model.finger))
    if config.initial is not None:
        _begin_with(training.model, DexWM.from_pretrained(config.initial), config.initial)
    transforms = {feature_key(encoder): feature_transform(encoder, column(pixels))}
    keys = [made.joints, made.camera]
    return training, frame_data(config, dataset, keys, transforms, progress)


def franka_kinematics(finger: Sequence[str] = FLEXIONS_AND_TIP) -> Kinematics:
    """Return the kinematics from the joints of Franka and Allegro to the hand's 21 keypoints.

    `finger` names the four parts of each finger that stand for them.
    """
    return Kinematics(franka_allegro(visuals="none").compile(), hand_frames(finger), JOINTS)


def _fitting(given: dict[str, Any], encoder: FrameEncoder, pixels: str) -> dict[str, Any]:
    """Return settings in which the model is made for an encoder."""
    model = dict(given.get("model") or {})
    told = {"features": encoder.width, "patches": encoder.grid[0] * encoder.grid[1]}
    model = {
        "frames": pixels,
        **model,
        "predictor": {**(model.get("predictor") or {}), **told},
        "grid": list(encoder.grid),
        "patch": encoder.image_size[0] // encoder.grid[0],
        "encoder": encoder.name,
    }
    return {**given, "model": model}


def _begin_with(model: DexWM, other: DexWM, source: str) -> None:
    mine, theirs = (
        dataclasses.replace(each.config, encoder=None, least_peak=0.0, furthest=1.0)
        for each in (model, other)
    )
    if mine != theirs:
        raise ValueError(
            f"{source} is of {theirs}, and what is trained of {mine}: begin with the same "
            "settings, or anew."
        )
    model.load_state_dict(other.state_dict())
