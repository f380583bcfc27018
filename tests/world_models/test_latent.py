"""The latent world model: the laws of a world model, beliefs, and what training teaches it."""

from __future__ import annotations

import multiprocessing
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from dexworld.world_models.base import COMMAND, Observation, take
from dexworld.world_models.conformance import WorldModelConformance
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.decoder import DecoderConfig
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent import DISAGREEMENT, LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.latent_config import LATENTS, PAST
from dexworld.world_models.latent_loss import LossConfig
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

LAYOUT = PointLayout((PointSet("agent", 1, "proprio"), PointSet("body", 3, "keypoints")))
VECTORS = {"proprio": (2,), "keypoints": (6,)}
FRAMES = {"pixels": (32, 32, 3)}
CONVOLUTIONAL = EncoderConfig("convolutional", width=4, depth=1, maps=2)
PATCHES = EncoderConfig("patches", width=8, depth=1, heads=2, patch=8)


def predictor(kind: str, **changes: Any) -> PredictorConfig:
    small = {"width": 8, "depth": 1, "heads": 2, "history": 3, "octaves": 2}
    return PredictorConfig(kind, **(small | changes))


def make(seed: int = 0, **changes: Any) -> LatentWorldModel:
    """Return a small model with random weights, also where training begins at zero."""
    given: dict[str, Any] = {
        "observes": VECTORS,
        "action_low": (-1.0, -2.0),
        "action_high": (1.0, 0.5),
        "features": 3,
        "points": LAYOUT,
        "hold_point": "agent",
        "encoder": EncoderConfig(width=8, depth=1),
        "predictor": predictor("residual"),
        "loss": LossConfig(horizons=(2,)),
    }
    torch.manual_seed(seed)
    model = LatentWorldModel(LatentConfig(**(given | changes)))
    model.fit({key: value.flatten(0, 1) for key, value in observed(8, 1).items()})
    for name, weights in model.named_parameters():
        # Steps of a skipping network add up, and must not grow beyond what float32 resolves.
        nn.init.normal_(weights, std=0.02 if "skip" in name or "leave" in name else 0.2)
    return model.eval()


def observed(*rows: int, seed: int = 0) -> dict[str, Tensor]:
    """Return everything that is observed or labelled, of a body that keeps its shape."""
    generator = torch.Generator().manual_seed(seed)
    body = torch.tensor([[-0.2, -0.1], [0.2, -0.1], [0.0, 0.2]])
    place = 0.5 * torch.rand((*rows, 1, 2), generator=generator)
    shape = (*rows, 32, 32, 3)
    return {
        "proprio": torch.rand((*rows, 2), generator=generator) - 0.5,
        "keypoints": (place + body).flatten(-2),
        "speed": torch.rand((*rows, 1), generator=generator),
        "pixels": torch.randint(0, 256, shape, generator=generator, dtype=torch.uint8),
    }


def windows(rows: int = 4, frames: int = 3, gap: int = 1, history: int = 3) -> Windows:
    generator = torch.Generator().manual_seed(1)

    def actions(*shape: int) -> Tensor:
        return torch.rand((*shape, 2), generator=generator) - 0.5

    return Windows(
        observed(rows, frames),
        actions(rows, frames - 1, gap),
        actions(rows, history),
        torch.rand(rows, history, generator=generator) > 0.4,
        torch.arange(rows),
    )


def actions_for(model: LatentWorldModel, *shape: int, seed: int = 2) -> Tensor:
    low, high = (
        torch.from_numpy(each) for each in (model.action_space.low, model.action_space.high)
    )
    unit = torch.rand((*shape, len(low)), generator=torch.Generator().manual_seed(seed))
    return low + (high - low) * unit


# The laws of a world model


class TestResidual(WorldModelConformance):
    tolerance = 1e-5
    changes: ClassVar[dict[str, Any]] = {}

    def make_model(self) -> LatentWorldModel:
        return make(**self.changes)

    def make_observation(self, batch: int) -> Observation:
        return observed(batch)


