"""How fast training data is read: rows of the table `data`."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.experiments.benchmark_tables import Row
from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature
from dexworld.world_models.data.windows import WindowSampler, WindowSettings

PIXELS, STATE, ACTION = "observation.images.top", "observation.state", "action"
FPS, SIZE = 10, 96
BATCH = 64
"""Windows in a batch of the cache; files are read a window at a time, as data loaders do."""

Window = dict[str, NDArray[Any]]
"""`(L, ...)` by key; the actions of all steps in between."""


def window_speed(
    seconds: float = 2.0, rounds: int = 5, episodes: int = 40, length: int = 100
) -> list[Row]:
    """Time how many windows per second the cache gives, and the files that it was built from.

    Windows are 5 frames of 96 x 96 pixels, 5 steps apart, with states and actions; all three
    give the same ones, on one core. Each is measured in turns; medians over the rounds.

    Args:
        seconds: for each source, over all rounds.
        rounds: turns.
        episodes: in the dataset that is recorded for this.
        length: frames of each.
    """
    settings = WindowSettings(frames=5, gaps=(5, 5))
    with tempfile.TemporaryDirectory() as folder:
        sources = open_sources(Path(folder), settings, episodes, length)
        speeds: dict[str, list[float]] = {name: [] for name in sources}
        for _ in range(rounds):
            for name, (read, windows) in sources.items():
                speeds[name].append(windows * _calls_per_second(read, seconds / rounds))
    cache = speeds["cache"]
    rows: list[Row] = []
    for name, found in speeds.items():
        ratio = median(fast / slow for fast, slow in zip(cache, found, strict=True))
        rows.append(
            {"read_from": name, "windows_per_second": median(found), "cache_is_faster_by": ratio}
        )
    return rows


def open_sources(
    folder: Path, settings: WindowSettings, episodes: int, length: int
) -> dict[str, tuple[Callable[[int], list[Window]], int]]:
    """Record datasets, and return what reads call number i from each, and windows in a call.

    Call i of a file gives the windows of a batch of the cache, one after another: its window
    `i % BATCH` of batch `i // BATCH`.
    """
    recorded = [_recorded(seed, length) for seed in range(episodes)]
    datasets = {kind: _written(folder / kind, kind, recorded) for kind in ("image", "video")}
    cache = Cache.open(datasets["image"], [PIXELS, STATE, ACTION])
    sampler = WindowSampler(cache, settings, batch_size=BATCH, seed=0)
    gap = settings.gaps[0]
    span = gap * (settings.frames - 1)

    def from_cache(call: int) -> list[Window]:
        windows = sampler.batch(call)
        keys = {key: values.numpy() for key, values in windows.frames.items()}
        keys[ACTION] = windows.actions.flatten(1, 2).numpy()
        return [{key: values[row] for key, values in keys.items()} for row in range(BATCH)]

    starts = np.concatenate([sampler.batch(number).start.numpy() for number in range(20)])
    numbers = datasets["image"].columns([STATE, ACTION])  # small: any reader keeps them in memory

    def from_files(dataset: Dataset, call: int) -> list[Window]:
        start = int(starts[call % len(starts)])
        episode = int(cache.episode_index[start])
        rows = np.arange(start, start + span + 1, gap)
        steps = (rows - int(cache.starts[episode])).tolist()
        pictures = dataset.episode(episode, [PIXELS], steps)
        actions = numbers[ACTION][start : start + span]
        return [{**pictures, STATE: numbers[STATE][rows], ACTION: actions}]

    return {
        "cache": (from_cache, BATCH),
        "parquet with PNG": (lambda call: from_files(datasets["image"], call), 1),
        "mp4": (lambda call: from_files(datasets["video"], call), 1),
    }


def _calls_per_second(read: Callable[[int], object], seconds: float) -> float:
    read(0)
    calls, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        calls += 1
        read(calls)
    return calls / elapsed


def _recorded(seed: int, length: int) -> dict[str, NDArray[Any]]:
    """Return an episode of a pusher that goes from one random target to the next."""
    env = gym.make("dexworld/PushT-v0", observation=("pixels", "state"), pixels_size=SIZE)
    targets = np.random.default_rng(seed).uniform(-1, 1, (length // 10 + 1, 2))
    actions = targets.repeat(10, axis=0)[:length].astype(np.float32)
    observation, _ = env.reset(seed=seed)
    observed = []
    for action in actions:
        observed.append(observation)
        observation, *_ = env.step(action)
    env.close()
    return {
        PIXELS: np.stack([each["pixels"] for each in observed]),
        STATE: np.stack([each["state"] for each in observed]),
        ACTION: actions,
    }


def _written(folder: Path, kind: str, episodes: list[dict[str, NDArray[Any]]]) -> Dataset:
    features = {
        PIXELS: Feature(kind, (SIZE, SIZE, 3)),
        STATE: Feature("float32", episodes[0][STATE].shape[1:]),
        ACTION: Feature("float32", (2,)),
    }
    with DatasetWriter(folder, features, FPS, robot_type="push_t") as writer:
        for frames in episodes:
            writer.add_episode(frames, task="push")
    return Dataset(folder)
