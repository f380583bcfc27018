"""Every family with tiny random weights in the library's own format, against the library's forward."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as library
from safetensors.torch import load_file, save_file
from torch import Tensor

from dexworld.world_models.frame_encoder import FrameEncoder
from dexworld.world_models.frozen_encoders import CONVENTIONS, FrozenEncoder

ONE_LAYER = {"num_hidden_layers": 1, "num_attention_heads": 1}
BODY = {"num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 40}
IMAGENET = (torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225]))
HALF = (torch.full((3,), 0.5), torch.full((3,), 0.5))
JEPA = {
    "patch_size": 16,
    "frames_per_clip": 4,
    "tubelet_size": 2,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "pred_hidden_size": 24,
    "pred_num_hidden_layers": 1,
    "pred_num_attention_heads": 2,
}
SIGLIP = {"hidden_size": 24, "patch_size": 16, **BODY}
TEXT = {"hidden_size": 24, "vocab_size": 8, "max_position_embeddings": 4, **BODY}


def made(family: str) -> Any:
    """Return a small network with random weights."""
    if family == "dinov2":
        config = library.Dinov2Config(hidden_size=24, patch_size=14, image_size=28, **BODY)
        network = library.Dinov2Model(config)
    elif family == "dinov2_with_registers":
        config = library.Dinov2WithRegistersConfig(
            hidden_size=24, patch_size=14, image_size=28, num_register_tokens=3, **BODY
        )
        network = library.Dinov2WithRegistersModel(config)
    elif family == "dinov3_vit":
        config = library.DINOv3ViTConfig(
            hidden_size=24, patch_size=16, image_size=32, num_register_tokens=2, **BODY
        )
        network = library.DINOv3ViTModel(config)
    elif family == "vjepa2":
        network = library.VJEPA2Model(library.VJEPA2Config(crop_size=32, **JEPA))
    elif family == "siglip_vision_model":
        config = library.SiglipVisionConfig(image_size=32, **SIGLIP)
        network = library.SiglipVisionModel(config)
    elif family == "siglip":
        config = library.SiglipConfig(text_config=TEXT, vision_config={"image_size": 32, **SIGLIP})
        network = library.SiglipModel(config)
    elif family == "siglip2_vision_model":
        network = library.Siglip2VisionModel(library.Siglip2VisionConfig(num_patches=4, **SIGLIP))
    else:
        config = library.Siglip2Config(text_config=TEXT, vision_config={"num_patches": 4, **SIGLIP})
        network = library.Siglip2Model(config)
    generator = torch.Generator().manual_seed(0)
    for weight in network.parameters():  # larger than at first, that errors would show
        weight.data += 0.1 * torch.randn(weight.shape, generator=generator)
    return network.eval()


def normalised(frames: Tensor, colours: tuple[Tensor, Tensor]) -> Tensor:
    return ((frames.float() / 255 - colours[0]) / colours[1]).permute(0, 3, 1, 2)


def dino(network: Any, frames: Tensor, others: int) -> Tensor:
    told = network(normalised(frames, IMAGENET), output_hidden_states=True)
    norm = network.norm if hasattr(network, "norm") else network.layernorm
    return norm(told.hidden_states[-1])[:, others:]


def jepa(network: Any, frames: Tensor) -> Tensor:
    """A clip of the frame twice, in the library's square grid, which is made as wide as the frame."""
    config = library.VJEPA2Config(crop_size=frames.shape[2], **JEPA)
    wide = library.VJEPA2Model(config).eval()
    wide.load_state_dict(network.state_dict())
    clip = normalised(frames, IMAGENET)[:, None].repeat(1, 2, 1, 1, 1)
    return wide.get_vision_features(clip)


def siglip(network: Any, frames: Tensor) -> Tensor:
    vision = getattr(network, "vision_model", network)
    pictures = normalised(frames, HALF)
    return vision(pictures, interpolate_pos_encoding=True).last_hidden_state


