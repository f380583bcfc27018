"""How the configuration of `dexworld-plan` becomes objects."""

from __future__ import annotations

import functools
import json
import operator
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Box

from dexworld.agents.base import Agent, NoOpAgent, RandomAgent, ReplayAgent
from dexworld.agents.belief_policy import BeliefPolicy
from dexworld.agents.inverse_model import InverseAgent
from dexworld.agents.planning import PlanningAgent
from dexworld.agents.policy import Policy, PolicyAgent, load_policy
from dexworld.agents.proposals import InverseProposer, PolicyProposer, Proposer
from dexworld.agents.sub_goals import SubGoals
from dexworld.envs.gymnasium_model import PHYSICS, REWARD, GymnasiumModel
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.experiments.dexwm_planning import (
    CURRENT,
    joint_reference,
    joint_waypoints,
    load_dexwm,
    load_official,
)
from dexworld.experiments.environments import check_arguments, environment
from dexworld.experiments.evaluation import EnvMaker
from dexworld.experiments.plan_settings import (
    DECISIONS,
    FROM_FILES,
    KINDS,
    PLANNERS,
    TERMS,
    AgentConfig,
    EnvConfig,
    ModelConfig,
    ObjectiveConfig,
    PlanConfig,
    register_schemas,
)
from dexworld.experiments.recordings import recorded_actions
from dexworld.experiments.rough_plans import make_staged_plans
from dexworld.experiments.schema import build
from dexworld.planners.base import Objective
from dexworld.world_models.actions import Chain, Chunks, Hold, Increments, Interpolate
from dexworld.world_models.base import ActionMap, Mapped, WorldModel
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.inverse import InverseModel
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.pretrained import shipped_checkpoints

__all__ = [
    "DECISIONS",
    "FROM_FILES",
    "KINDS",
    "PLANNERS",
    "TERMS",
    "AgentConfig",
    "EnvConfig",
    "ModelConfig",
    "ObjectiveConfig",
    "PlanConfig",
    "decisions",
    "load_imagined",
    "make_action_map",
    "make_agent",
    "make_agent_and_env",
    "make_belief_policy",
    "make_env",
    "make_inverse_agent",
    "make_latent",
    "make_model",
    "make_objective",
    "make_planning_agent",
    "register_schemas",
]


def make_objective(config: Any) -> Objective:
    """Add the terms that are not None; raise `ValueError` if there are none."""
    chosen = [build(term) for term in vars(config).values() if term is not None]
    if not chosen:
        raise ValueError(f"the objective has no term; give at least one of {list(TERMS)}.")
    return functools.reduce(operator.add, chosen)  # type: ignore[no-any-return]


def make_action_map(config: AgentConfig, model: WorldModel) -> ActionMap:
    """Return what a decision means in actions of the environment and of the model.

    Raises:
        ValueError: a decision would end within an action of the model.
    """
    if isinstance(model, DexWM):
        return joint_waypoints(
            model,
            steps=config.steps_per_decision,
            interpolate=config.interpolate,
            increment=config.increment,
            hand_increment=config.hand_increment,
        )
    action_space, chunk = model.action_space, 1
    if isinstance(model, LatentWorldModel):
        action_space, chunk = model.env_action_space, model.config.chunk
    if config.steps_per_decision % chunk:
        raise ValueError(
            f"agent.steps_per_decision={config.steps_per_decision}: the model's actions last "
            f"{chunk} steps, and decisions must last multiples of them."
        )
    kind = Interpolate if config.interpolate else Hold
    maps: list[ActionMap] = [kind(action_space, config.steps_per_decision)]
    if config.increment is not None:
        maps.insert(0, Increments(action_space, config.increment))
    if chunk > 1:
        maps.append(Chunks(action_space, chunk))
    return maps[0] if len(maps) == 1 else Chain(maps)


def make_model(config: PlanConfig) -> WorldModel:
    """Return the model to plan in; raise `ValueError` for one that cannot be."""
    model = config.model
    env_id, arguments = model.env or config.env.id, {**config.env.kwargs, **model.kwargs}
    check_arguments(env_id, arguments)
    if model.kind == "simulator":
        return SimulatorModel(env_id, model.source, model.threads, **arguments)
    if model.kind == "latent":
        return make_latent(model)
    if model.kind == "dexwm":
        return make_dexwm(model)
    if model.kind != "gymnasium":
        raise ValueError(
            f"model.kind={model.kind!r}: choose simulator, gymnasium, latent or dexwm."
        )
    if model.source != PHYSICS:
        raise ValueError(
            f"model.source={model.source!r} is for simulators; model.kind=gymnasium restores the "
            "environment's exact state, model.source=physics."
        )
    compared = make_objective(config.objective).reads - {REWARD}
    make = environment(env_id, arguments, config.env.episode_steps, compared)
    return GymnasiumModel(make, compared)


