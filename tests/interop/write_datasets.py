"""Writes what another library is to read: `write_datasets.py FOLDER`, in the environment of dexworld.

FOLDER gets a dataset with pictures as PNG, one with videos, and `<name>.npz`: what is in them.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature

FPS, SIZE, EPISODES = 10, 96, 30


def main(folder: Path) -> None:
    """Write both datasets, in several shards and two sessions."""
    for pictures in ("image", "video"):
        features = {
            "observation.images.top": Feature(pictures, (SIZE, SIZE, 3)),
            "observation.state": Feature("float32", (5,)),
            "observation.keypoints": Feature("float32", (4, 2)),
            "action": Feature("float32", (2,), ("x", "y")),
            "next.reward": Feature("float32", (1,)),
            "next.success": Feature("bool", (1,)),
        }
        path = folder / pictures
        for existing, episodes in (("error", range(17)), ("append", range(17, EPISODES))):
            with DatasetWriter(
                path,
                features,
                FPS,
                robot_type="push_t",
                info={"env": {"id": "dexworld/PushT-v0"}},
                existing=existing,
                episodes_per_file=7,
            ) as writer:
                for index in episodes:
                    extras = {"seed": index, "coverage": index / EPISODES}
                    task = ("Push the T.", "Pull the T.")[index % 2]
                    writer.add_episode(frames_of(index), task=task, extras=extras)
        dataset = Dataset(path)
        content = dataset.columns()
        drawn = [dataset.episode(index, ["observation.images.top"]) for index in range(EPISODES)]
        content["observation.images.top"] = np.concatenate([each.popitem()[1] for each in drawn])
        tasks = np.array(dataset.tasks)[content["task_index"]]
        np.savez(
            folder / f"{pictures}.npz", task=tasks, lengths=dataset.episodes["length"], **content
        )


def frames_of(index: int) -> dict[str, np.ndarray]:
    """Return episode `index`; a picture says where in which episode it belongs."""
    random = np.random.default_rng(index)
    length = 10 + index % 6
    pictures = np.zeros((length, SIZE, SIZE, 3), np.uint8)
    pictures[..., 0] = 8 * index
    pictures[..., 1] = np.linspace(0, 255, SIZE)[:, None]
    pictures[..., 2] = 16 * np.arange(length)[:, None, None]
    return {
        "observation.images.top": pictures,
        "observation.state": random.normal(size=(length, 5)),
        "observation.keypoints": random.normal(size=(length, 4, 2)),
        "action": random.uniform(-1, 1, (length, 2)),
        "next.reward": random.normal(size=length),
        "next.success": random.random(length) > 0.5,
    }


if __name__ == "__main__":
    main(Path(sys.argv[1]))
