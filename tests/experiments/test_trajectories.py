"""Trajectories to explore around, from recordings and from datasets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.envs.push_t.teleoperation import Demonstration, save_demonstration
from dexworld.experiments.collect import collect
from dexworld.experiments.collection import register_schemas
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.statistics import episode_seeds
from dexworld.experiments.trajectories import recorded_trajectories
from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature
from dexworld.world_models.data.push_t_demonstrations import import_demonstrations

PUSH_T = "dexworld/PushT-v0"


def collected(folder: Path, *overrides: str) -> Dataset:
    register_schemas()
    GlobalHydra.instance().clear()
    config = compose_config("collect", ["steps=12", f"output={folder}", *overrides])
    collect(config, "dexworld-collect ...", Console(quiet=True))
    return Dataset(folder)


def test_episodes_of_a_dataset_are_repeated_exactly(tmp_path: Path) -> None:
    played = collected(tmp_path / "play", "episodes=3")
    given = ["collector=noisy_replay", f"collector.path={tmp_path / 'play'}", "episodes=8"]
    still = collected(tmp_path / "still", *given, "collector.scale=0", "images=png")
    noisy = collected(tmp_path / "noisy", *given, "collector.scale=0.1")
    chosen = [seed % 3 for seed in episode_seeds(0, "train", 8)]
    assert set(chosen) == {0, 1, 2}
    for index, number in enumerate(chosen):
        keys = ["observation.state", "action"]
        before, again = played.episode(number, keys), still.episode(index, keys)
        np.testing.assert_allclose(again["action"], before["action"], atol=1e-6)
        np.testing.assert_allclose(
            again["observation.state"], before["observation.state"], atol=0.01
        )
        other = noisy.episode(index, keys)
        np.testing.assert_array_equal(other["observation.state"][0], before["observation.state"][0])
        assert 0.01 < np.abs(other["action"] - before["action"]).mean() < 0.3
    first = [i for i, number in enumerate(chosen) if number == chosen[0]]
    assert len(first) > 1, "two episodes after one trajectory"
    actions = [noisy.episode(i, ["action"])["action"] for i in first[:2]]
    assert not np.array_equal(*actions), "the noise is the same"


def test_recorded_demonstrations(tmp_path: Path) -> None:
    commands = np.float64([[100.0, 200.0], [300.0, 400.0]])
    nothing = np.zeros((3, 5))
    episode = Demonstration(
        nothing, nothing, commands, nothing[1:, 0], nothing[0], success=False, seed=7
    )
    save_demonstration(episode, tmp_path, {"id": PUSH_T, "physics": "mujoco"})
    (trajectory,) = recorded_trajectories(tmp_path, PUSH_T, {"goal_in_pixels": False})
    assert trajectory.reset == {"seed": 7}
    np.testing.assert_allclose(trajectory.actions, commands / 256 - 1, atol=1e-6)


def of_others(folder: Path, **columns: Any) -> None:
    """Write a dataset that dexworld-collect did not make."""
    features = {key: Feature("float32", value.shape[1:]) for key, value in columns.items()}
    with DatasetWriter(folder, features, 10, robot_type="somebody's") as writer:
        writer.add_episode(columns, task="push")


def test_episodes_of_others_begin_at_their_first_state(tmp_path: Path) -> None:
    state = np.float32([[100.0, 120.0, 256.0, 300.0, 1.5]] * 4)
    columns = {"observation.state": state, "action": np.linspace(-1, 1, 8, dtype=np.float32)}
    columns["action"] = columns["action"].reshape(4, 2)
    of_others(tmp_path / "theirs", **columns)
    (trajectory,) = recorded_trajectories(tmp_path / "theirs", PUSH_T, {})
    # Every row of theirs has an action that was taken, the last one too.
    np.testing.assert_array_equal(trajectory.actions, columns["action"])
    env = gym.make(PUSH_T)
    seen, _ = env.reset(seed=0, **trajectory.reset)
    np.testing.assert_allclose(seen["state"], state[0], atol=1e-4)
    replayed = collected(
        tmp_path / "mine", "collector=noisy_replay", f"collector.path={tmp_path / 'theirs'}"
    )
    starts = replayed.columns(["observation.state"])["observation.state"][::13]
    np.testing.assert_allclose(starts, np.repeat(state[:1], len(starts), axis=0), atol=1e-3)


def test_the_last_row_of_ours_holds_no_action_of_its_own(tmp_path: Path) -> None:
    played = collected(tmp_path / "play", "episodes=1")
    (trajectory,) = recorded_trajectories(tmp_path / "play", PUSH_T, {})
    assert played.episodes["length"].tolist() == [13] and len(trajectory.actions) == 12
    np.testing.assert_array_equal(trajectory.actions, played.episode(0)["action"][:12])


def test_demonstrations_are_repeated_to_their_last_action(tmp_path: Path) -> None:
    zarr = pytest.importorskip("zarr")
    random = np.random.default_rng(0)
    board = {
        "img": random.integers(0, 256, (9, 96, 96, 3)).astype(np.float32),
        "state": np.float32([[100.0, 120.0, 256.0, 300.0, 1.5]] * 9),
        "action": random.uniform(50, 450, (9, 2)).astype(np.float32),
        "keypoint": random.uniform(0, 512, (9, 9, 2)).astype(np.float32),
    }
    root = zarr.open_group(str(tmp_path / "replay.zarr"), mode="w")
    for name, values in {
        **{f"data/{k}": v for k, v in board.items()},
        "meta/episode_ends": np.array([4, 9]),
    }.items():
        root.create_array(name, shape=values.shape, dtype=values.dtype)[:] = values
    assert import_demonstrations(tmp_path / "replay.zarr", tmp_path / "demonstrations") == 2
    pixels = {"action": "pixels"}
    first, second = recorded_trajectories(tmp_path / "demonstrations", PUSH_T, pixels)
    np.testing.assert_array_equal(first.actions, board["action"][:4])
    np.testing.assert_array_equal(second.actions, board["action"][4:])
    given = ["collector=noisy_replay", f"collector.path={tmp_path / 'demonstrations'}"]
    given += ["collector.scale=0", "+env.kwargs.action=pixels", "steps=4", "episodes=4"]
    repeated = collected(tmp_path / "mine", *given)
    whole = [repeated.episode(index, ["action"])["action"][:4] for index in range(4)]
    parts = (first.actions, second.actions[:4])
    assert all(any(np.allclose(each, part, atol=0.01) for part in parts) for each in whole)


def test_where_episodes_begin_must_be_known(tmp_path: Path) -> None:
    of_others(tmp_path / "theirs", action=np.zeros((4, 2), np.float32))
    with pytest.raises(
        ValueError, match=r"does not say where its episodes begin.*observation\.state"
    ):
        recorded_trajectories(tmp_path / "theirs", PUSH_T, {})


def test_another_environment_is_refused(tmp_path: Path) -> None:
    collected(tmp_path / "play", "episodes=1")
    assert recorded_trajectories(tmp_path / "play", f"dexworld.envs:{PUSH_T}", {"pixels_size": 9})
    with pytest.raises(ValueError, match="physics=None then, 'pymunk' now"):
        recorded_trajectories(tmp_path / "play", PUSH_T, {"physics": "pymunk"})
    with pytest.raises(ValueError, match="id='dexworld/PushT-v0' then, 'Other-v0' now"):
        recorded_trajectories(tmp_path / "play", "Other-v0", {})


def test_nothing_to_replay(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"holds no episode_\*\.npz"):
        recorded_trajectories(tmp_path, PUSH_T, {})
    collected(tmp_path / "play", "episodes=1")
    info = tmp_path / "play" / "meta" / "info.json"
    content = json.loads(info.read_text()) | {"total_episodes": 0, "total_frames": 0}
    info.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="has no episodes to replay"):
        recorded_trajectories(tmp_path / "play", PUSH_T, {})
