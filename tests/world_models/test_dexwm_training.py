"""How a DexWM learns, on a toy arm whose frames are features of where its hand is."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import mujoco
import pytest
import torch

from dexworld.world_models.cameras import Camera
from dexworld.world_models.cdit import CDiTConfig
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.dexwm import DexWMConfig
from dexworld.world_models.dexwm_training import DexWMTraining, DexWMTrainingConfig
from dexworld.world_models.frame_encoder import FEATURES
from dexworld.world_models.heatmaps import draw_heatmaps
from dexworld.world_models.keypoint_head import KeypointHeadConfig
from dexworld.world_models.kinematics import Kinematics

GRID, PATCH = (4, 6), 8
ARM = """
<mujoco>
  <worldbody>
    <body name="upper"><joint name="yaw" axis="0 0 1" range="-90 90"/><geom size=".02" mass="1"/>
      <body name="lower" pos=".3 0 0"><joint name="elbow" axis="0 0 1" range="-90 90"/>
        <geom size=".02" mass="1"/><site name="hand" pos=".2 0 0"/><site name="tip" pos=".25 .05 0"/>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
KINEMATICS = Kinematics(
    mujoco.MjModel.from_xml_string(ARM),
    ["site:hand", *["site:hand", "site:hand", "site:hand", "site:tip"] * 5],
    ["yaw", "elbow"],
)
CAMERA = Camera.from_view(
    torch.tensor([0.3, 0.0, 1.0]),
    torch.diag(torch.tensor([1.0, -1.0, -1.0])),
    60.0,
    GRID[0] * PATCH,
    GRID[1] * PATCH,
)


def config(**settings: Any) -> DexWMTrainingConfig:
    predictor = CDiTConfig(
        features=3,
        patches=GRID[0] * GRID[1],
        context=4,
        width=32,
        depth=2,
        heads=2,
        positions="rotary",
        residual=True,
        action_scale=10.0,
    )
    head = KeypointHeadConfig(width=16, depth=1, heads=2, resize="none", stride=4)
    model = DexWMConfig(predictor=predictor, head=head, grid=GRID, patch=PATCH)
    return DexWMTrainingConfig(model=model, **{"sigma": 1.0, "closed_loop": 2, **settings})


def windows(count: int, seed: int, frames: int = 5) -> Windows:
    """Return windows of an arm that moves at random, seen as a blot where its hand is."""
    generator = torch.Generator().manual_seed(seed)
    start = 1.6 * torch.rand(count, 1, 2, generator=generator) - 0.8
    moves = 0.5 * torch.rand(count, frames - 1, 2, generator=generator) - 0.25
    joints = torch.cat([start, start + moves.cumsum(1)], dim=1)
    places = CAMERA.project(KINEMATICS.positions(joints)[:, :, [0, 4]]).pixels / PATCH
    rows, columns = torch.meshgrid(*(torch.arange(n) + 0.5 for n in GRID), indexing="ij")
    cells = torch.stack([columns, rows], dim=-1).flatten(0, 1)
    away = (places[:, :, :, None] - cells).square().sum(-1)  # [B, L, 2, P]
    blots = torch.exp(-away / 2).transpose(2, 3)
    features = torch.cat([blots, torch.zeros_like(blots[..., :1])], dim=-1)
    seen = {
        FEATURES: features.half(),
        "proprio": joints,
        "camera_torso": CAMERA.as_vector().expand(count, frames, 16),
    }
    nothing = torch.zeros(count, 1, 2)
    return Windows(
        seen,
        torch.zeros(count, frames - 1, 1, 2),
        nothing,
        nothing[..., 0] > 0,
        torch.zeros(count, dtype=torch.int64),
    )


def trained(steps: int, **settings: Any) -> tuple[DexWMTraining, list[float]]:
    torch.manual_seed(0)
    training = DexWMTraining(config(**settings), KINEMATICS)
    optimizer = torch.optim.AdamW(training.parameters(), 3e-3)
    losses = []
    for step in range(steps):
        optimizer.zero_grad()
        loss, _ = training.training_loss(windows(16, step), step / steps)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    return training.eval(), losses


@pytest.mark.slow
def test_what_is_learned() -> None:
    training, losses = trained(200, hand=1.0)
    assert losses[-1] < 0.5 * losses[0]
    errors = training.errors(windows(64, 10_000))
    for ahead in (1, 4):
        assert errors[f"latent_{ahead}"] < 0.5 * errors[f"still_{ahead}"]
        # It is the actions that say where the hand goes.
        assert errors[f"shuffled_{ahead}"] > 2 * errors[f"latent_{ahead}"]
    assert errors["keypoints_1"] < PATCH