class TestResidualChunksOfAnEnsemble(TestResidual):
    changes: ClassVar[dict[str, Any]] = {"chunk": 5, "predictor": predictor("residual", members=2)}


class TestTransformer(TestResidual):
    changes: ClassVar[dict[str, Any]] = {"predictor": predictor("transformer", members=2)}


class TestTransformerChunks(TestResidual):
    changes: ClassVar[dict[str, Any]] = {
        "chunk": 5,
        "predictor": predictor("transformer", history=11),
    }


class TestPlanarContact(TestResidual):
    changes: ClassVar[dict[str, Any]] = {"predictor": predictor("planar_contact")}


class TestPlanarContactChunksOfAnEnsemble(TestResidual):
    changes: ClassVar[dict[str, Any]] = {
        "chunk": 5,
        "predictor": predictor("planar_contact", members=2),
    }


class TestConvolutionalEncoder(TestResidual):
    changes: ClassVar[dict[str, Any]] = {
        "observes": FRAMES,
        "encoder": CONVOLUTIONAL,
        "predictor": predictor("planar_contact", members=2),
    }


class TestPatchEncoder(TestResidual):
    changes: ClassVar[dict[str, Any]] = {
        "observes": FRAMES,
        "encoder": PATCHES,
        "predictor": predictor("transformer"),
    }


class TestReadout(TestResidual):
    changes: ClassVar[dict[str, Any]] = {"points_in_latent": False, "hold_point": None}


class TestFeaturesAlone(TestResidual):
    changes: ClassVar[dict[str, Any]] = {
        "points": PointLayout(),
        "hold_point": None,
        "observes": FRAMES,
        "encoder": PATCHES,
    }


@pytest.mark.parametrize("kind", ["residual", "transformer", "planar_contact"])
def test_gradients_are_those_of_finite_differences(kind: str) -> None:
    model = make(predictor=predictor(kind, members=2), chunk=2)
    state = {key: value.double() for key, value in model.encode(observed(1)).items()}
    actions = (0.3 * actions_for(model, 1, 1, 2)).double().requires_grad_()
    model.double()

    def predictions(given: Tensor) -> tuple[Tensor, ...]:
        return tuple(model.rollout(state, given, {LATENT, DISAGREEMENT}).values())

    assert torch.autograd.gradcheck(predictions, actions)


# Beliefs


def test_an_episode_begins_at_rest() -> None:
    model = make(predictor=predictor("transformer", members=2))
    seen = observed(4)
    seen["proprio"][0] = torch.tensor([5.0, -5.0])
    state = model.encode(seen)
    hold = seen["proprio"].clone()
    hold[0] = torch.tensor([1.0, -2.0])  # inside the bounds
    torch.testing.assert_close(state[PAST], hold[:, None].expand(4, 3, 2))
    torch.testing.assert_close(state[COMMAND], hold)
    latent = model.encoder(seen).detach()
    torch.testing.assert_close(state[LATENT], latent)
    torch.testing.assert_close(state[LATENTS], latent[:, None, None].expand(4, 2, 3, -1))
    torch.testing.assert_close(state["agent"], seen["proprio"][:, None])
    torch.testing.assert_close(state["body"], seen["keypoints"].view(4, 3, 2))
    torch.testing.assert_close(state[DISAGREEMENT], torch.zeros(4))


def test_without_a_hold_point_the_smallest_action_keeps_still() -> None:
    model = make(hold_point=None, action_low=(-1.0, 0.25), action_high=(1.0, 2.0))
    assert model.encode(observed(2))[COMMAND].tolist() == [[0.0, 0.25]] * 2


