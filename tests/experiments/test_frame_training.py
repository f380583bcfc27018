"""A small encoder of frames and a decoder, from a dataset to models by `dexworld-train`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as library
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.experiments import train
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.training import TrainConfig, register_schemas
from dexworld.world_models.cameras import Camera
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.frame_encoder import FEATURES, load_frame_encoder
from dexworld.world_models.patch_decoder import PatchDecoder
from dexworld.world_models.patch_encoder import TinyEncoder, TinyEncoderConfig

QUIET = Console(quiet=True)
SMALL = ["training.steps=6", "training.evaluate_every=3", "training.ema=0.5", "data.batch_size=4"]
SMALL += ["data.gaps=[1,4]", "data.validation_fraction=0.3"]
ENCODER = ["++model.encoder.width=8", "++model.encoder.channels=8", "++model.encoder.hidden=8"]
DECODER = ["model.decoder.hidden=8", "model.decoder.depth=1"]


@pytest.fixture
def seen(tmp_path: Path) -> str:
    """Write a dataset of hands before a camera, and return the setting that names it."""
    features = {
        "observation.images.torso": Feature("image", (28, 42, 3)),
        "observation.keypoints": Feature("float32", (15,)),
        "observation.camera_torso": Feature("float32", (16,)),
        "observation.proprio": Feature("float32", (3,)),
        "action": Feature("float32", (2,)),
    }
    camera = Camera.from_view(torch.zeros(3), torch.eye(3), 90.0, 28, 42).as_vector().numpy()
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "play", features, 10, robot_type="toy") as writer:
        for length in (8, 9, 10, 8):
            points = random.uniform(-0.5, 0.5, (length, 5, 3)) + np.array([0.0, 0.0, 1.0])
            frames = {
                "observation.images.torso": random.integers(0, 256, (length, 28, 42, 3), np.uint8),
                "observation.keypoints": points.reshape(length, 15).astype(np.float32),
                "observation.camera_torso": np.tile(camera, (length, 1)),
                "observation.proprio": np.zeros((length, 3), np.float32),
                "action": np.zeros((length, 2), np.float32),
            }
            writer.add_episode(frames, task="see")
    return f"data.path={tmp_path / 'play'}"


def configured(recipe: str, *overrides: str) -> TrainConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    own = ENCODER if recipe == "counter_encoder" else DECODER
    given = [f"recipe={recipe}", *SMALL, *own, *overrides]
    config: TrainConfig = compose_config("train", given)
    return config


def trained(recipe: str, *overrides: str) -> dict[str, Any]:
    return train.train(configured(recipe, *overrides), "dexworld-train ...", QUIET)


@pytest.mark.slow
def test_they_are_trained_one_on_the_other(seen: str, tmp_path: Path) -> None:
    output = tmp_path / "encoder"
    metrics = trained("counter_encoder", seen, f"output={output}")
    assert set(metrics["errors"]) == {"picture_error", "keypoint_error", "keypoints_found"}
    train.print_errors(metrics, QUIET)
    encoder = TinyEncoder.from_pretrained(output / "model")
    assert (encoder.grid, encoder.width) == ((2, 3), 8)
    assert encoder.metadata["errors"] == metrics["errors"]
    # The scale of the features is that of the frames it was trained on.
    config = configured("counter_encoder", seen)
    _, data = train.KINDS["tiny_encoder"](config, train.open_dataset(config))
    batches = [data.batches(number, 0, 1) for number in range(train.FITTED_BATCHES)]
    frames = torch.cat([batch.frames["pixels_torso"].flatten(0, 1) for batch in batches])
    features = encoder.features(frames).flatten(0, 1)
    torch.testing.assert_close(features.std(0), torch.ones(8), atol=1e-3, rtol=0)
    # The same command again measures the same and writes the same.
    assert trained("counter_encoder", seen, f"output={output}")["errors"] == metrics["errors"]
    assert TinyEncoder.from_pretrained(output / "model").name == encoder.name

    given = [seen, f"encoder={output / 'model'}", f"output={tmp_path / 'decoder'}"]
    metrics = trained("counter_decoder", *given)
    assert set(metrics["errors"]) == {"picture_error"}
    decoder = PatchDecoder.from_pretrained(tmp_path / "decoder" / "model")
    assert decoder.config.encoder == encoder.name
    assert decoder.draw(encoder.features(frames[:2])).shape == (2, 28, 42, 3)
    assert (tmp_path / "encoder" / "tensorboard").is_dir()

    more = ["training.learning_rate=1e-12", "training.ema=0", f"output={tmp_path / 'more'}"]
    trained("counter_decoder", *given[:2], *more, f"initial={tmp_path / 'decoder' / 'model'}")
    later = PatchDecoder.from_pretrained(tmp_path / "more" / "model").state_dict()
    for name, tensor in decoder.state_dict().items():
        torch.testing.assert_close(later[name], tensor)


def test_batches_hold_the_features_of_the_frames_beside_them(seen: str, tmp_path: Path) -> None:
    config = library.Dinov2Config(
        hidden_size=8, num_hidden_layers=1, num_attention_heads=2, patch_size=14, image_size=28
    )
    library.Dinov2Model(config).save_pretrained(tmp_path / "dino")
    given = [seen, f"encoder={tmp_path / 'dino'}", f"+model.perceptual_network={tmp_path / 'dino'}"]
    config = configured("counter_decoder", *given)
    training, data = train.KINDS["patch_decoder"](config, train.open_dataset(config))
    windows = data.batches(0, 0, 1)
    encoder = load_frame_encoder(tmp_path / "dino", image_size=(28, 42))
    expected = encoder.features(windows.frames["pixels_torso"].flatten(0, 1))
    stored = windows.frames[FEATURES].flatten(0, 1).float()
    torch.testing.assert_close(stored, expected, atol=2e-3, rtol=2e-3)
    loss, terms = training.training_loss(windows, 0.0)
    assert set(terms) == {"picture", "perceptual"} and loss.isfinite()
    assert training.config.decoder.encoder == encoder.name
    assert not any("network" in name for name in training.state_dict())


def test_frames_may_be_apart_as_they_like(seen: str) -> None:
    for irregular in (False, True):
        config = configured("counter_encoder", seen, f"data.irregular={irregular}")
        _, data = train.KINDS["tiny_encoder"](config, train.open_dataset(config))
        gaps = data.batches(0, 0, 1).gaps
        assert (gaps is not None) is irregular


def test_what_cannot_be(seen: str, tmp_path: Path) -> None:
    def refused(recipe: str, *overrides: str, kind: type[Exception] = ValueError) -> str:
        with pytest.raises(kind) as caught:
            trained(recipe, seen, f"output={tmp_path / 'out'}", *overrides)
        return str(caught.value.args[0])

    assert "kind=patch_decoder needs encoder=..." in refused("counter_decoder")
    for observes in ("[proprio]", "[pixels_torso,proprio]"):
        told = refused("counter_encoder", f"data.observes={observes}")
        assert "kind=tiny_encoder learns from one kind of frames" in told
    told = refused("counter_encoder", "data.observes=[pixels_wrist]", kind=KeyError)
    assert "has no observation.images.wrist" in told
    told = refused("counter_encoder", "model.points=palm", kind=KeyError)
    assert "has no observation.palm" in told
    assert "keypoints of" in refused("counter_encoder", "model.order=[0,5]")
    assert "Did you mean 'masked'" in refused("counter_encoder", "+model.maskd=0.5")
    told = refused("counter_encoder", "+model.encoder.image_size=[14,42]")
    assert "image_size=[14, 42], but the frames of" in told
    other = TinyEncoderConfig((28, 42), width=4, channels=8, hidden=8)
    TinyEncoder(other).save_pretrained(tmp_path / "other")
    told = refused("counter_encoder", f"initial={tmp_path / 'other'}")
    assert "begin with the same settings" in told
    assert "data.gaps=[1]" in refused("counter_encoder", "data.gaps=[1]")
    assert not (tmp_path / "out" / "model").exists()
