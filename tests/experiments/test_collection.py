"""How the configuration of a collection becomes episodes."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra

from dexworld.agents.base import RandomAgent
from dexworld.agents.episodes import ACTION
from dexworld.agents.exploration import ColouredNoise
from dexworld.agents.self_play import SelfPlay, SelfPlaySettings
from dexworld.agents.workers import InProcess
from dexworld.experiments.collection import Recipe, make_recipe, make_workers, register_schemas
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.explorers import EXPLORERS, explorer_name

CONF = Path(__file__).parents[2] / "experiments" / "conf" / "collector"


def configured(*overrides: str) -> Any:
    register_schemas()
    GlobalHydra.instance().clear()
    return compose_config("collect", ["steps=5", *overrides])


def test_there_is_a_preset_of_every_explorer() -> None:
    assert {path.stem for path in CONF.glob("*.yaml")} >= set(EXPLORERS)
    for name, settings in EXPLORERS.items():
        recipe = make_recipe(configured(f"collector={name}"))
        assert type(recipe.explorer) is settings and explorer_name(recipe.explorer) == name


def test_presets_are_the_defaults_of_the_code() -> None:
    assert make_recipe(configured()).explorer == SelfPlaySettings()


@pytest.mark.parametrize(
    ("name", "kind"),
    [("random", RandomAgent), ("coloured_noise", ColouredNoise), ("self_play", SelfPlay)],
)
def test_a_recipe_makes_the_explorer_and_what_it_needs(name: str, kind: type[Any]) -> None:
    runner = make_recipe(configured(f"collector={name}"))()
    assert type(runner.agent) is kind
    (episode,) = runner.run([3])
    assert episode.steps == 5
    # What only the explorer sees is not recorded.
    assert {key for key in episode.frames if key.startswith("observation")} == {
        "observation.state",
        "observation.proprio",
        "observation.keypoints",
    }


def test_a_recipe_travels_and_makes_the_same(tmp_path: Path) -> None:
    recipe = make_recipe(configured("collector.fastest=0.05"))
    there = pickle.loads(pickle.dumps(recipe))
    assert there == recipe and isinstance(there, Recipe)
    one, other = recipe().run([4])[0], there().run([4])[0]
    np.testing.assert_array_equal(one.frames[ACTION], other.frames[ACTION])
    described = json.loads(json.dumps(recipe.described()))
    assert described["explorer"]["fastest"] == 0.05
    assert described["env"] == {
        "id": "dexworld/PushT-v0",
        "kwargs": {"goal_in_pixels": False},
        "steps": 5,
    }


def test_what_is_observed_can_be_chosen() -> None:
    given = ["collector=random", "observe=[physics]", "images=png", "pixels_size=24"]
    runner = make_recipe(configured(*given))()
    assert runner.features["observation.physics"].dtype == "float64"
    assert runner.features["observation.images.top"].shape == (24, 24, 3)
    assert "observation.state" not in runner.features


def test_arguments_that_are_given_count() -> None:
    given = ["+env.kwargs.goal_in_pixels=true", "+env.kwargs.pixels_size=48", "images=png"]
    recipe = make_recipe(configured(*given))
    assert recipe.arguments == {"goal_in_pixels": True, "pixels_size": 48}


def test_steps_a_second() -> None:
    assert make_recipe(configured()).fps == 10.0
    assert make_recipe(configured("fps=7.5")).fps == 7.5


def test_without_workers_this_process_plays() -> None:
    config = configured()
    assert isinstance(make_workers(config, make_recipe(config)), InProcess)
