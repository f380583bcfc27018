"""The command line in this process, and evaluations that take a fraction of a second."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from dexworld.experiments import plan
from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanConfig,
    schema,
)
from dexworld.planners import CEM, KeypointDistance

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
