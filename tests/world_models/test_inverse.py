"""The inverse model's network: what it reads, its symmetry, what it learns from."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from dexworld.world_models.configuration import from_json, to_json
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.inverse import (
    InverseConfig,
    InverseModel,
    action_errors,
    latents_fingerprint,
    of_world_model,
    read,
)
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.planar_contact import axes_of, turn
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

PUSHER, BODY = PointSet("agent", 1, "proprio"), PointSet("keypoints", 4, "keypoints")
T = torch.tensor([[-0.2, -0.1], [0.2, -0.1], [0.0, 0.0], [0.0, 0.2]])


def pushing(seed: int = 0, **changes: object) -> LatentWorldModel:
    torch.manual_seed(seed)
    given = {
        "observes": {"proprio": (2,), "keypoints": (8,)},
        "action_low": (-1.0, -1.0),
        "action_high": (1.0, 1.0),
        "features": 0,
        "points": PointLayout((PUSHER, BODY), 256.0, 256.0),
        "hold_point": "agent",
        "predictor": PredictorConfig(kind="planar_contact", width=16, depth=1, history=4),
    }
    model = LatentWorldModel(LatentConfig(**(given | changes)))
    body = (256.0 + 256.0 * T).reshape(1, 8)
    model.fit({"proprio": torch.eye(2), "keypoints": torch.cat([body, body + 1.0])})
    return model


def inverse(model: LatentWorldModel, seed: int = 0, **changes: object) -> InverseModel:
    torch.manual_seed(seed)
    given = to_json(InverseConfig("", PointLayout(), 0, (), (), width=32, depth=1))
    made = InverseModel(from_json(InverseConfig, given | of_world_model(model) | changes))
    made.fit(model)
    for weights in made.parameters():  # also those that start at zero
        torch.nn.init.normal_(weights, std=0.1)
    return made


def scene(rows: int, seed: int = 0) -> Tensor:
    """Return readings of a pusher beside a body, `[rows, 10]`."""
    generator = torch.Generator().manual_seed(seed)
    angle = 2 * math.pi * torch.rand(rows, generator=generator)
    axes = axes_of(torch.stack([angle.cos(), angle.sin()], 1))
    centre = 0.4 * torch.rand(rows, 1, 2, generator=generator) - 0.2
    pusher = 0.8 * torch.rand(rows, 1, 2, generator=generator) - 0.4
    body = centre + turn(T, axes[:, None])
    return torch.cat([pusher, body], dim=1).flatten(1)


PAST = torch.randn(6, 4, 2, generator=torch.Generator().manual_seed(9)).clamp(-0.3, 0.3)
STEPS = torch.tensor([1, 3, 5, 20, 50, 8])


# What it reads


def test_the_fingerprint_tells_latents_apart_and_nothing_else() -> None:
    features = {"features": 3, "predictor": PredictorConfig(kind="residual", width=16, depth=1)}
    model, other = pushing(**features), pushing(1, **features)
    assert latents_fingerprint(model) == latents_fingerprint(pushing(**features))
    assert latents_fingerprint(model) != latents_fingerprint(other)
    other.load_state_dict(
        {**other.state_dict()}
        | {k: v for k, v in model.state_dict().items() if not k.startswith("predictors.")}
    )
    assert latents_fingerprint(model) == latents_fingerprint(other)
    copying = pushing()
    copying.fit({"proprio": torch.randn(9, 2), "keypoints": torch.randn(9, 8)})
    assert latents_fingerprint(copying) == latents_fingerprint(pushing())
    moved = dataclasses.replace(model.config.points, scale=100.0)
    assert latents_fingerprint(pushing()) != latents_fingerprint(pushing(points=moved))


def test_points_come_first_wherever_they_come_from() -> None:
    latent = torch.randn(3, 2, 13)
    config = {"features": 3, "predictor": PredictorConfig(width=16, depth=1)}
    assert read(pushing(**config), latent) is latent
    apart = pushing(**config | {"features": 13, "points_in_latent": False})
    reading = read(apart, latent)
    torch.testing.assert_close(reading[..., :10], apart.points(latent).flatten(-2))
    torch.testing.assert_close(reading[..., 10:], latent)
    assert inverse(apart).config.reading_size == reading.shape[-1] == 23
    assert inverse(pushing(**config)).config.reading_size == 13


# What it gives


def test_where_nothing_is_learned_it_holds_still() -> None:
    for model in (
        pushing(),
        pushing(predictor=PredictorConfig(width=16, depth=1, history=4)),
    ):
        still = inverse(model)
        for weights in still.network.parameters():
            torch.nn.init.zeros_(weights)
        actions = still(scene(6), scene(6, 1), STEPS, PAST)
        torch.testing.assert_close(actions, scene(6)[:, None, :2].expand(-1, 5, -1))
    nowhere = pushing(hold_point=None, predictor=PredictorConfig(width=16, depth=1, history=4))
    assert (inverse(nowhere).hold_action(scene(6)) == 0).all()


def test_what_works_somewhere_works_everywhere() -> None:
    model = inverse(pushing())
    assert model.config.body
    for layer in (model.network.enter, model.network.skip):
        layer.weight.data[:, -8:] = 0.0  # where in the world the body is
    now, goal = scene(6), scene(6, 1)
    actions = model(now, goal, STEPS, PAST)
    angle, shift = torch.tensor(0.7), torch.tensor([0.1, -0.2])
    axes = axes_of(torch.stack([angle.cos(), angle.sin()]))

    def moved(points: Tensor) -> Tensor:
        flat = points.shape[-1] != 2
        turned = shift + turn(points.unflatten(-1, (-1, 2)) if flat else points, axes)
        return turned.flatten(-2) if flat else turned

    again = model(moved(now), moved(goal), STEPS, moved(PAST))
    torch.testing.assert_close(again, moved(actions), rtol=0, atol=1e-5)
    assert (actions - now[:, None, :2]).abs().max() > 0.1, "it does something"


def test_all_is_seen_from_the_body_as_it_is_now() -> None:
    """Not as it shall be: an action along its x axis is one along that of today."""
    model, now, goal = inverse(pushing()), scene(6), scene(6, 1)
    body = now.unflatten(1, (-1, 2))[:, 1:]
    axis = (body[:, 1] - body[:, 0]) / (T[1] - T[0]).norm()
    for weights in model.network.parameters():
        torch.nn.init.zeros_(weights)
    skip = model.network.skip
    with torch.no_grad():
        skip.bias[::2] = 1.0
    told = model(now, goal, STEPS, PAST) - model.hold_action(now)[:, None]
    torch.testing.assert_close(told, axis[:, None].expand_as(told))
    with torch.no_grad():  # and now what past actions look like: one coordinate, five times
        skip.bias.zero_()
        skip.weight[::2, -10 - 2 * PAST.shape[1]] = 1.0  # behind it 2 numbers of time, 8 of places
    told = model(now, goal, STEPS, PAST) - model.hold_action(now)[:, None]
    along = 5.0 * ((PAST[:, 0] - now[:, :2]) * axis).sum(1, keepdim=True)
    torch.testing.assert_close(told, (along * axis)[:, None].expand_as(told), atol=1e-5, rtol=1e-4)


def test_goal_time_and_past_matter_and_bounds_are_kept() -> None:
    for model in (
        inverse(pushing()),
        inverse(pushing(predictor=PredictorConfig(width=16, depth=1, history=4))),
    ):
        now, goal = scene(6), scene(6, 1)
        actions = model.act(now, goal, STEPS, PAST)
        assert actions.shape == (6, 5, 2)
        for other in (
            model.act(now, scene(6, 2), STEPS, PAST),
            model.act(now, goal, STEPS.flip(0), PAST),
            model.act(now, goal, STEPS, PAST.flip(1)),
        ):
            assert (other - actions).abs().amax((1, 2)).min() > 1e-4
        longer = model.act(now, goal, 3 * model.config.longest + STEPS, PAST)
        longest = model.act(now, goal, torch.full((6,), model.config.longest), PAST)
        assert torch.equal(longer, longest)
        far = model.act(30.0 * now, goal, STEPS, PAST)
        assert far.abs().max() == 1.0


# What it learns from


def windows(frames: int, gap: int, rows: int = 64, seed: int = 0) -> Windows:
    """Return readings of a point that is where it was last told to be."""
    generator = torch.Generator().manual_seed(seed)
    steps = gap * (frames - 1)
    speed = 0.1 * torch.randn(rows, 1, 2, generator=generator)
    way = speed * torch.arange(steps + 1)[:, None]
    body = scene(rows)[:, None, 2:].expand(-1, steps + 1, -1)
    readings = torch.cat([way, body], dim=2)
    return Windows(
        {LATENT: readings[:, ::gap]},
        way[:, 1:].unflatten(1, (frames - 1, gap)),
        torch.full((rows, 6, 2), torch.nan),
        torch.zeros(rows, 6, dtype=torch.bool),
        torch.arange(rows),
    )


def test_the_loss_is_the_smooth_error() -> None:
    model, given = inverse(pushing(), beta=0.05), windows(2, 7)
    steps = torch.full((64,), 7)
    readings = given.frames[LATENT]
    told = model(readings[:, 0], readings[:, 1], steps, model.past(given))
    error = (told - given.actions[:, 0, :5]).abs()
    expected = torch.where(error < 0.05, error.square() / 0.1, error - 0.025).mean()
    torch.testing.assert_close(model.training_loss(given, 0.0)[0], expected)


def test_actions_after_the_goal_teach_nothing() -> None:
    model, given = inverse(pushing()), windows(3, 2)
    torch.manual_seed(5)
    chosen = torch.randint(1, 3, (64,))
    assert {1, 2} == set(chosen.tolist())
    later = given.actions.clone()
    later[chosen == 1, 1] += 100.0
    changed = dataclasses.replace(given, actions=later)
    losses = []
    for each in (given, changed):
        torch.manual_seed(5)
        losses.append(model.training_loss(each, 0.0)[0])
    assert torch.equal(*losses) and losses[0] > 0
    later[chosen == 2, 1] += 100.0
    torch.manual_seed(5)
    assert model.training_loss(changed, 0.0)[0] > 10 * losses[0]


def test_a_goal_may_be_nearer_than_a_chunk() -> None:
    loss, terms = inverse(pushing()).training_loss(windows(2, 3), 0.5)
    assert loss.isfinite() and set(terms) == {"actions"}


@pytest.mark.parametrize("kind", ["planar_contact", "residual"])
def test_it_learns_what_leads_to_the_goal(kind: str) -> None:
    model = inverse(pushing(predictor=PredictorConfig(kind=kind, width=16, depth=1, history=4)))
    before = action_errors(model, windows(26, 1, seed=1))
    assert set(before) == {f"action_{n}{end}" for n in (1, 5, 10, 25) for end in ("", "_hold")}
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(200):
        optimizer.zero_grad()
        model.training_loss(windows(3, 1 + step % 10, seed=100 + step), 0.0)[0].backward()
        optimizer.step()
    after = action_errors(model, windows(26, 1, seed=1))
    for step in (5, 10):
        assert after[f"action_{step}"] < 0.3 * after[f"action_{step}_hold"]
        assert after[f"action_{step}_hold"] == before[f"action_{step}_hold"]


# In and out


def test_it_comes_out_of_a_folder_as_it_went_in(tmp_path) -> None:
    model = inverse(pushing())
    model.save_pretrained(tmp_path / "inverse")
    again = InverseModel.from_pretrained(tmp_path / "inverse")
    assert again.config == model.config and torch.equal(again.template, model.template)
    now, goal = scene(6), scene(6, 1)
    assert torch.equal(again(now, goal, STEPS, PAST), model(now, goal, STEPS, PAST))
    with pytest.raises(ValueError, match="holds a InverseModel, not a LatentWorldModel"):
        LatentWorldModel.from_pretrained(tmp_path / "inverse")


@pytest.mark.parametrize("change", [{"chunk": 0}, {"longest": 0}, {"beta": 0.0}])
def test_settings_that_cannot_be(change) -> None:
    with pytest.raises(ValueError, match=rf"InverseConfig\({next(iter(change))}\) must be"):
        inverse(pushing(), **change)
