"""Small datasets whose content follows from the index of the episode."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature

Episode = dict[str, NDArray[Any]]
IMAGE = "observation.images.top"
SIZE = 32
FPS = 10


def features(pictures: str | None = "image") -> dict[str, Feature]:
    """Return columns of every kind; `pictures` is image, video, or None for none."""
    columns = {
        "observation.state": Feature("float32", (3,), ("x", "y", "angle")),
        "observation.keypoints": Feature("float32", (4, 2)),
        "action": Feature("float32", (2,)),
        "next.reward": Feature("float64", (1,)),
        "next.success": Feature("bool", (1,)),
        "scene": Feature("int64", (1,)),
    }
    return columns if pictures is None else {IMAGE: Feature(pictures, (SIZE, SIZE, 3)), **columns}


def episode(index: int, pictures: bool = True) -> Episode:
    """Return the frames of episode `index`, which are its own: 5 to 11 of them."""
    length = 5 + index % 7
    random = np.random.default_rng(index)
    frames: Episode = {
        "observation.state": random.normal(size=(length, 3)).astype(np.float32),
        "observation.keypoints": random.normal(size=(length, 4, 2)).astype(np.float32),
        "action": (index * 100 + np.arange(2 * length).reshape(length, 2)).astype(np.float32),
        "next.reward": random.normal(size=length),
        "next.success": random.random(length) > 0.5,
        "scene": np.full(length, index, np.int64),
    }
    if pictures:
        picture = np.zeros((length, SIZE, SIZE, 3), np.uint8)
        picture[..., 0] = (10 * index) % 256
        picture[..., 1] = np.linspace(0, 255, SIZE)[:, None]
        picture[..., 2] = 20 * np.arange(length)[:, None, None]
        frames[IMAGE] = picture
    return frames


def write(
    folder: Path,
    episodes: int,
    pictures: str | None = None,
    *,
    first: int = 0,
    **arguments: Any,
) -> None:
    """Write episodes `first` to `first + episodes`, with a task of two and a seed."""
    arguments = {"robot_type": "toy", "episodes_per_file": 4, **arguments}
    with DatasetWriter(folder, features(pictures), FPS, **arguments) as writer:
        for index in range(first, first + episodes):
            frames = episode(index, pictures is not None)
            extras = {"seed": 1000 + index, "coverage": index / 7}
            writer.add_episode(frames, task=("push", "pull")[index % 2], extras=extras)


def assert_intact(dataset: Dataset, episodes: int) -> None:
    """Every episode is there with its own frames, exactly; of videos, nearly."""
    assert len(dataset) == episodes
    pictures = dataset.features.get(IMAGE)
    for index in range(episodes):
        expected = episode(index, pictures is not None)
        frames = dataset.episode(index)
        for key, values in expected.items():
            assert frames[key].shape == values.shape
            assert frames[key].dtype == values.dtype
            if pictures is not None and key == IMAGE and pictures.dtype == "video":
                assert np.abs(frames[key].astype(int) - values).mean() < 6
            else:
                np.testing.assert_array_equal(frames[key], values)
        length = len(expected["action"])
        np.testing.assert_array_equal(frames["frame_index"], np.arange(length))
        np.testing.assert_array_equal(frames["timestamp"], (np.arange(length) / FPS).astype("f4"))
        assert dataset.episodes["length"][index] == length


@pytest.fixture
def toy() -> Any:
    """The functions of this file, for the tests beside it."""

    class Toy:
        image, fps, size = IMAGE, FPS, SIZE
        features: Callable[..., Any] = staticmethod(features)
        episode: Callable[..., Any] = staticmethod(episode)
        write: Callable[..., Any] = staticmethod(write)
        assert_intact: Callable[..., Any] = staticmethod(assert_intact)

    return Toy
