"""Checkpoints of the public DexWM code: the numbers that it gives, from its weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.dexwm_official import from_official

DATA = Path(__file__).parents[1] / "data" / "dexwm"
CASES = {"config1": ((3, 4), 4), "config2": ((3, 5), 3), "config2_kp448": ((16, 28), 2)}
ROLLOUTS = [
    *[("config1", tag) for tag in ("S1", "S2", "S3", "long")],
    *[("config2", tag) for tag in ("S1", "S2", "S3")],
]


def golden(name: str) -> dict[str, Tensor]:
    return load_file(DATA / f"{name}.safetensors")


def state_of(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix("state/"): tensor
        for name, tensor in tensors.items()
        if name.startswith("state/")
    }


def model_of(name: str) -> tuple[DexWM, dict[str, Tensor]]:
    (grid, heads), tensors = CASES[name], golden(name)
    return from_official(state_of(tensors), grid=grid, heads=heads, frames="features"), tensors


def near(actual: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    torch.testing.assert_close(
        actual.to(expected), expected, rtol=tolerance, atol=tolerance, equal_nan=False
    )


@pytest.mark.parametrize("name", CASES)
@torch.no_grad()
def test_teacher_forcing(name: str) -> None:
    model, tensors = model_of(name)
    features = tensors["in/features"]
    predicted = model.predictor(features[:, :-1], tensors["in/actions"])
    near(predicted, tensors["out/train_features"][:, 1:])
    near(predicted[:, -1], tensors["out/eval_features_last"])
    near((predicted - features[:, 1:]).square().mean()[None], tensors["out/emb_loss_train"])
    assert model.head is not None
    heatmaps = model.head(predicted)
    near(heatmaps[: len(tensors["out/heatmaps_last"]), -1], tensors["out/heatmaps_last"])
    near(heatmaps.mean((-1, -2)), tensors["out/heatmap_mean"])


@torch.no_grad()
def test_tiny_variances_are_normalised_alike() -> None:
    model, tensors = model_of("config1")
    predicted = model.predictor(tensors["in/features_lowvar"][:, :-1], tensors["in/actions"])
    near(predicted, tensors["out/train_features_lowvar"][:, 1:])


@torch.no_grad()
def test_actions_from_pairs_of_hand_states() -> None:
    model, tensors = model_of("config2")
    predicted = model.predictor(
        tensors["in/features"][:, :-1], tensors["out/prepared_actions_pair"]
    )
    near(predicted, tensors["out/train_features_pair"][:, 1:])


@pytest.mark.parametrize(("name", "tag"), ROLLOUTS)
@torch.no_grad()
def test_rollouts_of_the_controller(name: str, tag: str) -> None:
    model, tensors = model_of(name)
    dtype = torch.float64 if tag == "long" else torch.float32
    model = model.to(dtype)
    seen = tensors[f"rollout/{tag}/in/seen_features"].to(dtype)
    moved = torch.nn.functional.pad(tensors[f"rollout/{tag}/in/keypoint_deltas"].to(dtype), (0, 6))
    state = model.encode({"features": seen[:, 0]})
    for frame in seen[:, 1:].unbind(1):
        # Whatever was executed: the controller takes it as nothing.
        executed = torch.ones(len(seen), 1, 132, dtype=dtype)
        state = model.encode({"features": frame}, state, executed)
    predicted = model.rollout(state, moved[:, None])
    near(predicted["latent"][:, 0], tensors[f"rollout/{tag}/out/features"])
    # Theirs are the numbers of pixels, and ours the middle of them.
    near(predicted["keypoints"][:, 0] - 0.5, tensors[f"rollout/{tag}/out/keypoints_right_xy"], 0.0)


@pytest.mark.parametrize("kind", ["safetensors", "torch", "nested"])
def test_files(kind: str, tmp_path: Path) -> None:
    tensors = state_of(golden("config2"))
    path = tmp_path / ("weights.safetensors" if kind == "safetensors" else "weights.pth")
    if kind == "safetensors":
        save_file(tensors, path)
    elif kind == "torch":
        torch.save(tensors, path)
    else:
        wrapped = {f"module.{name}": tensor for name, tensor in tensors.items()}
        wrapped["module.encoder.patch_embed.weight"] = torch.zeros(3)
        torch.save({"model": wrapped, "epoch": 3}, path)
    model = from_official(path, grid=(3, 5), heads=3)
    assert torch.equal(model.predictor.positions, tensors["pos_embed"])
    assert not model.training


def test_everything_that_does_not_fit_is_listed() -> None:
    tensors = state_of(golden("config2"))
    removed = tensors.pop("blocks.1.attn.out_proj.bias")
    tensors["surplus.weight"] = torch.zeros(2)
    with pytest.raises(
        ValueError, match=r"missing: predictor.blocks.1.within.out.bias; unknown: surplus"
    ) as caught:
        from_official(tensors, grid=(3, 5), heads=3)
    assert "\n" not in str(caught.value)
    model = from_official(tensors, grid=(3, 5), heads=3, strict=False)
    assert (model.predictor.blocks[1].within.out.bias == 0).all()
    tensors["blocks.1.attn.out_proj.bias"] = removed[:3]
    with pytest.raises(ValueError, match=r"shapes: .*\(3,\) instead of \(24,\)"):
        from_official(tensors, grid=(3, 5), heads=3, strict=False)


def test_no_checkpoints(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="there is no checkpoint"):
        from_official(tmp_path / "nothing.safetensors")
    (tmp_path / "broken.safetensors").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a checkpoint whose tensors can be read safely"):
        from_official(tmp_path / "broken.safetensors")
    (tmp_path / "broken.pth").write_bytes(b"nothing of the kind")
    with pytest.raises(ValueError, match="not a checkpoint whose tensors can be read safely"):
        from_official(tmp_path / "broken.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no state dict"):
        from_official(tmp_path / "empty.pth")
    with pytest.raises(ValueError, match=r"no checkpoint of DexWM: it lacks \['predictor.blocks.0"):
        from_official({"weight": torch.zeros(2)})


def test_what_shapes_cannot_tell() -> None:
    tensors = state_of(golden("config1"))
    with pytest.raises(ValueError, match="has width 32, which is no size of DexWM: give heads"):
        from_official(tensors, grid=(3, 4))
    with pytest.raises(ValueError, match=r"predicts 12 patches, and grid=\(16, 28\) has 448"):
        from_official(tensors, heads=4)