def make_latent(config: ModelConfig) -> LatentWorldModel:
    """Return a learned model; raise `ValueError` where it is not said which, or where it runs."""
    return LatentWorldModel.from_pretrained(_path_of(config), config.device)


def make_dexwm(config: ModelConfig) -> DexWM:
    """Return a DexWM that sees; raise `ValueError` where it is not said which, or where it runs."""
    if config.official is None:
        return load_dexwm(_path_of(config), config.encoder, config.precision, config.device)
    if config.path is not None:
        raise ValueError(
            f"model.path={config.path} and model.official={config.official} are two models: set one "
            "of them to null."
        )
    _check_device(config)
    return load_official(config.official, config.encoder, config.precision, config.device)


def _path_of(config: ModelConfig) -> str:
    if config.path is None:
        raise ValueError(
            f"model.kind={config.kind} needs model.path: a folder of dexworld-train, or one of "
            f"{sorted(shipped_checkpoints())}."
        )
    _check_device(config)
    return config.path


def _check_device(config: ModelConfig) -> None:
    if config.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"model.device={config.device}: there is no CUDA device; choose cpu.")


def make_env(config: PlanConfig, observes: frozenset[str]) -> EnvMaker:
    """Return a maker of the task's environment, observed as an agent needs it."""
    env = config.env
    return environment(env.id, env.kwargs, env.episode_steps, observes)


def make_planning_agent(config: PlanConfig, model: WorldModel) -> PlanningAgent:
    """Return the agent that plans.

    Raises:
        ValueError: a term would compare decisions that are increments with an absolute command, or
            discount otherwise than the model's values do.
    """
    smoothness = config.objective.smoothness  # type: ignore[attr-defined]
    if config.agent.increment is not None and smoothness is not None and smoothness.from_command:
        raise ValueError(
            "with agent.increment, decisions are changes of the command, and smoothness would "
            "compare the first one with the command itself: set "
            "objective.smoothness.from_command=false, or agent.increment=null."
        )
    _check_discount(config, model)
    action_map = make_action_map(config.agent, model)
    return PlanningAgent(
        model,
        build(config.planner),
        make_objective(config.objective),
        action_map=action_map,
        execute=config.agent.execute,
        episode_steps=config.env.episode_steps if config.agent.shrink_horizon else None,
        proposer=_make_proposer(config, model, action_map),
        keep_std=config.agent.keep_std,
        sub_goals=_sub_goals(config.agent),
        budget_s=config.agent.budget_s,
        seed=config.seed,
    )


def _make_proposer(config: PlanConfig, model: WorldModel, action_map: ActionMap) -> Proposer | None:
    agent = config.agent
    proposing = [
        name for name in ("rough", "policy", "inverse") if getattr(agent, name) is not None
    ]
    if len(proposing) > 1:
        names = " and ".join(f"agent.{name}" for name in proposing)
        raise ValueError(f"{names} propose plans: set all but one of them to null.")
    if agent.rough is not None:
        objective = make_objective(config.objective)
        return make_staged_plans(
            agent.rough, model, action_map, objective, agent.execute, agent.increment
        )
    targets = isinstance(model, DexWM) and agent.increment is None
    if agent.reference != CURRENT and (not targets or proposing):
        raise ValueError(
            f"agent.reference={agent.reference} says where searches for absolute joint targets start: "
            "plan in a DexWM with agent.increment=null and neither agent.policy nor agent.inverse, or "
            "set it to current."
        )
    if agent.inverse is not None:
        return InverseProposer(
            Mapped(model, action_map),
            InverseModel.from_pretrained(agent.inverse, model.device),
            steps=agent.steps_per_decision,
            increment=agent.increment,
            plans=agent.proposals,
            noise=agent.proposal_noise,
        )
    if agent.policy is None:
        return _joint_reference(agent) if targets else None
    policy = load_imagined(agent.policy, agent, model)
    decided = Mapped(model, action_map)
    noise = None if agent.policy_samples else agent.proposal_noise
    return PolicyProposer(decided, policy, agent.proposals, noise)


def _sub_goals(agent: AgentConfig) -> SubGoals | None:
    ruled = any(rule is not None for rule in vars(agent.sub_goals).values())
    return build(agent.sub_goals) if ruled else None


def _joint_reference(agent: AgentConfig) -> Proposer:
    return joint_reference(
        agent.reference,
        episode=agent.reference_episode,
        arm=agent.arm_std,
        hand=agent.hand_std,
        execute=agent.execute,
    )