def test_terms_and_gradients() -> None:
    training = DexWMTraining(config(), KINEMATICS)
    loss, terms = training.training_loss(windows(3, 0), 0.0)
    assert set(terms) == {"state", "closed_loop", "hand"}
    assert torch.allclose(loss.detach(), torch.stack([*terms.values()]).sum())
    loss.backward()
    weight = training.model.predictor.last.weight
    assert weight.grad is not None and weight.grad.abs().max() > 0
    alone, fewer = DexWMTraining(config(hand=0.0, closed_loop=0), KINEMATICS).training_loss(
        windows(3, 0), 0.0
    )
    assert set(fewer) == {"state"} and torch.equal(alone.detach(), fewer["state"])


def first_looks_away(given: Windows) -> Windows:
    """Turn the camera of the first window to where no hand is."""
    away = Camera.from_view(torch.tensor([0.3, 0.0, 1.0]), torch.eye(3), 60.0, 32, 48)
    cameras = given.frames["camera_torso"].clone()
    cameras[0] = away.as_vector()
    return replace(given, frames={**given.frames, "camera_torso": cameras})


def test_maps_of_keypoints_outside_of_the_image_learn_to_stay_empty_unless_told_not_to() -> None:
    given = first_looks_away(windows(2, 0))
    terms = {}
    for empty in (True, False):
        training = DexWMTraining(config(empty=empty, closed_loop=0), KINEMATICS)
        head = training.model.head
        assert head is not None
        with torch.no_grad():
            head.vit_decoder.head[0].weight.zero_()
            head.vit_decoder.head[0].bias.fill_(1.0)
        lesson = training._lesson(given.frames)
        assert not lesson.visible[0].any() and lesson.visible[1].all()
        loss, found = training.training_loss(given, 0.0)
        loss.backward()
        terms[empty] = float(found["hand"])
    # Full maps are all wrong where they should be empty, and nearly so elsewhere.
    truth = training._truth(lesson, slice(None))[1]
    wrong = float((1 - truth).square().mean())
    assert terms[False] == pytest.approx(2 * 100 * wrong, rel=0.02)
    assert terms[True] == pytest.approx(2 * 100 * (1 + wrong) / 2, rel=0.02)


def test_keypoints_are_counted_in_both_denominators() -> None:
    given = first_looks_away(windows(4, 0))
    training = DexWMTraining(config(), KINEMATICS).eval()
    lesson, head = training._lesson(given.frames), training.model.head
    assert head is not None
    # Of one cell each, which no edge of the image cuts off.
    cells = draw_heatmaps(lesson.pixels[:, 1], lesson.visible[:, 1], head.size, stride=4, sigma=0.4)
    training._heatmaps = lambda features: cells  # type: ignore[method-assign]
    found = training.errors(given)
    assert found["pck20_1"] == 1.0 and found["pck20_all_1"] == pytest.approx(3 / 4)


def test_actions_are_movements_in_the_camera() -> None:
    training = DexWMTraining(config(), KINEMATICS)
    given = windows(2, 0)
    lesson = training._lesson(given.frames)
    places = KINEMATICS.positions(given.frames["proprio"])
    moved = lesson.moved.unflatten(-1, (44, 3))
    world = places[:, 1:] - places[:, :-1]
    # The camera looks down, its x along the world's, its y against it.
    expected = world * torch.tensor([1.0, -1.0, -1.0])
    torch.testing.assert_close(moved[:, :, 21:42], expected, rtol=1e-4, atol=1e-6)
    assert (moved[:, :, :21] == 0).all() and (moved[:, :, 42:] == 0).all()


@pytest.mark.parametrize(("actions", "rows"), [("wrists", [21]), ("camera", [])])
def test_reduced_actions(actions: str, rows: list[int]) -> None:
    training = DexWMTraining(config(actions=actions), KINEMATICS)
    moved = training._lesson(windows(2, 0).frames).moved.unflatten(-1, (44, 3))
    kept = moved.abs().amax((0, 1, 3)).nonzero().flatten().tolist()
    assert kept == rows


def test_strips_show_predicted_above_true() -> None:
    strip = DexWMTraining(config(), KINEMATICS).eval().strip(windows(3, 0), rows=2)
    assert strip.shape == (2 * 2 * GRID[0] * 2, 4 * GRID[1] * 2, 3)
    halves = strip.unflatten(0, (2, 2, -1))
    assert halves[:, 1].amax() > 200


def test_windows_longer_than_the_context() -> None:
    training = DexWMTraining(config(), KINEMATICS)
    with pytest.raises(ValueError, match="windows of 6 frames, and the model looks back on 4"):
        training.training_loss(windows(2, 0, frames=6), 0.0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [({"actions": "feet"}, "actions='feet'"), ({"sigma": 0.0}, "sigma must be positive")],
)
def test_settings(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        config(**settings)
