"""Configurations become the objects that they describe."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium.spaces import Box
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dexworld.agents.base import NoOpAgent, RandomAgent
from dexworld.experiments.command_line import CONF
from dexworld.experiments.config import (
    PLANNERS,
    TERMS,
    AgentConfig,
    ObjectiveConfig,
    PlanConfig,
    build,
    check_arguments,
    make_action_map,
    make_env,
    make_floor,
    make_model,
    make_objective,
    make_planning_agent,
    register_schemas,
    schema,
)
from dexworld.planners import CEM, KeypointDistance, Smoothness
from dexworld.world_models.actions import Chain, Hold, Increments, Interpolate

PRESETS = sorted(path.stem for path in Path(CONF, "experiment").glob("*.yaml"))


def composed(*overrides: str) -> PlanConfig:
    register_schemas()
    with initialize_config_dir(CONF, version_base="1.3"):
        config = OmegaConf.to_object(compose("plan", overrides=list(overrides)))
    assert isinstance(config, PlanConfig)
    return config


def test_the_promised_presets_are_there() -> None:
    promised = {"push_t_goal_simulator", "push_t_coverage_simulator", "demo"}
    assert promised <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_an_agent_that_acts(preset) -> None:
    config = composed(f"experiment={preset}", "model.threads=1")
    assert config.name == preset
    agent = make_planning_agent(config, make_model(config))
    env = make_env(config, agent.observes)()
    observation, _ = env.reset(seed=0)
    assert agent.observes <= set(observation)
    belief = agent.model.encode({key: value[None] for key, value in observation.items()})
    space = agent.model.action_space
    assert isinstance(space, Box)
    decisions = np.zeros((1, 1, agent.planner.horizon, *space.shape), np.float32)
    predicted = agent.model.rollout(belief, _tensor(decisions), agent.objective.reads)
    cost = agent.objective.cost(predicted, _tensor(decisions), belief, belief)
    assert cost.shape == (1, 1) and np.isfinite(float(cost))
    env.close()


def _tensor(values: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(values)


@pytest.mark.parametrize("name", sorted(PLANNERS))
def test_every_planner_can_be_chosen_with_its_own_defaults(name) -> None:
    built = build(composed(f"planner={name}").planner)
    kind = PLANNERS[name]
    defaults = {part.name: part.default for part in fields(kind)}
    assert type(built) is kind
    assert {key: getattr(built, key) for key in defaults} == defaults


def test_a_schema_has_the_settings_of_what_it_builds() -> None:
    assert schema(CEM) is schema(CEM)
    settings = schema(CEM)(horizon=3)
    settings.samples = 40
    assert build(settings) == CEM(horizon=3, samples=40)


def test_terms_add_up() -> None:
    config = ObjectiveConfig(
        keypoints=schema(KeypointDistance)(weight=2.0), smoothness=schema(Smoothness)()
    )
    objective: Any = make_objective(config)
    assert objective.reads == {"keypoints"}
    assert make_objective(ObjectiveConfig(agent=config.keypoints)) == KeypointDistance(weight=2.0)
    with pytest.raises(ValueError, match=r"the objective has no term; give at least one of .*pose"):
        make_objective(ObjectiveConfig())
    assert {part.name for part in fields(ObjectiveConfig)} == set(TERMS)


@pytest.mark.parametrize(
    ("config", "kinds"),
    [
        (AgentConfig(), Interpolate),
        (AgentConfig(interpolate=False), Hold),
        (AgentConfig(increment=0.2), [Increments, Interpolate]),
        (AgentConfig(increment=0.2, interpolate=False), [Increments, Hold]),
    ],
)
def test_a_decision_means_what_the_configuration_says(config, kinds) -> None:
    action_map: Any = make_action_map(config, Box(-2.0, 2.0, (2,)))
    assert action_map.steps == 5
    if isinstance(kinds, list):
        assert isinstance(action_map, Chain)
        assert [type(each) for each in action_map.maps] == kinds
    else:
        assert type(action_map) is kinds


def test_floors() -> None:
    space = Box(-1.0, 1.0, (2,))
    config = PlanConfig(agent=AgentConfig(hold=7))
    assert isinstance(make_floor("noop", config, space), NoOpAgent)
    floor = make_floor("random", config, space)
    assert isinstance(floor, RandomAgent) and floor.hold == 7
    with pytest.raises(ValueError, match="choose planning, noop or random"):
        make_floor("planing", config, space)


def test_the_environment_is_observed_as_the_agent_needs(tiny) -> None:
    env = make_env(tiny(), frozenset({"physics", "goal_physics", "hold_action"}))()
    observation, _ = env.reset(seed=0)
    assert set(observation) == {"physics", "goal_physics", "hold_action"}
    for step in range(10):
        *_, truncated, _ = env.step(observation["hold_action"])
        assert truncated == (step == 9), "the budget is the configured one"


def test_the_model_may_be_another_environment_than_the_real_one(tiny) -> None:
    config = tiny()
    config.env.kwargs = {"physics": "pymunk"}
    config.model.kwargs = {"physics": "mujoco"}
    config.model.source = "state"
    model = make_model(config)
    assert model.observes == {"state"}
    env = make_env(config, model.observes)()
    assert type(env.unwrapped.simulation).__name__ == "PushTChipmunk"  # type: ignore[attr-defined]


def test_arguments_are_checked_by_name() -> None:
    check_arguments("dexworld/PushT-v0", {"physics": "pymunk"})
    check_arguments("dexworld.envs:dexworld/PushT-v0", {"physics": "pymunk"})
    check_arguments("CartPole-v1", {"sutton_barto_reward": True})
    with pytest.raises(
        ValueError, match=r"CartPole-v1 takes no argument 'foo'. Valid: render_mode"
    ):
        check_arguments("CartPole-v1", {"foo": 1})
