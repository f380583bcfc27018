from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor

from dexworld.world_models.cameras import Camera
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.frame_encoder import FEATURES
from dexworld.world_models.frame_training import (
    DecoderTrainingConfig,
    PatchDecoderTraining,
    TinyEncoderTraining,
    TinyTrainingConfig,
)
from dexworld.world_models.patch_decoder import PatchDecoderConfig
from dexworld.world_models.patch_encoder import TinyEncoderConfig, unit_pictures

ENCODER = TinyEncoderConfig((28, 42), width=16, channels=16, convolutions=1, hidden=32, depth=1)
CAMERA = Camera.from_view(torch.zeros(3), torch.eye(3), 90.0, 28, 42)
HALF_WIDTH = math.tan(math.radians(45)) * 42 / 28


def windows(count: int = 8, seed: int = 0, points: int = 2) -> Windows:
    """Red and green spots on grey, at points one metre before the camera."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 2, points, 3, generator=generator) * 1.4 - 0.7
    places = places * torch.tensor([HALF_WIDTH, 1.0, 0.0]) + torch.tensor([0.0, 0.0, 1.0])
    frames = torch.full((count, 2, 28, 42, 3), 90, dtype=torch.uint8)
    pixels = CAMERA.project(places.flatten(0, 1)).pixels.unflatten(0, (count, 2))
    for row, frame in torch.cartesian_prod(torch.arange(count), torch.arange(2)).tolist():
        for point, (u, v) in enumerate(pixels[row, frame].int().tolist()):
            frames[row, frame, v - 1 : v + 2, u - 1 : u + 2] = 255 * torch.eye(3)[point].byte()
    seen = {
        "pixels": frames,
        "keypoints": places.flatten(2),
        "camera": CAMERA.as_vector().expand(count, 2, 16),
        FEATURES: torch.randn(count, 2, 6, 16, generator=generator).half(),
    }
    nothing = torch.zeros(count, 0, 1)
    known = torch.zeros(count, 0, dtype=torch.bool)
    actions = torch.zeros(count, 1, 1, 1)
    return Windows(seen, actions, nothing, known, torch.arange(count))


def made(**given: object) -> TinyEncoderTraining:
    torch.manual_seed(0)
    points = 0 if given.get("points", "") is None else 2
    return TinyEncoderTraining(TinyTrainingConfig(ENCODER, **given), points)


def test_heatmaps_are_where_the_frames_show_the_points() -> None:
    training = made()
    batch = windows(2)
    frames = {key: value.flatten(0, 1) for key, value in batch.frames.items()}
    maps = training.heatmaps(frames)
    for point, colour in enumerate((0, 1)):
        others = [c for c in range(3) if c != colour]
        pictures = frames["pixels"].float()
        spot = (pictures[..., colour] == 255) & (pictures[..., others].amax(-1) == 0)
        drawn = maps[:, point].flatten(1).amax(1) == 1  # not too near to the edge
        assert drawn.any()
        peak = maps[:, point] == 1
        assert bool((peak & spot).flatten(1).any(1)[drawn].all())


def test_it_learns_to_draw_and_to_find() -> None:
    training = made()
    optimizer = torch.optim.AdamW(training.parameters(), 3e-3)
    held_out = windows(16, seed=99)
    before = copy.deepcopy(training).eval().errors(held_out)
    assert set(before) == {"picture_error", "keypoint_error", "keypoints_found"}
    assert before["keypoint_error"] > 10
    for step in range(120):
        loss, terms = training.training_loss(windows(8, seed=step), 0.0)
        torch.testing.assert_close(loss, terms["picture"] + terms["heatmap"])
        optimizer.zero_grad()
        loss.backward()
        assert all(weight.grad is not None for weight in training.parameters())
        optimizer.step()
    training.eval().fit(windows(8, seed=step) for step in range(4))
    after = training.errors(held_out)
    assert after["picture_error"] < 0.3 * before["picture_error"]
    assert after["keypoint_error"] < 4 and after["keypoints_found"] > 0.8
    features = training.model.features(held_out.frames["pixels"].flatten(0, 1))
    assert (features.flatten(0, 1).std(0) - 1).abs().mean() < 0.1
    assert training.strip(held_out).shape == (3 * 28, 6 * 42, 3)


def test_without_points_it_learns_from_pictures_alone() -> None:
    training = made(points=None)
    assert set(training.training_loss(windows(), 0.0)[1]) == {"picture"}
    assert set(training.eval().errors(windows())) == {"picture_error"}
    assert training.strip(windows()).shape == (2 * 28, 6 * 42, 3)


def test_masked_patches_are_not_seen() -> None:
    training = made(masked=0.5)
    torch.manual_seed(0)
    pictures = unit_pictures(windows().frames["pixels"].flatten(0, 1))
    hidden = training._hidden(pictures)
    grey = (hidden == 0.5).all(1)
    patches = grey.unfold(1, 14, 14).unfold(2, 14, 14).flatten(3)
    assert torch.equal(patches.all(3), patches.any(3))
    assert 0.2 < patches.all(3).float().mean() < 0.8
    assert torch.equal(hidden[:, 0][~grey], pictures[:, 0][~grey])
    assert torch.equal(made()._hidden(pictures), pictures)


class Edges(torch.nn.Module):
    """A frozen network that looks at differences of neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.eye(3), requires_grad=False)

    def forward(self, pictures: Tensor) -> Tensor:
        edges = pictures[..., 1:] - pictures[..., :-1]
        return (edges.flatten(2).transpose(1, 2) @ self.weight) + 1e-3


