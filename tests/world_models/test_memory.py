"""Memories: what is kept of latents and actions as predictions go on."""

from __future__ import annotations

import torch
from torch import Tensor

from dexworld.world_models.memory import Memory
from dexworld.world_models.predictors import StepwisePredictor


class Sum(StepwisePredictor):
    """The next latent is the newest plus all actions that are remembered and come."""

    def __init__(self, remembers: int) -> None:
        super().__init__()
        self.remembers, self.calls = remembers, 0

    def step(self, latents: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        self.calls += 1
        return latents[:, -1] + past.sum(1) + 10.0 * actions.sum(1) + 100.0 * latents[:, 0]


def memory(remembers: int, rows: int = 1) -> Memory:
    latents = torch.arange(1.0, remembers + 1).view(1, remembers, 1).repeat(rows, 1, 1)
    return Memory(latents, torch.tensor([[[0.1], [0.2]]]).repeat(rows, 1, 1))


CHUNKS = torch.tensor([[[[1.0]], [[2.0]], [[3.0]]]])


def test_rolling_predicts_from_what_is_newest_and_forgets_what_is_oldest() -> None:
    way, after = memory(2).roll(Sum(2), CHUNKS)
    # latents [1, 2], past [.1, .2]; then [2, a], [.2, 1]; then [a, b], [1, 2].
    first = 2 + 0.3 + 10 * 1 + 100 * 1
    second = first + 1.2 + 10 * 2 + 100 * 2
    third = second + 3.0 + 10 * 3 + 100 * first
    torch.testing.assert_close(way, torch.tensor([[[first], [second], [third]]]))
    torch.testing.assert_close(after.latents, torch.tensor([[[second], [third]]]))
    assert after.past.tolist() == [[[2.0], [3.0]]]


def test_a_chunk_of_several_actions_is_remembered_action_by_action() -> None:
    chunk = torch.tensor([[[[1.0], [2.0], [3.0]]]])
    _, after = memory(1).roll(Sum(1), chunk)
    assert after.past.tolist() == [[[2.0], [3.0]]]


def test_what_is_seen_takes_the_place_of_what_was_predicted() -> None:
    seen = torch.tensor([[7.0]])
    predictor = Sum(2)
    after = memory(2).see(predictor, CHUNKS, seen)
    rolled = memory(2).roll(predictor, CHUNKS)[1]
    torch.testing.assert_close(after.latents[:, :-1], rolled.latents[:, :-1])
    assert torch.equal(after.latents[:, -1], seen) and torch.equal(after.past, rolled.past)


def test_nothing_is_predicted_that_is_not_remembered() -> None:
    predictor = Sum(1)
    after = memory(1).see(predictor, CHUNKS, torch.tensor([[7.0]]))
    assert predictor.calls == 0
    assert after.latents.tolist() == [[[7.0]]]
    assert torch.equal(after.past, memory(1).roll(predictor, CHUNKS)[1].past)


def test_rows_forget_and_repeat() -> None:
    old = memory(2, rows=3)
    fresh = Memory(torch.zeros(3, 2, 1), torch.full((3, 2, 1), -1.0))
    mixed = old.forget(torch.tensor([False, True, False]), fresh)
    assert mixed.latents[:, 1, 0].tolist() == [2.0, 0.0, 2.0]
    assert mixed.past[:, 0, 0].tolist() == [old.past[0, 0, 0], -1.0, old.past[0, 0, 0]]
    both = mixed.repeat(2)
    assert both.latents[:, 1, 0].tolist() == [2.0, 2.0, 0.0, 0.0, 2.0, 2.0]
    assert both.past[2:4].tolist() == [[[-1.0], [-1.0]]] * 2
