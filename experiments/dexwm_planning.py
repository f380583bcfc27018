"""A DexWM to plan in, what its decisions are, and where its searches start: joints of Franka and Allegro."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box

from dexworld.agents.reference_motion import ReferenceMotion
from dexworld.envs.robots.allegro_hand import PALM
from dexworld.envs.robots.franka_allegro import ARM_JOINTS, JOINTS, franka_allegro
from dexworld.experiments.dexwm_training import franka_kinematics
from dexworld.experiments.joint_motions import load_joint_motion
from dexworld.world_models.actions import (
    Chain,
    Forked,
    Hold,
    Increments,
    Interpolate,
    JointsToKeypoints,
)
from dexworld.world_models.base import ActionMap
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.dexwm_official import from_official
from dexworld.world_models.frame_encoder import load_frame_encoder
from dexworld.world_models.frozen_encoders import DEFAULT_SIZE, DINOV2_LARGE
from dexworld.world_models.kinematics import Kinematics

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TORSO = "camera_torso"
CURRENT = "current"
"""The reference that is no motion: the joints of now."""


def load_dexwm(path: str, encoder: str | None, precision: str, device: str) -> DexWM:
    """Return a DexWM that sees.

    Raises:
        FileNotFoundError, ImportError: there is no such model or encoder.
        ValueError: no encoder is given, it does not fit, or the precision is unknown.
    """
    _check_precision(precision)
    model = DexWM.from_pretrained(path, device)
    if encoder is None:
        raise ValueError(
            f"model.kind=dexwm needs model.encoder, the frame encoder of {path}: "
            f"{model.config.encoder}."
        )
    height, width = (cells * model.config.patch for cells in model.config.grid)
    model.attach(
        load_frame_encoder(encoder, image_size=(height, width), precision=precision, device=device)
    )
    return _ready(model, precision)


def load_official(
    path: str,
    encoder: str | None,
    precision: str,
    device: str,
    *,
    image_size: tuple[int, int] = DEFAULT_SIZE,
    heads: int | None = None,
) -> DexWM:
    """Return the DexWM of a published state dict, that sees, and plans as its public controller does.

    It knows the links' origins as keypoints, takes executed actions for nothing, and sees with DINOv2
    whose positions are scaled as in that network's own code.

    Args:
        path: A safetensors file or checkpoint of torch, as `from_official` reads it.
        encoder: DINOv2, as a folder or a name on a hub; the large one where None.
        precision: What it computes in, float32 or bfloat16.
        device: Where the weights go.
        image_size: Height and width of the frames [px].
        heads: Of the predictor's attentions, where it has none of the paper's widths.

    Raises:
        FileNotFoundError, ImportError: there are no such weights.
        ValueError: they do not fit, or the encoder is of another family.
    """
    _check_precision(precision)
    sees = load_frame_encoder(
        encoder or DINOV2_LARGE,
        image_size=image_size,
        precision=precision,
        official=True,
        device=device,
    )
    model = from_official(
        path,
        grid=sees.grid,
        patch=sees.image_size[0] // sees.grid[0],
        heads=heads,
        encoder=sees,
        device=device,
        joints=len(JOINTS),
        carries=(TORSO,),
    )
    return _ready(model, precision)


def _check_precision(precision: str) -> None:
    if precision not in PRECISIONS:
        raise ValueError(f"model.precision={precision!r}: one of {list(PRECISIONS)}.")


def _ready(model: DexWM, precision: str) -> DexWM:
    model.precision = PRECISIONS[precision]
    if model.config.joints == len(JOINTS):
        palm = Kinematics(franka_allegro(visuals="none").compile(), [f"body:{PALM}"], JOINTS)
        model.attach_palm(palm)
    return model


def joint_waypoints(
    model: DexWM,
    *,
    steps: int,
    interpolate: bool,
    increment: float | None,
    hand_increment: float | None,
) -> ActionMap:
    """Return decisions of which each is one action of the model and `steps` of the environment.

    The model sees how far the joint targets move the keypoints of the hand, those that it was trained
    with (`DexWMConfig.finger`).

    Args:
        model: Whose actions end in the joint targets.
        steps: Actions of the environment in a decision.
        interpolate: Whether targets move there along a line, or at once.
        increment: The most that a decision moves a joint of the arm [rad]; it is a target where None.
        hand_increment: The same of the hand's joints; as the arm's where None.

    Raises:
        ValueError: the model's actions say no joint targets, or not those of this robot.
    """
    kinematics = franka_kinematics(model.config.finger)
    if model.config.joints != kinematics.size:
        raise ValueError(
            f"a DexWM plans for the {kinematics.size} joints of Franka and Allegro, and this one's "
            f"actions have {model.config.joints} joint targets: train with model.model.joints="
            f"{kinematics.size}."
        )
    low, high = (each.numpy().astype(np.float32) for each in (kinematics.low, kinematics.high))
    space = Box(low, high, dtype=np.float32)
    camera = model.config.carries[0] if model.config.carries else TORSO
    seen = JointsToKeypoints(space, kinematics, camera, hand=model.config.hand, keep_joints=True)
    waypoints = Forked(seen, (Interpolate if interpolate else Hold)(space, steps))
    if increment is None:
        return waypoints
    hand = increment if hand_increment is None else hand_increment
    fingers = kinematics.size - len(ARM_JOINTS)
    scale = [*[increment] * len(ARM_JOINTS), *[hand] * fingers]
    return Chain([Increments(space, scale), waypoints])


def joint_reference(
    reference: str, *, episode: int = 0, arm: float = 0.3, hand: float = 0.1, execute: int = 1
) -> ReferenceMotion:
    """Return where searches for absolute joint targets start, and how far they look.

    Args:
        reference: `current`, the joints of now, or the path of a recorded motion.
        episode: Which episode, where that is a dataset.
        arm: Spread of the targets of the arm [rad].
        hand: The same of the hand [rad].
        execute: Decisions carried out of every plan.

    Raises:
        ValueError: a spread is not positive, or the motion cannot be followed.
        FileNotFoundError, IndexError, KeyError: as `load_joint_motion`.
    """
    if not min(arm, hand) > 0:
        raise ValueError(
            f"agent.arm_std={arm} and agent.hand_std={hand} must be positive: DexWM's are .3 and .1."
        )
    std = torch.full((len(JOINTS),), hand)
    std[: len(ARM_JOINTS)] = arm
    motion = None
    if reference != CURRENT:
        motion = load_joint_motion(reference, franka_kinematics(), episode)
    return ReferenceMotion(std, motion, execute=execute)
