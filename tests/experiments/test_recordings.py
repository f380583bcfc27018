"""Recorded episodes become actions to replay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import dexworld.envs  # noqa: F401 - registers the environments
from dexworld.envs.push_t.teleoperation import Demonstration, save_demonstration
from dexworld.experiments.recordings import recorded_actions

PUSH_T = {"id": "dexworld/PushT-v0", "physics": "mujoco"}


def recorded(folder: Path, seed: int, action: float, settings: dict[str, Any] = PUSH_T) -> Path:
    commands = (np.full((3, 2), action) + 1) * 256
    nothing = np.zeros((4, 5))
    episode = Demonstration(
        nothing, nothing, commands, np.zeros(3), np.zeros(5), success=False, seed=seed
    )
    return save_demonstration(episode, folder, settings)


def test_actions_by_seed(tmp_path) -> None:
    for seed, action in ((3, 0.1), (4, -0.2), (3, 0.3)):
        last = recorded(tmp_path, seed, action)
    episodes = recorded_actions(tmp_path, "dexworld.envs:dexworld/PushT-v0", {})
    assert set(episodes) == {3, 4}
    assert episodes[3].dtype == np.float32
    np.testing.assert_array_equal(episodes[3], np.full((3, 2), 0.3, np.float32))
    np.testing.assert_array_equal(episodes[4], np.full((3, 2), -0.2, np.float32))
    assert set(recorded_actions(last, "dexworld/PushT-v0", {})) == {3}
    pixels = recorded_actions(last, "dexworld/PushT-v0", {"action": "pixels"})
    np.testing.assert_allclose(pixels[3], 1.3 * 256, rtol=1e-6)


def test_recordings_of_something_else(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="holds no episode_"):
        recorded_actions(tmp_path, "dexworld/PushT-v0", {})
    recorded(tmp_path, 0, 0.0)
    with pytest.raises(ValueError, match=r"recorded with {'id': 'dexworld/PushT-v0'}.*PushTGoal"):
        recorded_actions(tmp_path, "dexworld/PushTGoal-v0", {})
    with pytest.raises(ValueError, match=r"recorded with {'physics': 'mujoco'}.*pymunk"):
        recorded_actions(tmp_path, "dexworld/PushT-v0", {"physics": "pymunk"})
    with pytest.raises(TypeError, match="replayed in PushT, not in PendulumEnv"):
        recorded_actions(tmp_path, "Pendulum-v1", {})
    assert gym.spec("dexworld/PushT-v0").kwargs == {}
