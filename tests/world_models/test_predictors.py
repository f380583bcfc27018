"""Predictors: they begin at rest, look at what they should, and have exact gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PREDICTORS, PredictorConfig

LAYOUT = PointLayout((PointSet("pusher", 1, "proprio"), PointSet("body", 3, "keypoints")))
LATENT = 8 + 2
HORIZON = 2
KINDS = [(kind, chunk) for kind in PREDICTORS for chunk in (1, 2)]


def predictor(kind: str, chunk: int, history: int = 4, randomise: bool = True) -> nn.Module:
    torch.manual_seed(0)
    config = PredictorConfig(kind, width=8, depth=1, heads=2, history=history, octaves=2)
    made = PREDICTORS[kind](config, LAYOUT, LATENT, 2, chunk).double()
    if kind == "planar_contact":
        made.fit(0.2 * torch.randn(4, 2, dtype=torch.float64))
    if randomise:
        for weights in made.parameters():
            nn.init.normal_(weights, std=0.2)
    return made


def inputs(made: nn.Module, chunk: int, history: int = 4) -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)

    def random(*shape: int) -> Tensor:
        return 0.3 * torch.randn(shape, generator=generator, dtype=torch.float64)

    return [random(2, made.remembers, LATENT), random(2, history, 2), random(2, HORIZON, chunk, 2)]


@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_before_training_nothing_moves(kind: str) -> None:
    made = predictor(kind, 2, randomise=False)
    latents, past, chunks = inputs(made, 2)
    assert torch.equal(made(latents, past, chunks), latents[:, -1:].expand(-1, HORIZON, -1))


@pytest.mark.parametrize(("kind", "chunk"), KINDS)
def test_chunks_in_a_row_are_predicted_as_one_after_another(kind: str, chunk: int) -> None:
    made = predictor(kind, chunk)
    latents, past, chunks = inputs(made, chunk)
    way = made(latents, past, chunks)
    for each, expected in zip(chunks.split(1, dim=1), way.split(1, dim=1), strict=True):
        later = made(latents, past, each)
        torch.testing.assert_close(later, expected)
        latents = torch.cat([latents[:, 1:], later], dim=1)
        past = torch.cat([past, each[:, 0]], dim=1)[:, chunk:]


@pytest.mark.parametrize(("kind", "chunk"), KINDS)
def test_gradients_are_those_of_finite_differences(kind: str, chunk: int) -> None:
    made = predictor(kind, chunk)
    given = [each.requires_grad_() for each in inputs(made, chunk)]
    assert torch.autograd.gradcheck(made, given)


@pytest.mark.parametrize(("kind", "chunk"), KINDS)
def test_the_newest_latent_and_every_action_matter(kind: str, chunk: int) -> None:
    made = predictor(kind, chunk)
    latents, past, chunks = (each.requires_grad_() for each in inputs(made, chunk))
    way = made(latents, past, chunks)
    assert way.shape == (2, HORIZON, LATENT)
    of_latents, of_past, of_chunks = torch.autograd.grad(
        way[:, 0].square().sum(), [latents, past, chunks]
    )
    assert (of_latents != 0).any(dim=2).all() and (of_chunks[:, 0] != 0).any(dim=2).all()
    assert (of_chunks[:, 1:] == 0).all(), "what comes later plays no part"
    # A transformer's oldest latent is conditioned on the actions after it, not before.
    looked = (made.remembers - 1) * chunk if kind == "transformer" else 4
    expected = [False] * (4 - looked) + [True] * looked
    assert (of_past != 0).any(dim=2).tolist() == [expected] * 2


@pytest.mark.parametrize(
    ("history", "chunk", "remembers"), [(4, 1, 4), (4, 2, 2), (5, 2, 2), (4, 5, 1)]
)
def test_a_transformer_remembers_latents_as_far_back_as_actions(
    history: int, chunk: int, remembers: int
) -> None:
    made = predictor("transformer", chunk, history)
    assert made.remembers == remembers
    assert made(*inputs(made, chunk, history)).shape == (2, HORIZON, LATENT)


@pytest.mark.parametrize("name", ["width", "depth", "heads", "history", "members"])
def test_settings_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"PredictorConfig\({name}\) must be at least 1, got 0"):
        PredictorConfig(**{name: 0})


def test_no_octave_is_enough_and_fewer_are_refused() -> None:
    PredictorConfig(octaves=0)
    with pytest.raises(ValueError, match=r"octaves\) must be at least 0, got -1"):
        PredictorConfig(octaves=-1)
    with pytest.raises(ValueError, match=r"least_motion\) must be at least 0, got nan"):
        PredictorConfig(least_motion=float("nan"))
    with pytest.raises(ValueError, match=r"reach\) must be positive or None, got 0"):
        PredictorConfig(reach=0.0)
