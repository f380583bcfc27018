"""Everything that a training carries from one step to the next, and its way to and from files."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoints import Checkpoint, check_tensors
from .distributed import like, whole
from .moving_average import MovingAverage

MODEL, AVERAGE, OPTIMIZER = "model", "average", "optimizer"
"""Files of a checkpoint."""


class TrainingState:
    """A model, the moments of its optimiser, and the average of its weights.

    The files hold whole tensors by the names of the model's parameters, whatever processes or
    shards they were trained in.
    """

    def __init__(self, model: nn.Module, optimizer: torch.optim.Optimizer, ema: float) -> None:
        self.model = model
        self.optimizer = optimizer
        self.average = MovingAverage(model, ema)
        self.step = 0
        """Finished steps."""

    def files(self) -> dict[str, dict[str, Tensor]]:
        """Return whole tensors by file; with sharded weights, on all processes or on none."""
        moments = {
            f"{moment}.{name}": whole(tensor)
            for name, weight in self.model.named_parameters()
            for moment, tensor in self.optimizer.state.get(weight, {}).items()
        }
        files = {MODEL: _whole(self.model.state_dict()), OPTIMIZER: moments}
        return files | ({AVERAGE: _whole(self.average.tensors)} if self.average.tensors else {})

    @torch.no_grad()
    def load(self, checkpoint: Checkpoint) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: It is damaged, or holds the weights of another model.
        """
        self._fill(self.model.state_dict(), checkpoint, MODEL)
        self._fill(self.average.tensors, checkpoint, AVERAGE)
        weights = dict(self.model.named_parameters())
        for key, tensor in checkpoint.tensors(OPTIMIZER).items():
            moment, _, name = key.partition(".")
            weight = weights[name]
            whole_on_all = moment == "step"
            self.optimizer.state[weight][moment] = (
                tensor.to(weight.device) if whole_on_all else like(tensor, weight)
            )
        self.step = checkpoint.step

    def _fill(self, targets: Mapping[str, Tensor], checkpoint: Checkpoint, file: str) -> None:
        if not targets:
            return
        found = checkpoint.tensors(file)
        remedy = "Resume with the model it was started with, or train in another folder."
        check_tensors(str(checkpoint.path), found, targets, remedy)
        for name, target in targets.items():
            target.copy_(like(found[name], target))

    @torch.no_grad()
    def copy_averaged_to(self, model: nn.Module) -> None:
        """Give another, whole model of the same class the averaged weights and the buffers.

        With sharded weights, on all processes or on none.
        """
        targets = model.state_dict()
        # In this order, because weights that share memory have one average and several names.
        for source in (self.model.state_dict(), self.average.tensors):
            for name, tensor in source.items():
                targets[name].copy_(whole(tensor))


def frozen_copy(model: nn.Module) -> nn.Module:
    """Return a copy to evaluate, that no gradient reaches."""
    return copy.deepcopy(model).requires_grad_(False).eval()


def make_optimizer(
    model: nn.Module, learning_rate: float, weight_decay: float
) -> torch.optim.Optimizer:
    """Return AdamW (Loshchilov and Hutter 2019), which decays matrices only.

    Biases, gains and other vectors do not grow a network's complexity: they are left alone.
    """
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": [w for w in weights if w.ndim >= 2], "weight_decay": weight_decay},
        {"params": [w for w in weights if w.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=learning_rate, fused=True)


def _whole(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: whole(tensor) for name, tensor in tensors.items()}
