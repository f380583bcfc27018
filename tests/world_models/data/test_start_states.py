"""Starts and goals are frames of a dataset, fairly drawn."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.data.start_states import DatasetStarts

LENGTHS = [12, 30, 5, 21]
FEATURES = {
    "observation.state": Feature("float32", (2,)),
    "observation.images.top": Feature("image", (8, 8, 3)),
    "action": Feature("float32", (2,)),
}
STATE = {"state": "observation.state"}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: Any) -> Path:
    """Every frame knows its episode and its number."""
    place: Path = tmp_path_factory.mktemp("starts")
    with DatasetWriter(place, FEATURES, 10, robot_type="toy") as writer:
        for episode, length in enumerate(LENGTHS):
            step = np.arange(length)
            pictures = np.broadcast_to(step[:, None, None, None], (length, 8, 8, 3))
            frames = {
                "observation.state": np.stack([step * 0 + episode, step], 1).astype(np.float32),
                "observation.images.top": pictures.astype(np.uint8),
                "action": np.zeros((length, 2), np.float32),
            }
            writer.add_episode(frames, task="count")
    return place


def test_all_frames_are_drawn_equally_often(folder: Path) -> None:
    starts = DatasetStarts(folder, {**STATE, "pixels": "observation.images.top"})
    assert starts.frames == sum(LENGTHS)
    drawn = starts(20_000, np.random.default_rng(0))
    assert set(drawn) == {"state", "pixels"}
    assert drawn["state"].dtype == np.float32 and drawn["pixels"].dtype == np.uint8
    np.testing.assert_array_equal(drawn["pixels"][:, 3, 3, 1], drawn["state"][:, 1])
    frames, counts = np.unique(drawn["state"], axis=0, return_counts=True)
    assert len(frames) == sum(LENGTHS)
    expected = 20_000 / sum(LENGTHS)
    assert (np.abs(counts - expected) < 5 * np.sqrt(expected)).all()


@pytest.mark.parametrize("after", [(4, 4), (0, 3), (3, 8)])
def test_goals_are_later_frames_of_the_same_episode(folder: Path, after: tuple[int, int]) -> None:
    starts = DatasetStarts(folder, STATE, goal_after=after)
    assert starts.frames == sum(max(length - after[0], 0) for length in LENGTHS)
    drawn = starts(5000, np.random.default_rng(0))
    state, goal = drawn["state"], drawn["goal_state"]
    np.testing.assert_array_equal(state[:, 0], goal[:, 0])
    steps = (goal - state)[:, 1]
    assert steps.min() == after[0] and steps.max() == after[1]
    left = np.array(LENGTHS)[state[:, 0].astype(int)] - 1 - state[:, 1]
    assert (steps <= left).all() and (left < after[1]).any() == (after[0] < after[1])


def test_the_generator_decides(folder: Path) -> None:
    starts = DatasetStarts(Cache.open(folder, ["observation.state"]), STATE, goal_after=(1, 9))
    one, two, other = (starts(50, np.random.default_rng(seed))["goal_state"] for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, two)
    assert not np.array_equal(one, other)


def test_without_replacement_every_frame_comes_once_for_each_generator(folder: Path) -> None:
    starts = DatasetStarts(folder, STATE, replace=False, episodes=[2, 0])
    for seed in (0, 1):
        rng = np.random.default_rng(seed)
        drawn = np.concatenate([starts(6, rng)["state"], starts(11, rng)["state"]])
        assert len(np.unique(drawn, axis=0)) == 17 == starts.frames
        assert set(drawn[:, 0]) == {0, 2}
        with pytest.raises(ValueError, match=r"1 starts are wanted, and 0 of the 17 frames of .*"):
            starts(1, rng)
    rng = np.random.default_rng(0)
    starts(16, rng)
    with pytest.raises(ValueError, match=r"2 starts are wanted, and 1 of .*replace=True"):
        starts(2, rng)
    assert len(starts(1, rng)["state"]) == 1, "an error takes none"


BAD: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no steps": ({"goal_after": (0, 0)}, ValueError, r"goal_after=\(0, 0\)"),
    "backwards": ({"goal_after": (-1, 3)}, ValueError, "0 <= fewest <= most"),
    "reversed": ({"goal_after": (4, 3)}, ValueError, "0 <= fewest <= most"),
    "too far": ({"goal_after": (30, 40)}, ValueError, "none of 4 episodes .* 30 frames"),
    "no episodes": ({"episodes": []}, ValueError, "none of 0 episodes"),
    "no columns": ({"columns": {}}, KeyError, "opened without"),
    "unknown": ({"columns": {"x": "observation.x"}}, KeyError, "has no 'observation.x'"),
}


@pytest.mark.parametrize(("settings", "error", "said"), BAD.values(), ids=BAD)
def test_bad_settings(
    folder: Path, settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        DatasetStarts(folder, **{"columns": STATE, **settings})


def test_a_cache_without_the_column(folder: Path) -> None:
    cache = Cache.open(folder, ["action"])
    with pytest.raises(
        KeyError, match=r"opened without \['observation.state'\]; it has \['action'\]"
    ):
        DatasetStarts(cache, STATE)
