"""Bounds of actions: those of the environment that a dataset tells of, or [-1, 1]."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexworld.experiments.action_bounds import action_bounds
from dexworld.experiments.trajectories import COLLECTION
from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature


def recorded(folder: Path, env_id: str | None, actions: np.ndarray, **kwargs: Any) -> Dataset:
    made = {COLLECTION: {"env": {"id": env_id, "kwargs": kwargs, "steps": 5}}} if env_id else {}
    features = {"action": Feature("float32", actions.shape[1:])}
    with DatasetWriter(folder, features, 10, robot_type="toy", info=made) as writer:
        writer.add_episode({"action": actions.astype(np.float32)}, task="t")
    return Dataset(folder)


def test_bounds_are_those_of_the_recorded_environment(tmp_path: Path) -> None:
    actions = np.full((4, 2), 0.5)
    dataset = recorded(tmp_path / "a", "dexworld/PushT-v0", actions)
    assert action_bounds(dataset) == ([-1.0, -1.0], [1.0, 1.0])
    dataset = recorded(tmp_path / "b", "dexworld/PushT-v0", actions, action="pixels")
    assert action_bounds(dataset) == ([0.0, 0.0], [512.0, 512.0])
    dataset = recorded(tmp_path / "c", "Pendulum-v1", actions[:, :1])
    assert action_bounds(dataset) == ([-2.0], [2.0])
    dataset = recorded(tmp_path / "d", "CartPole-v1", actions[:, :1])
    with pytest.raises(ValueError, match=r"CartPole-v1.*have no bounds: give model.action_low"):
        action_bounds(dataset)


def test_actions_of_nowhere_are_normalised_or_said(tmp_path: Path) -> None:
    assert action_bounds(recorded(tmp_path / "a", None, np.full((4, 3), -1.0))) == (
        [-1.0] * 3,
        [1.0] * 3,
    )
    dataset = recorded(tmp_path / "b", None, np.linspace(-1, 500, 8).reshape(4, 2))
    with pytest.raises(ValueError, match=r"does not say.*from -1 to 500: give model.action_low"):
        action_bounds(dataset)
