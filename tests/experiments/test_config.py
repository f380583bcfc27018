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
from dexworld.agents.belief_policy import BeliefPolicy
from dexworld.agents.planning import PlanningAgent
from dexworld.agents.proposals import PolicyProposer
from dexworld.envs.gymnasium_model import GymnasiumModel
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.experiments.command_line import CONF
from dexworld.experiments.config import (
    PLANNERS,
    TERMS,
    AgentConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanConfig,
    make_action_map,
    make_agent,
    make_agent_and_env,
    make_env,
    make_latent,
    make_model,
    make_objective,
    make_planning_agent,
    register_schemas,
)
from dexworld.experiments.schema import build, schema
from dexworld.planners import KeypointDistance, Smoothness
from dexworld.world_models.actions import Chain, Chunks, Hold, Increments, Interpolate
from dexworld.world_models.latent import LatentWorldModel

PRESETS = sorted(path.stem for path in Path(CONF, "experiment").glob("*.yaml"))


def composed(*overrides: str) -> PlanConfig:
    register_schemas()
    with initialize_config_dir(CONF, version_base="1.3"):
        config = OmegaConf.to_object(compose("plan", overrides=list(overrides)))
    assert isinstance(config, PlanConfig)
    return config


def test_the_promised_presets_are_there() -> None:
    promised = {"push_t_goal_simulator", "push_t_coverage_simulator", "demo"}
    promised |= {"push_t_goal_state", "push_t_goal_pixels"}
    assert promised <= set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_builds_an_agent_that_acts(preset, policy) -> None:
    guided = preset in ("push_t_goal_policy_guided", "push_t_goal_reranked")
    missing = [f"agent.policy={policy}"] if guided else []
    config = composed(f"experiment={preset}", "model.threads=1", *missing)
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
    action_map: Any = make_action_map(config, SimulatorModel("dexworld/PushT-v0", threads=1))
    assert action_map.steps == 5
    if isinstance(kinds, list):
        assert isinstance(action_map, Chain)
        assert [type(each) for each in action_map.maps] == kinds
    else:
        assert type(action_map) is kinds


def test_a_model_that_takes_several_actions_at_once_is_handed_chunks() -> None:
    learned = make_model(composed("experiment=push_t_goal_state"))
    action_map: Any = make_action_map(AgentConfig(increment=0.2), learned)
    assert [type(each) for each in action_map.maps] == [Increments, Interpolate, Chunks]
    assert action_map.steps == 5


def test_decisions_are_whole_actions_of_a_learned_model(untrained) -> None:
    learned = make_latent(untrained(chunk=2))
    held: Any = make_action_map(AgentConfig(steps_per_decision=6, interpolate=False), learned)
    assert [type(each) for each in held.maps] == [Hold, Chunks] and held.steps == 6
    assert held.action_space == learned.env_action_space
    with pytest.raises(ValueError, match=r"steps_per_decision=5: the model's actions last 2 steps"):
        make_action_map(AgentConfig(), learned)
    assert type(make_action_map(AgentConfig(), make_latent(untrained()))) is Interpolate


def test_a_learned_model_plans_in_chunks(tiny, untrained) -> None:
    config = tiny(model=untrained(chunk=5))
    agent = make_planning_agent(config, make_model(config))
    env = make_env(config, agent.observes)()
    observation, _ = env.reset(seed=0)
    batch = {key: value[None] for key, value in observation.items()}
    state, plans = None, []
    for _ in range(6):  # a decision lasts five steps: the sixth action is of the second plan
        actions, state = agent.predict(batch, state)
        assert env.action_space.contains(actions[0])
        plans.append(int(state.plans[0]))
    assert plans == [1, 1, 1, 1, 1, 2]
    env.close()


def test_a_learned_model_is_found_or_told(tiny, untrained, tmp_path: Path) -> None:
    model = make_model(tiny(model=untrained("pixels")))
    assert isinstance(model, LatentWorldModel) and model.observes == {"pixels"}
    with pytest.raises(FileNotFoundError, match="Check the path"):
        make_latent(ModelConfig("latent", path=str(tmp_path / "nowhere")))


def test_the_term_of_a_slot_reads_what_the_slot_is_called_after() -> None:
    slots = ("agent", "keypoints", "pose", "latent", "reward")
    given = ", ".join(f"{slot}: {{weight: 2.0}}" for slot in slots)
    config = composed("objective=push_t_coverage", f"objective={{{given}}}")
    for slot in slots:
        term = build(getattr(config.objective, slot))  # type: ignore[attr-defined]
        assert term.weight == 2.0 and isinstance(term, TERMS[slot])
        assert term.key == slot


