"""The heatmap head against DexWM's numbers; its own resolution, its parts, its gradients."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from dexworld.world_models.keypoint_head import KeypointHead, KeypointHeadConfig

DATA = Path(__file__).parents[1] / "data" / "dexwm"
STATE = "state/kp_layer."
GRIDS = {"config1": (3, 4), "config2": (3, 5), "config2_kp448": (16, 28)}
SMALL = KeypointHeadConfig(width=16, depth=1, heads=4, maps=3, resize="none")
GRID, PATCH, FEATURES = (2, 3), 4, 5


@pytest.fixture(params=GRIDS)
def case(request: pytest.FixtureRequest) -> tuple[KeypointHead, dict[str, Tensor]]:
    tensors = load_file(DATA / f"{request.param}.safetensors")
    state = {k.removeprefix(STATE): v for k, v in tensors.items() if k.startswith(STATE)}
    depth = len({name.split(".")[2] for name in state if ".blocks." in name})
    maps = tensors["out/heatmaps_last"].shape[1]
    config = KeypointHeadConfig(width=32, depth=depth, maps=maps)
    head = KeypointHead(config, tensors["in/features"].shape[-1], GRIDS[request.param], 14)
    head.load_state_dict(state)
    return head, tensors


def small(**changes: object) -> KeypointHead:
    torch.manual_seed(0)
    head = KeypointHead(dataclasses.replace(SMALL, **changes), FEATURES, GRID, PATCH).double()
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return head


def features(*rows: int) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(*rows, 6, FEATURES, generator=generator, dtype=torch.float64)


def test_maps_are_the_official_ones(case: tuple[KeypointHead, dict[str, Tensor]]) -> None:
    head, tensors = case
    with torch.no_grad():
        heatmaps = head(tensors["out/train_features"][:, 1:])
    expected = tensors["out/heatmaps_last"]
    stored = heatmaps[: len(expected), -1]
    torch.testing.assert_close(stored, expected, rtol=1e-5, atol=1e-5)
    flat = heatmaps.flatten(-2)
    mean, deviation = tensors["out/heatmap_mean"], tensors["out/heatmap_std"]
    torch.testing.assert_close(flat.mean(-1), mean, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(flat.std(-1), deviation, rtol=1e-5, atol=1e-5)
    peak, width = flat.argmax(-1), heatmaps.shape[-1]
    xy = torch.stack([peak % width, peak // width], dim=-1)
    assert torch.equal(xy, tensors["out/heatmap_argmax_xy"].long())


def test_a_head_of_its_own_resolution_draws_every_patch() -> None:
    head, rows = small(), features(7)
    heatmaps = head(rows)
    assert heatmaps.shape == (7, 3, 8, 12) and head.size == (8, 12)
    assert head.vit_decoder.pos_embed.shape == (1, 6, 16)
    assert small(stride=2)(rows).shape == (7, 3, 4, 6)
    # Patch by patch, from the tokens behind the last block.
    decoder = head.vit_decoder
    tokens = decoder.blocks[0](decoder.input_proj(rows) + decoder.pos_embed)
    outputs = decoder.head(decoder.norm(tokens))
    for place, token in enumerate(outputs.unbind(1)):
        top, left = 4 * (place // 3), 4 * (place % 3)
        patch = heatmaps[:, :, top : top + 4, left : left + 4]
        torch.testing.assert_close(patch, token.reshape(7, 4, 4, 3).movedim(-1, 1))


def test_rows_of_any_shape_are_drawn_by_themselves() -> None:
    head, rows = small(), features(2, 3)
    heatmaps = head(rows)
    assert heatmaps.shape == (2, 3, 3, 8, 12)
    for row in range(2):
        torch.testing.assert_close(head(rows[row]), heatmaps[row])
    torch.testing.assert_close(head(rows[1, 2]), heatmaps[1, 2])
    assert head(rows[:0]).shape == (0, 3, 3, 8, 12)


@pytest.mark.parametrize("resize", ["none", "official"])
def test_some_maps_are_those_of_all(resize: str) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, resize=resize)
    head, rows = KeypointHead(config, FEATURES, GRID, 56), features(2).float()
    every = head(rows)
    for maps in (slice(1, 3), [2, 0], (1,)):
        chosen = every[:, maps] if isinstance(maps, slice) else every[:, list(maps)]
        torch.testing.assert_close(head(rows, maps), chosen)
    with pytest.raises(IndexError):
        head(rows, [3])


def test_gradients_are_those_of_finite_differences() -> None:
    head = small()
    assert torch.autograd.gradcheck(lambda x: head(x, [1]), features(2).requires_grad_())


def test_an_untrained_head_draws_almost_nothing() -> None:
    """As heatmaps are: otherwise training begins with forgetting."""
    torch.manual_seed(0)
    head = KeypointHead(KeypointHeadConfig(depth=2, resize="none"), 32, (4, 4), 14)
    heatmaps = head(torch.randn(2, 16, 32))
    assert 0 < heatmaps.abs().max() < 0.2 and heatmaps.std() < 0.05


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(width=30\) must be a multiple of heads=16"):
        KeypointHeadConfig(width=30)
    with pytest.raises(ValueError, match=r"\(maps\) must be at least 1, got 0"):
        KeypointHeadConfig(maps=0)
    with pytest.raises(ValueError, match=r"\(ratio\) must be positive"):
        KeypointHeadConfig(ratio=0.0)
    with pytest.raises(ValueError, match="'official' or 'none', got 'nearest'"):
        KeypointHeadConfig(resize="nearest")
    with pytest.raises(ValueError, match=r"stride=2.*take resize='none'"):
        KeypointHeadConfig(stride=2)
    with pytest.raises(ValueError, match=r"patch of 4 pixels.*divides 4"):
        small(stride=3)
    with pytest.raises(ValueError, match="a grid has rows and columns"):
        KeypointHead(SMALL, FEATURES, (0, 3), PATCH)
    with pytest.raises(ValueError, match=r"shape \(2, 5, 5\).*reads \(\.\.\., 6, 5\).*2 x 3"):
        small()(features(2)[:, :5])
