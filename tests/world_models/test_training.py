"""Tiny trainings: resumed ones end as uninterrupted ones do, and broken ones say why."""

from __future__ import annotations

import importlib.util
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dexworld.world_models.training import Trainer
from dexworld.world_models.training_step import NotFiniteError, StepReport

PROGRAM = Path(__file__).with_name("toy_training.py")
spec = importlib.util.spec_from_file_location("toy_training", PROGRAM)
assert spec is not None and spec.loader is not None
toy_training = importlib.util.module_from_spec(spec)
sys.modules[spec.name] = toy_training  # its dataclasses ask for it
spec.loader.exec_module(toy_training)
batches, settings, toy = toy_training.batches, toy_training.settings, toy_training.toy


class Curves:
    """What a SummaryWriter is given."""

    def __init__(self) -> None:
        self.points: list[tuple[str, float, int]] = []

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        self.points.append((tag, scalar_value, global_step))


def files(trainer: Trainer) -> dict[str, Tensor]:
    """Return all tensors of the last checkpoint."""
    checkpoint = trainer.checkpoints.latest()
    assert checkpoint is not None
    names = [path.stem for path in checkpoint.path.glob("*.safetensors")]
    return {f"{name}.{k}": v for name in names for k, v in checkpoint.tensors(name).items()}


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert torch.equal(found[name], tensor), name


def at_step(step: int, act: Callable[[], Any]) -> Callable[[StepReport], None]:
    return lambda report: act() if report.step == step else None


