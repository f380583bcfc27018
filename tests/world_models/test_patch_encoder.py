from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dexworld.world_models.frame_encoder import FrameEncoder
from dexworld.world_models.patch_encoder import TinyEncoder, TinyEncoderConfig

SMALL = TinyEncoderConfig((28, 42), width=6, channels=8, convolutions=1, hidden=8, depth=1, heads=2)


def frames(count: int = 4) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 28, 42, 3), generator=generator, dtype=torch.uint8)


def test_its_defaults_are_those_of_the_counter() -> None:
    encoder = TinyEncoder(TinyEncoderConfig()).eval()
    assert (encoder.image_size, encoder.grid, encoder.width) == ((112, 196), (8, 14), 64)
    features = encoder.features(torch.zeros(2, 112, 196, 3, dtype=torch.uint8))
    assert features.shape == (2, 112, 64) and not features.requires_grad
    assert isinstance(encoder, FrameEncoder)


def test_features_have_deviation_one_over_frames() -> None:
    torch.manual_seed(0)
    encoder = TinyEncoder(SMALL)
    in_training = encoder(frames(32).movedim(-1, 1) / 255.0).flatten(0, 1)
    encoder.eval().fit(frames(32), at_once=10)
    for features in (in_training, encoder.features(frames(32)).flatten(0, 1)):
        torch.testing.assert_close(features.mean(0), torch.zeros(6), atol=1e-3, rtol=0)
        torch.testing.assert_close(features.std(0), torch.ones(6), atol=5e-3, rtol=0)


def test_a_patch_is_seen_where_it_is() -> None:
    torch.manual_seed(0)
    config = TinyEncoderConfig((56, 70), width=6, channels=8, convolutions=0, hidden=8, depth=0)
    encoder = TinyEncoder(config).eval()
    black = torch.zeros(1, 56, 70, 3, dtype=torch.uint8)
    spot = black.clone()
    spot[0, 19:23, 47:51] = 255  # in row 1 and column 3, away from its edges
    changed = (encoder.features(spot) - encoder.features(black)).abs().sum(2)
    assert (changed[0] > 1e-6).nonzero().flatten().tolist() == [1 * 5 + 3]


def test_it_is_saved_with_its_name(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = TinyEncoder(SMALL)
    encoder(frames().movedim(-1, 1) / 255.0)  # statistics are saved too
    encoder.eval().save_pretrained(tmp_path / "encoder")
    loaded = TinyEncoder.from_pretrained(tmp_path / "encoder")
    assert torch.equal(loaded.features(frames()), encoder.features(frames()))
    assert loaded.name == encoder.name and loaded.name.endswith("28x42")
    with torch.no_grad():
        encoder.leave.bias[0] += 1e-3
    assert loaded.name != encoder.name


def test_what_cannot_be() -> None:
    encoder = TinyEncoder(SMALL)
    with pytest.raises(ValueError, match=r"call eval\(\)"):
        encoder.features(frames())
    with pytest.raises(ValueError, match=r"frames of 28 x 28 pixels, .* takes 28 x 42"):
        encoder.eval().features(frames()[:, :, :28])
    wrong = [
        ({"image_size": (30, 42)}, "patch=14.*must be even, and divide"),
        ({"patch": 7}, "patch=7.*must be even"),
        ({"width": 0}, "width=0.*at least 1"),
        ({"hidden": 30}, "hidden=30, heads=4.*multiple of heads"),
        ({"channels": 12}, "channels=12.*channels of 8"),
    ]
    for given, message in wrong:
        with pytest.raises(ValueError, match=message):
            TinyEncoderConfig(**given)