@pytest.mark.parametrize("kind", ["residual", "transformer", "planar_contact"])
@pytest.mark.parametrize("chunk", [1, 2])
def test_a_belief_remembers_what_stepping_remembers_and_sees_what_is(kind: str, chunk: int) -> None:
    model = make(predictor=predictor(kind, history=4, members=2), chunk=chunk)
    before, later = observed(3), observed(3, seed=5)
    state = stepped = model.encode(before)
    actions = actions_for(model, 3, 2)
    for action in actions.unbind(1):
        stepped = model.step(stepped, action)
    belief = model.encode(later, state, actions)
    torch.testing.assert_close(belief[PAST], stepped[PAST])
    torch.testing.assert_close(belief[COMMAND], actions[:, -1, -2:])
    torch.testing.assert_close(belief[LATENTS][:, :, :-1], stepped[LATENTS][:, :, :-1])
    seen = model.encode(later)[LATENT]
    torch.testing.assert_close(belief[LATENT], seen)
    torch.testing.assert_close(belief[LATENTS][:, :, -1], seen[:, None].expand(3, 2, -1))
    assert not torch.allclose(stepped[LATENT], seen)


def test_rows_that_start_an_episode_forget_and_others_do_not() -> None:
    model = make(predictor=predictor("transformer"))
    state, later, actions = (
        model.encode(observed(3)),
        observed(3, seed=5),
        actions_for(make(), 3, 2),
    )
    start = torch.tensor([False, True, False])
    mixed = model.encode(later, state, actions, start)
    fresh, remembered = model.encode(later), model.encode(later, state, actions)
    for key in mixed:
        torch.testing.assert_close(take(mixed, start)[key], take(fresh, start)[key])
        torch.testing.assert_close(take(mixed, ~start)[key], take(remembered, ~start)[key])
    assert not torch.allclose(fresh[PAST], remembered[PAST])


def test_what_is_remembered_is_predicted_from() -> None:
    for kind in ("residual", "transformer", "planar_contact"):
        model = make(predictor=predictor(kind))
        state, actions = model.encode(observed(1)), actions_for(model, 1, 1, 1)
        later = model.rollout(state, actions)[LATENT]
        other = state | {PAST: state[PAST] + 0.3}
        assert not torch.allclose(model.rollout(other, actions)[LATENT], later), kind


def test_members_of_an_ensemble_go_their_own_ways() -> None:
    model = make(predictor=predictor("residual", members=3))
    state, actions = model.encode(observed(2)), actions_for(model, 2, 4, 5)
    found = model.rollout(state, actions)
    alone = []
    for index in range(3):
        single = make()
        weights = model.state_dict()
        chosen = {k: v for k, v in weights.items() if not k.startswith("predictors.")}
        own = f"predictors.{index}."
        chosen |= {k.replace(own, "predictors.0."): v for k, v in weights.items() if own in k}
        single.load_state_dict(chosen)
        assert DISAGREEMENT not in single.predicts
        belief = single.encode(observed(2))
        alone.append(single.rollout(belief, actions)[LATENT])
    ways = torch.stack(alone)
    torch.testing.assert_close(found[LATENT], ways.mean(0))
    torch.testing.assert_close(found[DISAGREEMENT], ways.var(0, unbiased=False).mean(-1))
    assert (found[DISAGREEMENT] > 0).all()


def test_a_saved_model_predicts_the_same(tmp_path: Path) -> None:
    model = make(
        observes=FRAMES,
        encoder=CONVOLUTIONAL,
        predictor=predictor("planar_contact", members=2),
        decoder=DecoderConfig(32, 4),
        chunk=2,
    )
    model.save_pretrained(tmp_path / "model", metadata={"seconds": 3.5})
    again = LatentWorldModel.from_pretrained(tmp_path / "model")
    assert again.config == model.config and again.metadata["seconds"] == 3.5
    state, other = model.encode(observed(2)), again.encode(observed(2))
    actions = actions_for(model, 2, 3, 4)
    expected = model.rollout(state, actions)
    for key, value in again.rollout(other, actions).items():
        assert torch.equal(value, expected[key]), key
    assert torch.equal(again.pictures(other[LATENT]), model.pictures(state[LATENT]))


