from __future__ import annotations

from pathlib import Path

import pytest
import torch

from dexworld.world_models.patch_decoder import PatchDecoder, PatchDecoderConfig, from_patches

SMALL = PatchDecoderConfig("tiny 1 28x42", 6, (2, 3), 14, hidden=8, depth=1, heads=2)


def test_patches_are_put_where_they_were_cut() -> None:
    pictures = torch.rand(2, 3, 28, 42)
    cut = torch.nn.functional.unfold(pictures, 14, stride=14).transpose(1, 2)
    assert torch.equal(from_patches(cut, (2, 3), 14), pictures)


def test_pictures_are_of_the_frames_size_and_range(tmp_path: Path) -> None:
    torch.manual_seed(0)
    decoder = PatchDecoder(SMALL).eval()
    features = 50 * torch.randn(4, 6, 6)
    pictures = decoder(features)
    assert pictures.shape == (4, 3, 28, 42)
    assert pictures.amin() >= 0 and pictures.amax() <= 1 and pictures.std() > 0.01
    frames = decoder.draw(features)
    assert frames.shape == (4, 28, 42, 3) and frames.dtype == torch.uint8
    torch.testing.assert_close(frames / 255.0, pictures.movedim(1, -1).detach(), atol=3e-3, rtol=0)
    decoder.save_pretrained(tmp_path / "decoder")
    loaded = PatchDecoder.from_pretrained(tmp_path / "decoder")
    assert loaded.config.encoder == SMALL.encoder
    assert torch.equal(loaded.draw(features.half()), decoder.draw(features.half()))


def test_sizes_of_rae_are_a_matter_of_configuration() -> None:
    with torch.device("meta"):
        large = PatchDecoder(
            PatchDecoderConfig("", 1024, (16, 28), 14, hidden=1024, depth=24, heads=16)
        )
    count = sum(weight.numel() for weight in large.parameters())
    assert abs(count / 305e6 - 1) < 0.01  # the blocks and ends of ViT-L


def test_what_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"6 patches and 5 numbers, .* 2 x 3 patches of 6"):
        PatchDecoder(SMALL)(torch.zeros(1, 6, 5))
    for given, message in (({"depth": 1, "hidden": 9}, "hidden=9"), ({"grid": (0, 2)}, "grid")):
        with pytest.raises(ValueError, match=message):
            PatchDecoderConfig(**given)
