"""The speed of collection, measured on a few episodes."""

from __future__ import annotations

from pathlib import Path

import pytest

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.experiments.benchmark_collection import STEPS, _collect, collection_speed
from dexworld.world_models.data.lerobot import Dataset


@pytest.mark.slow
def test_all_ways_are_compared_with_the_public_environment() -> None:
    rows = collection_speed(episodes=2, rounds=1)
    assert len(rows) == 4
    assert rows[0]["faster_than_first"] == 1.0
    assert all(float(row["frames_per_second"]) > 0 for row in rows)


def test_what_is_timed_is_a_dataset_with_frames(tmp_path: Path) -> None:
    _collect(tmp_path / "dataset", 2, 0)
    dataset = Dataset(tmp_path / "dataset")
    assert dataset.frames == 2 * (STEPS + 1)
    assert dataset.episode(0)["observation.images.top"].shape == (STEPS + 1, 96, 96, 3)
