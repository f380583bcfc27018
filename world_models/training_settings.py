"""How a model is trained."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from .checkpoints import HIGHEST, LOWEST
from .schedules import SCHEDULES

CHOICES = {
    "schedule": tuple(SCHEDULES),
    "precision": ("bf16-mixed", "32-true"),
    "accelerator": ("auto", "cpu", "cuda"),
    "strategy": ("auto", "ddp", "fsdp"),
    "best_is": (LOWEST, HIGHEST),
}
AT_LEAST = {
    "steps": 1,
    "weight_decay": 0.0,
    "gradient_clip": 0.0,
    "accumulate": 1,
    "seed": 0,
    "checkpoint_every": 1,
    "evaluate_every": 1,
    "log_every": 1,
    "keep": 1,
    "devices": 1,
    "nodes": 1,
}
HARMLESS = (
    "checkpoint_every",
    "evaluate_every",
    "log_every",
    "keep",
    "best_metric",
    "best_is",
    "accelerator",
    "strategy",
    "devices",
    "nodes",
    "compile",
)
"""Settings that leave the trained weights as they are, up to rounding: resuming may change them."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a model is trained, for how long, and where.

    Raises:
        ValueError: A setting has a value that it cannot have.
    """

    steps: int = 10_000
    """Updates of the weights."""
    learning_rate: float = 3e-4
    """Highest learning rate."""
    weight_decay: float = 0.01
    """Decay of matrices (AdamW); vectors are left alone."""
    warmup: float = 0.05
    """Part of the steps during which the learning rate rises."""
    schedule: str = "cosine"
    """How it goes on then: cosine, linear, constant or one_cycle."""
    gradient_clip: float = 1.0
    """Largest norm of the gradient; 0 for any."""
    ema: float = 0.999
    """Decay of the moving average of the weights, which is what is evaluated; 0 for none."""
    precision: str = "bf16-mixed"
    """bf16-mixed, or 32-true."""
    accumulate: int = 1
    """Batches whose gradients are averaged for one update."""
    seed: int = 0
    """Base of all random streams of the loss."""
    checkpoint_every: int = 1000
    """Steps between checkpoints: what a killed training loses at most."""
    evaluate_every: int = 1000
    """Steps between evaluations."""
    log_every: int = 50
    """Steps between the points of a curve."""
    keep: int = 2
    """Checkpoints that are kept, the last ones."""
    best_metric: str | None = None
    """The checkpoint with the best of this evaluated metric is kept too."""
    best_is: str = LOWEST
    """Whether the lowest or the highest metric is the best."""
    accelerator: str = "auto"
    """auto, cpu or cuda."""
    strategy: str = "auto"
    """ddp: each process holds the model; fsdp: they share its weights and moments (FSDP2)."""
    devices: int = 1
    """Processes on each machine, each with a device and its share of every batch."""
    nodes: int = 1
    """Machines."""
    compile: bool = False
    """Compile the loss (torch.compile)."""

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            self._require(name, getattr(self, name) in allowed, f"one of {list(allowed)}")
        for name, least in AT_LEAST.items():
            self._require(name, getattr(self, name) >= least, f"at least {least}")
        self._require("learning_rate", self.learning_rate > 0, "positive")
        self._require("warmup", 0 <= self.warmup < 1, "in [0, 1)")
        self._require("ema", 0 <= self.ema < 1, "in [0, 1)")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise ValueError(f"TrainingSettings({name}={getattr(self, name)!r}): must be {rule}.")

    def decisive(self) -> dict[str, Any]:
        """Return the settings that decide what the weights become."""
        return {name: value for name, value in asdict(self).items() if name not in HARMLESS}