def decisions(agent: AgentConfig) -> dict[str, Any]:
    """Return what decisions mean, in JSON values; agents of the same decide alike.

    Hands that move as their arms do are left out, as in policies from before they were told apart.
    """
    names = ["steps_per_decision", "interpolate", "increment"]
    if agent.hand_increment not in (None, agent.increment):
        names.append("hand_increment")
    return {name: getattr(agent, name) for name in names}


def load_imagined(path: str, agent: AgentConfig, model: WorldModel) -> Policy:
    """Return a policy of `dexworld-train-agent`.

    Raises:
        ValueError: it was trained to decide otherwise than the agent does.
    """
    policy = load_policy(path, agent.algorithm, str(model.device))
    then, now = getattr(policy, DECISIONS, None), decisions(agent)
    if then not in (None, now):
        changed = [
            f"agent.{name}={json.dumps(then.get(name))}"
            for name in sorted({*then, *now})
            if then.get(name) != now.get(name)
        ]
        raise ValueError(
            f"{path} was trained with other decisions: set {' '.join(changed)}, as in its training."
        )
    return policy


def _check_discount(config: PlanConfig, model: WorldModel) -> None:
    """Raise `ValueError` where the objective's value is not the one that the model has learned."""
    value = config.objective.value  # type: ignore[attr-defined]
    if value is None or not isinstance(model, LatentWorldModel) or model.config.heads is None:
        return  # what a model does not predict is refused elsewhere
    per_decision = config.agent.steps_per_decision // model.config.chunk
    learned = model.config.heads.discount
    if value.discount != learned or value.actions != per_decision:
        raise ValueError(
            f"objective.value.discount={value.discount} and objective.value.actions={value.actions}"
            f", but the values of {config.model.path} are discounted by {learned} an action of the "
            f"model, of which a decision lasts {per_decision}: set "
            f"objective.value.discount={learned} objective.value.actions={per_decision}."
        )


def make_inverse_agent(config: PlanConfig) -> InverseAgent:
    """Return the agent that asks an inverse model; raise `ValueError` where its latents are not."""
    model, agent = config.model, config.agent
    if model.kind != "latent":
        raise ValueError(
            f"agent.kind=inverse acts on the latents of a learned model, and model.kind={model.kind}"
            ": give model=latent model.path=..., the one that the inverse model was trained with."
        )
    world_model = make_latent(model)
    return InverseAgent(
        world_model,
        InverseModel.from_pretrained(str(agent.path), model.device),
        execute=agent.execute * agent.steps_per_decision,
        episode_steps=config.env.episode_steps,
        reach_in=agent.reach_in,
    )


def make_belief_policy(config: PlanConfig) -> BeliefPolicy:
    """Return the agent that asks a policy about a model's beliefs.

    Raises:
        ValueError, TypeError: the policy was trained on other observations, or decides otherwise.
    """
    model, agent = make_model(config), config.agent
    policy = load_imagined(str(agent.path), agent, model)
    return BeliefPolicy(model, policy, action_map=make_action_map(agent, model), seed=config.seed)


def make_agent(config: PlanConfig) -> Agent:
    """Return who acts, of the configured kind.

    Raises:
        ValueError: an unknown kind, or one without the file that it needs.
    """
    agent, env = config.agent, config.env
    if agent.kind not in KINDS:
        raise ValueError(f"agent.kind={agent.kind!r}: choose one of {list(KINDS)}.")
    if agent.kind == "planning":
        return make_planning_agent(config, make_model(config))
    if agent.kind == "noop":
        return NoOpAgent()
    if agent.kind in FROM_FILES and agent.path is None:
        raise ValueError(f"agent.kind={agent.kind} needs agent.path, {FROM_FILES[agent.kind]}.")
    if agent.kind == "inverse":
        return make_inverse_agent(config)
    if agent.kind == "belief_policy":
        return make_belief_policy(config)
    if agent.kind == "replay":
        return ReplayAgent(recorded_actions(Path(str(agent.path)), env.id, env.kwargs))
    probe = make_env(config, frozenset())()
    probe.close()
    if agent.kind == "random":
        return RandomAgent(probe.action_space, agent.hold, config.seed)
    policy = load_policy(str(agent.path), agent.algorithm)
    if policy.action_space != probe.action_space:
        raise ValueError(
            f"the policy of {agent.path} acts in {policy.action_space}, "
            f"{env.id} in {probe.action_space}."
        )
    keys = agent.observes
    if not keys and isinstance(policy.observation_space, Box):
        keys = list(probe.observation_space.spaces)  # type: ignore[attr-defined]
    return PolicyAgent(policy, keys)


def make_agent_and_env(config: PlanConfig) -> tuple[Agent, EnvMaker]:
    """Return who acts, and a maker of environments observed as the agent needs it."""
    agent = make_agent(config)
    return agent, make_env(config, agent.observes)