def decoder(**given: object) -> PatchDecoderTraining:
    torch.manual_seed(0)
    config = PatchDecoderConfig("e", 16, (2, 3), 14, hidden=32, depth=1)
    perceive = given.pop("perceive", None)
    return PatchDecoderTraining(DecoderTrainingConfig(config, **given), perceive)


def test_a_decoder_learns_what_features_show() -> None:
    training, batch = decoder(noise=0.1), windows(4)
    optimizer = torch.optim.AdamW(training.parameters(), 3e-3)
    before = training.errors(batch)["picture_error"]
    for _ in range(100):
        loss, terms = training.training_loss(batch, 0.0)
        assert set(terms) == {"picture"}
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert training.errors(batch)["picture_error"] < 0.4 * before
    assert training.strip(batch).shape == (2 * 28, 6 * 42, 3)


def test_a_network_judges_pictures_and_learns_nothing() -> None:
    training = decoder(perceive=Edges(), perceptual=2.0, noise=0.0)
    plain = decoder(noise=0.0)
    assert set(training.state_dict()) == set(plain.state_dict())
    loss, terms = training.training_loss(windows(4), 0.0)
    alone, _ = plain.training_loss(windows(4), 0.0)
    torch.testing.assert_close(loss - terms["perceptual"], alone)
    assert 0 < terms["perceptual"] <= 4
    terms["perceptual"].backward()
    gradient = training.model.leave.weight.grad
    assert gradient is not None and gradient.abs().sum() > 0


def test_each_picture_has_noise_of_its_own() -> None:
    def loss(noise: float) -> Tensor:
        training = decoder(noise=noise)
        torch.manual_seed(1)
        return training.training_loss(windows(), 0.0)[0]

    assert torch.equal(loss(0.8), loss(0.8)) and not torch.equal(loss(0.8), loss(0.0))


def test_what_cannot_be() -> None:
    for given in ({"noise": -1.0}, {"heatmap": -1.0}, {"masked": 1.0}, {"sigma": 0.0}):
        (name,) = given
        with pytest.raises(ValueError, match=f"TinyTrainingConfig.*{name}="):
            TinyTrainingConfig(**given)
    with pytest.raises(ValueError, match=r"DecoderTrainingConfig.*noise="):
        DecoderTrainingConfig(noise=-0.1)
