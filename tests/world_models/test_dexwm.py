"""DexWM as a world model: its laws, and the fast path against the plain one."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.experiments.plain_dexwm import PlainDexWM, Search, count_operations, shared_flops
from dexworld.world_models.base import Observation, WorldModel
from dexworld.world_models.conformance import WorldModelConformance
from dexworld.world_models.dexwm import FRAMES, DexWM, DexWMConfig
from dexworld.world_models.dexwm_config import dexwm_size
from dexworld.world_models.kinematics import Kinematics
from tests.world_models.toy_dexwm import (
    GRID,
    HEAD,
    SIZES,
    frames,
    movements,
    randomise,
    toy_config,
    toy_model,
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


def seen_states(model: DexWM, count: int, problems: int = 1) -> tuple[Tensor, dict[str, Tensor]]:
    """Return frames, and the belief after having seen them, actions between them being zero."""
    seen = frames(problems, count)
    state = model.encode({"features": seen[:, 0]})
    for number in range(1, count):
        nothing = torch.zeros(problems, 1, *model.action_space.shape, dtype=torch.float64)
        state = model.encode({"features": seen[:, number]}, state, nothing)
    return seen, state


@pytest.mark.parametrize("count", [1, 2, 4, 6])
@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_the_fast_path_is_the_plain_one(count: int, horizon: int) -> None:
    model = toy_model()
    seen, state = seen_states(model, count)
    moved = movements(1, 20, horizon)
    with torch.no_grad():
        fast = model.rollout(state, moved)
    latents, points = PlainDexWM(model).rollout(seen[0, -4:] if count > 4 else seen[0], moved[0])
    assert (fast["latent"][0] - latents).abs().max() < 1e-9
    goal = frames(1, seed=5)[:, 0]
    costs = [(each - goal).square().mean((1, 2, 3)) for each in (fast["latent"][0], latents)]
    assert costs[0].topk(5).indices.tolist() == costs[1].topk(5).indices.tolist()
    assert torch.equal(fast["keypoints"][0], points[:, :, 2:].double())


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_float32_is_close_to_float64(positions: str) -> None:
    moved = movements(1, 6, 6)
    found = []
    for dtype in (torch.float64, torch.float32):
        model = toy_model(positions, dtype)
        state = model.encode({"features": frames(1)[:, 0].to(dtype)})
        with torch.no_grad():
            found.append(model.rollout(state, moved.to(dtype))["latent"].double())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_gradients_take_the_same_path() -> None:
    model = toy_model()
    _, state = seen_states(model, 2, problems=2)
    moved = movements(2, 3, 3).requires_grad_()
    with_gradient = model.rollout(state, moved)
    with torch.no_grad():
        without = model.rollout(state, moved.detach())
    for key in ("latent", "soft_keypoints"):
        torch.testing.assert_close(with_gradient[key], without[key], rtol=1e-10, atol=1e-10)
    cost = with_gradient["latent"].square().mean() + 0.01 * with_gradient["soft_keypoints"].mean()
    (gradient,) = torch.autograd.grad(cost, moved)

    def costs(actions: Tensor) -> float:
        predicted = model.rollout(state, actions, ["latent", "soft_keypoints"])
        return float(
            predicted["latent"].square().mean() + 0.01 * predicted["soft_keypoints"].mean()
        )

    for place in ((0, 0, 0, 0), (1, 2, 1, 5), (0, 1, 2, 11)):
        step = torch.zeros_like(moved)
        step[place] = 1e-5
        with torch.no_grad():
            slope = (costs(moved + step) - costs(moved - step)) / 2e-5
        assert abs(slope - float(gradient[place])) < 1e-6 * max(1.0, abs(slope))
    assert (gradient != 0).all()


def test_what_candidates_share_is_computed_once_for_a_belief() -> None:
    model = toy_model("slots", torch.float32)
    _, state = seen_states(model, 1)
    state = {key: value.float() for key, value in state.items()}
    moved = movements(1, 5, 2).float()
    with torch.no_grad():
        counts = [
            count_operations(lambda: model.rollout(state, moved, ["latent"])) for _ in range(2)
        ]
    assert counts[1] < counts[0]
    # Other weights: nothing remembered may be used.
    before = model.rollout(state, moved, ["latent"])["latent"]
    randomise(model, seed=9)
    assert not torch.allclose(before, model.rollout(state, moved, ["latent"])["latent"])
    other = {**state, FRAMES: state[FRAMES] + 1}
    assert not torch.allclose(before, model.rollout(other, moved, ["latent"])["latent"])


def test_operations_are_those_of_the_formula() -> None:
    model = toy_model("slots", torch.float32)
    state = model.encode({"features": frames(1)[:, 0].float()})
    search = Search(candidates=6, horizon=3)
    moved = movements(1, 6, 3).float()
    with torch.no_grad():
        counted = count_operations(lambda: model.rollout(state, moved, ["latent", "keypoints"]))
    expected = shared_flops(model.config.predictor, HEAD, SIZES["patches"], search, maps=2, patch=4)
    assert counted == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize(("size", "millions"), [("S", 31), ("B", 104), ("L", 344), ("XL", 456)])
def test_sizes_have_as_many_parameters_as_those_of_the_paper(size: str, millions: int) -> None:
    with torch.device("meta"):
        model = DexWM(DexWMConfig(predictor=dexwm_size(size), head=None))
    count = sum(each.numel() for each in model.parameters())
    # What is published is whole millions: 31 for 30.6.
    assert abs(count / 1e6 - millions) < max(0.5, 0.01 * millions)


def test_unknown_size() -> None:
    with pytest.raises(ValueError, match=r"no size 'M'.*\['S', 'B', 'L', 'XL'\]"):
        dexwm_size("M")


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_teacher_forcing_is_causal(positions: str) -> None:
    model = toy_model(positions)
    seen, moved = frames(2, 4), movements(2, 4)
    with torch.no_grad():
        before = model.predictor(seen, moved)
        for frame in range(4):
            other, elsewhere = seen.clone(), moved.clone()
            other[:, frame] += 1
            elsewhere[:, frame] += 1
            for changed in (model.predictor(other, moved), model.predictor(seen, elsewhere)):
                moves = (changed - before).abs().flatten(2).amax((0, 2)) > 1e-9
                assert moves.tolist() == [number >= frame for number in range(4)]


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_teacher_forcing_and_rollout_say_the_same_of_a_full_context(positions: str) -> None:
    model = toy_model(positions)
    seen, moved = frames(1, 4), movements(1, 4)
    into = torch.nn.functional.pad(moved[:, :-1], (0, 0, 1, 0))
    state = {FRAMES: seen, "into": into}
    with torch.no_grad():
        forced = model.predictor(seen, moved)[:, -1]
        rolled = model.rollout(state, moved[:, None, -1:], ["latent"])["latent"][:, 0, 0]
    torch.testing.assert_close(forced, rolled, rtol=1e-10, atol=1e-10)


def test_keys_of_predictions_stay_in_the_rotary_scheme() -> None:
    # Rolled out at once, with keys kept, as with the belief moved on and all keys computed anew.
    model = toy_model("rotary")
    _, state = seen_states(model, 2)
    moved = movements(1, 1, 6)
    with torch.no_grad():
        at_once = model.rollout(state, moved, ["latent"])["latent"][:, 0]
        for number in range(6):
            state = model.step(state, moved[:, 0, number])
            assert (state["latent"] - at_once[:, number]).abs().max() < 1e-12


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
    arm = mujoco.MjModel.from_xml_string(
        """<mujoco><worldbody><body name="a"><joint name="x" axis="0 0 1"/><geom size=".1" mass="1"/>
        <body name="palm" pos="1 0 0"><joint name="y" axis="0 0 1"/><geom size=".1" mass="1"/>
        </body></body></worldbody></mujoco>"""
    )
    palm = Kinematics(arm, ["body:palm"], ["x", "y"])
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


def test_training_gradients_reach_every_weight() -> None:
    model = toy_model()
    seen, moved = frames(2, 4), movements(2, 4)
    predicted = model.predictor(seen, moved)
    (predicted.square().mean() + model.head(predicted).square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        used = parameter.grad[:4] if name == "predictor.positions" else parameter.grad
        assert used.abs().max() > 0, name


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


def test_a_frame_without_a_hand_is_told() -> None:
    model = toy_model(least_peak=1e6)
    with pytest.warns(UserWarning, match=r"rows \[0, 1\] show no right hand.*Choose a goal"):
        model.encode({"features": frames(2)[:, 0]})


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


def test_grids_and_patches_must_agree() -> None:
    with pytest.raises(ValueError, match=r"grid=\(2, 2\)\) has 4 patches, and the predictor 12"):
        toy_config(grid=(2, 2))
