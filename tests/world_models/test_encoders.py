"""Encoders: what is copied, measured and learned, and where in a frame things are."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import Tensor, nn

from dexworld.world_models.encoders import (
    ENCODERS,
    ConvolutionalEncoder,
    EncoderConfig,
    PatchEncoder,
    VectorEncoder,
)
from dexworld.world_models.points import PointLayout, PointSet

LAYOUT = PointLayout(
    (PointSet("pusher", 1, "proprio"), PointSet("corners", 2, "corners")), 5.0, 2.0
)
SHAPES = {"proprio": (2,), "corners": (2, 2), "speed": ()}
FRAMES = {"pixels": (32, 32, 3)}
SIZES = {"convolutional": 32, "patches": 16}
"""Sides of the smallest frames that encoders make something of."""


def observation(rows: int, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "proprio": 5.0 + torch.randn(rows, 2, generator=generator),
        "corners": 5.0 + torch.randn(rows, 2, 2, generator=generator),
        "speed": torch.randn(rows, generator=generator)[:, None],
    }


def frames(rows: int, kind: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shape = (rows, SIZES[kind], SIZES[kind], 3)
    return {"pixels": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)}


# Vectors


def vector(layout: PointLayout = LAYOUT, points: int = 3, features: int = 4) -> VectorEncoder:
    torch.manual_seed(0)
    encoder = VectorEncoder(EncoderConfig(width=8, depth=1), SHAPES, layout, points, features)
    for weights in encoder.parameters():
        nn.init.normal_(weights, std=0.3)
    return encoder


def test_observed_points_are_copied_in_their_unit() -> None:
    seen = observation(4)
    latents = vector()(seen)
    assert latents.shape == (4, 6 + 4)
    expected = torch.cat([seen["proprio"], seen["corners"].flatten(1)], dim=1)
    torch.testing.assert_close(latents[:, :6], (expected - 5.0) / 2.0)


def test_nothing_is_learned_where_all_is_copied() -> None:
    encoder = vector(features=0)
    assert encoder.network is None and not list(encoder.parameters())
    assert encoder(observation(4)).shape == (4, 6)


def test_points_that_are_not_observed_are_learned() -> None:
    hidden = PointLayout((PointSet("pusher", 1, "proprio"), PointSet("hand", 2, "hand")), 5.0, 2.0)
    encoder = vector(hidden)
    assert not encoder.copies
    latents = encoder(observation(4))
    assert latents.shape == (4, 6 + 4) and latents.requires_grad


def test_measured_units_do_not_matter() -> None:
    seen, encoder = observation(50), vector()
    encoder.fit(seen)
    assert set(encoder.state_dict()) >= {"mean", "deviation"}
    torch.testing.assert_close(encoder.mean, encoder._values(seen).mean(0))
    expected = encoder(seen)[:, 6:]
    others = {key: 3.0 + 0.1 * value for key, value in seen.items()}
    assert not torch.allclose(encoder(others)[:, 6:], expected)
    encoder.fit(others)
    torch.testing.assert_close(encoder(others)[:, 6:], expected, atol=1e-4, rtol=1e-4)


def test_a_number_that_never_changes_is_no_harm() -> None:
    seen, encoder = observation(50) | {"speed": torch.ones(50, 1)}, vector()
    encoder.fit(seen)
    assert encoder(seen).isfinite().all()


# Frames


def of_frames(kind: str, points: int = 2, features: int = 3) -> nn.Module:
    torch.manual_seed(0)
    config = EncoderConfig(kind, width=8, depth=1, heads=2, patch=4, maps=2)
    shapes = {"pixels": (SIZES[kind], SIZES[kind], 3)}
    return ENCODERS[kind](config, shapes, LAYOUT, points, features)


@pytest.mark.parametrize("kind", ["convolutional", "patches"])
@pytest.mark.parametrize(("points", "features"), [(2, 3), (2, 0), (0, 3)])
def test_latents_are_points_and_features(kind: str, points: int, features: int) -> None:
    encoder, seen = of_frames(kind, points, features), frames(3, kind)
    latents = encoder(seen)
    assert latents.shape == (3, 2 * points + features) and latents.dtype == torch.float32
    torch.testing.assert_close(encoder({"pixels": seen["pixels"][1:2]}), latents[1:2])
    latents.square().sum().backward()
    unused = [name for name, w in encoder.named_parameters() if w.grad is None]
    assert not unused


@pytest.mark.parametrize("kind", ["convolutional", "patches"])
def test_half_precision_goes_no_further_than_the_network(kind: str) -> None:
    encoder, seen = of_frames(kind), frames(2, kind)
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(seen).dtype == torch.float32


@pytest.mark.parametrize(("kind", "steps"), [("convolutional", 40), ("patches", 90)])
def test_it_learns_where_a_dot_is(kind: str, steps: int) -> None:
    encoder, size = of_frames(kind, points=1, features=0), SIZES[kind]
    optimizer = torch.optim.Adam(encoder.parameters(), lr=2e-2)
    generator = torch.Generator().manual_seed(0)

    def error(rows: int) -> Tensor:
        place = torch.randint(size // 8, size - size // 8, (rows, 2), generator=generator)
        seen = torch.zeros(rows, size, size, 3, dtype=torch.uint8)
        for x, y in itertools.product(range(2), range(2)):
            seen[torch.arange(rows), place[:, 1] + y, place[:, 0] + x] = 255
        truth = (place + 1.0) / (size / 2) - 1.0  # the middle of four pixels, x before y
        return (encoder({"pixels": seen}) - truth).abs().mean()

    for _ in range(steps):
        optimizer.zero_grad()
        error(16).backward()
        optimizer.step()
    with torch.no_grad():
        assert error(100).item() < 0.1  # doing nothing is wrong by 0.4


# What cannot be


def test_frames_that_an_encoder_cannot_take_are_refused() -> None:
    for shapes in ({"pixels": (3, 32, 32)}, {"proprio": (2,)}, {**FRAMES, "more": (32, 32, 3)}, {}):
        for kind in (ConvolutionalEncoder, PatchEncoder):
            with pytest.raises(ValueError, match="takes one kind of frames"):
                kind(EncoderConfig(width=8), shapes, LAYOUT, 0, 3)
    with pytest.raises(ValueError, match="32 x 32 pixels or more"):
        ConvolutionalEncoder(EncoderConfig(width=8), {"pixels": (32, 16, 3)}, LAYOUT, 0, 3)
    with pytest.raises(ValueError, match=r"patch=5\) must divide the frames, 32 x 32"):
        PatchEncoder(EncoderConfig(patch=5), FRAMES, LAYOUT, 0, 3)
    with pytest.raises(ValueError, match=r"width=6\) must be a multiple of heads=4"):
        PatchEncoder(EncoderConfig(width=6), FRAMES, LAYOUT, 0, 3)


@pytest.mark.parametrize("name", ["width", "heads", "patch"])
def test_settings_below_one_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"EncoderConfig\({name}\) must be at least 1, got 0"):
        EncoderConfig(**{name: 0})
