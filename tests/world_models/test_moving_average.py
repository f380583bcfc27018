"""The average of weights against its equation."""

from __future__ import annotations

import torch
from torch import nn

from dexworld.world_models.moving_average import MovingAverage


def test_it_is_the_recursion_of_its_equation() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2))
    average = MovingAverage(model, 0.5)
    expected = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    for step in range(12):
        with torch.no_grad():
            for weight in model.parameters():
                weight += torch.randn_like(weight)
        average.update(step)
        decay = min(0.5, (1 + step) / (10 + step))
        for name, weight in model.named_parameters():
            expected[name] = decay * expected[name] + (1 - decay) * weight.detach()
    assert average.tensors.keys() == expected.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(average.tensors[name], tensor)


def test_without_decay_nothing_is_held() -> None:
    average = MovingAverage(nn.Linear(3, 2), 0.0)
    average.update(0)
    assert average.tensors == {}
