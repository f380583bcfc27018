"""Open-loop errors of a model that is perfect, of one that stands still, and of a blind one."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor, nn

from dexworld.world_models.data.windows import Windows
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.open_loop import encode_frames, moments, open_loop_errors
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

SCALE = 100.0
LAYOUT = PointLayout((PointSet("end_effector", 1, "place"),), 0.0, SCALE)


def halfway(obeys: float = 1.0, chunk: int = 1) -> LatentWorldModel:
    """Return a model of a point that goes half the way, times `obeys`, to where it is told."""
    config = LatentConfig(
        {"place": (2,)},
        (-1.0, -1.0),
        (1.0, 1.0),
        chunk=chunk,
        features=0,
        points=LAYOUT,
        predictor=PredictorConfig(width=4, depth=1, history=2),
    )
    model = LatentWorldModel(config)
    weights = torch.zeros(2, 2 + 4 + 2 * chunk)
    share = 0.5 * obeys
    weights[:, :2] = ((1 - share) ** chunk - 1) * torch.eye(2)
    for action in range(chunk):
        first = 6 + 2 * action
        weights[:, first : first + 2] = share * (1 - share) ** (chunk - 1 - action) * torch.eye(2)
    network = model.predictors[0].network
    network.skip.weight = nn.Parameter(weights)
    nn.init.zeros_(network.skip.bias)
    return model


def windows(rows: int = 8, steps: int = 12, **more: Tensor) -> Windows:
    generator = torch.Generator().manual_seed(0)
    actions = 2 * torch.rand(rows, steps, 2, generator=generator) - 1
    place = 2 * torch.rand(rows, 2, generator=generator) - 1
    places = [place]
    for action in actions.unbind(1):
        place = place + 0.5 * (action - place)
        places.append(place)
    return Windows(
        {"place": SCALE * torch.stack(places, dim=1), **more},
        actions[:, :, None],
        torch.zeros(rows, 2, 2),
        torch.ones(rows, 2, dtype=torch.bool),
        torch.arange(rows),
    )


@pytest.mark.parametrize("chunk", [1, 4])
def test_a_perfect_model_is_never_wrong(chunk: int) -> None:
    errors = open_loop_errors(halfway(chunk=chunk), windows(), (1, 4, 12, 25))
    looks = (1, 4, 12) if chunk == 1 else (4, 12)
    kinds = ("latent_{}", "end_effector_{}", "end_effector_{}_p90", "end_effector_{}_static")
    assert set(errors) == {k.format(n) for k in (*kinds, "shuffled_{}") for n in looks}
    for look in looks:
        assert errors[f"latent_{look}"] < 1e-10
        assert errors[f"end_effector_{look}_p90"] < 1e-3
        assert errors[f"end_effector_{look}_static"] > 20.0
        assert errors[f"shuffled_{look}"] > 1e3


def test_errors_are_those_of_their_definitions() -> None:
    model, given = halfway(obeys=0.5), windows(rows=9)
    errors = open_loop_errors(model, given, (3,))
    place = given.frames["place"]
    predicted = place[:, 0] / SCALE
    for action in given.actions[:, :3, 0].unbind(1):
        predicted = predicted + 0.25 * (action - predicted)
    distances = (SCALE * predicted - place[:, 3]).norm(dim=1)
    static = (place[:, 0] - place[:, 3]).norm(dim=1)
    assert errors["end_effector_3"] == pytest.approx(float(distances.median()), rel=1e-4)
    assert errors["end_effector_3_p90"] == pytest.approx(float(distances.quantile(0.9)), rel=1e-4)
    assert errors["end_effector_3_static"] == pytest.approx(float(static.median()), rel=1e-4)
    square = (predicted - place[:, 3] / SCALE).square().mean()
    spread = (place[:, [0, 3]] / SCALE).var(0, unbiased=False).mean()
    assert errors["latent_3"] == pytest.approx(float(square / spread), rel=1e-4)
    assert errors["shuffled_3"] > 1.5


def test_a_model_that_ignores_actions_is_as_good_with_those_of_others() -> None:
    errors = open_loop_errors(halfway(obeys=0.0), windows(), (1, 5))
    for step in (1, 5):
        assert errors[f"shuffled_{step}"] == pytest.approx(1.0)
        static = errors[f"end_effector_{step}_static"]
        assert errors[f"end_effector_{step}"] == pytest.approx(static, rel=1e-5)


def test_latents_are_compared_where_there_are_no_labels() -> None:
    given = windows()
    latents = given.frames["place"] / SCALE
    errors = open_loop_errors(halfway(), dataclasses.replace(given, frames={LATENT: latents}), (4,))
    assert set(errors) == {"latent_4", "shuffled_4"}
    assert errors["latent_4"] < 1e-10 and errors["shuffled_4"] > 1e3


def test_frames_are_encoded_where_they_are_looked_at() -> None:
    given = windows()
    encoded = encode_frames(halfway(), given, [0, 7])
    torch.testing.assert_close(encoded, given.frames["place"][:, [0, 7]] / SCALE)


def test_moments_are_whole_actions_within_the_windows() -> None:
    given = windows(steps=12)
    assert moments(halfway(), given, (1, 5, 12, 13)) == [1, 5, 12]
    assert moments(halfway(chunk=5), given, (1, 5, 6, 11)) == [5, 10]
    with pytest.raises(ValueError, match=r"of 3 steps are too short to look ahead by any of \[5\]"):
        moments(halfway(chunk=5), windows(steps=3), (1, 5))
    sparse = dataclasses.replace(given, actions=given.actions.view(8, 6, 2, 2))
    with pytest.raises(ValueError, match="frames are 2 steps apart"):
        open_loop_errors(halfway(), sparse)
