"""`dexworld-train` from a dataset to a model: what it writes, how it resumes, what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.experiments import train as command
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.train import portable, print_errors, train
from dexworld.experiments.training import TrainConfig, register_schemas, with_defaults
from dexworld.world_models.configuration import from_json
from dexworld.world_models.latent import LatentConfig, LatentWorldModel

QUIET = Console(quiet=True)
RECIPES = Path(command.__file__).parent / "conf" / "recipe"
TINY = [
    "data={frames: 4, batch_size: 16}",
    "++model.features=0",
    "++model.hold_point=agent",
    "++model.points={centre: 256.0, scale: 256.0, sets: [{name: agent, count: 1, label: proprio},"
    + "{name: keypoints, count: 3, label: keypoints}]}",
    "++model.predictor={kind: planar_contact, width: 8, depth: 1, history: 3, octaves: 2}",
    "++model.loss.horizons=[1,3]",
    "training={steps: 12, learning_rate: 0.01, checkpoint_every: 5, evaluate_every: 100, ema: 0.9}",
    "training.precision=32-true",
]
"""Overrides under which a training takes a second."""


@pytest.fixture(scope="module")
def data(pushes: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pushes(tmp_path_factory.mktemp("train") / "play")


@pytest.fixture
def configured(data: Path, tmp_path: Path) -> Callable[..., TrainConfig]:
    def configure(*overrides: str, output: str = "out") -> TrainConfig:
        register_schemas()
        GlobalHydra.instance().clear()
        given = [*TINY, f"data.path={data}", f"output={tmp_path / output}", *overrides]
        config: TrainConfig = compose_config("train", given)
        return config

    return configure


@pytest.fixture
def run_train(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    data: Path,
    tmp_path: Path,
) -> Callable[..., tuple[int, str, str]]:
    """Run `dexworld-train` in this process; return status, standard output and error."""

    def run(*overrides: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        GlobalHydra.instance().clear()
        given = [*TINY, f"data.path={data}", f"output={tmp_path / 'out'}", *overrides]
        monkeypatch.setattr(sys, "argv", ["/somewhere/bin/dexworld-train", *given])
        status = 0
        try:
            command.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        output, error = capfd.readouterr()
        return status, output, error

    return run


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return LatentWorldModel.from_pretrained(folder / "model").state_dict()


# A training


def test_a_training_leaves_a_model_and_what_is_known_of_it(run_train, tmp_path: Path) -> None:
    status, _, told = run_train("model.predictor.members=2", "seed=3", "data.max_episodes=6")
    assert status == 0, told
    out = tmp_path / "out"
    assert f"model: {out / 'model'}" in told and "errors by steps ahead" in told
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["steps"] == 12 and metrics["resumed_from"] == 0 and metrics["seed"] == 3
    assert metrics["data"]["path"] == "play"
    assert (metrics["data"]["episodes"], metrics["data"]["frames"]) == (6, 240)
    assert metrics["data"]["fps"] == 10
    assert metrics["data"]["validation_fraction"] == 0.05
    assert {"latent_1", "agent_25", "keypoints_5_static", "shuffled_10"} <= set(metrics["errors"])
    model = LatentWorldModel.from_pretrained(out / "model")
    assert len(model.predictors) == 2 and model.metadata == metrics
    assert metrics["parameters"] == sum(each.numel() for each in model.parameters())
    config = yaml.safe_load((out / "config.yaml").read_text())
    assert config["training"]["seed"] == 3 and config["data"]["frames"] == 4
    assert list((out / "tensorboard").iterdir())
    # A model travels: it does not tell where on this machine its data were.
    assert str(tmp_path) not in (out / "model" / "config.json").read_text()
    assert metrics["command"].startswith("dexworld-train 'data={frames: 4")
    assert "data.path=play output=out" in metrics["command"]

    # The same command has nothing more to do, and leaves the same.
    before = weights(out)
    status, _, told = run_train("model.predictor.members=2", "seed=3", "data.max_episodes=6")
    assert status == 0, told
    assert json.loads((out / "metrics.json").read_text()) == metrics
    for name, tensor in weights(out).items():
        assert torch.equal(tensor, before[name])


def test_it_learns(configured) -> None:
    errors = train(configured("training.steps=80", "training.checkpoint_every=80"), "", QUIET)
    found = errors["errors"]
    assert found["agent_5"] < 0.2 * found["agent_5_static"]
    assert found["keypoints_5"] < 0.9 * found["keypoints_5_static"]
    assert found["shuffled_5"] > 2


def test_the_seed_decides(configured) -> None:
    once, again, other = (
        train(configured("training.steps=2", f"seed={seed}", output=output), "", QUIET)["errors"]
        for seed, output in ((0, "once"), (0, "again"), (1, "other"))
    )
    assert once == again != other


def test_an_interrupted_training_ends_as_an_uninterrupted_one(configured, tmp_path: Path) -> None:
    given = ["training.steps=40", "training.checkpoint_every=5"]
    train(configured(*given, output="whole"), "", QUIET)
    finished = threading.Event()

    def interrupt() -> None:
        while not list((tmp_path / "out" / "checkpoints").glob("step_*")):
            if finished.wait(0.002):
                return
        os.kill(os.getpid(), signal.SIGINT)

    presses = threading.Thread(target=interrupt)
    presses.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            train(configured(*given), "", QUIET)
    finally:
        finished.set()
        presses.join()
    assert not (tmp_path / "out" / "model").exists()
    metrics = train(configured(*given, "resume=must"), "", QUIET)
    assert 5 <= metrics["resumed_from"] < 40
    whole = weights(tmp_path / "whole")
    for name, tensor in weights(tmp_path / "out").items():
        assert torch.equal(tensor, whole[name]), name


def test_other_processes_write_nothing(
    configured, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    assert train(configured(), "", QUIET) == {}
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert not written & {"config.yaml", "tensorboard", "metrics.json", "model"}


@pytest.mark.slow
def test_two_processes_train_what_one_does(configured, tmp_path: Path, data: Path) -> None:
    program = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    given = [*TINY, "training.strategy=ddp", "training.devices=2", "training.accelerator=cpu"]
    places = [f"data.path={data}", f"output={tmp_path / 'both'}"]
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    run = subprocess.run(
        [sys.executable, *program, "-m", "dexworld.experiments.train", *given, *places],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=250,
    )
    assert run.returncode == 0, run.stderr
    assert run.stderr.count("errors by steps ahead") == 1
    train(configured(), "", QUIET)
    expected = weights(tmp_path / "out")
    # Not within 1e-6 after AdamW, which magnifies rounding: see tests/world_models/
    # test_parallel_latents.py, where that is asked of gradients, with the anti-collapse term.
    for name, tensor in weights(tmp_path / "both").items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5, msg=name)


# What is refused


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.path=nowhere", "nowhere"),
        ("data.path=null", "data.path"),
        ("data.observes=[pixels_left]", "has no observation.images.left; it has"),
        ("data.observes=[hand]", "has no observation.hand; it has observation.proprio"),
        ("data.gaps=[2,1]", "1 <= fewest <= most"),
        ("data.bach_size=3", "Did you mean 'batch_size'"),
        ("model.featurs=3", "model has an unknown key 'featurs'. Did you mean 'features'"),
        ("+model.predictor.widht=3", "Did you mean 'width'"),
        ("model.encoder.kind=image", "encoder.kind='image' must be one of"),
        ("training.steps=0", "TrainingSettings(steps=0)"),
        (
            "kind=worldmodel",
            "kind='worldmodel': choose one of ['world_model', 'inverse', 'heads', ",
        ),
        ("resume=must", "no checkpoint to resume from"),
        ("resume=maybe", "resume='maybe': choose one of"),
        ("freeze_encoder=true", "needs the model whose encoder is kept"),
        ("recipe=push_t", "there is no recipe 'push_t'"),
        ("output", "cannot be read"),
    ],
)
def test_what_cannot_be_is_told_in_one_line(run_train, override: str, message: str) -> None:
    status, _, told = run_train(override)
    assert status == 2
    assert message in told and told.startswith("error: ") and told.count("\n") == 1


def test_another_training_in_the_same_folder_is_told_and_harms_nothing(
    run_train, tmp_path: Path
) -> None:
    assert run_train()[0] == 0
    before = (tmp_path / "out" / "config.yaml").read_text()
    for override, difference in (
        ("model.predictor.width=6", "config.predictor.width: 8 then, 6 now"),
        ("seed=2", "sampling.seed: 0 then, 2 now"),
        ("data.batch_size=8", "sampling.batch_size: 16 then, 8 now"),
    ):
        status, _, told = run_train(override)
        assert status == 2 and "is of another training" in told and difference in told
    status, _, told = run_train("resume=never")
    assert status == 2 and "Choose another folder, or resume" in told
    assert (tmp_path / "out" / "config.yaml").read_text() == before


def test_a_training_that_diverges_is_told(run_train) -> None:
    status, _, told = run_train("training.learning_rate=1e30", "training.gradient_clip=0")
    assert status == 2 and "training diverged in step" in told and told.count("\n") == 1


# The command line


def test_settings_of_the_model_need_no_plus(run_train, tmp_path: Path) -> None:
    # Neither where the recipe gives them, nor where it does not.
    status, _, told = run_train("model.predictor.octaves=3", "+model.loss.latent=2.0")
    assert status == 0, told
    config = LatentWorldModel.from_pretrained(tmp_path / "out" / "model").config
    assert config.predictor.octaves == 3 and config.loss.latent == 2.0


def test_help_needs_no_data_and_a_training_does() -> None:
    script = str(Path(sys.executable).with_name("dexworld-train"))
    helped = subprocess.run([script, "--help"], capture_output=True, text=True, check=False)
    assert helped.returncode == 0 and "data.path" in helped.stdout and helped.stderr == ""
    refused = subprocess.run([script], capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.startswith("error: data.path is not given")


def test_help_tells_the_settings(run_train) -> None:
    status, output, _ = run_train("--help")
    assert status == 0
    for told in (
        "dexworld-train recipe=",
        "data.gaps",
        "training.steps",
        "freeze_encoder",
        "model.predictor.members",
    ):
        assert told in output


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("dexworld-train data.path=/tmp/run/play seed=1", "dexworld-train data.path=play seed=1"),
        ("t 'data.path=/a/b' initial=/x/y/model/", "t 'data.path=b' initial=model/"),
        ("t data.path=outputs/play initial=me/model", "t data.path=outputs/play initial=me/model"),
        ("t data.path=../play output=~/out", "t data.path=../play output=~/out"),
        ("t --config-dir /etc/mine '++model.points={a: 1/2}'", "t --config-dir mine '++model.points={a: 1/2}'"),
    ],
)  # fmt: skip
def test_commands_are_portable(given: str, expected: str) -> None:
    assert portable(given) == expected


def test_errors_are_a_table_whatever_the_points_are_called() -> None:
    errors = {
        "latent_1": 0.5,
        "end_effector_1": 2.0,
        "end_effector_1_p90": 3.0,
        "end_effector_10": 4.25,
        "action_10_hold": 1.0,
    }
    written = StringIO()
    print_errors({"name": "toy", "errors": errors}, Console(file=written, width=120))
    table = [line.split() for line in written.getvalue().splitlines()]
    heads = next(line for line in table if "steps" in line and "latent" in line)
    assert {"end_effector", "end_effector_p90", "action_hold", "latent"} <= set(heads)
    rows = [line for line in table if len(line) > 2 and {"1", "10"} & set(line)]
    assert len(rows) == 2 and "4.25" in rows[1] and "0.5" in rows[0]


@pytest.mark.parametrize("recipe", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_are_complete(recipe: Path) -> None:
    register_schemas()
    GlobalHydra.instance().clear()
    config: TrainConfig = compose_config("train", [f"recipe={recipe.stem}", "data.path=x"])
    assert config.name == recipe.stem
    if config.kind != "world_model":
        return
    shapes: dict[str, Any] = {"proprio": [2], "keypoints": [8], "pixels": [64, 64, 3]}
    given = {
        "observes": {key: shapes[key] for key in config.data.observes},
        "action_low": [-1.0, -1.0],
        "action_high": [1.0, 1.0],
        **config.model,
    }
    made = from_json(LatentConfig, with_defaults(LatentConfig, given))
    made.loss.check_frames(config.data.frames)
    assert sum(each.numel() for each in LatentWorldModel(made).parameters()) > 1000
