"""Features of numbers and their goals."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from dexworld.agents.goal_features import CLOSE, GoalFeatures, measured

SPACE = Dict(
    {
        "place": Box(-9.0, 9.0, (2,), np.float32),
        "points": Box(-9.0, 9.0, (2, 2), np.float32),
        "goal_place": Box(-9.0, 9.0, (2,), np.float32),
    }
)


def test_values_are_normalised_and_differences_are_shown_twice() -> None:
    numbers = {"place": [1.0, 2.0], "points": [0.0, 0.0, 0.0, 0.0]}
    features = GoalFeatures(SPACE, numbers, {"place": [2.0, 2.0], "points": [1.0] * 4})
    assert features.features_dim == 2 + 4 + 3 * 2
    seen = {
        "place": torch.tensor([[3.0, 2.0]]),
        "goal_place": torch.tensor([[3.1, 4.0]]),
        "points": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]]),
    }
    found = features(seen)[0].tolist()
    expected = [1.0, 0.0, 1.05, 1.0, 0.05, 1.0, CLOSE * 0.05, 1.0, 1.0, 2.0, 3.0, 4.0]
    assert found == pytest.approx(expected, abs=1e-5)


def test_centre_and_scale_are_measured() -> None:
    rng = np.random.default_rng(0)
    seen = {
        "place": rng.normal([5.0, -3.0], 4.0, (4000, 2)),
        "points": np.zeros((4000, 2, 2)),
        "goal_place": np.zeros((4000, 2)),
    }
    found = measured(seen)
    assert set(found) == {"centre", "scale"} and set(found["centre"]) == {"place", "points"}
    assert found["centre"]["place"] == pytest.approx([5.0, -3.0], abs=0.3)
    assert found["scale"]["place"] == pytest.approx([4.0, 4.0], abs=0.2)
    assert found["scale"]["points"] == [1.0] * 4  # what never changes is left as it is
    GoalFeatures(SPACE, **found)


def test_an_observation_without_a_scale() -> None:
    with pytest.raises(KeyError, match=r"no centre or scale of \['points'\]"):
        GoalFeatures(SPACE, {"place": [0.0, 0.0]}, {"place": [1.0, 1.0], "points": [1.0] * 4})