def test_a_policy_that_was_trained_in_the_model(tiny, untrained, policy) -> None:
    model, action_map = untrained(chunk=5), {"increment": 0.5}
    asked = AgentConfig("belief_policy", str(policy), **action_map)
    agent = make_agent(tiny(model=model, agent=asked))
    assert isinstance(agent, BeliefPolicy)
    assert agent.observes == {"proprio", "keypoints", "goal_proprio", "goal_keypoints"}
    guided = AgentConfig(policy=str(policy), proposals=5, proposal_noise=0.25, **action_map)
    planning = make_agent(tiny(model=model, agent=guided))
    assert isinstance(planning, PlanningAgent)
    assert isinstance(planning.proposer, PolicyProposer)
    assert planning.proposer.plans == 5 and planning.proposer.noise == 0.25
    assert make_agent(tiny(model=model)).proposer is None  # type: ignore[attr-defined]


def test_increments_are_not_compared_with_the_command(tiny) -> None:
    def config(increment: float | None, from_command: bool) -> PlanConfig:
        smoothness = schema(Smoothness)(from_command=from_command)
        objective = ObjectiveConfig(keypoints=schema(KeypointDistance)(), smoothness=smoothness)
        return tiny(objective=objective, agent=AgentConfig(increment=increment))

    for increment, from_command in ((None, True), (0.5, False)):
        assert isinstance(make_agent(config(increment, from_command)), PlanningAgent)
    with pytest.raises(ValueError, match=r"set objective\.smoothness\.from_command=false"):
        make_agent(config(0.5, True))


def test_floors(tiny) -> None:
    assert isinstance(make_agent(tiny(agent=AgentConfig(kind="noop"))), NoOpAgent)
    floor = make_agent(tiny(agent=AgentConfig(kind="random", hold=7)))
    assert isinstance(floor, RandomAgent) and floor.hold == 7


@pytest.mark.parametrize(
    ("agent", "message"),
    [
        (AgentConfig("planing"), r"agent.kind='planing': choose one of \['planning', 'noop'"),
        (AgentConfig("replay"), r"agent.kind=replay needs agent.path, a recorded episode"),
        (AgentConfig("sb3"), r"agent.kind=sb3 needs agent.path, a saved policy"),
        (AgentConfig("belief_policy"), r"belief_policy needs agent.path, a policy.zip of dexworld"),
        (AgentConfig("sb3", "x.zip", "PPOO"), r"no algorithm 'PPOO'. Valid: .*'PPO', 'SAC'"),
    ],
)
def test_agents_that_cannot_be(tiny, agent, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_agent(tiny(agent=agent))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (ModelConfig("simulater"), "'simulater': choose simulator, gymnasium, latent or dexwm"),
        (ModelConfig("gymnasium", "state"), "model.source='state' is for simulators"),
        (ModelConfig("simulator", "stat"), "source='stat': choose one of"),
        (ModelConfig("latent"), "needs model.path: .*push_t_state"),
        (ModelConfig("latent", path="push_t_state", device="cuda"), "no CUDA device; choose cpu"),
    ],
)
def test_models_that_cannot_be(tiny, model, message) -> None:
    with pytest.raises(ValueError, match=message):
        make_model(tiny(model=model))


@pytest.mark.parametrize(
    ("option", "kind", "source"),
    [("simulator", SimulatorModel, "physics"), ("simulator_state", SimulatorModel, "state")],
)
def test_models_by_name(option, kind, source) -> None:
    model = make_model(composed(f"model={option}", "model.threads=1"))
    assert isinstance(model, kind) and model.observes == {source}


def test_the_environment_itself_as_the_model_compares_what_the_objective_reads() -> None:
    overrides = ["env=push_t", "model=gymnasium", "agent=planning", "objective=push_t_coverage"]
    config = composed(*overrides, "objective.reach=null")
    model = make_model(config)
    assert isinstance(model, GymnasiumModel) and model.observes == {"physics", "keypoints"}
    agent, make = make_agent_and_env(config)
    observation, _ = make().reset(seed=0)
    assert set(observation) == {"physics", "keypoints", "goal_physics", "goal_keypoints"}
    assert isinstance(agent, PlanningAgent)


@pytest.mark.parametrize("name", sorted(p.stem for p in Path(CONF, "env").glob("push_t*.yaml")))
def test_every_environment_can_be_chosen(name) -> None:
    config = composed(f"env={name}")
    _, info = make_env(config, frozenset())().reset(seed=0)
    assert "goal" in info


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