def test_observations_come_in_any_form_of_the_same_size() -> None:
    model = make(observes={**VECTORS, "speed": (1,)})
    seen = observed(3)
    expected = model.encode(seen)
    arrays = {key: np.asarray(value, np.float64) for key, value in seen.items()}
    arrays["keypoints"] = arrays["keypoints"].reshape(3, 3, 2)
    arrays["speed"] = arrays["speed"][:, 0]
    for key, value in model.encode(arrays).items():
        torch.testing.assert_close(value, expected[key])
    with pytest.raises(ValueError, match=r"observation\['proprio'\] has shape \(3, 3\).*\(B, 2\)"):
        model.encode(seen | {"proprio": torch.rand(3, 3)})
    frames = make(observes=FRAMES, encoder=PATCHES)
    with pytest.raises(ValueError, match=r"has shape \(2, 3, 32, 32\).*\(B, 32, 32, 3\)"):
        frames.encode({"pixels": torch.zeros(2, 3, 32, 32, dtype=torch.uint8)})


def test_states_of_another_model_are_refused() -> None:
    state = make().encode(observed(2))
    other = make(features=4)
    with pytest.raises(ValueError, match=r"state\['latents'\] has shape.*another model"):
        other.rollout(state, actions_for(other, 2, 1, 1))
    with pytest.raises(ValueError, match="action space"):
        other.encode(observed(2), other.encode(observed(2)), torch.zeros(2, 1, 3))


def test_pictures_are_bytes_of_every_latent() -> None:
    model = make(decoder=DecoderConfig(8, 4))
    pictures = model.pictures(torch.randn(2, 3, 11, generator=torch.Generator().manual_seed(0)))
    assert pictures.shape == (2, 3, 8, 8, 3) and pictures.dtype == torch.uint8
    assert model.pictures(torch.zeros(11)).shape == (8, 8, 3)
    assert model.decoder is not None
    nn.init.constant_(model.decoder.draw[-1].weight, 0.0)
    for brightness, byte in ((-2.0, 0), (1.0, 255), (0.0, 128)):
        nn.init.constant_(model.decoder.draw[-1].bias, brightness)
        assert model.pictures(torch.zeros(11)).unique().tolist() == [byte]
    with pytest.raises(ValueError, match="has no decoder"):
        make().pictures(torch.zeros(11))


# Training


@pytest.mark.parametrize(("gap", "chunk"), [(1, 1), (4, 2)])
@pytest.mark.parametrize("kind", ["residual", "transformer"])
def test_windows_are_predicted_as_rollouts_predict(kind: str, gap: int, chunk: int) -> None:
    model = make(predictor=predictor(kind), chunk=chunk)
    given = windows(gap=gap)
    first = {key: value[:, 0] for key, value in given.frames.items()}
    state = model.encode(first)
    taken = torch.where(given.past_known[..., None], given.past, state[PAST])
    actions = given.actions.flatten(1, 2).reshape(4, 1, -1, 2 * chunk)
    every = gap // chunk
    expected = model.rollout(state | {PAST: taken}, actions)[LATENT][:, 0, every - 1 :: every]
    found = model.predict_windows(state[LATENT], given, horizon=2)
    torch.testing.assert_close(found[0], expected)
    torch.testing.assert_close(model.predict_windows(state[LATENT], given, 1)[0], expected[:, :1])


def test_frames_beyond_the_horizon_of_the_stage_are_not_looked_at() -> None:
    model, given = make(loss=LossConfig(horizons=(1, 3))), windows(frames=4)
    spoilt = {key: value.clone().float() for key, value in given.frames.items()}
    for value in spoilt.values():
        value[:, 2:] = torch.nan
    broken = Windows(spoilt, given.actions, given.past, given.past_known, given.start)
    expected, _ = model.training_loss(given, 0.4)
    loss, _ = model.training_loss(broken, 0.4)
    torch.testing.assert_close(loss, expected)
    assert not model.training_loss(broken, 0.6)[0].isfinite()


