"""A network that trains in milliseconds, and a program that trains it: `toy_training.py --help`.

Its loss has what makes resuming and data parallelism hard: dropout, random projections that all
processes share, and a covariance over the whole batch.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from dexworld.world_models.checkpoints import Checkpoints
from dexworld.world_models.distributed import all_gather_rows, from_first_rank, local, rank
from dexworld.world_models.training import Trainer
from dexworld.world_models.training_settings import TrainingSettings

ROWS, INPUTS, LATENTS = 16, 6, 8


@dataclass(frozen=True)
class Rows:
    inputs: Tensor
    targets: Tensor

    def to(self, device: torch.device) -> Rows:
        return Rows(self.inputs.to(device), self.targets.to(device))


def batches(number: int, rank: int, world_size: int) -> Rows:
    generator = torch.Generator().manual_seed(number)
    inputs = torch.randn(ROWS, INPUTS, generator=generator)
    rows = slice(rank * ROWS // world_size, (rank + 1) * ROWS // world_size)
    return Rows(inputs[rows], inputs[rows].sin().cumsum(1))


class Toy(nn.Module):
    """Regression with a variance-covariance term on the latents, and one on projections of them."""

    def __init__(self, dropout: float = 0.0, latents: int = LATENTS) -> None:
        super().__init__()
        self.latents = latents
        self.encoder = nn.Sequential(
            nn.Linear(INPUTS, latents), nn.LayerNorm(latents), nn.GELU(), nn.Dropout(dropout)
        )
        self.blocks = nn.ModuleList([nn.Linear(latents, latents) for _ in range(2)])
        self.head = nn.Linear(latents, INPUTS)
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))

    def training_loss(self, windows: Rows, progress: float) -> tuple[Tensor, dict[str, Tensor]]:
        self.seen += 1
        latent = self.encoder(windows.inputs)
        for block in self.blocks:
            latent = latent + block(latent).tanh()
        assert windows.targets.dtype == torch.float32  # mixed precision must not round them
        regression = (self.head(latent) - windows.targets).square().mean()
        rows = all_gather_rows(latent.float())
        covariance = (torch.cov(rows.T) - torch.eye(self.latents)).square().mean()
        directions = from_first_rank(torch.randn(self.latents, 4))
        spread = ((rows @ directions).std(0) - 1).square().mean()
        loss = regression + (0.5 + 0.5 * progress) * covariance + 0.1 * spread
        return loss, {"regression": regression, "covariance": covariance, "spread": spread}


def toy(dropout: float = 0.0, latents: int = LATENTS) -> Toy:
    torch.manual_seed(0)
    return Toy(dropout, latents)


def settings(**changes: object) -> TrainingSettings:
    base = {"steps": 12, "learning_rate": 1e-2, "ema": 0.9, "precision": "32-true"}
    base |= {"accelerator": "cpu", "checkpoint_every": 4, "seed": 3}
    return TrainingSettings(**(base | changes))  # type: ignore[arg-type]


def evaluate(model: nn.Module, step: int) -> dict[str, float]:
    """Return a loss that gathers rows, though one process alone evaluates it."""
    torch.manual_seed(0)
    return {"loss": float(model.training_loss(batches(10**6, 0, 1), 1.0)[0])}


def kill_again_and_again(folder: Path, kills: int, steps: int) -> None:
    """Train in children that are killed at random moments, then to the end in one that is not.

    The children are forked from this process, which has no threads, because imports take seconds.
    """
    import lightning.fabric  # noqa: F401

    generator = np.random.default_rng(0)
    checkpoints = Checkpoints(folder / "checkpoints")
    chosen = settings(steps=steps, checkpoint_every=2)
    written = last = while_writing = 0
    for kill in range(kills + 1):
        child = os.fork()
        if child == 0:
            Trainer(chosen, folder).fit(toy(dropout=0.1), batches)
            os._exit(0)
        if kill < kills:
            # Until it has written something, and then a moment more: often in the next writing.
            deadline = time.monotonic() + 30
            while written == last and time.monotonic() < deadline:
                time.sleep(0.001)
                found = sorted(checkpoints.folder.glob("step_*"))
                written = int(found[-1].name.partition("_")[2]) if found else 0
            time.sleep(generator.uniform(0, 0.03))
            os.kill(child, signal.SIGKILL)
        status = os.waitpid(child, 0)[1]
        assert status == (signal.SIGKILL if kill < kills else 0), f"run {kill}: status {status}"
        while_writing += any(checkpoints.folder.glob(".step_*"))
        saved = checkpoints.all()
        assert saved and saved[-1].step >= written, f"step {written} was written, and is lost"
        for checkpoint in saved:
            for name in ("model", "optimizer", "average"):
                assert checkpoint.tensors(name)
        written = last = saved[-1].step
    sys.stdout.write(f"killed {kills} times, {while_writing} while writing; {last} steps\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--strategy", default="auto")
    parser.add_argument("--devices", type=int, default=1)
    parser.add_argument("--steps", type=int, default=12)
    parser.add_argument("--accumulate", type=int, default=1)
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.kills:
        kill_again_and_again(given.folder, given.kills, given.steps)
        return
    chosen = settings(
        strategy=given.strategy,
        devices=given.devices,
        steps=given.steps,
        accumulate=given.accumulate,
        keep=100,
    )
    model = toy()
    result = Trainer(chosen, given.folder, evaluate=evaluate).fit(model, batches)
    if rank() == 0:
        held = sum(local(weight).numel() for weight in model.parameters())
        part = held / sum(weight.numel() for weight in result.model.parameters())
        sys.stdout.write(f"went on from step {result.resumed_from}, holding {part:.2f}\n")


if __name__ == "__main__":
    main()
