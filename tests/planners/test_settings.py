"""Settings, warm starts and seeds that cannot be used, each with one clear error."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dexworld import planners
from dexworld.planners import CEM, ICEM, MPPI, CEMGradient, GradientPlanner, RandomShooting
from dexworld.planners.base import Planner, WarmStart
from dexworld.planners.conformance import active_problem

PLANNERS = [CEM, ICEM, MPPI, RandomShooting, GradientPlanner, CEMGradient]
OBJECTIVES = [
    planners.KeypointDistance,
    planners.LatentDistance,
    planners.NegativeReward,
    planners.PoseError,
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
def test_planners_are_planners(kind: type) -> None:
    assert isinstance(kind(), Planner)


def test_every_public_name_resolves() -> None:
    for name in planners.__all__:
        assert getattr(planners, name) is not None


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (CEM, {"horizon": 0}, r"CEM\(horizon=0\): horizon must be at least 1"),
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


def zeros(*shape: int) -> torch.Tensor:
    return torch.zeros(*shape, dtype=torch.float64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"warm_start": WarmStart(zeros(2, 1, 4, 2))}, r"must be \[B, K, T, A\] with B=3"),
        ({"warm_start": WarmStart(zeros(3, 1, 4, 1))}, "A=2"),
        ({"warm_start": WarmStart(zeros(3, 0, 4, 2))}, "at least one plan"),
        ({"warm_start": WarmStart(zeros(3, 1, 4, 2) + torch.nan)}, "not finite; mark such rows"),
        ({"seeds": torch.arange(2)}, r"int64 of shape \(3,\)"),
        ({"seeds": torch.arange(3, dtype=torch.int32)}, "got torch.int32"),
        ({"horizon": 0}, "horizon is 0"),
    ],
)
def test_unusable_arguments_are_refused(arguments: dict[str, Any], message: str) -> None:
    problem = active_problem(4)
    with pytest.raises(ValueError, match=message):
        CEM(horizon=4).plan(
            problem.model, problem.objective, problem.state, problem.goal, **arguments
        )


def test_more_warm_plans_than_samples() -> None:
    problem = active_problem(4)
    plan = CEM(horizon=4, samples=3, elites=2, kept=1).plan(
        problem.model,
        problem.objective,
        problem.state,
        problem.goal,
        warm_start=WarmStart(zeros(3, 9, 4, 2)),
    )
    assert torch.isfinite(plan.cost).all()