def test_latents_of_a_frozen_encoder_take_the_place_of_frames() -> None:
    model, given = make(observes=FRAMES, encoder=PATCHES), windows()
    latents = model.encoder({"pixels": given.frames["pixels"].flatten(0, 1)}).detach()
    frames = {key: given.frames[key] for key in ("proprio", "keypoints")}
    frames[LATENT] = latents.view(4, 3, -1)
    frozen = Windows(frames, given.actions, given.past, given.past_known, given.start)
    _, expected = model.training_loss(given, 0.0)
    loss, terms = model.training_loss(frozen, 0.0)
    assert set(terms) == {"latent", "predicted_points"}
    assert set(expected) == {*terms, "variance", "covariance", "encoded_points"}
    for name, term in terms.items():
        torch.testing.assert_close(term, expected[name])
    loss.backward()
    assert all(weights.grad is None for weights in model.encoder.parameters())
    assert all(weights.grad is not None for weights in model.predictors.parameters())


def test_every_weight_has_a_part_in_the_loss() -> None:
    for changes in (
        {"observes": FRAMES, "encoder": CONVOLUTIONAL, "decoder": DecoderConfig(32, 4)},
        {"observes": FRAMES, "encoder": PATCHES, "predictor": predictor("transformer", members=2)},
        {"predictor": predictor("planar_contact")},
        {"points_in_latent": False, "loss": LossConfig(horizons=(2,), consistency=0.0)},
        {"features": 0, "predictor": predictor("planar_contact")},
    ):
        model = make(**changes)
        loss, terms = model.training_loss(windows(), 0.0)
        loss.backward()
        torch.testing.assert_close(loss.detach(), torch.stack([*terms.values()]).sum().detach())
        assert not [name for name, weights in model.named_parameters() if weights.grad is None]


def gradients(model: LatentWorldModel, given: Windows) -> dict[str, Tensor]:
    model.zero_grad()
    model.training_loss(given, 0.0)[0].backward()
    return {k: w.grad.clone() for k, w in model.named_parameters() if w.grad is not None}


@pytest.mark.parametrize("consistency", [0.0, 0.1])
def test_without_consistency_labels_teach_nothing_but_the_readout(consistency: float) -> None:
    model = make(
        observes=FRAMES,
        encoder=PATCHES,
        points_in_latent=False,
        hold_point="agent",
        loss=LossConfig(horizons=(2,), consistency=consistency),
    )
    given = windows()
    before = gradients(model, given)
    for key in ("proprio", "keypoints"):
        given.frames[key] += 1.0
    after = gradients(model, given)
    changed = {name for name, gradient in after.items() if not torch.equal(gradient, before[name])}
    of_readout = {name for name in after if name.startswith("readout.")}
    assert of_readout & changed
    assert (changed <= of_readout) == (consistency == 0.0)


def test_predictions_do_not_teach_an_encoder_where_points_are() -> None:
    model = make(
        observes=FRAMES, encoder=CONVOLUTIONAL, features=0, predictor=predictor("planar_contact")
    )
    _, terms = model.training_loss(windows(), 0.0)
    heatmaps = model.encoder.heatmaps.weight
    (of_predicted,) = torch.autograd.grad(terms["predicted_points"], heatmaps, retain_graph=True)
    (of_encoded,) = torch.autograd.grad(terms["encoded_points"], heatmaps)
    assert not of_predicted.any() and of_encoded.any()


def test_observed_points_are_not_taught() -> None:
    _, terms = make(features=0).training_loss(windows(), 0.0)
    assert set(terms) == {"predicted_points"}


def test_measuring_gives_units_and_the_shape_of_the_body() -> None:
    model = make(predictor=predictor("planar_contact"))
    seen = observed(50, seed=3)
    model.fit(seen)
    values = torch.cat([seen["keypoints"], seen["proprio"]], dim=1)
    torch.testing.assert_close(model.encoder.mean, values.mean(0))
    torch.testing.assert_close(model.encoder.deviation, values.std(0))
    corners = seen["keypoints"][0].view(3, 2)
    torch.testing.assert_close(model.predictors[0].template, corners - corners.mean(0))


