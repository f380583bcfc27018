"""Settings, warm starts and seeds that cannot be used, each with one clear error."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dexworld import planners
from dexworld.planners import CEM, ICEM, MPPI, CEMGradient, GradientPlanner, RandomShooting

PLANNERS = [CEM, ICEM, MPPI, RandomShooting, GradientPlanner, CEMGradient]
OBJECTIVES = [
    planners.KeypointDistance,
    planners.LatentDistance,
    planners.NegativeReward,
    planners.PoseError,
    planners.Reach,
    planners.Smoothness,
]


@pytest.mark.parametrize("kind", PLANNERS + OBJECTIVES)
def test_a_class_is_its_own_schema(kind: type) -> None:
    schema = OmegaConf.structured(kind)
    assert OmegaConf.to_object(schema) == kind()
    assert set(schema) == {field.name for field in dataclasses.fields(kind)}
    with pytest.raises(OmegaConfBaseException, match="horizonn"):
        OmegaConf.merge(schema, {"horizonn": 3})
    frozen = dataclasses.fields(kind)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(kind(), frozen, 1)


@pytest.mark.parametrize("kind", PLANNERS)
def test_numbers_of_things_are_integers(kind: Any) -> None:
    """Checked types, which only the tests have, would refuse them first in the constructor."""
    counts = [field.name for field in dataclasses.fields(kind) if "int" in str(field.type)]
    assert {"horizon", "iterations", "at_once"} <= set(counts)
    for name in counts:
        for value in (2.5, 3.0, True, "3"):
            planner = kind()
            object.__setattr__(planner, name, value)
            with pytest.raises(ValueError, match=rf"{name} must be an integer, not"):
                planner.__post_init__()
        planner = kind()
        object.__setattr__(planner, name, np.int64(getattr(planner, name) or 3))
        planner.__post_init__()


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CEM, {"horizon": 0}, r"CEM\(horizon=0\): horizon must be at least 1"),
        (CEM, {"kept": -1}, "kept must be at least 0"),
        (CEM, {"iterations": 0}, "iterations must be at least 1"),
        (CEM, {"at_once": 0}, "at_once must be at least 1"),
        (CEM, {"samples": 10, "elites": 20}, "elites must be at most samples; lower elites"),
        (CEM, {"elites": 0}, "elites must be at least 1"),
        (CEM, {"elites": 2, "kept": 3}, "kept must be at most elites"),
        (CEM, {"initial_std": 0.0}, "initial_std must be positive"),
        (CEM, {"initial_std": float("nan")}, "initial_std must be positive"),
        (CEM, {"std_floor": -0.1}, "std_floor must be at least 0"),
        (CEM, {"smoothing": 1.5}, r"smoothing must be in \[0, 1\]"),
        (CEMGradient, {"refinement_steps": 0}, "refinement_steps must be at least 1"),
        (CEMGradient, {"elites": 200}, r"CEMGradient.*elites must be at most samples"),
        (ICEM, {"samples": 5, "elites": 6}, "elites must be at most samples"),
        (ICEM, {"decay": 0.5}, "decay must be at least 1"),
        (ICEM, {"kept_fraction": 2.0}, "kept_fraction must be in"),
        (ICEM, {"noise_exponent": -1.0}, "noise_exponent must be at least 0"),
        (MPPI, {"temperature": 0.0}, "temperature must be positive"),
        (MPPI, {"samples": 0}, "samples must be at least 1"),
        (RandomShooting, {"samples": 0}, "samples must be at least 1"),
        (GradientPlanner, {"restarts": 0}, "restarts must be at least 1"),
        (GradientPlanner, {"learning_rate": 0.0}, "learning_rate must be positive"),
        (GradientPlanner, {"gradient_clip": 0.0}, "gradient_clip must be positive"),
    ],
)
def test_unusable_settings_are_refused(kind: Any, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        kind(**settings)
