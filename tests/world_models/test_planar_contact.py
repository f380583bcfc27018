"""Planar pushing: frames of rigid bodies, and the symmetries of the predictor."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from dexworld.world_models.planar_contact import (
    PlanarContactPredictor,
    axes_of,
    fit_frame,
    turn,
    turn_back,
)
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

LAYOUT = PointLayout((PointSet("pusher", 1, "proprio"), PointSet("body", 4, "keypoints")))
BODY = torch.tensor([[-0.2, -0.1], [0.2, -0.1], [0.0, 0.05], [0.0, 0.15]], dtype=torch.float64)
HISTORY, CHUNK = 3, 2


def axes_at(angle: float) -> Tensor:
    return axes_of(torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64))


angles, places = st.floats(-3.1, 3.1), st.floats(-1.0, 1.0)


@given(angles, places, places)
def test_the_frame_of_a_rigid_body_is_found_exactly(angle: float, x: float, y: float) -> None:
    origin, axes = torch.tensor([x, y], dtype=torch.float64), axes_at(angle)
    template = BODY - BODY.mean(0)
    points = origin + turn(template, axes)
    found_origin, found_axes = fit_frame(points, template)
    torch.testing.assert_close(found_origin, origin)
    torch.testing.assert_close(found_axes, axes)


def test_the_frame_of_other_points_is_the_nearest() -> None:
    template = BODY - BODY.mean(0)
    points = BODY + 0.05 * torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    origin, axes = fit_frame(points, template)

    def distance(origin: Tensor, angle: float) -> float:
        turned = turn(template, axes_at(angle))
        return float((points - origin - turned).square().sum())

    angle = math.atan2(float(axes[0, 1]), float(axes[0, 0]))
    best = distance(origin, angle)
    for step in (0.01, -0.01, 1.0, 2.0, 3.0):
        assert distance(origin, angle + step) > best
    for shift in ([0.01, 0.0], [0.0, -0.01]):
        assert distance(origin + torch.tensor(shift, dtype=torch.float64), angle) > best


@given(angles, places, places)
def test_turning_back_undoes_turning(angle: float, x: float, y: float) -> None:
    vector, axes = torch.tensor([x, y], dtype=torch.float64), axes_at(angle)
    turned = turn(vector, axes)
    expected = [
        x * math.cos(angle) - y * math.sin(angle),
        x * math.sin(angle) + y * math.cos(angle),
    ]
    torch.testing.assert_close(turned, torch.tensor(expected, dtype=torch.float64))
    torch.testing.assert_close(turn_back(turned, axes), vector)


def predictor(
    features: int = 0,
    randomise: bool = True,
    least_motion: float = 0.0,
    reach: float | None = None,
) -> PlanarContactPredictor:
    torch.manual_seed(0)
    config = PredictorConfig(
        "planar_contact",
        width=12,
        depth=1,
        history=HISTORY,
        octaves=3,
        least_motion=least_motion,
        reach=reach,
    )
    made = PlanarContactPredictor(config, LAYOUT, 10 + features, 2, CHUNK).double()
    made.fit(torch.cat([torch.zeros(1, 2, dtype=torch.float64), BODY]))
    if randomise:
        for weights in made.parameters():
            nn.init.normal_(weights, std=0.2)
    return made


def scene(rows: int = 5, features: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return latents `[R, 1, D]` of a body somewhere, past and next actions."""
    generator = torch.Generator().manual_seed(1)
    turned = [
        turn(BODY - BODY.mean(0), axes_at(angle))
        for angle in (2 * math.pi * torch.rand(rows, generator=generator)).tolist()
    ]
    centre = 0.6 * torch.rand(rows, 1, 2, generator=generator, dtype=torch.float64) - 0.3
    pusher = torch.rand(rows, 1, 2, generator=generator, dtype=torch.float64) - 0.5
    points = torch.cat([pusher, centre + torch.stack(turned)], dim=1)
    others = torch.randn(rows, features, generator=generator, dtype=torch.float64)
    latents = torch.cat([points.flatten(1), others], dim=1)
    actions = torch.rand(rows, HISTORY + CHUNK, 2, generator=generator, dtype=torch.float64) - 0.5
    return latents[:, None], actions[:, :HISTORY], actions[:, HISTORY:]


