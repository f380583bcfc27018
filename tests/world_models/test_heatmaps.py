"""Heatmaps against their definition cell by cell; what is read off them; scores and the loss."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.world_models.heatmaps import (
    confidence,
    correct_keypoints,
    draw_heatmaps,
    hand_consistency,
    hard_argmax,
    soft_argmax,
)

SIZE = (24, 30)


def some_pixels(*rows: int) -> Tensor:
    """Return positions whose windows lie inside of the image."""
    generator = torch.Generator().manual_seed(0)
    unit = torch.rand(*rows, 2, generator=generator, dtype=torch.float64)
    return 4 + unit * torch.tensor([SIZE[1] - 8.01, SIZE[0] - 8.01], dtype=torch.float64)


def seen(pixels: Tensor) -> Tensor:
    return torch.ones(pixels.shape[:-1], dtype=torch.bool)


@pytest.mark.parametrize(("sigma", "reach"), [(2.0, 4), (1.5, 3), (1.0, 2)])
def test_heatmaps_are_bells_in_a_window(sigma: float, reach: int) -> None:
    pixels = some_pixels(3, 2)
    heatmaps = draw_heatmaps(pixels, seen(pixels), SIZE, sigma=sigma)
    for row, name, i, j in np.ndindex(3, 2, *SIZE):
        u, v = (math.floor(each) for each in pixels[row, name])
        near = max(abs(i - v), abs(j - u)) <= reach
        expected = math.exp(-((i - v) ** 2 + (j - u) ** 2) / (2 * sigma**2)) if near else 0.0
        assert heatmaps[row, name, i, j] == pytest.approx(expected, abs=1e-15)
    assert (heatmaps.amax((-1, -2)) == 1).all()


def test_what_is_not_seen_is_not_drawn() -> None:
    pixels = some_pixels(2, 3)
    pixels[1, 2] = torch.nan
    visible = torch.tensor([[True, False, True], [False, True, False]])
    heatmaps = draw_heatmaps(pixels, visible, SIZE)
    assert torch.equal(heatmaps.flatten(2).any(-1), visible)
    assert torch.isfinite(heatmaps).all()


def test_windows_that_leave_the_image_are_not_drawn() -> None:
    """The last whole one on each side still is."""
    height, width = SIZE
    middle = (width / 2, height / 2)
    for axis, cells in ((0, width), (1, height)):
        for edge, inwards in ((4.0, 1.0), (cells - 4.0, -1.0)):
            at, beyond = list(middle), list(middle)
            at[axis], beyond[axis] = edge + inwards * 0.01, edge - inwards * 0.01
            pixels = torch.tensor([[at, beyond]])
            drawn = draw_heatmaps(pixels, seen(pixels), SIZE).flatten(2).any(-1)
            assert drawn.tolist() == [[True, False]], (axis, edge)


def test_coarse_maps_have_the_cells_that_pixels_fall_in() -> None:
    pixels = 4 * some_pixels(5, 2)
    heatmaps = draw_heatmaps(pixels, seen(pixels), SIZE, stride=4)
    assert torch.equal(heatmaps, draw_heatmaps(pixels / 4, seen(pixels), SIZE))
    found = hard_argmax(heatmaps, stride=4)
    assert ((found - pixels).abs() <= 2).all()
    torch.testing.assert_close(soft_argmax(heatmaps, stride=4), found, atol=0.5, rtol=0)


def test_the_highest_cell_is_where_a_keypoint_is() -> None:
    pixels = some_pixels(4, 5, 2)
    heatmaps = draw_heatmaps(pixels, seen(pixels), SIZE)
    found = hard_argmax(heatmaps)
    assert torch.equal(found, torch.floor(pixels) + 0.5)
    assert hard_argmax(heatmaps.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("size", [SIZE, (224, 392)])
def test_soft_positions_are_the_hard_ones_on_clean_maps(size: tuple[int, int]) -> None:
    corners = torch.tensor([[[4.5, 4.5], [size[1] - 4.5, size[0] - 4.5], [6.2, size[0] - 7.7]]])
    heatmaps = draw_heatmaps(corners, seen(corners), size)
    expected = hard_argmax(heatmaps)
    torch.testing.assert_close(soft_argmax(heatmaps), expected, atol=0.1, rtol=0)
    # A head that is not sure of itself, or draws on a grey ground.
    torch.testing.assert_close(soft_argmax(0.05 * heatmaps + 0.6), expected, atol=0.1, rtol=0)


def test_soft_positions_follow_what_lies_between_cells() -> None:
    """As the hard ones cannot: two equal neighbours give the place between them."""
    heatmaps = torch.zeros(1, *SIZE)
    heatmaps[0, 10, 12:14] = 1.0
    torch.testing.assert_close(soft_argmax(heatmaps, sharpness=50), torch.tensor([[13.0, 10.5]]))
    tilted = heatmaps.clone()
    tilted[0, 10, 13] = 1.02
    assert 13.0 < soft_argmax(tilted)[0, 0] < 13.5


def test_an_empty_map_is_nowhere_in_particular() -> None:
    empty = torch.full((2, *SIZE), 0.25, requires_grad=True)
    positions = soft_argmax(empty)
    torch.testing.assert_close(positions, torch.tensor([[15.0, 12.0]] * 2))
    positions.sum().backward()
    assert empty.grad is not None and torch.isfinite(empty.grad).all()


def test_soft_positions_have_the_gradients_of_finite_differences() -> None:
    pixels = torch.tensor([[5.2, 4.9], [5.8, 5.1]], dtype=torch.float64)
    heatmaps = draw_heatmaps(pixels, seen(pixels), (10, 11))
    generator = torch.Generator().manual_seed(0)
    noise = 0.1 * torch.rand(heatmaps.shape, generator=generator, dtype=torch.float64)
    heatmaps = (heatmaps + noise).requires_grad_()
    assert torch.autograd.gradcheck(lambda h: soft_argmax(h, 2, 8.0), heatmaps)


def test_confidence_is_the_peak() -> None:
    pixels = some_pixels(2, 3)
    visible = torch.tensor([[True, False, True], [False, True, True]])
    assert torch.equal(
        confidence(0.5 * draw_heatmaps(pixels, visible, SIZE)), 0.5 * visible.double()
    )


def test_the_loss_is_the_mean_over_valid_maps() -> None:
    generator = torch.Generator().manual_seed(0)
    drawn = torch.randn(2, 3, *SIZE, generator=generator, dtype=torch.float64)
    truth = torch.randn(2, 3, *SIZE, generator=generator, dtype=torch.float64)
    valid = torch.tensor([[True, False, True], [False, True, False]])
    errors = [
        np.mean((drawn[b, k] - truth[b, k]).numpy() ** 2)
        for b, k in np.ndindex(2, 3)
        if valid[b, k]
    ]
    assert hand_consistency(drawn, truth, valid).item() == pytest.approx(np.mean(errors))
    plain = (drawn - truth).square().mean()
    torch.testing.assert_close(hand_consistency(drawn, truth), plain)


def test_rows_without_hands_weigh_nothing() -> None:
    drawn = torch.ones(2, 3, *SIZE, requires_grad=True)
    truth = torch.zeros_like(drawn)
    handless = torch.zeros(2, 3, dtype=torch.bool)
    loss = hand_consistency(drawn, truth, handless)
    loss.backward()
    assert loss == 0 and drawn.grad is not None and not drawn.grad.any()
    half = handless.clone()
    half[0] = True
    drawn.grad = None
    hand_consistency(drawn, truth, half).backward()
    assert drawn.grad[0].all() and not drawn.grad[1].any()
    assert hand_consistency(drawn.bfloat16(), truth, half).dtype == torch.float32


def test_correct_keypoints_of_all_and_of_the_valid_ones() -> None:
    truth = torch.zeros(2, 3, 2)
    found = torch.tensor([[[12.0, 16.0], [12.0, 16.1], [0.0, 0.0]], [[1.0, 0.0], [30, 0], [0, 0]]])
    valid = torch.tensor([[True, True, True], [True, False, False]])
    of_all, of_valid = correct_keypoints(found, truth, valid, 224)
    assert of_all.item() == pytest.approx(3 / 6) and of_valid.item() == pytest.approx(3 / 4)
    # In an image half as high, half as far away.
    halves = correct_keypoints(found / 2, truth, valid, 112)
    assert halves == (of_all, of_valid)
    assert correct_keypoints(found, truth, valid, 112).of_all < of_all
    assert correct_keypoints(found, truth, valid, 224, radius=21).of_all > of_all
    nothing = correct_keypoints(found, truth, torch.zeros_like(valid), 224)
    assert nothing.of_all == 0 and nothing.of_valid.isnan()


def test_nonsense_is_refused() -> None:
    pixels = some_pixels(1)
    with pytest.raises(ValueError, match=r"sigma=0.*must be positive"):
        draw_heatmaps(pixels, seen(pixels), SIZE, sigma=0)
    with pytest.raises(ValueError, match=r"stride=0.*at least 1"):
        draw_heatmaps(pixels, seen(pixels), SIZE, stride=0)
