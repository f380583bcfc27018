"""How fast datasets are collected: rows of the table `data`."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from statistics import median
from typing import Any

import gymnasium as gym
import numpy as np

from dexworld.agents.base import RandomAgent
from dexworld.agents.collector import Collector
from dexworld.experiments.benchmark_envs import require_gym_pusht
from dexworld.experiments.benchmark_tables import Row
from dexworld.experiments.collection import CollectConfig, Recipe, make_workers
from dexworld.experiments.explorers import RandomSettings
from dexworld.experiments.statistics import episode_seeds
from dexworld.world_models.data.lerobot import DatasetWriter, Feature

PIXELS, STATE, ACTION = "observation.images.top", "observation.state", "action"
SIZE, STEPS, FPS = 96, 60, 10


def collection_speed(episodes: int = 32, rounds: int = 3) -> list[Row]:
    """Time how many frames per second are collected, encoded as PNG and written.

    Random targets, each held for 5 steps, in episodes of 60; frames of 96 x 96 pixels; all write
    the same format. The loops are what a script does: one process, one episode after another.
    Measured in turns; medians over the rounds.

    Args:
        episodes: in each dataset.
        rounds: turns.
    """
    require_gym_pusht()
    cores = len(os.sched_getaffinity(0))
    collectors: dict[str, Callable[[Path], None]] = {
        "gym-pusht, a loop": lambda folder: _loop(
            lambda: gym.make(
                "gym_pusht/PushT-v0",
                obs_type="pixels_agent_pos",
                observation_width=SIZE,
                observation_height=SIZE,
            ),
            "agent_pos",
            folder,
            episodes,
        ),
        "dexworld, a loop": lambda folder: _loop(
            lambda: gym.make(
                "dexworld/PushT-v0",
                observation=("pixels", "state"),
                action="pixels",
                terminate_on_success=False,
            ),
            "state",
            folder,
            episodes,
        ),
        "dexworld-collect, this process": lambda folder: _collect(folder, episodes, 0),
        f"dexworld-collect, {cores} workers": lambda folder: _collect(folder, episodes, cores),
    }
    speeds: dict[str, list[float]] = {name: [] for name in collectors}
    for _ in range(rounds):
        for name, collect in collectors.items():
            with tempfile.TemporaryDirectory() as folder:
                began = time.perf_counter()
                collect(Path(folder) / "dataset")
                frames = episodes * (STEPS + 1)
                speeds[name].append(frames / (time.perf_counter() - began))
    first = next(iter(speeds))
    return [
        {
            "collected_by": name,
            "frames_per_second": median(found),
            "faster_than_first": median(
                fast / slow for fast, slow in zip(found, speeds[first], strict=True)
            ),
        }
        for name, found in speeds.items()
    ]


def _loop(make: Callable[[], gym.Env[Any, Any]], key: str, folder: Path, episodes: int) -> None:
    """Collect as a script does, with the public environment's names or ours."""
    env = make()
    observed: Any = env.observation_space
    features = {
        PIXELS: Feature("image", (SIZE, SIZE, 3)),
        STATE: Feature("float32", observed[key].shape),
        ACTION: Feature("float32", (2,)),
    }
    agent = RandomAgent(env.action_space, hold=5)
    with DatasetWriter(folder, features, FPS, robot_type="push_t") as writer:
        for seed in episode_seeds(0, "train", episodes):
            observation, _ = env.reset(seed=seed)
            observations, actions, state = [observation], [], agent.start([seed])
            for _ in range(STEPS):
                action, state = agent.predict({key: np.zeros((1, 1))}, state)
                observation, *_ = env.step(action[0])
                observations.append(observation)
                actions.append(action[0])
            frames = {
                PIXELS: np.stack([each["pixels"] for each in observations]),
                STATE: np.stack([each[key] for each in observations]).astype(np.float32),
                ACTION: np.stack([*actions, actions[-1]]).astype(np.float32),
            }
            writer.add_episode(frames, task="random")
    env.close()


def _collect(folder: Path, episodes: int, workers: int) -> None:
    """Collect as dexworld-collect does, the start of its workers included."""
    recipe = Recipe(
        env_id="dexworld/PushT-v0",
        arguments={"pixels_size": SIZE, "terminate_on_success": False},
        steps=STEPS,
        explorer=RandomSettings(hold=5),
        observe=("state",),
        images="png",
        fps=FPS,
    )
    runner = recipe()
    features = runner.features
    runner.close()
    seeds = episode_seeds(0, "train", episodes)
    with (
        DatasetWriter(folder, features, FPS, robot_type="push_t") as writer,
        closing(make_workers(CollectConfig(workers=workers), recipe)) as players,
    ):
        for episode in Collector(players).collect(seeds):
            writer.add_episode(episode.frames, task="random")
