"""Motions of joints from files, for plans to follow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.kinematics import Kinematics
from dexworld.world_models.observation_warnings import SLACK

COLUMN = "observation.proprio"
"""What a dataset calls the joints."""


def load_joint_motion(
    path: str | Path, kinematics: Kinematics, episode: int = 0
) -> Float[Tensor, "times joints"]:
    """Return a recorded motion [rad], within the limits of the joints.

    Args:
        path: A `.npy` of shape `(times, joints)`; a `.npz` with that as `joints`, and perhaps the
            joints' `names`; or a dataset of dexworld-collect, with `observation.proprio`.
        kinematics: Of the joints that are commanded; it knows their names and limits.
        episode: Which episode of a dataset.

    Raises:
        FileNotFoundError: there is no such file.
        IndexError, KeyError: the dataset has no such episode, or no joints.
        ValueError: it is a motion of other joints, not of numbers, or leaves the limits.
    """
    path = Path(path)
    motion, names = _read(path, episode)
    expected = tuple(kinematics.joints)
    if names is not None and names != expected:
        other = [name for name in names if name not in expected] or "another order"
        raise ValueError(
            f"{path} is a motion of other joints ({other}): the targets are of {list(expected)}."
        )
    if motion.ndim != 2 or not len(motion) or motion.shape[1] != len(expected):
        raise ValueError(
            f"{path} holds an array of shape {motion.shape}; a motion is (times, {len(expected)}), "
            f"of {list(expected)} [rad]."
        )
    joints = torch.from_numpy(motion.astype(np.float64))
    if not joints.isfinite().all():
        raise ValueError(f"{path} holds numbers that are not finite. Record it again.")
    beyond = torch.maximum(kinematics.low - joints, joints - kinematics.high)
    if (beyond > SLACK).any():
        time, worst = divmod(int(beyond.argmax()), len(expected))
        raise ValueError(
            f"{path} leaves the limits of joints: '{expected[worst]}' is {joints[time, worst]:.4g} at "
            f"time {time}, and {kinematics.low[worst]:.4g} to {kinematics.high[worst]:.4g} is "
            "allowed. Are these radians of this robot?"
        )
    return torch.clamp(joints, kinematics.low, kinematics.high).float()


def _read(path: Path, episode: int) -> tuple[NDArray[np.generic], tuple[str, ...] | None]:
    if path.is_dir():
        return Dataset(path).episode(episode, [COLUMN])[COLUMN], None
    if not path.is_file():
        raise FileNotFoundError(
            f"there is no motion {path}: give a .npy, a .npz or a dataset, or agent.reference=current."
        )
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise ValueError(f"{path} is no .npy and no .npz ({error}). Save it with numpy.") from None
    if isinstance(found, np.ndarray):
        return found, None
    with found:
        if "joints" not in found:
            raise ValueError(
                f"{path} holds {sorted(found)} and no 'joints', (times, joints) [rad]."
            )
        names = tuple(map(str, found["names"])) if "names" in found else None
        return found["joints"], names
