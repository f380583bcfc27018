"""The training loop, for any model that can say its loss.

A training is a pure function of its settings, its model's first weights and its batches: whoever
kills it and starts it again gets the same weights, bit for bit on the same machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import nn

from .checkpoints import Checkpoint, Checkpoints, check_same
from .distributed import alone
from .interruption import Interruption, polite_end
from .parallelism import make_fabric
from .training_settings import TrainingSettings
from .training_state import TrainingState, frozen_copy, make_optimizer
from .training_step import LossModule, NotFiniteError, StepReport, Trainable, TrainingStep

RESUME = ("auto", "never", "must")

Batches = Callable[[int, int, int], Any]
"""`(number, rank, world_size)` -> the rows of that process of a batch, something with `to(device)`.

A pure function: it is called ahead of time, in another thread, and again after resuming.
"""
Evaluate = Callable[[nn.Module, int], Mapping[str, float]]
"""`(model with averaged weights, finished steps)` -> metrics; called in the first process only."""


@runtime_checkable
class ScalarLog(Protocol):
    """Where curves go: `torch.utils.tensorboard.SummaryWriter`, for example."""

    def add_scalar(self, tag: str, scalar_value: float, global_step: int) -> None:
        """Add a point to a curve."""
        ...


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves."""

    model: nn.Module
    """Frozen copy of the model with the averaged weights, ready to be used."""
    checkpoint: Checkpoint
    """The last checkpoint."""
    resumed_from: int
    """Steps that were finished before this call."""
    seconds_per_step: float
    """Mean over the steps of this call; NaN if there was none."""


