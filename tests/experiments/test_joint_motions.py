"""Motions from files: those that can be followed, and what is said of the others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexworld.envs.robots.franka_allegro import ARM_HOME, JOINTS
from dexworld.experiments.dexwm_training import franka_kinematics
from dexworld.experiments.joint_motions import load_joint_motion
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.kinematics import Kinematics

MOTION = np.tile(np.float32([*ARM_HOME, *[0.3] * 16]), (6, 1))
MOTION[:, 0] = np.linspace(0.0, 0.5, 6)


@pytest.fixture(scope="module")
def kinematics() -> Kinematics:
    return franka_kinematics()


def test_arrays(kinematics: Kinematics, tmp_path: Path) -> None:
    np.save(tmp_path / "motion.npy", MOTION)
    np.savez(tmp_path / "motion.npz", joints=MOTION, names=np.array(JOINTS))
    for name in ("motion.npy", "motion.npz"):
        found = load_joint_motion(tmp_path / name, kinematics)
        np.testing.assert_array_equal(found.numpy(), MOTION)


def test_an_episode_of_a_dataset(kinematics: Kinematics, tmp_path: Path) -> None:
    features = {
        "observation.proprio": Feature("float32", (len(JOINTS),)),
        "action": Feature("float32", (1,)),
    }
    with DatasetWriter(tmp_path / "play", features, 10, robot_type="toy") as writer:
        for shift in (0.0, 0.1):
            moves = {"observation.proprio": MOTION + np.float32(shift)}
            writer.add_episode({**moves, "action": np.zeros((6, 1), np.float32)}, task="move")
    found = load_joint_motion(tmp_path / "play", kinematics, 1)
    np.testing.assert_allclose(found.numpy(), MOTION + 0.1, atol=1e-6)
    with pytest.raises(IndexError, match="has episodes 0 to 1, not 2"):
        load_joint_motion(tmp_path / "play", kinematics, 2)


def test_limits_that_gave_way_a_little_are_kept(kinematics: Kinematics, tmp_path: Path) -> None:
    motion, top = MOTION.copy(), float(kinematics.high[0])
    motion[3, 0] = top + 0.01
    np.save(tmp_path / "motion.npy", motion)
    assert float(load_joint_motion(tmp_path / "motion.npy", kinematics)[3, 0]) <= top + 1e-6


def beyond(joint: int, value: float) -> np.ndarray:
    motion = MOTION.copy()
    motion[2, joint] = value
    return motion


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ({"joints": MOTION[:, :7]}, r"shape \(6, 7\); a motion is \(times, 23\), of \['joint1'"),
        ({"joints": MOTION[:0]}, r"shape \(0, 23\)"),
        ({"joints": beyond(1, 5.0)}, r"'joint2' is 5 at time 2, and -1.763 to 1.763 is allowed"),
        ({"joints": beyond(0, np.nan)}, "numbers that are not finite"),
        ({"joints": MOTION, "names": ["leg"] * 23}, r"a motion of other joints \(\['leg'"),
        ({"joints": MOTION, "names": JOINTS[::-1]}, r"of other joints \(another order\)"),
        ({"moves": MOTION}, r"holds \['moves'\] and no 'joints'"),
    ],
)
def test_what_cannot_be_followed(
    contents: dict[str, Any], message: str, kinematics: Kinematics, tmp_path: Path
) -> None:
    np.savez(tmp_path / "motion.npz", **contents)
    with pytest.raises(ValueError, match=message):
        load_joint_motion(tmp_path / "motion.npz", kinematics)


def test_no_motions(kinematics: Kinematics, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no motion .*agent.reference=current"):
        load_joint_motion(tmp_path / "nothing.npy", kinematics)
    (tmp_path / "motion.npy").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match=r"is no .npy and no .npz"):
        load_joint_motion(tmp_path / "motion.npy", kinematics)
