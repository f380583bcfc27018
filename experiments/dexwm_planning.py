"""A DexWM to plan in, and what its decisions are: joint targets of Franka and Allegro."""

from __future__ import annotations

import numpy as np
import torch
from gymnasium.spaces import Box

from dexworld.envs.robots.allegro_hand import PALM
from dexworld.envs.robots.franka_allegro import ARM_JOINTS, JOINTS, franka_allegro
from dexworld.experiments.dexwm_training import franka_kinematics
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
from dexworld.world_models.frame_encoder import load_frame_encoder
from dexworld.world_models.kinematics import Kinematics

PRECISIONS = {"float32": torch.float32, "bfloat16": torch.bfloat16}
TORSO = "camera_torso"


def load_dexwm(path: str, encoder: str | None, precision: str, device: str) -> DexWM:
    """Return a DexWM that sees.

    Raises:
        FileNotFoundError, ImportError: there is no such model or encoder.
        ValueError: no encoder is given, it does not fit, or the precision is unknown.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"model.precision={precision!r}: one of {list(PRECISIONS)}.")
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

    The model sees how far the joint targets move the keypoints of the hand.

    Args:
        model: Whose actions end in the joint targets.
        steps: Actions of the environment in a decision.
        interpolate: Whether targets move there along a line, or at once.
        increment: The most that a decision moves a joint of the arm [rad]; it is a target where None.
        hand_increment: The same of the hand's joints; as the arm's where None.

    Raises:
        ValueError: the model's actions say no joint targets, or not those of this robot.
    """
    kinematics = franka_kinematics()
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
