"""Explorers from settings: the one that plans in a learned ensemble."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.agents.disagreement import DisagreementSeeker
from dexworld.experiments import collect as command
from dexworld.experiments.collection import make_recipe, register_schemas
from dexworld.experiments.command_line import compose_config
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

QUIET = Console(quiet=True)


def save_ensemble(folder: Path, members: int = 2) -> Path:
    """Write a model of PushT that has learned nothing."""
    torch.manual_seed(0)
    sets = (PointSet("agent", 1, "proprio"), PointSet("keypoints", 4, "keypoints"))
    model = LatentWorldModel(
        LatentConfig(
            observes={"proprio": (2,), "keypoints": (8,)},
            action_low=(-1.0, -1.0),
            action_high=(1.0, 1.0),
            features=0,
            points=PointLayout(sets, 256.0, 256.0),
            hold_point="agent",
            predictor=PredictorConfig(width=8, depth=1, members=members),
        )
    )
    for weights in model.predictors.parameters():
        torch.nn.init.normal_(weights, std=0.05)
    return model.save_pretrained(folder)


def given(tmp_path: Path, *overrides: str) -> list[str]:
    small = ["collector=disagreement", "steps=11", "group=2", "collector.samples=4"]
    small += ["collector.elites=2", "collector.horizon=2", "episodes=3"]
    return [*small, f"output={tmp_path / 'play'}", *overrides]


def configured(overrides: list[str]):  # type: ignore[no-untyped-def]
    register_schemas()
    GlobalHydra.instance().clear()
    return compose_config("collect", overrides)


def test_disagreement_is_collected_reproducibly(tmp_path: Path) -> None:
    ensemble = save_ensemble(tmp_path / "ensemble")
    columns = []
    for name, changes in (("a", []), ("b", []), ("c", ["collector.scale=0.0"])):
        overrides = given(tmp_path, f"collector.path={ensemble}", *changes)
        config = configured([*overrides, f"output={tmp_path / name}"])
        runner = make_recipe(config)()
        assert isinstance(runner.agent, DisagreementSeeker)
        assert runner.agent.observes == {"proprio", "keypoints"}
        runner.close()
        figures = command.collect(config, "dexworld-collect ...", QUIET)
        assert figures["episodes"] == 3
        columns.append(Dataset(tmp_path / name).columns())
    for key, column in columns[0].items():
        np.testing.assert_array_equal(column, columns[1][key])
    assert not np.array_equal(columns[0]["action"], columns[2]["action"])
    assert "observation.keypoints" in columns[0]
    assert "disagreement in dexworld/PushT-v0" in (tmp_path / "a" / "README.md").read_text()


@pytest.mark.slow
def test_workers_plan_the_same(tmp_path: Path) -> None:
    ensemble = save_ensemble(tmp_path / "ensemble")
    columns = []
    for name, workers in (("a", 0), ("b", 2)):
        overrides = given(tmp_path, f"collector.path={ensemble}", f"workers={workers}")
        config = configured([*overrides, f"output={tmp_path / name}"])
        command.collect(config, "dexworld-collect ...", QUIET)
        columns.append(Dataset(tmp_path / name).columns())
    for key, column in columns[0].items():
        np.testing.assert_array_equal(column, columns[1][key])


def test_without_an_ensemble_there_is_nothing_to_seek(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"needs collector.path.*model.predictor.members=3"):
        make_recipe(configured(given(tmp_path)))()
    single = save_ensemble(tmp_path / "single", members=1)
    with pytest.raises(ValueError, match=r"one predictor, which agrees with itself.*members=3"):
        make_recipe(configured(given(tmp_path, f"collector.path={single}")))()
