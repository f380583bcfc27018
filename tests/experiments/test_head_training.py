"""Heads from a dataset to an evaluation: trained by `dexworld-train`, then planned with."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.experiments import collect, collection, plan, train
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import ObjectiveConfig, make_agent
from dexworld.experiments.schema import schema
from dexworld.experiments.training import TrainConfig, make_data, open_dataset, register_schemas
from dexworld.planners import NegativeReturn
from dexworld.world_models.head_training import TERMINAL
from dexworld.world_models.heads import REWARD, VALUE
from dexworld.world_models.latent import LatentWorldModel

QUIET = Console(quiet=True)
SMALL = [
    "++model.heads.width=8",
    "++model.heads.depth=1",
    "training.steps=4",
    "data.batch_size=8",
    "data.gaps=[1,1]",
]


@pytest.fixture
def played(tmp_path: Path) -> str:
    """Collect a small dataset of self-play, and return the setting that names it."""
    collection.register_schemas()
    GlobalHydra.instance().clear()
    given = ["episodes=3", "steps=60", f"output={tmp_path / 'play'}"]
    given += ["images=png", "pixels_size=32"]
    collect.collect(compose_config("collect", given), "dexworld-collect ...", QUIET)
    return f"data.path={tmp_path / 'play'}"


def configured(*overrides: str) -> TrainConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    config: TrainConfig = compose_config("train", ["recipe=push_t_value", *SMALL, *overrides])
    return config


@pytest.mark.slow
@pytest.mark.parametrize("sees", ["keypoints", "pixels"])
def test_they_are_trained_and_planned_with(
    tiny, untrained, played: str, tmp_path: Path, sees: str
) -> None:
    world = untrained(sees)
    given = [played, f"initial={world.path}"]
    output = tmp_path / "value"
    config = configured(*given, f"output={output}")
    metrics = train.train(config, "dexworld-train ...", QUIET)
    kinds = ("reward_{}", "reward_{}_static", "value_{}", "value_{}_excess")
    kinds += ("value_{}_slope", "value_{}_correlation")
    assert set(metrics["errors"]) == {
        kind.format(step) for step in (1, 5, 10, 25, 50) for kind in kinds
    }
    assert json.loads((output / "metrics.json").read_text())["errors"] == metrics["errors"]
    train.print_errors(metrics, QUIET)
    before = LatentWorldModel.from_pretrained(world.path).state_dict()
    model = LatentWorldModel.from_pretrained(output / "model")
    weights = model.state_dict()
    assert set(before) < set(weights) and {REWARD, VALUE} <= model.predicts
    assert all(torch.equal(weights[name], tensor) for name, tensor in before.items())
    assert model.heads is not None and model.heads.mean > 0
    # The same command again measures the same; one that goes on from the heads begins with them.
    again = train.train(config, "dexworld-train ...", QUIET)
    assert again["errors"] == metrics["errors"] and again["seconds"] == metrics["seconds"]
    more = [played, f"initial={output / 'model'}", f"output={tmp_path / 'more'}"]
    config = configured(*more, "training.learning_rate=1e-12", "training.ema=0")
    train.train(config, "dexworld-train ...", QUIET)
    later = LatentWorldModel.from_pretrained(tmp_path / "more" / "model").state_dict()
    for name, tensor in weights.items():
        torch.testing.assert_close(later[name], tensor)

    world.path = str(output / "model")
    objective = ObjectiveConfig(value=schema(NegativeReturn)(actions=5))
    evaluation = tiny(model=world, objective=objective)
    if sees == "pixels":
        evaluation.env.kwargs = {"pixels_size": 32, "goal_in_pixels": False}
    assert plan.evaluate(evaluation, "dexworld-plan ...", QUIET)["episodes"] == 3


def test_windows_hold_the_outcomes_of_the_actions_before(untrained, played: str) -> None:
    config = configured(played, f"initial={untrained().path}", "data.terminal=next.done")
    dataset = open_dataset(config)
    training, data = train.KINDS["heads"](config, dataset)
    columns = dataset.columns(["next.reward", "next.done"])
    windows = data.batches(0, 0, 1)
    assert {REWARD, TERMINAL} <= set(windows.frames)
    rows = windows.start[:, None] + torch.arange(5)
    before = torch.from_numpy(columns["next.reward"].copy())[(rows - 1).clamp(min=0)]
    first = rows % 61 == 0  # which no action led to
    expected = torch.where(first, torch.zeros_like(before), before)
    torch.testing.assert_close(windows.frames[REWARD], expected)
    assert torch.equal(windows.frames[TERMINAL], rows % 61 == 60)
    assert training.training_loss(windows, 0.0)[0].isfinite()
    config.data.terminal = None
    _, without = train.KINDS["heads"](config, dataset)
    assert TERMINAL not in without.batches(0, 0, 1).frames
    config.kind = "world_model"
    assert REWARD not in make_data(config, dataset, training.model).batches(0, 0, 1).frames


def test_what_cannot_be(tiny, untrained, played: str, tmp_path: Path) -> None:
    world = untrained()

    def refused(*overrides: str, kind: type[Exception] = ValueError) -> str:
        config = configured(played, f"output={tmp_path / 'value'}", *overrides)
        with pytest.raises(kind) as caught:
            train.train(config, "dexworld-train ...", QUIET)
        return str(caught.value)

    initial = f"initial={world.path}"
    assert "kind=heads needs initial=..." in refused()
    assert "kind=heads trains model.heads alone; model.chunk is" in refused(
        initial, "+model.chunk=5"
    )
    assert "unknown key 'widht'. Did you mean 'width'?" in refused(initial, "+model.heads.widht=3")
    told = refused(initial, "data.reward=next.bonus", kind=KeyError)
    assert "has no next.bonus; it has" in told and "Choose data.reward" in told
    told = refused(initial, "data.terminal=next.end", kind=KeyError)
    assert "has no next.end" in told and "Choose data.terminal" in told
    assert "5 steps apart, but values are" in refused(initial, "data.gaps=[5,5]")
    assert not (tmp_path / "value" / "model").exists()


def test_values_are_planned_with_as_they_were_learned(
    tiny, untrained, played: str, tmp_path: Path
) -> None:
    world = untrained()
    given = [played, f"initial={world.path}", f"output={tmp_path / 'value'}"]
    train.train(configured(*given), "dexworld-train ...", QUIET)
    value = ObjectiveConfig(value=schema(NegativeReturn)(actions=5))
    with pytest.raises(KeyError, match=r"reads \['reward', 'value'\], which .* does not predict"):
        make_agent(tiny(model=world, objective=value))
    world.path = str(tmp_path / "value" / "model")
    make_agent(tiny(model=world, objective=value))
    for changed in ({"discount": 0.9, "actions": 5}, {"actions": 1}):
        wrong = ObjectiveConfig(value=schema(NegativeReturn)(**changed))
        remedy = r"set objective.value.discount=0.95 objective.value.actions=5\."
        with pytest.raises(ValueError, match=remedy):
            make_agent(tiny(model=world, objective=wrong))