def after(made: PlanarContactPredictor, latents: Tensor, past: Tensor, actions: Tensor) -> Tensor:
    """Return the latents `[R, D]` after one chunk of actions."""
    return made(latents, past, actions[:, None])[:, 0]


def points_of(latents: Tensor) -> Tensor:
    return latents[..., :10].unflatten(-1, (5, 2))


def test_the_shape_of_the_body_is_measured_in_its_own_frame() -> None:
    made = predictor()
    template = BODY - BODY.mean(0)
    torch.testing.assert_close(made.template, template)  # the first two are along x already
    for angle in (0.7, -2.0):
        moved = torch.tensor([3.0, 1.0]) + turn(BODY, axes_at(angle))
        made.fit(torch.cat([torch.ones(1, 2, dtype=torch.float64), moved]))
        torch.testing.assert_close(made.template, template)


def test_the_predicted_body_is_rigid() -> None:
    latents, past, actions = scene(features=2)
    later = points_of(after(predictor(2), latents, past, actions))[:, 1:]
    before = points_of(latents[:, 0])[:, 1:]
    assert (later - before).abs().max() > 0.01
    torch.testing.assert_close(torch.cdist(later, later), torch.cdist(before, before))
    area = torch.linalg.det(later[:, [1, 3]] - later[:, [0]])  # not mirrored either
    torch.testing.assert_close(area, torch.linalg.det(before[:, [1, 3]] - before[:, [0]]))


def test_a_body_rests_below_the_least_motion_but_not_in_training() -> None:
    latents, past, actions = scene(rows=40)
    free = after(predictor(), latents, past, actions)
    before = points_of(latents[:, 0])
    motion = (points_of(free) - before)[:, 1:].norm(dim=-1).mean(1)
    bound = float(motion.detach().sort().values[19:21].mean())
    assert int((motion < bound).sum()) == 20
    made = predictor(least_motion=bound)
    torch.testing.assert_close(after(made, latents, past, actions), free)  # it is being trained
    later = after(made.eval(), latents, past, actions)
    rests = motion < bound
    assert torch.equal(points_of(later)[rests, 1:], before[rests, 1:])
    assert torch.equal(points_of(later)[:, 0], points_of(free)[:, 0])
    assert torch.equal(later[~rests], free[~rests])


def test_a_body_out_of_reach_rests_and_the_others_move_as_ever() -> None:
    latents, past, actions = scene(rows=40)
    free = after(predictor().eval(), latents, past, actions)
    body = points_of(latents[:, 0])[:, 1:]
    made = predictor(reach=0.4)
    torch.testing.assert_close(after(made, latents, past, actions), free)  # it is being trained
    made.eval()
    later = after(made, latents, past, actions)
    rests = (points_of(later)[:, 1:] - body).abs().amax((1, 2)) < 1e-12
    assert 0 < int(rests.sum()) < 40
    torch.testing.assert_close(later[~rests], free[~rests])
    assert torch.equal(points_of(later)[:, 0], points_of(free)[:, 0])
    pusher = points_of(latents[:, 0])[:, 0]
    distance = (pusher - body.mean(1)).norm(dim=-1)
    assert not rests[distance < 0.4].any(), "within reach before it moves"
    actions[0] = torch.nan  # then the pusher may be anywhere
    assert after(made, latents, past, actions)[0].isnan().all()


def test_nothing_in_reach_is_no_error() -> None:
    latents, past, actions = scene()
    later = after(predictor(reach=1e-6).eval(), latents, past, actions)
    torch.testing.assert_close(later[:, 2:], latents[:, 0, 2:])


def test_chunks_in_a_row_are_predicted_as_one_after_another() -> None:
    latents, past, _ = scene(rows=40, features=2)
    generator = torch.Generator().manual_seed(2)
    chunks = torch.rand(40, 6, CHUNK, 2, generator=generator, dtype=torch.float64) - 0.5
    free = predictor(2, reach=0.6).eval()(latents, past, chunks[:, :1])[:, 0]
    motion = (points_of(free) - points_of(latents[:, 0]))[:, 1:].norm(dim=-1).mean(1)
    bound = float(motion.detach()[motion > 1e-9].median())  # some rest though they are in reach
    made = predictor(2, least_motion=bound, reach=0.6).eval()
    way = made(latents, past, chunks)
    rested = 0
    for chunk, expected in zip(chunks.unbind(1), way.unbind(1), strict=True):
        later = after(made, latents, past, chunk)
        torch.testing.assert_close(later, expected)
        rests = (later[:, 2:10] == latents[:, 0, 2:10]).all(1)
        rested += int(rests.sum())
        latents, past = later[:, None], torch.cat([past, chunk], dim=1)[:, -HISTORY:]
    assert 20 < rested < 220, "some rest and some move"


