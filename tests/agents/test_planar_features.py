"""Features of a pusher, a body and their goals: the same wherever they are, but for the walls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from dexworld.agents.planar_features import PlanarFeatures

BODY = np.float64([[-60.0, 15.0], [60.0, 15.0], [0.0, 30.0], [0.0, 120.0]])
SHAPES = {"agent": (1, 2), "keypoints": (4, 2), "command": (2,)}
SPACE = Dict(
    {
        goal + key: Box(-np.inf, np.inf, shape, np.float32)
        for goal in ("", "goal_")
        for key, shape in SHAPES.items()
    }
)
WORLD = 6
"""Features that tell where in the world the body is: place and direction, and its place as it sees it."""


def scene(angle: float = 0.0, by: tuple[float, float] = (0.0, 0.0)) -> dict[str, torch.Tensor]:
    """Return a pusher left of a body that shall turn and move, all of it turned and moved."""

    def placed(points: np.ndarray) -> np.ndarray:
        cos, sin = math.cos(angle), math.sin(angle)
        return points @ np.array([[cos, sin], [-sin, cos]]) + (200.0, 220.0) + np.array(by)

    goal = BODY @ np.array([[0.8, 0.6], [-0.6, 0.8]]) + (30.0, -20.0)
    agent, agent_goal = placed(np.float64([[-90.0, 10.0]])), placed(np.float64([[-20.0, 5.0]]))
    command = (placed(np.float64([[-80.0, 12.0]]))[0] - 256.0) / 256.0
    found = {
        "agent": agent,
        "keypoints": placed(BODY),
        "command": command,
        "goal_agent": agent_goal,
        "goal_keypoints": placed(goal),
        "goal_command": command,
    }
    return {key: torch.tensor(value[None], dtype=torch.float32) for key, value in found.items()}


def test_it_is_the_same_wherever_it_is() -> None:
    features = PlanarFeatures(SPACE)
    here = features(scene())[0]
    assert len(here) == features.features_dim and torch.isfinite(here).all()
    for angle, by in ((0.0, (40.0, -70.0)), (1.0, (0.0, 0.0)), (-2.7, (-30.0, 90.0))):
        there = features(scene(angle, by))[0]
        differ = (here - there).abs() > 1e-3
        assert differ.sum() <= WORLD, "only the body's place and direction in the world differ"
        assert differ.any()


def test_other_scenes_look_different() -> None:
    features = PlanarFeatures(SPACE)
    here = features(scene())[0]
    for key in ("agent", "keypoints", "goal_agent", "goal_keypoints", "command"):
        other = scene()
        other[key] = other[key] + (0.01 if key == "command" else 2.0)
        assert (features(other)[0] - here).abs().max() > 0.05, key


def test_without_a_command_and_with_fewer_waves() -> None:
    fewer = Dict({key: each for key, each in SPACE.spaces.items() if "command" not in key})
    with_command, without = PlanarFeatures(SPACE), PlanarFeatures(fewer)
    assert without.features_dim == with_command.features_dim - 2
    assert PlanarFeatures(SPACE, octaves=1).features_dim < with_command.features_dim
    torch.testing.assert_close(without(scene())[0], with_command(scene())[0][:-2])


def test_what_is_missing() -> None:
    space = Dict({key: SPACE[key] for key in ("agent", "keypoints", "goal_agent")})
    with pytest.raises(KeyError, match=r"PlanarFeatures needs \['goal_keypoints'\]"):
        PlanarFeatures(space)
