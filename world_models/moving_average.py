"""The average of a network's weights over its training: what is evaluated and shipped."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .distributed import local


class MovingAverage:
    """Exponential moving average of all parameters, sharded as they are.

        average <- d * average + (1 - d) * weights,    d = min(decay, (1 + step) / (10 + step))

    The lower decay of the first steps forgets the random weights that training started from.
    With `decay` 0 the average is the weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self._weights = dict(model.named_parameters())
        self.tensors: dict[str, Tensor] = {
            name: weight.detach().clone() for name, weight in self._weights.items() if decay
        }
        """The averages by the names of the parameters; empty where there is nothing to average."""

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the weights after a step, counted from 0."""
        if not self.tensors:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        averages = [local(average) for average in self.tensors.values()]
        weights = [local(self._weights[name]) for name in self.tensors]
        torch._foreach_lerp_(averages, weights, 1 - decay)
