"""What the optimiser decays, and whose weights the evaluated copy has."""

from __future__ import annotations

import torch
from torch import nn

from dexworld.world_models.training_state import TrainingState, frozen_copy, make_optimizer


def network() -> nn.Sequential:
    """Return layers of which two share their weights, and one is frozen."""
    layers = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3), nn.Linear(3, 3), nn.Linear(3, 1))
    layers[2].weight = layers[0].weight
    layers[3].requires_grad_(False)
    return layers


def test_matrices_decay_and_vectors_and_frozen_weights_do_not() -> None:
    model = network()
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    optimizer = make_optimizer(model, learning_rate=0.1, weight_decay=0.5)
    for weight in model.parameters():
        weight.grad = torch.zeros_like(weight) if weight.requires_grad else None
    optimizer.step()
    for name, weight in model.named_parameters():
        factor = 1 - 0.1 * 0.5 if name == "0.weight" else 1.0
        torch.testing.assert_close(weight.detach(), factor * before[name])


def test_the_copy_gets_averaged_weights_and_present_buffers() -> None:
    torch.manual_seed(0)
    model = network()
    state = TrainingState(model, make_optimizer(model, 0.1, 0.0), ema=0.5)
    copy = frozen_copy(model)
    for step in range(3):
        model(torch.rand(4, 3)).sum().backward()
        state.optimizer.step()
        state.average.update(step)
    state.copy_averaged_to(copy)
    assert copy[2].weight is copy[0].weight
    assert not any(weight.requires_grad for weight in copy.parameters())
    averages, buffers = state.average.tensors, dict(model.named_buffers())
    assert len(averages) + len(buffers) == len(model.state_dict()) - 1  # the shared weight
    for name, tensor in (averages | buffers).items():
        assert torch.equal(copy.state_dict()[name], tensor)
    assert not torch.equal(averages["0.weight"], model[0].weight)
