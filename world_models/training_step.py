"""One update of the weights: loss, gradient, clipping, optimiser, average."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn

from .distributed import whole
from .schedules import rate_factor
from .training_settings import TrainingSettings
from .training_state import TrainingState


@runtime_checkable
class Trainable(Protocol):
    """What is trained: a `torch.nn.Module` that says its loss.

    Each parameter that requires a gradient must have a part in every loss. Random numbers come
    from torch's global stream: it is seeded anew for every batch, from the seed, the number of the
    batch and the rank of the process. What has to be the same in all processes is drawn through
    `distributed.from_first_rank`, and statistics over a batch through `all_gather_rows`.
    """

    def training_loss(self, windows: Any, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the mean loss of the rows of this process, and its named terms, all scalars.

        `progress` is the part of the training that is done, in [0, 1).
        """
        ...


@dataclass(frozen=True)
class StepReport:
    """What there is to say about a step."""

    step: int
    """Finished steps, this one included."""
    loss: float
    """Mean over all rows, in all processes."""
    terms: dict[str, float]
    """Terms of the loss, likewise."""
    gradient_norm: float
    """Norm of the gradient before it was clipped."""
    learning_rate: float
    seconds: float
    """Time the step took, without evaluation and checkpoint."""
    stop: bool
    """Whether a process wants to stop after this step."""


class NotFiniteError(ValueError):
    """A loss or a gradient is NaN or infinite; the message says which one, and at which step."""


class LossModule(nn.Module):
    """A model whose `forward` is its loss: what data parallelism and compilers look at."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model: Any = model

    def forward(self, batch: OpaqueBatch, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss and its terms."""
        loss: tuple[Tensor, dict[str, Tensor]] = self.model.training_loss(batch.windows, progress)
        return loss


class OpaqueBatch:
    """A batch that nobody looks into: mixed precision would round its targets to bfloat16."""

    def __init__(self, windows: Any) -> None:
        self.windows = windows


class TrainingStep:
    """Updates the weights of a state.

    Args:
        fabric: The processes that take part (`lightning.fabric.Fabric`).
        loss: The `LossModule` of the state's model, as set up by `fabric`.
        state: What is updated.
        settings: How.
        clock: Seconds, for measuring.
    """

    def __init__(
        self,
        fabric: Any,
        loss: nn.Module,
        state: TrainingState,
        settings: TrainingSettings,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.fabric = fabric
        self.loss = loss
        self.state = state
        self.settings = settings
        self.clock = clock

    def __call__(self, batches: Iterator[Any], stop: bool = False) -> StepReport:
        """Learn from the next batches; `stop` is told to all processes.

        Raises:
            NotFiniteError: In all processes; the weights are those from before.
        """
        settings, state, step = self.settings, self.state, self.state.step
        start = self.clock()
        factor = rate_factor(settings.schedule, step, settings.steps, settings.warmup)
        for group in state.optimizer.param_groups:
            group["lr"] = settings.learning_rate * factor
        names, values = self._differentiate(batches)
        wish = torch.tensor([float(stop)], device=self.fabric.device)
        # One exchange, so that all processes log, stop and fail together.
        shared = self.fabric.all_reduce(torch.cat([values, wish]), reduce_op="mean")
        weights = [p for group in state.optimizer.param_groups for p in group["params"]]
        clip = settings.gradient_clip or float("inf")
        norm = float(whole(nn.utils.clip_grad_norm_(weights, clip)))
        loss, *of_terms, wishes = shared.tolist()
        terms = dict(zip(names, of_terms, strict=True))
        self._require_finite(loss, terms, norm)
        state.optimizer.step()
        state.optimizer.zero_grad()
        state.average.update(step)
        state.step = step + 1
        rate, seconds = settings.learning_rate * factor, self.clock() - start
        return StepReport(state.step, loss, terms, norm, rate, seconds, wishes > 0)

    def _differentiate(self, batches: Iterator[Any]) -> tuple[list[str], Tensor]:
        """Compute the gradient; return the names of the terms, and the loss and terms `[1 + n]`."""
        fabric, parts = self.fabric, self.settings.accumulate
        names: list[str] = []
        means = torch.zeros((), device=fabric.device)
        for part in range(parts):
            number = self.state.step * parts + part
            _seed_streams(fabric.device, self.settings.seed, number, fabric.global_rank)
            batch = OpaqueBatch(next(batches).to(fabric.device))
            more = fabric.world_size > 1 and part < parts - 1
            with fabric.no_backward_sync(self.loss) if more else nullcontext():
                loss, terms = self.loss(batch, self.state.step / self.settings.steps)
                fabric.backward(loss / parts)
            names = list(terms)
            values = torch.stack([value.detach().float() for value in (loss, *terms.values())])
            means = means + values / parts
        return names, means

    def _require_finite(self, loss: float, terms: Mapping[str, float], norm: float) -> None:
        if np.isfinite([loss, norm]).all():
            return
        bad = [f"{name} is {value}" for name, value in terms.items() if not np.isfinite(value)]
        if not bad and not np.isfinite(loss):
            bad = [f"the loss is {loss}, though none of its terms"]
        bad = bad or [
            f"the gradient of {name} is not finite, though the loss is"
            for name, weight in self.state.model.named_parameters()
            if weight.grad is not None and not whole(weight.grad).isfinite().all()
        ]
        bad = bad or [f"the norm of the gradient is {norm}"]
        raise NotFiniteError(f"training diverged in step {self.state.step + 1}: {bad[0]}.")


def _seed_streams(device: torch.device, *numbers: int) -> None:
    """Seed torch's global streams of the CPU and of a device with something of all numbers."""
    seed = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    # Not torch.manual_seed, which takes a millisecond to note who called it.
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)