def interrupt(folder: Path, step: int, model: nn.Module, **changes: Any) -> Trainer:
    """Train until somebody presses Ctrl-C during a step."""
    press = at_step(step - 1, lambda: signal.raise_signal(signal.SIGINT))
    trainer = Trainer(settings(**changes), folder, observe=press)
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(model, batches)
    assert [saved.step for saved in trainer.checkpoints.all()][-1] == step
    return trainer


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"precision": "bf16-mixed"},
        {"accumulate": 2, "ema": 0.0, "schedule": "one_cycle", "gradient_clip": 0.0},
    ],
    ids=["float32", "bfloat16", "accumulated"],
)
def test_an_interrupted_training_ends_as_an_uninterrupted_one(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    whole = Trainer(settings(**changes), tmp_path / "whole")
    expected = whole.fit(toy(dropout=0.2), batches)
    for step in (5, 8):  # between two checkpoints, and at one
        interrupt(tmp_path / "parts", step, toy(dropout=0.2), **changes)
    parts = Trainer(settings(**changes), tmp_path / "parts")
    torch.manual_seed(99)  # nothing depends on where the global stream is
    result = parts.fit(toy_training.Toy(dropout=0.2), batches)
    assert result.resumed_from == 8
    assert_same(files(parts), files(whole))
    assert_same(result.model.state_dict(), expected.model.state_dict())


def test_training_learns_and_leaves_the_global_stream_alone(tmp_path: Path) -> None:
    reports: list[StepReport] = []
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    model = toy_training.Toy(0.0)
    torch.manual_seed(5)
    Trainer(settings(steps=200), tmp_path, observe=reports.append).fit(model, batches)
    assert torch.equal(torch.rand(3), expected)
    assert [report.step for report in reports] == list(range(1, 201))
    assert reports[-1].terms["regression"] < 0.3 * reports[0].terms["regression"]
    first = reports[0]
    assert first.loss == pytest.approx(
        first.terms["regression"] + 0.5 * first.terms["covariance"] + 0.1 * first.terms["spread"]
    )


def test_the_average_is_evaluated_and_the_best_is_kept(tmp_path: Path) -> None:
    curves, seen = Curves(), []

    def evaluate(model: nn.Module, step: int) -> dict[str, float]:
        assert not model.training and not any(w.requires_grad for w in model.parameters())
        seen.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
        with torch.no_grad():
            model.head.weight.zero_()  # what it does to its copy is its own business
        return {"error": abs(step - 6)}

    chosen = settings(evaluate_every=3, log_every=5, keep=1, best_metric="error")
    trainer = Trainer(chosen, tmp_path / "evaluated", evaluate=evaluate, log=curves)
    result = trainer.fit(toy(), batches)
    plain = Trainer(settings(), tmp_path / "plain")
    assert_same(result.model.state_dict(), plain.fit(toy(), batches).model.state_dict())
    assert [(saved.step, saved.metrics) for saved in trainer.checkpoints.all()] == [
        (6, {"error": 0.0}),
        (12, {"error": 6.0}),
    ]
    for saved, state in ((trainer.checkpoints.best(), seen[1]), (result.checkpoint, seen[-1])):
        assert saved is not None
        for name, tensor in saved.tensors("average").items():
            assert torch.equal(state[name], tensor)
            assert not torch.equal(tensor, saved.tensors("model")[name])
    evaluated = [point for point in curves.points if point[0].startswith("evaluation/")]
    assert evaluated == [("evaluation/error", abs(step - 6), step) for step in (3, 6, 9, 12)]
    names = ["loss", "regression", "covariance", "spread", "gradient_norm", "learning_rate"]
    names.append("seconds_per_step")
    expected = [(f"train/{name}", step) for step in (5, 10) for name in names]
    assert [(tag, at) for tag, _, at in curves.points if tag.startswith("train/")] == expected


def test_batches_are_asked_for_once_and_in_order(tmp_path: Path) -> None:
    asked: list[tuple[int, int, int]] = []

    def counted(*share: int) -> Any:
        asked.append(share)
        return batches(*share)

    chosen = settings(steps=3, accumulate=2)
    Trainer(chosen, tmp_path).fit(toy(), counted)
    assert asked == [(number, 0, 1) for number in range(6)]
    finished = Trainer(chosen, tmp_path).fit(toy(), counted)
    assert finished.resumed_from == 3
    assert len(asked) == 6


class Line(nn.Module):
    """A regression whose loss is a mean over rows, and which can be made to break."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(toy_training.INPUTS, toy_training.INPUTS)
        self.breaks: Callable[[Tensor], dict[str, Tensor]] = lambda latent: {}

    def training_loss(self, windows: Any, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        latent = self.layer(windows.inputs)
        terms = {"regression": (latent - windows.targets).square().mean()}
        terms |= self.breaks(latent) if progress >= 0.5 else {}
        return torch.stack(list(terms.values())).sum(), terms


def test_accumulated_batches_are_one_large_batch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = Line().state_dict()
    for name, accumulate in (("whole", 1), ("parts", 2)):
        model = Line()
        model.load_state_dict(state)

        def share(number: int, rank: int, world_size: int, parts: int = accumulate) -> Any:
            return batches(number // parts, number % parts, parts)

        Trainer(settings(accumulate=accumulate), tmp_path / name).fit(model, share)
        if name == "whole":
            expected = model.state_dict()
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[key], rtol=0, atol=1e-6)


def test_time_is_measured_by_the_clock_that_was_given(tmp_path: Path) -> None:
    ticks = iter(range(1000))
    trainer = Trainer(settings(), tmp_path, clock=lambda: 0.5 * next(ticks))
    assert trainer.fit(toy(), batches).seconds_per_step == 0.5


@pytest.mark.parametrize(
    ("breaks", "message"),
    [
        (lambda latent: {"contrast": latent.mean() * torch.nan}, "contrast is nan"),
        (lambda latent: {"contrast": latent.mean().exp() * torch.inf}, "contrast is inf"),
        (
            lambda latent: {"distance": (latent - latent.detach()).square().sum().sqrt()},
            "gradient of layer.weight is not finite, though the loss is",
        ),
    ],
    ids=["nan", "inf", "gradient"],
)
def test_a_loss_that_is_not_finite_ends_training_with_one_clear_error(
    tmp_path: Path, breaks: Callable[[Tensor], dict[str, Tensor]], message: str
) -> None:
    model = Line()
    model.breaks = breaks
    trainer = Trainer(settings(), tmp_path)
    with pytest.raises(NotFiniteError, match=f"training diverged in step 7: .*{message}") as error:
        trainer.fit(model, batches)
    last = trainer.checkpoints.latest()
    assert last is not None and last.step == 4
    assert f"The last good checkpoint is {last.path}. Lower learning_rate" in str(error.value)
    assert all(weight.isfinite().all() for weight in model.parameters())


def test_weights_that_are_not_finite_are_never_written(tmp_path: Path) -> None:
    model = Line()

    def spoil() -> None:
        with torch.no_grad():
            model.layer.bias[0] = torch.nan

    trainer = Trainer(settings(), tmp_path, observe=at_step(4, spoil))
    with pytest.raises(ValueError, match=r"layer.bias \(model\) is not finite.*no checkpoint yet"):
        trainer.fit(model, batches)
    assert trainer.checkpoints.all() == []


def test_resuming_says_what_is_there(tmp_path: Path) -> None:
    trainer = Trainer(settings(), tmp_path)
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume from"):
        trainer.fit(toy(), batches, resume="must")
    with pytest.raises(ValueError, match=r"resume='maybe': choose one of \['auto'"):
        trainer.fit(toy(), batches, resume="maybe")
    trainer.fit(toy(), batches, resume="never")
    with pytest.raises(FileExistsError, match="the last of step 12"):
        trainer.fit(toy(), batches, resume="never")
    assert trainer.fit(toy(), batches, resume="must").resumed_from == 12


def test_another_training_is_not_continued(tmp_path: Path) -> None:
    interrupt(tmp_path, 5, toy())
    with pytest.raises(ValueError, match=r"learning_rate: 0.01 then, 0.02 now") as error:
        Trainer(settings(learning_rate=0.02, log_every=7), tmp_path).fit(toy(), batches)
    assert "log_every" not in str(error.value)
    with pytest.raises(ValueError, match="data: not there then, another now"):
        Trainer(settings(), tmp_path, fingerprints={"data": "another"}).fit(toy(), batches)
    with pytest.raises(ValueError, match="model: Toy then, Line now"):
        Trainer(settings(), tmp_path).fit(Line(), batches)
    with pytest.raises(ValueError, match=r"weights of another model: encoder.0.weight has shape"):
        Trainer(settings(), tmp_path).fit(toy(latents=4), batches)
    with pytest.raises(TypeError, match="Linear has no method training_loss"):
        Trainer(settings(), tmp_path).fit(nn.Linear(2, 2), batches)


def test_settings_without_consequence_may_change(tmp_path: Path) -> None:
    interrupt(tmp_path, 5, toy())
    changed = settings(log_every=1, keep=1, checkpoint_every=5, best_metric="error")
    assert Trainer(changed, tmp_path).fit(toy(), batches).resumed_from == 5


@pytest.mark.slow
def test_killed_twenty_times_no_checkpoint_is_lost_and_the_weights_are_the_same(
    tmp_path: Path,
) -> None:
    options = ["--kills", "20", "--steps", "400"]
    command = [sys.executable, str(PROGRAM), str(tmp_path / "killed"), *options]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert run.returncode == 0, run.stderr
    assert run.stdout.startswith("killed 20 times")
    killed, whole = (
        Trainer(settings(steps=400, checkpoint_every=400), tmp_path / name)
        for name in ("killed", "whole")
    )
    whole.fit(toy(dropout=0.1), batches)
    assert_same(files(killed), files(whole))