def test_the_least_motion_is_in_the_unit_of_the_labels() -> None:
    layout = PointLayout(LAYOUT.sets, scale=200.0)
    config = PredictorConfig("planar_contact", width=4, least_motion=0.5)
    made = PlanarContactPredictor(config, layout, 10, 2, CHUNK)
    assert made.least_motion == pytest.approx(0.0025)


def test_a_body_that_is_not_rigid_is_made_so() -> None:
    latents, past, actions = scene()
    bent = latents + 0.02 * torch.randn(latents.shape, generator=torch.Generator().manual_seed(0))
    later = points_of(after(predictor(), bent, past, actions))[:, 1:]
    expected = torch.cdist(BODY, BODY).expand(len(later), 4, 4)
    torch.testing.assert_close(torch.cdist(later, later), expected)


def test_the_pusher_obeys_linearly_whatever_the_body_does() -> None:
    made = predictor()
    latents, past, actions = scene()
    pusher = points_of(latents[:, 0])[:, :1]
    weights = made.response[-1]  # (H + k,): of all commands on the end of the chunk
    commands = torch.cat([past, actions], dim=1)
    expected = pusher[:, 0] + torch.einsum("j,rjc->rc", weights, commands - pusher)
    torch.testing.assert_close(points_of(after(made, latents, past, actions))[:, 0], expected)
    elsewhere = latents.clone()
    elsewhere[..., 2:] += 0.3
    moved = after(made, elsewhere, past, actions)
    torch.testing.assert_close(points_of(moved)[:, 0], expected)


def test_before_training_the_pusher_goes_half_the_way_and_the_body_stays() -> None:
    made = predictor(features=1, randomise=False)
    latents, past, actions = scene(features=1)
    held = actions[:, :1].expand(-1, CHUNK, 2)
    later = after(made, latents, past, held)
    pusher = points_of(latents[:, 0])[:, 0]
    torch.testing.assert_close(points_of(later)[:, 0], pusher + 0.5 * (held[:, 0] - pusher))
    torch.testing.assert_close(later[:, 2:], latents[:, 0, 2:])


def blind(made: PlanarContactPredictor) -> PlanarContactPredictor:
    """Let the predictor see nothing of where in the world things are."""
    coordinates = 2 * (CHUNK + 1)
    first = coordinates + made.path.size(coordinates)
    last = first + made.world.size(2 * made.body) + 6
    with torch.no_grad():
        made.network.enter.weight[:, first:last] = 0.0
        made.network.skip.weight[:, first:last] = 0.0
    return made


@pytest.mark.parametrize(
    ("angle", "shift"), [(0.0, [0.2, -0.1]), (1.3, [0.0, 0.0]), (-2.5, [1, 2])]
)
def test_it_knows_no_place_and_no_direction_but_by_the_world_features(
    angle: float, shift: list[float]
) -> None:
    latents, past, actions = scene(features=2)

    def moved(points: Tensor) -> Tensor:
        return turn(points, axes_at(angle)) + torch.tensor(shift, dtype=torch.float64)

    seen = torch.cat([moved(points_of(latents)).flatten(2), latents[..., 10:]], dim=2)
    made = blind(predictor(2))
    later, of_moved = (
        after(made, latents, past, actions),
        after(made, seen, moved(past), moved(actions)),
    )
    torch.testing.assert_close(points_of(of_moved), moved(points_of(later)))
    torch.testing.assert_close(of_moved[:, 10:], later[:, 10:])
    sighted = predictor(2)
    of_moved = after(sighted, seen, moved(past), moved(actions))
    later = after(sighted, latents, past, actions)
    assert not torch.allclose(points_of(of_moved), moved(points_of(later)))


def test_other_layouts_are_refused() -> None:
    config = PredictorConfig("planar_contact")
    pusher, body = LAYOUT.sets
    for sets, action in (((pusher,), 2), ((body, pusher), 2), ((pusher, body), 3), ((), 2)):
        with pytest.raises(ValueError, match="one pusher point and one body of two points or more"):
            PlanarContactPredictor(config, PointLayout(sets), 10, action, 1)
