from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
import transformers as library
from torch import Tensor

from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.data.windows import ACTION, WindowSampler, WindowSettings
from dexworld.world_models.frame_encoder import (
    FrameEncoder,
    feature_key,
    feature_transform,
    fitted,
    load_frame_encoder,
)
from dexworld.world_models.frozen_encoders import FrozenEncoder
from dexworld.world_models.patch_encoder import TinyEncoder, TinyEncoderConfig

COLUMN = "observation.images.torso"
SMALL = TinyEncoderConfig((28, 42), width=6, channels=8, convolutions=1, hidden=8, depth=1, heads=2)


def ramp(height: int, width: int) -> Tensor:
    """A frame that says in red and green at which share of its height and width a pixel is."""
    rows = torch.linspace(0, 255, height)[:, None].expand(height, width)
    columns = torch.linspace(0, 255, width).expand(height, width)
    return torch.stack([rows, columns, torch.zeros_like(rows)], dim=2).byte()[None]


@pytest.mark.parametrize("given", [(1080, 1920), (300, 200), (28, 42), (30, 42), (20, 31)])
def test_frames_are_scaled_to_cover_and_cropped_around_the_centre(given: tuple[int, int]) -> None:
    frames = ramp(*given)
    result = fitted(frames, (28, 42))
    assert result.shape == (1, 28, 42, 3) and result.dtype == torch.uint8
    scale = max(28 / given[0], 42 / given[1])
    for axis, size in enumerate((28, 42)):
        ends = result[0].float().mean(1 - axis)[:, axis]
        seen = size / (given[axis] * scale) * 255
        assert abs(float(ends[-1] + ends[0]) - 255) < 8  # around the centre
        assert abs(float(ends[-1] - ends[0]) - seen) < 16  # and as much as there is room for
    if given == (28, 42):
        assert torch.equal(result, frames)
    if given == (30, 42):
        assert torch.equal(result, frames[:, 1:29])


def encoder(seed: int = 0) -> TinyEncoder:
    torch.manual_seed(seed)
    return TinyEncoder(SMALL).eval()


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    features = {COLUMN: Feature("image", (28, 42, 3)), ACTION: Feature("float32", (2,))}
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "data", features, 10, robot_type="toy") as writer:
        for length in (5, 7):
            frames = random.integers(0, 256, (length, 28, 42, 3), dtype=np.uint8)
            writer.add_episode(
                {COLUMN: frames, ACTION: np.zeros((length, 2), np.float32)}, task="t"
            )
    return tmp_path / "data"


def test_features_of_a_dataset_are_computed_once_and_read_in_windows(dataset: Path) -> None:
    seen = encoder()
    key = feature_key(seen)
    cache = Cache.open(dataset, [COLUMN, ACTION], transforms={key: feature_transform(seen, COLUMN)})
    array = cache.arrays[key]
    assert isinstance(array, np.memmap) and array.dtype == np.float16 and array.shape == (12, 6, 6)
    frames = torch.from_numpy(cache.arrays[COLUMN].copy())
    expected = seen.features(frames).half()
    torch.testing.assert_close(torch.from_numpy(array.copy()), expected)

    written = (cache.folder / f"{key}.npy").stat().st_mtime_ns
    other = encoder(seed=1)  # has a place of its own
    for each in (seen, other):
        transforms = {feature_key(each): feature_transform(each, COLUMN)}
        cache = Cache.open(dataset, [COLUMN, ACTION], transforms=transforms)
        assert (cache.folder / f"{key}.npy").stat().st_mtime_ns == written
    assert feature_key(other) != key
    assert not np.array_equal(cache.arrays[feature_key(other)], array)

    transforms = {key: feature_transform(seen, COLUMN)}
    cache = Cache.open(dataset, [ACTION], transforms=transforms)
    sampler = WindowSampler(cache, WindowSettings(3, (1, 2)), batch_size=4, seed=0)
    windows = sampler.batch(0)
    gap = windows.actions.shape[2]
    rows = windows.start[:, None] + gap * torch.arange(3)
    assert windows.frames[key].shape == (4, 3, 6, 6)
    assert torch.equal(windows.frames[key], expected[rows])


def test_frames_of_another_size_are_encoded_only_where_that_is_meant(dataset: Path) -> None:
    torch.manual_seed(0)
    square = TinyEncoder(
        TinyEncoderConfig((28, 28), width=6, channels=8, hidden=8, heads=2, depth=0)
    ).eval()
    frames = np.random.default_rng(0).integers(0, 256, (3, 28, 42, 3), dtype=np.uint8)
    plain, fit = (feature_transform(square, COLUMN, fit=each) for each in (False, True))
    with pytest.raises(ValueError, match=r"frames of 28 x 42 pixels, but .* takes 28 x 28: make"):
        plain.compute(frames)
    inner = square.features(torch.from_numpy(frames[:, :, 7:35].copy())).half()
    torch.testing.assert_close(torch.from_numpy(fit.compute(frames)), inner)
    assert plain.fingerprint != fit.fingerprint


def test_encoders_are_loaded_from_folders_of_both_kinds(tmp_path: Path) -> None:
    encoder().save_pretrained(tmp_path / "ours")
    ours = load_frame_encoder(tmp_path / "ours", image_size=(28, 42))
    assert isinstance(ours, TinyEncoder) and isinstance(ours, FrameEncoder)
    assert ours.name == encoder().name
    with pytest.raises(ValueError, match=r"trained on frames of 28 x 42 .* asked for \(28, 28\)"):
        load_frame_encoder(tmp_path / "ours", image_size=(28, 28))
    config = library.Dinov2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, patch_size=14, image_size=28
    )
    library.Dinov2Model(config).save_pretrained(tmp_path / "theirs")
    theirs = load_frame_encoder(tmp_path / "theirs", image_size=(14, 28), precision="bfloat16")
    assert isinstance(theirs, FrozenEncoder)
    assert theirs.grid == (1, 2) and theirs.precision == "bfloat16"
    with pytest.raises(FileNotFoundError, match="no folder, and no name on a hub"):
        load_frame_encoder(tmp_path / "none")
