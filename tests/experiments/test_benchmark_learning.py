"""The ablations, on trainings of a few steps."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from rich.console import Console

from dexworld.experiments import benchmark_learning
from dexworld.experiments.benchmark_learning import (
    QUESTIONS,
    SEARCHES,
    Variant,
    ablation_tables,
    learning_tables,
)
from dexworld.experiments.benchmark_tables import markdown
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import register_schemas as register_plan
from dexworld.experiments.training import register_schemas as register_train

TINY = ["recipe=push_t_ablation", "training.steps=3", "data.batch_size=8"]


@pytest.mark.parametrize(
    "variant", [each for variants in QUESTIONS.values() for each in variants], ids=lambda v: v.name
)
def test_the_settings_of_every_variant_exist(variant) -> None:
    register_train()
    register_plan()
    trained = compose_config("train", [*variant.recipe, "data.path=somewhere"])
    assert trained.model["points"]["sets"]
    planned = compose_config("plan", [*benchmark_learning.PLANNED, *variant.planned])
    assert planned.model.kind == "latent"


@pytest.mark.parametrize("name", SEARCHES)
def test_the_settings_of_every_search_exist(name) -> None:
    register_plan()
    planned = compose_config(
        "plan", ["experiment=push_t_goal_state", *benchmark_learning.TASK, *SEARCHES[name]]
    )
    assert planned.planner.horizon == 10


def test_variants_of_a_question_differ() -> None:
    for variants in QUESTIONS.values():
        told = {(tuple(v.recipe), v.data, tuple(v.planned)) for v in variants}
        assert len(told) == len({v.name for v in variants}) == len(variants) >= 2


@pytest.mark.slow
def test_a_table_is_measured_once(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(benchmark_learning, "EPISODES", 2)
    monkeypatch.setattr(
        benchmark_learning, "COLLECTED", ["episodes=24", "steps=40", "existing=append"]
    )
    short = {"episodes": 2, "parallel": 2, "planner.iterations": 1, "planner.samples": 8}
    planned = [
        f"{name}={short.get(name, value)}"
        for name, _, value in (item.partition("=") for item in benchmark_learning.PLANNED)
    ]
    monkeypatch.setattr(benchmark_learning, "PLANNED", planned)
    questions = {
        "steps": (Variant("several", TINY), Variant("one", [*TINY, "model.loss.horizons=[1]"]))
    }
    monkeypatch.setattr(benchmark_learning, "QUESTIONS", questions)
    console = Console(quiet=True)
    first = ablation_tables(tmp_path, 1, console)
    models = sorted(tmp_path.rglob("model.safetensors"))
    written = [path.stat().st_mtime_ns for path in models]
    assert len(models) >= 2
    assert ablation_tables(tmp_path, 1, console) == first
    assert written == [path.stat().st_mtime_ns for path in models]
    assert [row["variant"] for row in first["steps"]] == ["several", "one"]
    assert "keypoints px 25" in markdown(first, "test")
    errors = [json.loads(path.read_text()) for path in tmp_path.rglob("errors.json")]
    assert errors[0]["keypoints_25_static"] == errors[1]["keypoints_25_static"], "other windows"

    monkeypatch.setattr(benchmark_learning, "BASE", questions["steps"][0])
    monkeypatch.setattr(benchmark_learning, "TASK", planned[1:])
    monkeypatch.setattr(benchmark_learning, "SEARCHES", {"quick": []})
    monkeypatch.setattr(benchmark_learning, "_inverse", lambda *_: ["agent=noop"])
    tables = learning_tables(tmp_path, 1, console)
    quick, other = tables["searches at equal evaluations, and no search"]
    assert quick["agent"] == "quick" and quick["evaluations_per_episode"] > 0
    assert other["evaluations_per_episode"] == 0 and other["success"].startswith("0%")
    assert len(sorted(tmp_path.rglob("model.safetensors"))) == len(models), "trained again"
