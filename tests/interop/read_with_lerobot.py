"""Reads datasets of dexworld with the `lerobot` library: `read_with_lerobot.py FOLDER`.

It runs in an environment of its own (`make test-interop`), which has no dexworld. Compared with what
was written are all frames of 30 episodes in several shards and two sessions, pictures as PNG (exactly)
and as videos, tasks, rows of `meta/episodes`, statistics, windows at both ends of episodes, and a
choice of episodes. Opened on 2026-11-28 by lerobot 0.6.1 (Python 3.12.1, torch 2.11.0, datasets 4.8.5)
and lerobot 0.4.4, the newest for Python 3.11 (3.11.7, torch 2.10.0, datasets 4.8.5): 375 frames each.
"""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
from lerobot.datasets.lerobot_dataset import LeRobotDataset

PICTURES = "observation.images.top"
WINDOW = {PICTURES: [-0.1, 0.0], "action": [0.0, 0.1, 0.2]}
TOLERANCE = {"image": 0.0, "video": 2.0}
"""Mean difference in grey levels; decoders round colours differently."""


def check(folder: Path, pictures: str) -> int:
    """Compare every frame of a dataset with what was written; return how many there are."""
    expected = dict(np.load(folder / f"{pictures}.npz"))
    lengths = expected.pop("lengths")
    options = {"root": folder / pictures, "video_backend": "pyav"}
    dataset = LeRobotDataset("dexworld/interop", **options)
    frames = int(lengths.sum())
    assert len(dataset) == dataset.meta.total_frames == frames
    assert dataset.num_episodes == len(lengths)
    assert dataset.fps == 10
    for index in range(frames):
        item = dataset[index]
        assert item["task"] == expected["task"][index]
        for key, values in expected.items():
            if key == PICTURES:
                found = 255 * item[key].numpy().transpose(1, 2, 0)
                difference = np.abs(found - values[index].astype(float)).mean()
                assert difference <= TOLERANCE[pictures] + 1e-3, (index, difference)
            elif key != "task":
                found = np.asarray(item[key])
                assert (found.reshape(values[index].shape) == values[index]).all(), (index, key)
    ends = np.cumsum(lengths)
    for episode, row in enumerate(dataset.meta.episodes):
        assert row["episode_index"] == row["seed"] == episode
        assert row["length"] == lengths[episode]
        assert row["dataset_to_index"] == ends[episode]
    statistics = dataset.meta.stats["action"]
    np.testing.assert_allclose(statistics["mean"], expected["action"].mean(0, dtype=float))
    check_windows(LeRobotDataset("dexworld/interop", delta_timestamps=WINDOW, **options), ends)
    some = LeRobotDataset("dexworld/interop", episodes=[3, 20], **options)
    assert len(some) == lengths[3] + lengths[20]
    return frames


def check_windows(dataset: LeRobotDataset, ends: np.ndarray) -> None:
    """Windows at both ends of an episode are padded, and never show the episode beside it."""
    for end in ends[:-1]:
        first, last = dataset[int(end)], dataset[int(end) - 1]
        assert first[f"{PICTURES}_is_pad"].tolist() == [True, False]
        assert last["action_is_pad"].tolist() == [False, True, True]
        assert np.abs(np.asarray(first[PICTURES][0] - first[PICTURES][1])).max() < 0.02


def main(folder: Path) -> None:
    """Check both datasets."""
    for pictures in ("image", "video"):
        frames = check(folder, pictures)
        sys.stdout.write(f"lerobot {version('lerobot')} reads {frames} frames ({pictures})\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
