"""Building blocks: where they start, what they compute, what depends on what."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dexworld.world_models.layers import AdaptiveBlock, FourierFeatures, ResidualMLP, soft_argmax


def randomised(module: nn.Module, std: float = 0.3) -> nn.Module:
    """Return the module in float64, its weights random, also those that start at zero."""
    torch.manual_seed(0)
    for weights in module.parameters():
        nn.init.normal_(weights, std=std)
    return module.double()


def test_a_perceptron_begins_as_a_linear_map() -> None:
    torch.manual_seed(0)
    network, x = ResidualMLP(3, 2, width=8, depth=2), torch.randn(4, 5, 3)
    assert torch.equal(network(x), network.skip(x))
    nn.init.ones_(network.leave.weight)
    assert not torch.allclose(network(x), network.skip(x))


def test_a_perceptron_computes_its_equation() -> None:
    network = randomised(ResidualMLP(3, 2, width=4, depth=1, scale=0.5))
    x = torch.randn(6, 3, dtype=torch.float64)
    norm, first, _, second = network.blocks[0]
    hidden = network.enter(x)
    hidden = hidden + second(nn.functional.silu(first(norm(hidden))))
    expected = network.skip(x) + 0.5 * network.leave(nn.functional.silu(hidden))
    torch.testing.assert_close(network(x), expected)
    assert torch.autograd.gradcheck(network, x.requires_grad_())


def test_fourier_features_are_sines_and_cosines_of_octaves() -> None:
    features = FourierFeatures(longest=4.0, octaves=3)
    x = torch.tensor([[0.3, -1.2]])
    phases = [math.tau / 4.0 * 2**i * float(value) for value in x[0] for i in range(3)]
    expected = [math.sin(phase) for phase in phases] + [math.cos(phase) for phase in phases]
    torch.testing.assert_close(features(x), torch.tensor([expected]))
    assert features.size(2) == features(x).shape[1] == 12
    # Beyond half the longest wave they would repeat: they stay as they are at its end.
    assert torch.equal(features(torch.tensor([[2.0]])), features(torch.tensor([[3.1]])))
    assert not features.state_dict()


@pytest.fixture
def block() -> AdaptiveBlock:
    return randomised(AdaptiveBlock(width=6, heads=2, condition=3))  # type: ignore[return-value]


def test_an_adaptive_block_begins_as_the_identity() -> None:
    torch.manual_seed(0)
    block, tokens = AdaptiveBlock(width=6, heads=2, condition=3), torch.randn(2, 4, 6)
    assert torch.equal(block(tokens, torch.randn(2, 4, 3)), tokens)


def test_later_tokens_and_conditions_change_nothing_before_them(block: AdaptiveBlock) -> None:
    tokens = torch.randn(2, 5, 6, dtype=torch.float64)
    condition = torch.randn(2, 5, 3, dtype=torch.float64)
    before = block(tokens, condition)
    for time in range(1, 5):
        changed, other = tokens.clone(), condition.clone()
        changed[:, time:] += 1.0
        torch.testing.assert_close(block(changed, condition)[:, :time], before[:, :time])
        other[:, time:] += 1.0
        torch.testing.assert_close(block(tokens, other)[:, :time], before[:, :time])
        assert not torch.allclose(block(changed, condition)[:, time:], before[:, time:])
        assert not torch.allclose(block(tokens, other)[:, time], before[:, time])
    assert not torch.allclose(block(tokens + 1.0, condition)[:, -1], before[:, -1])


def test_the_first_token_reaches_the_last(block: AdaptiveBlock) -> None:
    tokens = torch.randn(1, 4, 6, dtype=torch.float64)
    condition = torch.randn(1, 4, 3, dtype=torch.float64)
    changed = tokens.clone()
    changed[:, 0] += torch.arange(6)
    assert not torch.allclose(block(changed, condition)[:, -1], block(tokens, condition)[:, -1])


def test_gradients_of_a_block_are_those_of_finite_differences(block: AdaptiveBlock) -> None:
    tokens = torch.randn(1, 3, 6, dtype=torch.float64, requires_grad=True)
    condition = torch.randn(1, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(block, (tokens, condition))


def test_a_width_that_heads_do_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="width=6 must be a multiple of heads=4"):
        AdaptiveBlock(width=6, heads=4, condition=3)


@pytest.mark.parametrize(("row", "column"), [(0, 0), (1, 3), (2, 1)])
def test_a_single_peak_is_found_where_it_is(row: int, column: int) -> None:
    heatmap = torch.zeros(1, 1, 3, 4)
    heatmap[0, 0, row, column] = 100.0
    expected = torch.tensor([[[-1 + (2 * column + 1) / 4, -1 + (2 * row + 1) / 3]]])
    torch.testing.assert_close(soft_argmax(heatmap), expected)


def test_positions_are_means_under_the_softmax() -> None:
    assert torch.allclose(soft_argmax(torch.full((2, 3, 4, 5), 7.0)), torch.zeros(2, 3, 2))
    heatmap = torch.full((1, 1, 1, 2), 0.0)
    heatmap[..., 1] = math.log(3.0)  # a quarter of the weight at -0.5, three at 0.5
    torch.testing.assert_close(soft_argmax(heatmap), torch.tensor([[[0.25, 0.0]]]))
