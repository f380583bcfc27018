"""The Allegro task from the command lines: its preset turns the cube, its explorer is recorded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.envs.rotations import angle_between
from dexworld.experiments import collect as command
from dexworld.experiments.collection import CollectConfig, register_schemas
from dexworld.experiments.command_line import compose_config
from dexworld.world_models.data.lerobot import Dataset


def collected(folder: Path, *overrides: str) -> Dataset:
    register_schemas()
    GlobalHydra.instance().clear()
    given = ["env=allegro_reorient", "collector=allegro_random", f"output={folder}", *overrides]
    config: CollectConfig = compose_config("collect", given)
    command.collect(config, "dexworld-collect ...", Console(quiet=True))
    return Dataset(folder)


def test_random_motion_turns_the_cube_in_the_hand(tmp_path: Path) -> None:
    dataset = collected(tmp_path / "play", "episodes=4")
    assert dataset.fps == 20.0
    turned, dropped = [], 0
    for episode in dataset:
        poses = episode["observation.state"][:, 16:23].astype(np.float64)
        turned.append(angle_between(poses[:1, 3:], poses[:, 3:]).max())
        dropped += poses[-1, 2] < poses[0, 2] - 0.04
        assert len(poses) == 101 or dropped
        assert np.ptp(episode["observation.proprio"], axis=0).min() > 0.2
    assert min(turned) > 0.1 and max(turned) > 0.5 and dropped < 2


def test_all_cameras_are_recorded_or_those_that_are_named(tmp_path: Path) -> None:
    short = ["episodes=1", "steps=2", "images=png", "pixels_size=32"]
    every = collected(tmp_path / "every", *short)
    cameras = {key for key in every.features if key.startswith("observation.images")}
    assert cameras == {f"observation.images.{name}" for name in ("above", "front", "side")}
    assert every.features["observation.camera_above"].shape == (16,)
    one = collected(tmp_path / "one", *short, "observe=[state,pixels_side]")
    seen = {key for key in one.features if key.startswith("observation")}
    assert seen == {"observation.state", "observation.images.side"}


@pytest.mark.slow
def test_the_preset_turns_the_cube(
    run_plan: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    status, _, errors = run_plan(
        *("experiment=allegro_reorient_simulator", "stage=tune", "episodes=1", "videos=0"),
        *("floors=false", f"output={tmp_path / 'results'}"),
        tiny=["env.episode_steps=60"],
    )
    assert status == 0, errors
    metrics = json.loads((tmp_path / "results" / "metrics.json").read_text())
    assert metrics["success_rate"] == 1.0
    assert metrics["success_rule"] == "rotation error < 0.4 rad for 10 steps"