def siglip2(network: Any, frames: Tensor) -> Tensor:
    vision = getattr(network, "vision_model", network)
    pictures = normalised(frames, HALF).permute(0, 2, 3, 1)
    grid = (frames.shape[1] // 16, frames.shape[2] // 16)
    patches = [
        pictures[:, 16 * row : 16 * row + 16, 16 * column : 16 * column + 16].flatten(1)
        for row in range(grid[0])
        for column in range(grid[1])
    ]
    told = vision(
        torch.stack(patches, dim=1),
        torch.ones(len(frames), len(patches), dtype=torch.int64),
        torch.tensor([grid] * len(frames)),
    )
    return told.last_hidden_state


EXPECTED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "dinov2": lambda network, frames: dino(network, frames, 1),
    "dinov2_with_registers": lambda network, frames: dino(network, frames, 4),
    "dinov3_vit": lambda network, frames: dino(network, frames, 3),
    "vjepa2": jepa,
    "siglip": siglip,
    "siglip_vision_model": siglip,
    "siglip2": siglip2,
    "siglip2_vision_model": siglip2,
}


@pytest.fixture
def saved(tmp_path: Path) -> Callable[[str], tuple[Any, Path]]:
    def save(family: str) -> tuple[Any, Path]:
        torch.manual_seed(1)
        network = made(family)
        network.save_pretrained(tmp_path / family)
        return network, tmp_path / family

    return save


def some_frames(rows: int, columns: int, patch: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    shape = (2, rows * patch, columns * patch, 3)
    return torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8)


@pytest.mark.parametrize("family", CONVENTIONS)
@pytest.mark.parametrize("grid", [(2, 2), (2, 5)])
def test_features_are_those_of_the_library(
    saved: Callable[[str], tuple[Any, Path]], family: str, grid: tuple[int, int]
) -> None:
    network, folder = saved(family)
    patch = 14 if "dinov2" in family else 16
    frames = some_frames(*grid, patch)
    size = (grid[0] * patch, grid[1] * patch)
    encoder = FrozenEncoder.from_pretrained(folder, image_size=size)
    features = encoder.features(frames)
    assert features.shape == (2, grid[0] * grid[1], 24) and features.dtype == torch.float32
    assert features.std() > 0.1 and not features.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(
            features, EXPECTED[family](network, frames), atol=1e-5, rtol=1e-5
        )
    assert isinstance(encoder, FrameEncoder)
    assert (encoder.grid, encoder.image_size, encoder.width) == (grid, size, 24)
    # Nothing depends on the other frames, or on the mode.
    assert not any(weight.requires_grad for weight in encoder.parameters())
    encoder.train()
    torch.testing.assert_close(encoder.features(frames[1:]), features[1:], atol=1e-5, rtol=1e-5)
    again = FrozenEncoder.from_pretrained(folder, image_size=size)
    assert torch.equal(again.features(frames), features) and again.name == encoder.name
    half = FrozenEncoder.from_pretrained(folder, image_size=size, precision="bfloat16")
    close = half.features(frames)
    assert close.dtype == torch.float32 and not torch.equal(close, features)
    assert (close - features).abs().mean() < 0.05 * features.std()
    assert half.name == encoder.name


@pytest.mark.parametrize(("family", "size"), [("dinov2", (224, 392)), ("dinov3_vit", (224, 384))])
def test_frames_are_those_of_dexwm_by_default(
    saved: Callable[[str], tuple[Any, Path]], family: str, size: tuple[int, int]
) -> None:
    encoder = FrozenEncoder.from_pretrained(saved(family)[1])
    assert encoder.image_size == size
    frames = torch.zeros(1, *size, 3, dtype=torch.uint8)
    assert encoder.features(frames).shape == (1, encoder.grid[0] * encoder.grid[1], 24)


