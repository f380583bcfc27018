"""The terms of the loss: known values, and what each of them teaches."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dexworld.world_models import latent_loss
from dexworld.world_models.anti_collapse import variance_covariance
from dexworld.world_models.latent_loss import (
    LossConfig,
    feature_terms,
    picture_terms,
    point_terms,
    total,
)
from dexworld.world_models.points import PointLayout, PointSet

LAYOUT = PointLayout((PointSet("agent", 1, "proprio"),), 0.0, 10.0)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(
    ("progress", "horizon"), [(0.0, 1), (0.33, 1), (0.34, 5), (0.66, 5), (0.67, 10), (1.0, 10)]
)
def test_horizons_follow_one_another_in_equal_parts(progress: float, horizon: int) -> None:
    assert LossConfig(horizons=(1, 5, 10)).horizon(progress) == horizon


def test_windows_are_long_enough_for_every_stage() -> None:
    LossConfig(horizons=(5, 1)).check_frames(6)
    with pytest.raises(ValueError, match=r"predict 5 frames.*windows have 5: give them 6"):
        LossConfig(horizons=(5, 1)).check_frames(5)


def test_features_are_compared_with_those_that_follow_the_first() -> None:
    encoded, predicted = random(4, 3, 5), random(2, 4, 2, 5, seed=1)
    loss = LossConfig(latent=2.0, variance=3.0, covariance=0.5)
    terms = feature_terms(loss, encoded, predicted, frozen=False)
    expected = sum((predicted[m] - encoded[:, 1:]).square().mean() for m in range(2)) / 2
    torch.testing.assert_close(terms["latent"], 2.0 * expected)
    short, shared = variance_covariance(encoded.reshape(12, 5))
    torch.testing.assert_close(terms["variance"], 3.0 * short)
    torch.testing.assert_close(terms["covariance"], 0.5 * shared)
    torch.testing.assert_close(total(terms), sum(terms.values()))
    assert set(feature_terms(loss, encoded, predicted, frozen=True)) == {"latent"}


def test_predicted_and_encoded_points_are_where_the_labels_say() -> None:
    encoded, predicted = random(4, 3, 2), random(2, 4, 2, 2, seed=1)
    truth = random(4, 3, 1, 2, seed=2)
    given: list[Any] = [LAYOUT, lambda latent: latent[..., None, :], encoded, predicted, truth]
    terms = point_terms(LossConfig(consistency=0.3), *given, fixed=False)
    later = sum(LAYOUT.loss(predicted[m][:, :, None], truth[:, 1:]) for m in range(2)) / 2
    torch.testing.assert_close(terms["predicted_points"], 0.3 * later)
    torch.testing.assert_close(
        terms["encoded_points"], 0.3 * LAYOUT.loss(encoded[:, :, None], truth)
    )
    fixed = point_terms(LossConfig(consistency=0.3), *given, fixed=True)
    assert set(fixed) == {"predicted_points"}


def test_without_consistency_labels_teach_the_readout_alone() -> None:
    torch.manual_seed(0)
    readout = nn.Linear(3, 2)
    encoded = random(4, 3, 3).requires_grad_()
    predicted = random(1, 4, 2, 3, seed=1).requires_grad_()

    def points(latent: Tensor) -> Tensor:
        return readout(latent)[..., None, :]

    given: list[Any] = [LAYOUT, points, encoded, predicted, random(4, 3, 1, 2, seed=2)]
    for consistency, teaches in ((0.0, False), (0.1, True)):
        for each in (encoded, predicted, readout.weight):
            each.grad = None
        total(point_terms(LossConfig(consistency=consistency), *given, fixed=False)).backward()
        assert (readout.weight.grad != 0).any()
        assert (encoded.grad is not None) == (predicted.grad is not None) == teaches


def test_pictures_teach_the_decoder_alone_and_are_of_every_eighth_window() -> None:
    decoder = nn.Linear(2, 3)
    encoded = random(17, 2, 2).requires_grad_()
    frames = torch.zeros(17, 2, 1, 1, 3, dtype=torch.uint8)
    frames[::8, -1] = 255

    def draw(latent: Tensor) -> Tensor:
        return decoder(latent)[:, None, None]

    terms = picture_terms(LossConfig(picture=2.0), draw, encoded, frames)
    expected = 2.0 * (decoder(encoded[[0, 8, 16], -1].detach()) - 1.0).square().mean()
    torch.testing.assert_close(terms["picture"], expected)
    total(terms).backward()
    assert encoded.grad is None and (decoder.weight.grad != 0).all()


@pytest.mark.parametrize("processes", [2, 3, 6])
@pytest.mark.parametrize("rows", [12, 24, 48])
def test_processes_that_share_a_batch_draw_what_one_would(
    monkeypatch: pytest.MonkeyPatch, processes: int, rows: int
) -> None:
    encoded, decoder = random(rows, 2, 2), nn.Linear(2, 3)
    frames = torch.randint(256, (rows, 2, 1, 1, 3), generator=torch.Generator().manual_seed(1))

    def drawn(start: int, share: int) -> tuple[Tensor, Tensor]:
        mine = slice(start, start + share)
        terms = picture_terms(LossConfig(picture=2.0), draw, encoded[mine], frames[mine])
        return terms["picture"], torch.autograd.grad(terms["picture"], decoder.weight)[0]

    def draw(latent: Tensor) -> Tensor:
        return decoder(latent)[:, None, None]

    expected, gradient = drawn(0, rows)
    monkeypatch.setattr(latent_loss, "world_size", lambda: processes)
    share, parts = rows // processes, []
    for number in range(processes):
        monkeypatch.setattr(latent_loss, "rank", lambda number=number: number)
        parts.append(drawn(number * share, share))
    torch.testing.assert_close(sum(loss for loss, _ in parts) / processes, expected)
    torch.testing.assert_close(sum(grad for _, grad in parts) / processes, gradient)


@pytest.mark.parametrize("horizons", [(), (0, 1)])
def test_horizons_of_nothing_are_refused(horizons: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="at least one, each from 1 on"):
        LossConfig(horizons=horizons)


@pytest.mark.parametrize("name", ["latent", "consistency", "variance", "covariance", "picture"])
@pytest.mark.parametrize("weight", [-1.0, float("nan")])
def test_negative_weights_are_refused(name: str, weight: float) -> None:
    with pytest.raises(ValueError, match=rf"{name}=.*weights must be at least 0"):
        LossConfig(**{name: weight})
