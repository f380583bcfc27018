"""The rate that a model has learned is kept, and no other one is taken for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dexworld.experiments import plan
from dexworld.experiments.config import AgentConfig, ModelConfig
from dexworld.experiments.frame_rate import check_rates, trained_rate
from dexworld.experiments.train import train
from dexworld.experiments.training import DataConfig, TrainConfig, open_dataset, with_defaults
from dexworld.world_models.configuration import from_json
from dexworld.world_models.inverse import InverseConfig, InverseModel, of_world_model
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.pretrained import shipped_checkpoints


@pytest.fixture
def slow_and_fast(pushes: Callable[..., Path], tmp_path: Path) -> tuple[Path, Path]:
    """Write the same frames as if ten, and as if twenty of them passed in a second."""
    slow, fast = (pushes(tmp_path / name, pictures=False) for name in ("slow", "fast"))
    file = fast / "meta" / "info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"fps": 20}))
    return slow, fast


def configured(data: Path) -> TrainConfig:
    return TrainConfig(data=DataConfig(str(data)))


def saved(model: ModelConfig, rate: float | None) -> ModelConfig:
    """Let the checkpoint of a model say at which rate it was trained."""
    learned = LatentWorldModel.from_pretrained(str(model.path))
    data = {} if rate is None else {"data": {"fps": rate}}
    learned.save_pretrained(str(model.path), metadata=data)
    return model


@pytest.mark.parametrize(
    ("metadata", "rate"),
    [
        ({"data": {"fps": 20}}, 20.0),
        ({"data": {"path": "play"}}, None),
        ({"data": "play"}, None),
        ({}, None),
    ],
)
def test_a_checkpoint_says_its_rate_or_does_not(metadata: dict[str, Any], rate: float) -> None:
    assert trained_rate(metadata) == rate


@pytest.mark.parametrize("name", [n for n in shipped_checkpoints() if n.startswith("push_t")])
def test_models_of_push_t_ship_with_their_rate(name: str) -> None:
    check_rates([name, None], 10.0, "PushT")
    check_rates([name], None, "an environment that does not tell")
    with pytest.raises(ValueError, match=f"{name} was trained at 10 steps a second, and it has 20"):
        check_rates([None, name], 20.0, "it")


def test_what_begins_with_a_model_keeps_its_rate(
    untrained, slow_and_fast: tuple[Path, Path]
) -> None:
    slow, fast = slow_and_fast
    model = str(saved(untrained(), 20.0).path)
    for changes in (
        {"initial": model},
        {"kind": "heads", "initial": model},
        {"kind": "inverse", "world_model": model},
    ):
        assert open_dataset(replace(configured(fast), **changes)).fps == 20
        with pytest.raises(ValueError, match=r"was trained at 20 steps .* and \S*slow has 10: use"):
            train(replace(configured(slow), **changes), "dexworld-train")
    # The encoder of a frame does not care how long a step lasts.
    assert open_dataset(replace(configured(slow), kind="tiny_encoder", initial=model)).fps == 10


def test_plans_keep_the_time_of_the_environment(tiny, untrained, tmp_path: Path) -> None:
    fast = saved(untrained(), 20.0)
    for kind in ("planning", "belief_policy", "inverse"):
        config = tiny(model=fast, agent=AgentConfig(kind, increment=0.5))
        with pytest.raises(
            ValueError, match=r"at 20 steps .* and dexworld/PushTGoal-v0 has 10: use"
        ):
            plan._check_rates(config, 10.0)
    with pytest.raises(ValueError, match=r"use a model that was trained at 10, or collect at 20"):
        plan.evaluate(tiny(model=fast), "dexworld-plan")
    assert not Path(tiny().output).exists(), "nothing was begun"
    plan.evaluate(tiny(model=fast, agent=AgentConfig("noop"), episodes=1), "dexworld-plan")
    # An old checkpoint is taken at its word.
    old = tiny(model=saved(untrained(), None), episodes=1, output=str(tmp_path / "old"))
    assert plan.evaluate(old, "dexworld-plan")["episodes"] == 1


def test_an_inverse_model_keeps_the_time_of_the_environment(
    tiny, untrained, tmp_path: Path
) -> None:
    world = saved(untrained(), 10.0)
    settings = of_world_model(LatentWorldModel.from_pretrained(str(world.path)))
    inverse = InverseModel(from_json(InverseConfig, with_defaults(InverseConfig, settings)))
    inverse.save_pretrained(tmp_path / "inverse", metadata={"data": {"fps": 5}})
    agent = AgentConfig("inverse", str(tmp_path / "inverse"))
    with pytest.raises(ValueError, match=r"inverse was trained at 5 steps a second"):
        plan.evaluate(tiny(model=world, agent=agent), "dexworld-plan")