def test_names_tell_apart_what_gives_other_features(
    saved: Callable[[str], tuple[Any, Path]], tmp_path: Path
) -> None:
    network, folder = saved("dinov2")
    name = FrozenEncoder(network, (28, 28)).name
    assert name == FrozenEncoder.from_pretrained(folder, image_size=(28, 28)).name
    assert str(tmp_path) not in name
    assert name != FrozenEncoder(network, (28, 42)).name
    with torch.no_grad():
        network.layernorm.weight[0] += 1e-3
    assert name != FrozenEncoder(network, (28, 28)).name


def test_official_positions_of_dinov2_are_scaled_as_in_its_own_code() -> None:
    config = library.Dinov2Config(hidden_size=2, patch_size=14, image_size=14 * 8, **ONE_LAYER)
    network = library.Dinov2Model(config)
    places = torch.rand(64, 2, generator=torch.Generator().manual_seed(0))
    network.embeddings.position_embeddings.data[0, 1:] = places
    plain = FrozenEncoder(network, (14 * 12, 14 * 16)).name
    encoder = FrozenEncoder(network, (14 * 12, 14 * 16), official=True)
    assert encoder.name == f"{plain}, official positions"
    scaled = network.embeddings.interpolate_pos_encoding(None, 14 * 12, 14 * 16)
    rows, columns = (2 * (torch.arange(n) + 0.5) / (n + 0.1) - 1 for n in (12, 16))
    where = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)
    expected = torch.nn.functional.grid_sample(
        places.view(8, 8, 2).permute(2, 0, 1)[None],
        where[None],
        mode="bicubic",
        padding_mode="border",
        align_corners=False,
    )
    found = scaled[0, 1:].view(12, 16, 2).permute(2, 0, 1)[None]
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    native = network.embeddings.interpolate_pos_encoding(None, 14 * 8, 14 * 8)
    assert torch.equal(native[0, 1:], places)
    with pytest.raises(ValueError, match="positions of dinov2, not of dinov3_vit"):
        FrozenEncoder(made("dinov3_vit"), (32, 32), official=True)


def test_gradients_flow_to_pictures(saved: Callable[[str], tuple[Any, Path]]) -> None:
    encoder = FrozenEncoder(saved("dinov2")[0], (28, 42))
    pictures = torch.rand(1, 3, 28, 42, requires_grad=True)
    encoder(pictures)[0, 0].square().sum().backward()
    assert pictures.grad is not None and pictures.grad.abs().min() > 0


def test_what_cannot_be(
    saved: Callable[[str], tuple[Any, Path]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, folder = saved("dinov2")

    def refused(kind: type[Exception], source: str | Path = folder, **given: Any) -> str:
        with pytest.raises(kind) as caught:
            FrozenEncoder.from_pretrained(source, **given)
        (line,) = str(caught.value).splitlines()
        return line

    told = refused(ValueError, image_size=(30, 42))
    assert "patches of dinov2 are 14 x 14 pixels" in told and "(28, 42)" in told
    assert "(14, 42)" in refused(ValueError, image_size=(7, 42))
    assert "['float32', 'bfloat16']" in refused(ValueError, precision="float16")
    assert "no folder" in refused(FileNotFoundError, tmp_path / "nowhere")
    assert "no folder" in refused(FileNotFoundError, "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no model of transformers" in refused(FileNotFoundError, tmp_path / "empty")
    library.BertConfig().save_pretrained(tmp_path / "bert")
    told = refused(ValueError, tmp_path / "bert")
    assert "type 'bert'" in told and "vjepa2" in told
    with pytest.raises(ValueError, match=r"frames of 28 x 42 pixels, but .* takes 28 x 28"):
        FrozenEncoder(network, (28, 28)).features(some_frames(2, 3, 14))

    weights = load_file(folder / "model.safetensors")
    del weights["layernorm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert "lacks weights of Dinov2Model, ['layernorm.weight']" in refused(ValueError)
    (folder / "model.safetensors").unlink()
    assert "no weights of Dinov2Model" in refused(FileNotFoundError)
    monkeypatch.setitem(sys.modules, "transformers", None)
    assert "pip install 'dexworld[encoders]'" in refused(ImportError)
