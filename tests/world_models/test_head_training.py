"""Heads learn: values that are known, on a line where a point moves a tenth at a time."""

from __future__ import annotations

import copy
import dataclasses
import functools

import pytest
import torch
from torch import Tensor, nn

from dexworld.planners import CEM, NegativeReturn, NegativeReward
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.head_errors import head_errors, obtained
from dexworld.world_models.head_training import TERMINAL, HeadTraining
from dexworld.world_models.heads import REWARD, VALUE, HeadsConfig
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig, StepwisePredictor
from dexworld.world_models.training_state import make_optimizer

STEP = 0.1
DISCOUNT = 0.9
SMALL = HeadsConfig(DISCOUNT, width=32, depth=1, octaves=2, inertia=0.9)


class Walled(StepwisePredictor):
    """A point that moves by a tenth of the action along a line, between two walls."""

    def step(self, latents: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        along = torch.tensor([STEP, 0.0])
        return (latents[:, -1] + along * actions[:, 0]).clamp(-1.0, 1.0)


def on_a_line(heads: HeadsConfig | None = SMALL) -> LatentWorldModel:
    """Return the exact model of the point."""
    torch.manual_seed(0)
    model = LatentWorldModel(
        LatentConfig(
            {"place": (2,)},
            (-1.0, -1.0),
            (1.0, 1.0),
            features=0,
            points=PointLayout((PointSet("place", 1, "place"),)),
            predictor=PredictorConfig(width=4, depth=1, history=1),
            heads=heads,
        )
    )
    model.predictors[0] = Walled()
    return model.eval()


def peak(place: Tensor) -> Tensor:
    """Return a reward that is there at the end of the line alone."""
    return torch.exp(-((place - 0.8) / 0.1).square())


def top(place: Tensor) -> Tensor:
    """Return whether a place is that of the peak."""
    return (place - 0.8).abs() < 0.01


def walks(rows: int, steps: int, seed: int, ends: bool = False) -> Windows:
    """Return windows of random steps to the left, to the right, or none.

    The reward is that of the peak; or, where episodes end at its top, -1 for every step there.
    """
    generator = torch.Generator().manual_seed(seed)
    place = 2.0 * torch.rand(rows, generator=generator) - 1.0
    if ends:  # exactly on the places
        place = (10.0 * place).round().clamp(max=7.0) / 10.0
    moves = torch.randint(-1, 2, (rows, steps), generator=generator).float()
    way = [place]
    for move in moves.unbind(1):
        if ends:
            move[top(way[-1])] = 0.0
        way.append((way[-1] + STEP * move).clamp(-1.0, 1.0))
    place = torch.stack(way, dim=1)
    frames = {"place": torch.stack([place, torch.zeros_like(place)], dim=2)}
    frames[REWARD] = -torch.ones_like(place) if ends else peak(place)
    if ends:
        frames[TERMINAL] = top(place)
    actions = torch.stack([moves, torch.zeros(rows, steps)], dim=2)
    return Windows(
        frames,
        actions[:, :, None],
        torch.zeros(rows, 1, 2),
        torch.zeros(rows, 1, dtype=torch.bool),
        torch.arange(rows),
    )


@functools.cache
def taught(heads: HeadsConfig, ends: bool = False, steps: int = 400) -> LatentWorldModel:
    training = HeadTraining(on_a_line(heads)).train()
    training.heads.fit(walks(256, 4, 0, ends).frames[REWARD].flatten())
    optimizer = make_optimizer(training, 5e-3, 1e-4)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 5e-3 * (1.0 - step / steps) + 1e-5
        torch.manual_seed(step)
        training.training_loss(walks(64, 2, step, ends), 0.0)[0].backward()
        optimizer.step()
        optimizer.zero_grad()
    return training.model.eval().requires_grad_(False)


def places() -> Tensor:
    line = STEP * torch.arange(-10, 11).float()
    return torch.stack([line, torch.zeros(21)], dim=1)


def best_values(ends: bool = False) -> Tensor:
    """Return the optimal value of the 21 places, by value iteration on the chain."""
    line = places()[:, 0]
    if ends:
        left = (torch.arange(21) - 18).abs()
        return -(1.0 - DISCOUNT**left) / (1.0 - DISCOUNT)
    rewards, values = peak(line), torch.zeros(21)
    for _ in range(300):
        worth = rewards + DISCOUNT * values
        padded = torch.cat([worth[:1], worth, worth[-1:]])
        values = torch.stack([padded[:-2], padded[1:-1], padded[2:]]).amax(0)
    return values


IMAGINING = dataclasses.replace(SMALL, proposals=8)
TAKEN = dataclasses.replace(SMALL, proposals=0, expectile=0.97)


@pytest.mark.slow
@pytest.mark.parametrize("heads", [IMAGINING, TAKEN], ids=["imagining", "taken"])
def test_values_converge_to_those_of_the_best_policy(heads: HeadsConfig) -> None:
    state = taught(heads).encode({"place": places()})
    torch.testing.assert_close(state[REWARD], peak(places()[:, 0]), atol=0.05, rtol=0)
    expected = best_values()
    assert expected.max() > 9 and expected.min() < 2
    worst = (state[VALUE] - expected).abs().max()
    assert worst < 0.6, (state[VALUE], expected)


@pytest.mark.slow
def test_nothing_follows_an_end() -> None:
    """With -1 a step until the end of the episode, the value counts the steps that are left."""
    state = taught(IMAGINING, ends=True).encode({"place": places()[:19]})
    expected = best_values(ends=True)[:19]
    assert expected.min() < -8 and expected.max() == 0.0
    worst = (state[VALUE] - expected).abs().max()
    assert worst < 0.6, (state[VALUE], expected)


@pytest.mark.slow
def test_a_plan_that_is_too_short_to_see_the_reward_is_led_by_the_value() -> None:
    model = taught(IMAGINING)
    start = {"place": torch.tensor([[-0.5, 0.0], [0.1, 0.0], [-0.9, 0.0]])}

    def arrives(objective: NegativeReturn | NegativeReward) -> Tensor:
        state, planner = model.encode(start), CEM(horizon=2, samples=16, iterations=3, elites=4)
        for _ in range(25):
            plan = planner.plan(model, objective, state, {})
            state = model.step(state, plan.actions[:, 0])
        return (state["place"][:, 0] - torch.tensor([0.8, 0.0])).norm(dim=1) < 0.2

    assert arrives(NegativeReturn(discount=DISCOUNT)).all()
    assert not arrives(NegativeReward()).any()


# One step


def test_only_heads_learn_and_all_of_them() -> None:
    training = HeadTraining(on_a_line()).train()
    before = copy.deepcopy(training.model.state_dict())
    loss, terms = training.training_loss(walks(8, 2, 0), 0.0)
    loss.backward()
    assert set(terms) == {"reward", "value"}
    torch.testing.assert_close(loss, torch.stack([*terms.values()]).sum())
    learn = {name for name, each in training.named_parameters() if each.grad is not None}
    assert learn == {name for name, _ in training.named_parameters() if ".heads." in name}
    make_optimizer(training, 1e-2, 0.0).step()
    for name, weights in training.model.state_dict().items():
        if not name.startswith("heads."):
            assert torch.equal(weights, before[name]), name
    assert set(training.training_loss(walks(8, 2, 0, ends=True), 0.0)[1]) == {*terms, "ended"}


def test_the_model_predicts_as_in_use_while_its_heads_learn() -> None:
    training = HeadTraining(on_a_line()).train()
    assert training.training and training.heads.training
    assert not training.model.training and not training.model.predictors.training
    assert not training.eval().heads.training


def test_the_target_follows_slowly() -> None:
    training = HeadTraining(on_a_line(dataclasses.replace(SMALL, inertia=0.75)))
    for weights in training.heads.value_head.parameters():
        nn.init.ones_(weights)
    for weights in training.target.parameters():
        nn.init.zeros_(weights)
    for left in (0.75, 0.75**2):
        training.training_loss(walks(4, 2, 0), 0.0)
        for weights in training.target.parameters():
            torch.testing.assert_close(weights, torch.full_like(weights, 1.0 - left))
            assert not weights.requires_grad


def test_targets_are_the_best_of_all_returns() -> None:
    training = HeadTraining(on_a_line())
    training.heads.fit(torch.tensor([-1.0, 1.0]))
    nn.init.constant_(training.target.network.leave.bias, 0.5)  # worth 5 everywhere
    latents, rewards = torch.zeros(3, 2, 2), torch.tensor([[1.0, 2.0], [3.0, -9.0], [1.0, 2.0]])
    ended = torch.tensor([[False, False], [False, False], [True, True]])
    found = training._best(latents, rewards, ended)
    expected = [1.0 + 0.9 * 2.0 + 0.81 * 5.0, 3.0 + 0.9 * 5.0, 1.0]
    torch.testing.assert_close(found, torch.tensor(expected))


def test_what_others_did_is_gone_on_with_from_here() -> None:
    training = HeadTraining(on_a_line(dataclasses.replace(SMALL, proposals=64)))
    nn.init.constant_(training.heads.reward_head.network.skip.weight[:, 0], 1.0)
    given = walks(16, 2, 0)
    latent = given.frames["place"][:, 0]
    seen = training._imagined(latent, given, training.heads.config)
    # The reward is the place; among 64 ways to go on, one goes right and one goes left.
    torch.testing.assert_close(seen[:, 0], latent[:, 0])
    torch.testing.assert_close(seen.amax(1), (latent[:, 0] + STEP).clamp(max=1.0))
    torch.testing.assert_close(seen.amin(1), (latent[:, 0] - STEP).clamp(min=-1.0))
    further = dataclasses.replace(SMALL, proposals=64, ahead=2)
    seen = training._imagined(latent, given, further).amax(1)
    expected = sum(0.9**k * (latent[:, 0] + (k + 1) * STEP).clamp(max=1.0) for k in range(2))
    torch.testing.assert_close(seen, torch.maximum(expected, latent[:, 0] + STEP).clamp(max=1.9))
    assert training._imagined(latent, given, TAKEN).shape == (16, 0)


def test_latents_of_a_frozen_encoder_take_the_place_of_frames() -> None:
    given = walks(8, 2, 0)
    frames = {REWARD: given.frames[REWARD], LATENT: given.frames["place"]}
    losses = []
    for each in (given, dataclasses.replace(given, frames=frames)):
        torch.manual_seed(3)
        losses.append(HeadTraining(on_a_line()).training_loss(each, 0.0)[0])
    torch.testing.assert_close(*losses)


def test_what_cannot_be_learned_is_told() -> None:
    with pytest.raises(ValueError, match="has no heads to train"):
        HeadTraining(on_a_line(None))
    training, given = HeadTraining(on_a_line()), walks(8, 2, 0)
    sparse = dataclasses.replace(given, actions=given.actions.expand(-1, -1, 3, -1))
    with pytest.raises(ValueError, match=r"3 steps apart, but values.*data.gaps=\[1, 1\]"):
        training.training_loss(sparse, 0.0)
    del given.frames[REWARD]
    with pytest.raises(KeyError, match=r"without 'reward'; they hold \['place'\]"):
        training.training_loss(given, 0.0)


# Measuring


def test_the_errors_of_perfect_heads_are_none() -> None:
    model, given = on_a_line(), walks(64, 6, 0)
    heads = model.heads
    assert heads is not None
    nn.init.constant_(heads.reward_head.network.skip.weight[:, 0], 1.0)
    places = given.frames["place"][..., 0]
    frames = {**given.frames, REWARD: places}
    found = head_errors(model, dataclasses.replace(given, frames=frames), (1, 5, 9))
    assert {name.split("_")[1] for name in found} == {"1", "5"}
    assert found["reward_1"] < 1e-6 and found["reward_5"] < 1e-6
    moved = (places[:, 5] - places[:, 0]).abs().mean()
    assert found["reward_5_static"] == pytest.approx(float(moved), rel=1e-5)
    # Values are none here, so the whole return is missed, and nothing is foretold.
    gained = sum(0.9**k * places[:, k + 1] for k in range(5))
    assert found["value_5"] == pytest.approx(float(gained.abs().mean()), rel=1e-4)
    assert found["value_5_excess"] == pytest.approx(-float(gained.mean()), rel=1e-4)
    assert found["value_5_correlation"] == found["value_5_slope"] == 0.0


def test_values_that_foretell_returns_are_calibrated() -> None:
    model, given = on_a_line(), walks(64, 3, 0)
    heads = model.heads
    assert heads is not None
    nn.init.constant_(heads.value_head.network.skip.weight[:, 0], 0.2)  # V = 2 x
    place = given.frames["place"][..., 0]
    rewards = torch.zeros_like(place)
    rewards[:, 1] = 4.0 * place[:, 0] - 0.9 * 2.0 * place[:, 1]  # so that G = 4 x
    given.frames[REWARD] = rewards
    found = head_errors(model, given, (1,))
    assert found["value_1_slope"] == pytest.approx(2.0, rel=1e-4)
    assert found["value_1_correlation"] == pytest.approx(1.0, rel=1e-4)
    assert found["value_1_excess"] == pytest.approx(float(-2.0 * place[:, 0].mean()), abs=1e-4)


def test_nothing_is_obtained_after_an_end() -> None:
    heads = on_a_line().heads
    assert heads is not None
    rewards = torch.tensor([[7.0, 1.0, 2.0], [7.0, 1.0, 2.0], [7.0, 1.0, 2.0]])
    ended = torch.tensor([[False] * 3, [False, False, True], [False, True, False]])
    found = obtained(heads, rewards, ended, torch.full((3,), 10.0))
    torch.testing.assert_close(found, torch.tensor([1.0 + 1.8 + 8.1, 2.8, 1.0]))


def test_heads_that_are_not_there_are_not_measured() -> None:
    with pytest.raises(ValueError, match="has no heads to measure"):
        head_errors(on_a_line(None), walks(4, 2, 0), (1,))
