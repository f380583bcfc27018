"""An inverse model from a dataset to an evaluation: trained by `dexworld-train`, then acting."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.experiments import collect, collection, plan, train
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import AgentConfig, make_agent
from dexworld.experiments.training import TrainConfig, register_schemas, with_defaults
from dexworld.world_models.configuration import from_json
from dexworld.world_models.inverse import InverseConfig, InverseModel, of_world_model
from dexworld.world_models.latent import LatentWorldModel

QUIET = Console(quiet=True)
SMALL = ["model.width=16", "model.depth=1", "training.steps=4", "data.batch_size=8"]


def played(folder: Path, *overrides: str) -> Path:
    """Collect a small dataset."""
    collection.register_schemas()
    GlobalHydra.instance().clear()
    given = ["episodes=3", "steps=32", f"output={folder}", *overrides]
    collect.collect(compose_config("collect", given), "dexworld-collect ...", QUIET)
    return folder


def configured(*overrides: str) -> TrainConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    config: TrainConfig = compose_config("train", ["recipe=push_t_inverse", *SMALL, *overrides])
    return config


@pytest.mark.slow
@pytest.mark.parametrize(("sees", "chunk"), [("keypoints", 5), ("pixels", 1)])
def test_it_is_trained_and_acts_on_the_latents_of_a_world_model(
    tiny, untrained, tmp_path: Path, sees: str, chunk: int
) -> None:
    images = ["images=png", "pixels_size=32"] if sees == "pixels" else []
    data, world = played(tmp_path / "play", *images), untrained(sees, chunk)
    given = [f"data.path={data}", f"world_model={world.path}", f"output={tmp_path / 'inverse'}"]
    metrics = train.train(configured(*given), "dexworld-train ...", QUIET)
    assert set(metrics["errors"]) == {
        f"action_{step}{end}" for step in (1, 5, 10, 25) for end in ("", "_hold")
    }
    train.print_errors(metrics, QUIET)
    model = InverseModel.from_pretrained(tmp_path / "inverse" / "model")
    assert model.config.chunk == 10 and model.config.history == 2
    assert model.metadata["steps"] == 4
    again = train.train(
        configured(*given[:2], f"output={tmp_path / 'again'}"), "dexworld-train ...", QUIET
    )
    assert again["errors"] == metrics["errors"]

    pixels = {"pixels_size": 32, "goal_in_pixels": False} if images else {}
    agent = AgentConfig("inverse", str(tmp_path / "inverse" / "model"), reach_in=5)
    config = tiny(model=world, agent=agent)
    config.env.kwargs = pixels
    figures = plan.evaluate(config, "dexworld-plan ...", QUIET)
    assert figures["episodes"] == 3 and figures["agent"] == "inverse"
    lines = (Path(config.output) / "episodes.jsonl").read_text().splitlines()
    assert [json.loads(line)["steps"] for line in lines] == [10, 10, 10]


def test_what_cannot_be(tiny, untrained, tmp_path: Path) -> None:
    data, world = played(tmp_path / "play"), untrained()
    given = [f"data.path={data}", f"output={tmp_path / 'inverse'}"]

    def refused(*overrides: str) -> str:
        with pytest.raises((ValueError, KeyError)) as caught:
            train.train(configured(*given, *overrides), "dexworld-train ...", QUIET)
        return str(caught.value)

    assert "kind=inverse needs world_model=..." in refused()
    assert "unknown key 'widht'. Did you mean 'width'?" in refused(
        f"world_model={world.path}", "+model.widht=3"
    )
    assert "has no observation.images.top" in refused(f"world_model={untrained('pixels').path}")
    assert "choose one of ['world_model', 'inverse', 'heads', " in refused("kind=reverse")
    assert not (tmp_path / "inverse").exists()


def test_who_cannot_act(tiny, untrained, tmp_path: Path) -> None:
    def refused(**changes: object) -> str:
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the messages are compared
            make_agent(tiny(**changes))
        return str(caught.value)

    told = refused(agent=AgentConfig("inverse"), model=untrained())
    assert "agent.kind=inverse needs agent.path, a folder of dexworld-train" in told
    told = refused(agent=AgentConfig("inverse", path="anything"))
    assert "agent.kind=inverse acts on the latents of a learned model" in told
    told = refused(agent=AgentConfig("inverse", path=untrained().path), model=untrained())
    assert "holds a LatentWorldModel, not a InverseModel" in told
    world = untrained("pixels")
    other = LatentWorldModel.from_pretrained(world.path)
    torch.nn.init.normal_(next(other.encoder.parameters()))
    settings = with_defaults(InverseConfig, of_world_model(other))
    InverseModel(from_json(InverseConfig, settings)).save_pretrained(tmp_path / "inverse")
    told = refused(agent=AgentConfig("inverse", str(tmp_path / "inverse")), model=world)
    assert "reads the latents of another world model" in told
