"""DexWM as a world model: its laws, what it observes, and what it refuses."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.world_models import shared_attention
from dexworld.world_models.base import Observation, WorldModel
from dexworld.world_models.conformance import WorldModelConformance
from dexworld.world_models.dexwm import FRAMES, DexWM, DexWMConfig
from dexworld.world_models.kinematics import Kinematics
from dexworld.world_models.patch_encoder import TinyEncoder, TinyEncoderConfig
from tests.world_models.toy_dexwm import (
    GRID,
    SIZES,
    frames,
    movements,
    seen_states,
    toy_config,
    toy_model,
)

ARM = mujoco.MjModel.from_xml_string(
    """<mujoco><worldbody><body name="a"><joint name="x" axis="0 0 1"/><geom size=".1" mass="1"/>
    <body name="palm" pos="1 0 0"><joint name="y" axis="0 0 1" range="-60 215"/>
    <geom size=".1" mass="1"/></body></body></worldbody></mujoco>"""
)


class Laws(WorldModelConformance):
    positions = "slots"
    horizon = 6  # further than the context of 4
    tolerance = 1e-12
    settings: ClassVar[dict[str, Any]] = {}

    def make_model(self) -> WorldModel:
        return toy_model(self.positions, **self.settings)

    def make_observation(self, batch: int) -> Observation:
        return {"features": frames(batch)[:, 0]}


class TestSlots(Laws):
    pass


class TestRotary(Laws):
    positions = "rotary"


class TestJoints(Laws):
    settings: ClassVar[dict[str, Any]] = {"joints": 3, "carries": ("camera",)}

    def make_observation(self, batch: int) -> Observation:
        return {
            "features": frames(batch)[:, 0],
            "proprio": torch.zeros(batch, 3),
            "camera": torch.ones(batch, 16),
        }


class TestFewAtOnce(Laws):
    settings: ClassVar[dict[str, Any]] = {"memory": 1e-5}


def test_a_new_model_predicts_nothing_and_hears_no_action() -> None:
    model = DexWM(toy_config())
    state = model.encode({"features": frames(1)[:, 0].float()})
    with torch.no_grad():
        predicted = model.rollout(state, movements(1, 5, 3).float(), ["latent"])["latent"]
    assert (predicted == 0).all()


def test_actions_change_what_is_predicted() -> None:
    model = toy_model()
    _, state = seen_states(model, 1)
    with torch.no_grad():
        latents = model.rollout(state, movements(1, 2, 3), ["latent"])["latent"]
    assert (latents[:, 0] - latents[:, 1]).abs().flatten(2).amin(0).amax(-1).min() > 1e-3


def test_executed_actions_are_remembered_unless_the_public_controller_is_followed() -> None:
    seen, executed = frames(1, 2), movements(1, 2)
    beliefs = {}
    for feeds in (True, False):
        model = toy_model(feeds_actions=feeds)
        first = model.encode({"features": seen[:, 0]})
        beliefs[feeds] = model.encode({"features": seen[:, 1]}, first, executed)["into"]
    assert torch.equal(beliefs[True][:, -1], executed.sum(1))
    assert (beliefs[True][:, :-1] == 0).all()
    assert (beliefs[False] == 0).all()


def test_episodes_that_begin_forget() -> None:
    model = toy_model()
    seen, before = frames(2, 2), movements(2, 1)
    first = model.encode({"features": seen[:, 0]})
    both = model.encode({"features": seen[:, 1]}, first, before, torch.tensor([True, False]))
    alone = model.encode({"features": seen[:, 1]})
    assert torch.equal(both[FRAMES][0], alone[FRAMES][0])
    assert torch.equal(both[FRAMES][1, :-1], first[FRAMES][1, 1:])
    assert (both["into"][0] == 0).all()
    assert (both["into"][1, -1] != 0).all()


def test_joint_targets_become_the_command_and_predicted_joints() -> None:
    model = toy_model(joints=3)
    state = model.encode({"features": frames(1)[:, 0], "proprio": torch.zeros(1, 3).double()})
    joints = torch.rand(1, 2, 4, 3).double()
    actions = torch.cat([movements(1, 2, 4), joints], dim=-1)
    with torch.no_grad():
        assert torch.equal(model.rollout(state, actions)["joints"], joints)
        after = model.step(state, actions[:, 0, 0])
    assert torch.equal(after["command"], joints[:, 0, 0])
    assert torch.equal(after["joints"], joints[:, 0, 0])


def test_the_palm_is_where_the_joint_targets_bring_it() -> None:
    palm = Kinematics(ARM, ["body:palm"], ["x", "y"])
    model = toy_model(joints=2)
    model.attach_palm(palm)
    state = model.encode({"features": frames(1)[:, 0], "proprio": torch.zeros(1, 2).double()})
    assert torch.allclose(state["palm"][0, :4], torch.tensor([1.0, 0, 0, 1.0]).double())
    quarter = torch.tensor([math.pi / 2, 0.0]).double().expand(1, 1, 3, 2)
    actions = torch.cat([movements(1, 1, 3), quarter], dim=-1)
    with torch.no_grad():
        found = model.rollout(state, actions, ["palm"])["palm"][0, 0, -1]
    half = math.sqrt(0.5)
    expected = torch.tensor([0.0, 1.0, 0.0, half, 0.0, 0.0, half]).double()
    torch.testing.assert_close(found * found[3].sign().where(torch.arange(7) > 2, 1.0), expected)
    with pytest.raises(ValueError, match=r"say 3 joint targets, and .* of 2 joints and 1 frames"):
        toy_model(joints=3).attach_palm(palm)


def test_joint_targets_are_bounded_by_the_limits_of_joints() -> None:
    model = toy_model(joints=2)
    turn = np.float32(2 * math.pi)
    assert model.action_space.high[-2:].tolist() == [turn, turn]
    model.attach_palm(Kinematics(ARM, ["body:palm"], ["x", "y"]))
    assert model.action_space.low[-2:] == pytest.approx([-turn, math.radians(-60)])
    assert model.action_space.high[-2:] == pytest.approx([turn, math.radians(215)])
    assert (model.action_space.high[:-2] == np.float32(0.5)).all()


def test_joints_beyond_their_limits_are_told_once() -> None:
    model = toy_model(joints=2)
    model.attach_palm(Kinematics(ARM, ["body:palm"], ["x", "y"]))

    def look(*joints: float) -> None:
        model.encode({"features": frames(1)[:, 0], "proprio": torch.tensor([joints]).double()})

    look(5.0, -1.06)  # limits give way a little
    with pytest.warns(
        UserWarning, match=r"1 observed joints .* 'y' is 5 \(row 0\), and -1.047 to 3.7"
    ):
        look(1.0, 5.0)
    look(1.0, 5.0)


def test_copies_of_shared_keys_count_in_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    # On a GPU, which is known by what its attention does not tell, each candidate has its own.
    model = toy_model(memory=1e-3)
    _, state = seen_states(model, 2)
    moved = movements(1, 200, 3)
    with torch.no_grad():
        shared, before = model._at_once(moved), model.rollout(state, moved, ["latent"])
        monkeypatch.setattr(shared_attention, "CPU_ATTENTION", "nothing of the kind")
        copied, after = model._at_once(moved), model.rollout(state, moved, ["latent"])
        single = model._at_once(moved[:, :, :1])
    assert copied < shared < 200 and single > copied
    torch.testing.assert_close(before["latent"], after["latent"], rtol=1e-10, atol=1e-10)


def test_half_precision_is_close() -> None:
    model = toy_model("slots", torch.float32)
    state = model.encode({"features": frames(1)[:, 0].float()})
    moved = movements(1, 4, 3).float()
    with torch.no_grad():
        full = model.rollout(state, moved, ["latent"])["latent"]
        model.precision = torch.bfloat16
        half = model.rollout(state, moved, ["latent"])["latent"]
    assert half.dtype == torch.float32
    assert 0 < (full - half).abs().max() < 0.1 * full.abs().max()


def test_a_goal_without_a_hand_is_told_once() -> None:
    model = toy_model(least_peak=1e6)
    seen = frames(2, 3)
    with pytest.warns(UserWarning, match=r"2 goals .* show no right hand: .*Choose a goal"):
        first = model.encode({"features": seen[:, 0]})
    model.encode({"features": seen[:, 1]})  # warnings are errors
    other = toy_model(least_peak=1e6)
    with torch.no_grad():
        for parameter in other.head.parameters():  # type: ignore[union-attr]
            parameter.zero_()
    # What is seen on the way need not show the hand.
    other.encode({"features": seen[:, 1]}, first, movements(2, 1))


def test_by_default_a_head_that_finds_nothing_is_told_and_one_that_draws_is_not() -> None:
    default = DexWMConfig().least_peak
    model = toy_model(least_peak=default)
    assert model.head is not None
    with torch.no_grad():
        for parameter in model.head.parameters():
            parameter.zero_()
        model.head.vit_decoder.head[0].bias.fill_(0.3)  # a third of what heads are taught
        model.encode({"features": frames(1)[:, 0]})
        model.head.vit_decoder.head[0].bias.fill_(0.02)
    with pytest.warns(UserWarning, match=f"0.02, and below least_peak={default}"):
        model.encode({"features": frames(1)[:, 0]})


def test_features_of_another_shape() -> None:
    model = toy_model()
    with pytest.raises(ValueError, match=r"shape \(1, 5, 10\).*must be features, \[B, 12, 10\]"):
        model.encode({"features": torch.zeros(1, 5, 10)})


class Encoder:
    """Gives the mean colour of patches, ten times."""

    name, image_size, grid, width = "mean colour", (12, 16), GRID, SIZES["features"]

    def features(self, images: Tensor) -> Tensor:
        cells = images.double().unflatten(2, (4, 4)).unflatten(1, (3, 4)).mean((2, 4, 5))
        return cells.flatten(1)[..., None].expand(-1, -1, self.width) / 255


def tiny_encoder() -> TinyEncoder:
    config = TinyEncoderConfig(
        image_size=(12, 16), patch=4, width=SIZES["features"], channels=8, hidden=8, depth=1
    )
    return TinyEncoder(config).eval()


def seeing_model() -> tuple[DexWM, dict[str, Any]]:
    model = toy_model("rotary", torch.float32, frames="pixels")
    model.attach(tiny_encoder())
    images = np.random.default_rng(0).integers(0, 256, (1, 12, 16, 3), np.uint8)
    return model, {"pixels": images}


def test_the_encoder_is_no_part_of_the_model() -> None:
    model, _ = seeing_model()
    blind = toy_model("rotary", torch.float32)
    assert set(model.state_dict()) == set(blind.state_dict())
    assert len([*model.parameters()]) == len([*blind.parameters()])
    assert not any(isinstance(module, TinyEncoder) for module in model.modules())


def test_a_model_that_sees_is_trained_without_its_encoder() -> None:
    model, seen = seeing_model()
    before = model.encode(seen)[FRAMES]
    assert torch.equal(model.train().encode(seen)[FRAMES], before)


def test_a_model_that_sees_is_saved_without_its_encoder(tmp_path: Path) -> None:
    model, seen = seeing_model()
    model.save_pretrained(tmp_path / "model")
    again = DexWM.from_pretrained(tmp_path / "model")
    assert again.config.encoder == model.config.encoder == model._encoder[0].name
    again.attach(model._encoder[0])
    assert torch.equal(again.encode(seen)[FRAMES], model.encode(seen)[FRAMES])
    torch.manual_seed(1)
    with pytest.raises(
        ValueError, match=r"predicts features of 'tiny .*, and the encoder is 'tiny"
    ):
        again.attach(tiny_encoder())


def test_the_encoder_follows_to_a_device_and_keeps_its_type() -> None:
    model, seen = seeing_model()
    encoder = model._encoder[0]
    assert isinstance(encoder, TinyEncoder)
    assert model.double().encode(seen)[FRAMES].dtype == torch.float64
    assert {each.dtype for each in encoder.parameters()} == {torch.float32}
    model.to("meta")
    assert {each.device.type for each in encoder.parameters()} == {"meta"}


def test_frames_are_encoded_by_the_encoder() -> None:
    model = DexWM(toy_config(encoder="mean colour", frames="pixels"), Encoder())
    images = np.random.default_rng(0).integers(0, 256, (2, 12, 16, 3), np.uint8)
    state = model.encode({"pixels": images})
    expected = float(images[1, :4, 4:8].mean() / 255)
    assert state[FRAMES][1, -1, 1].sub(expected).abs().max() < 1e-6


def test_an_encoder_that_does_not_fit() -> None:
    with pytest.raises(ValueError, match="predicts features of 'other', and the encoder is 'mean"):
        DexWM(toy_config(encoder="other"), Encoder())
    with pytest.raises(
        ValueError, match=r"3 x 4 patches of 8 numbers, and 'mean colour' gives 3 x 4 of 10"
    ):
        DexWM(toy_config(sizes={"features": 8}), Encoder())


def test_models_are_saved_and_loaded(tmp_path: Path) -> None:
    model = toy_model("rotary", torch.float32)
    model.save_pretrained(tmp_path / "model", metadata={"steps": 3})
    again = DexWM.from_pretrained(tmp_path / "model")
    assert again.config == model.config
    state = model.encode({"features": frames(1)[:, 0]})
    moved = movements(1, 2, 3).float()
    with torch.no_grad():
        both = [each.rollout(state, moved)["latent"] for each in (model, again)]
    assert torch.equal(*both)


def test_a_state_of_another_model() -> None:
    model, larger = toy_model(), toy_model(sizes={"context": 5})
    _, state = seen_states(larger, 1)
    with pytest.raises(ValueError, match=r"state\['frames'\] has shape \(1, 5, 12, 10\)"):
        model.rollout(state, movements(1, 2, 2))
