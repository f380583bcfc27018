"""Decisions that are seen from a body: they turn with it, and the laws of a model hold."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from dexworld.world_models.actions import Chain, Chunks, Increments, Interpolate
from dexworld.world_models.base import Mapped
from dexworld.world_models.body_frame import SeenFromBody, direction_of, to_world
from dexworld.world_models.conformance import WorldModelConformance
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

BODY = np.float32([[-60.0, 15.0], [60.0, 15.0], [0.0, 30.0], [0.0, 120.0]])


def turned(points: np.ndarray, angle: float, by: tuple[float, float] = (0.0, 0.0)) -> np.ndarray:
    cos, sin = math.cos(angle), math.sin(angle)
    return (points @ np.array([[cos, sin], [-sin, cos]]) + by).astype(np.float32)


def planar() -> Mapped:
    """Return a model of a pusher and a body that has learned nothing, under increments."""
    torch.manual_seed(0)
    sets = (PointSet("agent", 1, "proprio"), PointSet("keypoints", 4, "keypoints"))
    model = LatentWorldModel(
        LatentConfig(
            observes={"proprio": (2,), "keypoints": (8,)},
            action_low=(-1.0, -1.0),
            action_high=(1.0, 1.0),
            chunk=5,
            features=0,
            points=PointLayout(sets, 256.0, 256.0),
            hold_point="agent",
            encoder=EncoderConfig("vector", width=8, depth=1),
            predictor=PredictorConfig("planar_contact", width=16, depth=1, history=3, octaves=2),
        )
    )
    model.fit({key: torch.tensor(each) for key, each in seen([0.0, 0.5]).items()})
    for predictor in model.predictors:
        torch.nn.init.normal_(predictor.network.skip.weight, std=0.02)
    space = model.env_action_space
    return Mapped(
        model.eval(), Chain([Increments(space, 0.3), Interpolate(space, 5), Chunks(space, 5)])
    )


def seen(angles: list[float]) -> dict[str, np.ndarray]:
    place = np.float32([250.0, 260.0])
    agent = turned(np.float32([[-40.0, -30.0]]), 0.0)
    points = [turned(BODY, angle, tuple(place)) for angle in angles]
    agents = [turned(agent, angle, tuple(place))[0] for angle in angles]
    return {"proprio": np.array(agents), "keypoints": np.array(points).reshape(len(angles), 8)}


class TestSeenFromBody(WorldModelConformance):
    tolerance = 1e-3  # px

    def make_model(self):
        return SeenFromBody(planar())

    def make_observation(self, batch):
        return seen([0.3 + 0.7 * row for row in range(batch)])


def test_directions() -> None:
    points = torch.tensor(np.stack([turned(BODY, angle) for angle in (0.0, 0.5, -2.0)]))
    expected = [[math.cos(angle), math.sin(angle)] for angle in (0.0, 0.5, -2.0)]
    torch.testing.assert_close(direction_of(points), torch.tensor(expected))
    assert torch.isfinite(direction_of(torch.zeros(1, 4, 2))).all()


def test_decisions_turn_with_the_body_and_stay_inside() -> None:
    quarter = torch.tensor(turned(BODY, math.pi / 2))[None]
    decided = torch.tensor([[0.5, 0.25]])
    torch.testing.assert_close(to_world(decided, quarter), torch.tensor([[-0.25, 0.5]]))
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [0.0, 1.0]])
    for angle in np.linspace(0.0, 6.0, 13):
        points = torch.tensor(turned(BODY, angle)).expand(4, 4, 2)
        found = to_world(corners, points)
        assert (found.abs() <= 1.0).all()
        torch.testing.assert_close(found.norm(dim=1), torch.ones(4))  # no longer than 1
    assert not to_world(torch.tensor([[torch.nan, 0.0]]), quarter).isfinite().any()


def test_what_works_somewhere_works_everywhere() -> None:
    model = SeenFromBody(planar())
    angles = [0.0, 1.0, -2.5]
    state = model.encode(seen(angles))
    decision = torch.tensor([[0.6, -0.3]]).expand(3, 2)
    for _ in range(2):
        # The pusher obeys; what the body does is learned, and the network knows of walls.
        state = {**state, "command": state["command"]}
        after = model.model.model.step(
            state, _chunk(model.model, to_world(decision, state["keypoints"]), state)
        )
        moved = (after["agent"] - state["agent"])[:, 0]
        back = [
            turned(each.numpy()[None], -angle)[0] for each, angle in zip(moved, angles, strict=True)
        ]
        np.testing.assert_allclose(back[1], back[0], atol=1e-3)
        np.testing.assert_allclose(back[2], back[0], atol=1e-3)


def _chunk(mapped: Mapped, decision: torch.Tensor, state) -> torch.Tensor:
    return mapped.action_map.to_model(decision[:, None, None], state)[:, 0, 0]


def test_executed_decisions_are_remembered_as_the_world_saw_them() -> None:
    plain, model = planar(), SeenFromBody(planar())
    state = model.encode(seen([0.4, 2.0]))
    decisions = torch.tensor([[[0.5, 0.1], [-0.2, 0.7]], [[0.3, 0.3], [0.0, -1.0]]])
    middle = model.step(state, decisions[:, 0])
    world = [to_world(decisions[:, 0], state["keypoints"])]
    world.append(to_world(decisions[:, 1], middle["keypoints"]))
    found = model.encode(seen([0.5, 2.1]), state, decisions)
    expected = plain.encode(seen([0.5, 2.1]), state, torch.stack(world, dim=1))
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value)


def test_what_cannot_be_seen_from_a_body() -> None:
    model = planar()
    with pytest.raises(KeyError, match=r"reads \['box'\], which LatentWorldModel does not predict"):
        SeenFromBody(model, "box")
    for low, high, shape in ((-0.5, 1.0, (2,)), (-1.0, 1.0, (3,))):
        model.action_map.action_space = Box(low, high, shape, np.float32)
        with pytest.raises(ValueError, match=r"Take increments .*or decide in the world's frame"):
            SeenFromBody(model)
