"""The command line in this process, and evaluations that take a fraction of a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console
from stable_baselines3 import PPO

from dexworld.experiments import collect, plan
from dexworld.experiments.collection import register_schemas as register_collection
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanConfig,
)
from dexworld.experiments.schema import schema
from dexworld.planners import CEM, KeypointDistance
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.decoder import DecoderConfig
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

TINY = [
    "planner=cem",
    "planner.horizon=2",
    "planner.samples=8",
    "planner.iterations=2",
    "planner.elites=2",
    "planner.kept=1",
    "env.episode_steps=10",
]
"""Overrides under which an episode takes a fraction of a second."""


@pytest.fixture
def tiny(tmp_path: Path) -> Callable[..., PlanConfig]:
    """Make the configuration of an evaluation of two plans an episode."""

    def make(**changes: object) -> PlanConfig:
        settings = {
            "env": EnvConfig("dexworld/PushTGoal-v0", {}, 10),
            "model": ModelConfig(threads=1),
            "planner": schema(CEM)(2, samples=8, iterations=2, elites=2, kept=1),
            "objective": ObjectiveConfig(keypoints=schema(KeypointDistance)(running=1.0)),
            "agent": AgentConfig(increment=0.5),
            "episodes": 3,
            "floors": False,
            "videos": 0,
            "name": "tiny",
            "output": str(tmp_path / "results"),
            "cache": str(tmp_path / "cache"),
        }
        return PlanConfig(**{**settings, **changes})

    return make


@pytest.fixture
def run_plan(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run `dexworld-plan` in this process; return status, standard output and error."""

    def run(*overrides: str, tiny: Sequence[str] = TINY) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        GlobalHydra.instance().clear()
        places = [f"cache={tmp_path / 'cache'}", "model.threads=1"]
        monkeypatch.setattr(sys, "argv", ["dexworld-plan", *tiny, *places, *overrides])
        status = 0
        try:
            plan.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        output, error = capfd.readouterr()
        return status, output, error

    return run


POINTS = PointLayout(
    (PointSet("agent", 1, "proprio"), PointSet("keypoints", 4, "keypoints")), 256.0, 256.0
)
SMALL = {
    "keypoints": EncoderConfig("vector", width=8, depth=1),
    "pixels": EncoderConfig("convolutional", width=8, depth=1, maps=2),
}
"""Encoders of what there is to see."""


@pytest.fixture
def untrained(tmp_path: Path) -> Callable[..., ModelConfig]:
    """Save a learned model of PushT that has learned nothing, and return how to plan in it."""

    def make(sees: str = "keypoints", chunk: int = 1, members: int = 1) -> ModelConfig:
        torch.manual_seed(0)
        pixels = sees == "pixels"
        model = LatentWorldModel(
            LatentConfig(
                observes={"pixels": (32, 32, 3)}
                if pixels
                else {"proprio": (2,), "keypoints": (8,)},
                action_low=(-1.0, -1.0),
                action_high=(1.0, 1.0),
                chunk=chunk,
                features=4 if pixels else 0,
                points=POINTS,
                hold_point="agent",
                encoder=SMALL[sees],
                predictor=PredictorConfig(
                    "residual", width=16, depth=1, history=2, members=members
                ),
                decoder=DecoderConfig(32, 8) if pixels else None,
            )
        )
        # As it is made nothing moves, which may be nearly right; now everything drifts.
        for predictor in model.predictors:
            torch.nn.init.normal_(predictor.network.skip.bias, std=0.05)
        folder = tmp_path / f"untrained_{sees}_{chunk}_{members}"
        model.save_pretrained(folder)
        return ModelConfig("latent", path=str(folder), threads=1)

    return make


class Points(gym.Env[Any, Any]):
    """Nothing but the spaces of a policy over PushT's points and their goals."""

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observation_space = Dict(
        {
            goal + key: Box(-np.inf, np.inf, shape, np.float32)
            for goal in ("", "goal_")
            for key, shape in (("agent", (1, 2)), ("keypoints", (4, 2)), ("command", (2,)))
        }
    )


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Save a policy over PushT's points that has learned nothing."""
    file = tmp_path_factory.mktemp("policy") / "policy.zip"
    PPO("MultiInputPolicy", Points(), n_steps=4, batch_size=4, seed=0, device="cpu").save(file)
    return file


@pytest.fixture(scope="session")
def play(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collect a little self-play of PushT, once."""
    register_collection()
    GlobalHydra.instance().clear()
    folder = tmp_path_factory.mktemp("play") / "play"
    given = ["episodes=12", "steps=60", f"output={folder}"]
    collect.collect(compose_config("collect", given), "dexworld-collect", Console(quiet=True))
    return folder


@pytest.fixture(scope="session")
def pushes() -> Callable[..., Path]:
    """Write a dataset of a point that goes half the way to where it is told, a body in tow."""

    def write(
        folder: Path,
        lengths: Sequence[int] = (40,) * 8,
        pictures: bool = True,
        existing: str = "error",
    ) -> Path:
        features = {
            "observation.proprio": Feature("float32", (2,)),
            "observation.keypoints": Feature("float32", (6,)),
            "action": Feature("float32", (2,)),
        }
        if pictures:
            features["observation.images.top"] = Feature("image", (32, 32, 3))
        with DatasetWriter(
            folder, features, 10, robot_type="toy", existing=existing, episodes_per_file=3
        ) as writer:
            for length in lengths:
                frames = _push(length, np.random.default_rng(writer.episodes))
                writer.add_episode({key: frames[key] for key in features}, task="push")
        return folder

    return write


def _push(length: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    corners = np.array([[-40.0, -20.0], [40.0, -20.0], [0.0, 40.0]])
    actions = np.repeat(random.uniform(-1, 1, (length, 2)), 3, axis=0)[:length]
    pusher, body = random.uniform(56, 456, (2, 2))
    places, bodies = [], []
    for action in actions:
        places.append(pusher)
        bodies.append(body + corners)
        pusher = pusher + 0.5 * (256 + 256 * action - pusher)
        body = body + 0.2 * (pusher - body)
    pictures = np.zeros((length, 32, 32, 3), np.uint8)
    for step, (place, points) in enumerate(zip(places, bodies, strict=True)):
        for colour, (x, y) in enumerate([place, *points]):
            pictures[step, int(y) // 16 % 32, int(x) // 16 % 32, min(colour, 1)] = 255
    return {
        "observation.proprio": np.array(places, np.float32),
        "observation.keypoints": np.array(bodies, np.float32).reshape(length, 6),
        "observation.images.top": pictures,
        "action": actions.astype(np.float32),
    }