class Trainer:
    """Trains a model in a folder, with checkpoints under `folder/checkpoints`.

    Args:
        settings: How to train.
        folder: Where checkpoints go; each training has its own.
        fingerprints: What the result depends on beside the settings (data set, configuration of
            the model): JSON values. A checkpoint with others is refused.
        evaluate: Called every `evaluate_every` steps and at the end.
        log: Where curves go; written by the first process only.
        observe: Called after each step, in the first process.
        clock: Seconds, for measuring.
    """

    def __init__(
        self,
        settings: TrainingSettings,
        folder: Path,
        *,
        fingerprints: Mapping[str, Any] | None = None,
        evaluate: Evaluate | None = None,
        log: ScalarLog | None = None,
        observe: Callable[[StepReport], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.settings = settings
        self.checkpoints = Checkpoints(
            folder / "checkpoints", settings.keep, settings.best_metric, settings.best_is
        )
        self.fingerprints = dict(fingerprints or {})
        self.evaluate = evaluate
        self.log = log
        self.observe = observe
        self.clock = clock

    def fit(self, model: nn.Module, batches: Batches, *, resume: str = "auto") -> TrainingResult:
        """Train a model; its own weights become those after the last step.

        Args:
            model: A `Trainable`, on any device.
            batches: The batches by number; `accumulate` of them make a step.
            resume: `auto` goes on from the last checkpoint if there is one, `must` insists that
                there is one, `never` that there is none.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; the step was finished and a checkpoint written.
            NotFiniteError: The training diverged; the checkpoints are those from before.
            FileExistsError, FileNotFoundError: There are checkpoints, or none, against `resume`.
            TypeError: The model cannot say its loss.
            ValueError: The checkpoints are of another training, of another model, or damaged.
        """
        if not isinstance(model, Trainable):
            raise TypeError(
                f"{type(model).__name__} has no method training_loss(windows, progress), which "
                "training needs; see dexworld.world_models.training_step.Trainable."
            )
        decisive = {
            "model": type(model).__name__,
            "settings": self.settings.decisive(),
            **self.fingerprints,
        }
        checkpoint = self._checkpoint_to_resume(resume, decisive)
        fabric = make_fabric(self.settings)
        streams = [fabric.device] if fabric.device.type == "cuda" else []
        with torch.random.fork_rng(streams), polite_end() as interruption:
            run = _Run(self, fabric, model, decisive, checkpoint)
            result = run.run(batches, interruption)
            if interruption.requested:
                raise KeyboardInterrupt
        return result

    def _checkpoint_to_resume(self, resume: str, decisive: Mapping[str, Any]) -> Checkpoint | None:
        if resume not in RESUME:
            raise ValueError(f"resume={resume!r}: choose one of {list(RESUME)}.")
        folder = self.checkpoints.folder
        checkpoint = self.checkpoints.latest()
        if resume == "must" and checkpoint is None:
            raise FileNotFoundError(
                f"{folder} holds no checkpoint to resume from. Check the folder, or start anew."
            )
        if checkpoint is None:
            return None
        if resume == "never":
            raise FileExistsError(
                f"{folder} holds checkpoints, the last of step {checkpoint.step}. Choose another "
                "folder, or resume."
            )
        check_same(checkpoint, decisive)
        return checkpoint


class _Run:
    """One call of `Trainer.fit`."""

    def __init__(
        self,
        trainer: Trainer,
        fabric: Any,
        model: nn.Module,
        decisive: Mapping[str, Any],
        checkpoint: Checkpoint | None,
    ) -> None:
        settings = trainer.settings
        self.trainer = trainer
        self.fabric = fabric
        self.decisive = decisive
        self.checkpoint = checkpoint
        self.averaged = fabric.to_device(frozen_copy(model))
        loss: Any = LossModule(model)
        loss = fabric.setup_module(torch.compile(loss) if settings.compile else loss)
        loss.train()
        # After the set-up, which may have sharded the weights.
        optimizer = make_optimizer(model, settings.learning_rate, settings.weight_decay)
        self.state = TrainingState(model, optimizer, settings.ema)
        if checkpoint is not None:
            self.state.load(checkpoint)
        self.step = TrainingStep(fabric, loss, self.state, settings, trainer.clock)

    def run(self, batches: Batches, interruption: Interruption) -> TrainingResult:
        steps, first, seconds = self.trainer.settings.steps, self.state.step, 0.0
        with ThreadPoolExecutor(1) as loader:
            upcoming = self._ahead(loader, batches)
            while self.state.step < steps:
                try:
                    report = self.step(upcoming, interruption.requested)
                except NotFiniteError as error:
                    remedy = self.trainer.checkpoints.remedy()
                    raise NotFiniteError(f"{error} {remedy}") from None
                seconds += report.seconds
                self._tell(report)
                self._evaluate_and_save(report.stop)
                if report.stop:
                    raise KeyboardInterrupt
        self.state.copy_averaged_to(self.averaged)
        assert self.checkpoint is not None
        mean = seconds / (steps - first) if steps > first else float("nan")
        return TrainingResult(self.averaged, self.checkpoint, first, mean)

    def _ahead(self, loader: ThreadPoolExecutor, batches: Batches) -> Iterator[Any]:
        """Yield the batches; the next one is made while one is being learned from."""
        settings, share = self.trainer.settings, (self.fabric.global_rank, self.fabric.world_size)
        parts = settings.accumulate
        numbers = range(self.state.step * parts, settings.steps * parts)
        upcoming = loader.submit(batches, numbers.start, *share)
        for number in numbers:
            windows = upcoming.result()
            if number + 1 in numbers:
                upcoming = loader.submit(batches, number + 1, *share)
            yield windows

    def _tell(self, report: StepReport) -> None:
        if not self.fabric.is_global_zero:
            return
        if self.trainer.observe is not None:
            self.trainer.observe(report)
        if report.step % self.trainer.settings.log_every == 0:
            curves = {
                "loss": report.loss,
                **report.terms,
                "gradient_norm": report.gradient_norm,
                "learning_rate": report.learning_rate,
                "seconds_per_step": report.seconds,
            }
            self._add_scalars("train", curves)

    def _evaluate_and_save(self, stop: bool) -> None:
        """Do what is due after a step."""
        settings, step = self.trainer.settings, self.state.step
        done, evaluate = step == settings.steps, self.trainer.evaluate
        save = done or stop or step % settings.checkpoint_every == 0
        metrics: dict[str, float] = {}
        if evaluate is not None and (done or step % settings.evaluate_every == 0):
            metrics = self._metrics(evaluate)
            save = save or self.fabric.broadcast(self.trainer.checkpoints.is_best(metrics))
        if not save:
            return
        files = self.state.files()
        if self.fabric.is_global_zero:
            self.checkpoint = self.trainer.checkpoints.save(step, files, self.decisive, metrics)
        self.checkpoint = self.fabric.broadcast(self.checkpoint)

    def _metrics(self, evaluate: Evaluate) -> dict[str, float]:
        """Return what the first process evaluates, in all of them."""
        self.state.copy_averaged_to(self.averaged)
        metrics: dict[str, float] = {}
        if self.fabric.is_global_zero:
            with alone():
                evaluated = evaluate(self.averaged, self.state.step)
            metrics = {name: float(value) for name, value in evaluated.items()}
            self._add_scalars("evaluation", metrics)
        shared: dict[str, float] = self.fabric.broadcast(metrics)
        return shared

    def _add_scalars(self, prefix: str, values: Mapping[str, float]) -> None:
        if self.trainer.log is not None:
            for name, value in values.items():
                self.trainer.log.add_scalar(f"{prefix}/{name}", value, self.state.step)