def test_windows_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"windows have 2: give them 3 \(data.frames\)"):
        make().training_loss(windows(frames=2), 0.0)
    with pytest.raises(ValueError, match=r"frames are 3 steps apart.*actions last 2 steps"):
        make(chunk=2).training_loss(windows(gap=3), 0.0)
    with pytest.raises(ValueError, match=r"hold 2 past actions, but the model remembers 3"):
        make().training_loss(windows(history=2), 0.0)
    given = windows()
    del given.frames["keypoints"]
    with pytest.raises(KeyError, match="'body' are where 'keypoints' says"):
        make(observes=FRAMES, encoder=PATCHES).training_loss(given, 0.0)


def pushes(rows: int, frames: int, seed: int) -> Windows:
    """Return windows of a pusher that goes half the way to where it is told, and a body in tow."""
    generator = torch.Generator().manual_seed(seed)
    actions = 2 * torch.rand(rows, frames + 3, 2, generator=generator) - 1
    pusher, body = actions[:, 0] * 0.5, torch.rand(rows, 2, generator=generator) - 0.5
    corners = torch.tensor([[-0.2, -0.1], [0.2, -0.1], [0.0, 0.2]])
    places, bodies = [], []
    for action in actions.unbind(1):
        places.append(pusher)
        bodies.append((body[:, None] + corners).flatten(1))
        pusher = pusher + 0.5 * (action - pusher)
        body = body + 0.3 * (pusher - body)
    seen = {"proprio": torch.stack(places[3:], 1), "keypoints": torch.stack(bodies[3:], 1)}
    return Windows(
        seen,
        actions[:, 3:-1, None],
        actions[:, :3],
        torch.ones(rows, 3, dtype=torch.bool),
        torch.arange(rows),
    )


@pytest.mark.parametrize("kind", ["residual", "transformer", "planar_contact"])
def test_it_learns_to_predict_in_seconds(kind: str) -> None:
    torch.manual_seed(0)
    model = LatentWorldModel(
        LatentConfig(
            VECTORS,
            (-1.0, -1.0),
            (1.0, 1.0),
            features=0,
            points=LAYOUT,
            hold_point="agent",
            predictor=predictor(kind, width=16),
            loss=LossConfig(horizons=(1, 3)),
        )
    )
    held_out = pushes(64, 5, seed=1)
    model.fit({key: value[:, 0] for key, value in held_out.frames.items()})
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for step in range(80):
        optimizer.zero_grad()
        model.training_loss(pushes(32, 5, seed=2 + step), step / 80)[0].backward()
        optimizer.step()
    with torch.no_grad():
        latents = torch.cat([held_out.frames["proprio"], held_out.frames["keypoints"]], dim=2)
        predicted = model.predict_windows(latents[:, 0], held_out, 4)[0]
        error = (predicted[:, 3] - latents[:, 4]).norm(dim=1).mean().item()
        static = (latents[:, 0] - latents[:, 4]).norm(dim=1).mean().item()
    assert error < 0.25 * static, f"{error:.3f} of {static:.3f}"


# Data parallelism


def of_one_half(folder: Path, rank: int) -> None:
    """Write the gradients of half of the windows, in a process of two."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", world_size=2, rank=rank)
    torch.save(gradients(parallel(), half(windows(rows=16), rank)), folder / f"{rank}.pt")
    dist.destroy_process_group()


def parallel() -> LatentWorldModel:
    return make(observes=FRAMES, encoder=CONVOLUTIONAL, decoder=DecoderConfig(32, 4))


def half(given: Windows, rank: int) -> Windows:
    rows = slice(8 * rank, 8 * rank + 8)
    frames = {key: value[rows] for key, value in given.frames.items()}
    rest = (given.actions, given.past, given.past_known, given.start)
    return Windows(frames, *(each[rows] for each in rest))


def test_two_processes_learn_what_one_does(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # which imports nothing anew
    others = [context.Process(target=of_one_half, args=(tmp_path, rank)) for rank in range(2)]
    for each in others:
        each.start()
    for each in others:
        each.join(100)
        assert each.exitcode == 0
    expected = gradients(parallel(), windows(rows=16))
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for name, gradient in expected.items():
        mean = (found[0][name] + found[1][name]) / 2
        torch.testing.assert_close(mean, gradient, rtol=1e-4, atol=1e-6, msg=name)
