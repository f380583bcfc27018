"""The schemas of the command lines, and how a configuration becomes objects."""

from __future__ import annotations

import functools
import json
import operator
from dataclasses import dataclass, field, make_dataclass
from pathlib import Path
from typing import Any

import torch
from gymnasium.spaces import Box
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dexworld.agents.base import Agent, NoOpAgent, RandomAgent, ReplayAgent
from dexworld.agents.belief_policy import BeliefPolicy
from dexworld.agents.inverse_model import InverseAgent
from dexworld.agents.planning import PlanningAgent
from dexworld.agents.policy import Policy, PolicyAgent, load_policy
from dexworld.agents.proposals import PolicyProposer, Proposer
from dexworld.envs.gymnasium_model import PHYSICS, REWARD, GymnasiumModel
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.experiments.dexwm_planning import joint_waypoints, load_dexwm
from dexworld.experiments.environments import check_arguments, environment
from dexworld.experiments.evaluation import EnvMaker
from dexworld.experiments.recordings import recorded_actions
from dexworld.experiments.rough_plans import RoughConfig, make_staged_plans
from dexworld.experiments.schema import build, schema
from dexworld.planners.base import Objective
from dexworld.planners.cem import CEM
from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.gradient import GradientPlanner
from dexworld.planners.grip import Grip, Slip
from dexworld.planners.icem import ICEM
from dexworld.planners.mppi import MPPI
from dexworld.planners.objectives import (
    Disagreement,
    KeypointDistance,
    LatentDistance,
    NegativeReturn,
    NegativeReward,
    PoseError,
    Reach,
    Smoothness,
)
from dexworld.planners.pose_terms import Drift, Fall, Tilt
from dexworld.planners.shooting import RandomShooting
from dexworld.world_models.actions import Chain, Chunks, Hold, Increments, Interpolate
from dexworld.world_models.base import ActionMap, Mapped, WorldModel
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.inverse import InverseModel
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.pretrained import shipped_checkpoints

PLANNERS: dict[str, type[Any]] = {
    "cem": CEM,
    "icem": ICEM,
    "mppi": MPPI,
    "random_shooting": RandomShooting,
    "gradient": GradientPlanner,
    "cem_gradient": CEMGradient,
}
TERMS: dict[str, type[Any]] = {
    "keypoints": KeypointDistance,
    "agent": KeypointDistance,
    "pose": PoseError,
    "drift": Drift,
    "tilt": Tilt,
    "fall": Fall,
    "grip": Grip,
    "slip": Slip,
    "posture": LatentDistance,
    "hand": LatentDistance,
    "latent": LatentDistance,
    "reach": Reach,
    "smoothness": Smoothness,
    "reward": NegativeReward,
    "value": NegativeReturn,
    "disagreement": Disagreement,
}
"""Slots of the objective: each may hold one term."""
KEYS = {"agent": "agent", "posture": "joints", "hand": "keypoints"}
"""Predictions that the terms of slots read, where it is not what the term reads by default."""
FROM_FILES = {
    "replay": "a recorded episode or a folder of them",
    "sb3": "a saved policy",
    "inverse": "a folder of dexworld-train recipe=push_t_inverse",
    "belief_policy": "a policy.zip of dexworld-train-agent",
}
DECISIONS = "decisions"
"""Attribute of a policy: what its decisions mean."""
KINDS = ("planning", "noop", "random", *FROM_FILES)
"""Kinds of agents; some act from files."""


ObjectiveConfig = make_dataclass(
    "ObjectiveConfig",
    [
        (name, schema(term, KEYS.get(name)) | None, field(default=None))
        for name, term in TERMS.items()
    ],
)
"""The terms of the objective by slot; those that are not null add up."""


@dataclass
class EnvConfig:
    """An environment by its registered id."""

    id: str = MISSING
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the environment."""
    episode_steps: int = MISSING
    """Steps after which an episode ends: the budget of the task."""


@dataclass
class ModelConfig:
    """The dynamics to plan in."""

    kind: str = "simulator"
    """`simulator`: MuJoCo, rolled out on all cores; `gymnasium`: any environment with get_state and
    set_state, stepped in Python; `latent`: a learned model of dexworld-train; `dexwm`: one on the
    features of a frame encoder."""
    source: str = "physics"
    """What the model's state is built from: the exact `physics`, or the task `state`."""
    env: str | None = None
    """Environment whose simulator is the model; the task's own where null. Beside a learned model
    these settings say which simulator the ceiling plans in."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of that environment; they are added to those of the task's."""
    threads: int | None = None
    """Cores to roll out on; all where null."""
    path: str | None = None
    """The learned model: a folder, the name of one that ships, or organisation/name on a hub."""
    encoder: str | None = None
    """The frame encoder of a dexwm: a folder, the name of one that ships, or of a hub."""
    precision: str = "float32"
    """What a dexwm computes in: float32 or bfloat16."""
    device: str = "cpu"
    """Where the learned model runs: cpu or cuda."""


@dataclass
class AgentConfig:
    """Who acts, and how."""

    kind: str = "planning"
    """planning; the floors noop and random; replay (recordings); sb3 (a trained policy);
    belief_policy (one trained in a model); inverse (an inverse model on the latents of one)."""
    path: str | None = None
    """What replay repeats (a folder of dexworld-teleoperate), inverse acts by (a folder of
    dexworld-train), or sb3 and belief_policy load (a zip, which can run any code when it is loaded:
    only open files you trust)."""
    algorithm: str = "PPO"
    """Class of stable-baselines3 that saved the policy."""
    policy: str | None = None
    """A policy.zip of dexworld-train-agent, whose plans join those that planning searches among."""
    policy_plans: int = 16
    """How many of them, each rolled out in the model."""
    policy_noise: float = 0.3
    """Standard deviation of the noise on their decisions, as a share of half the range."""
    policy_samples: bool = False
    """Sample them from the policy's own distribution instead, all but the first."""
    rough: RoughConfig | None = None
    """Where searches start from: a plan in the kinematics of a hand on an arm."""
    observes: list[str] = field(default_factory=list)
    """Observation keys that the policy is given; its own, or the environment's, where empty."""
    execute: int = 1
    """Decisions carried out before planning again."""
    steps_per_decision: int = 5
    """Environment steps that a decision lasts."""
    interpolate: bool = True
    """Approach a decision along a line, instead of commanding it at once."""
    increment: float | None = None
    """Decisions move the command by at most this, in units of the action; absolute where null."""
    hand_increment: float | None = None
    """The same of the joints of a hand, which come after the seven of its arm; as the arm's where
    null."""
    shrink_horizon: bool = True
    """Never plan beyond the end of the episode."""
    budget_s: float | None = None
    """Time for a plan, in seconds."""
    hold: int = 5
    """Steps for which the random agent holds an action."""
    reach_in: int | None = None
    """Steps in which the inverse model means to be at the goal, again and again; all that are left
    of the episode where null."""


@dataclass
class PlanConfig:
    """Everything that `dexworld-plan` reads."""

    env: EnvConfig = field(default_factory=EnvConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    planner: Any = MISSING
    objective: ObjectiveConfig = field(default_factory=ObjectiveConfig)  # type: ignore[valid-type]
    agent: AgentConfig = field(default_factory=AgentConfig)
    name: str = "plan"
    """Name of the experiment in tables and reports."""
    episodes: int = 10
    """Episodes to evaluate."""
    seed: int = 0
    """Base of all random streams."""
    stage: str = "evaluate"
    """Which episodes: `tune` for choosing settings, `evaluate` for reporting them."""
    first_seed: int | None = None
    """Take the consecutive seeds from here on instead (the literature's start at 100000)."""
    parallel: int = 1
    """Episodes that are planned for at once."""
    output: str = "outputs/${name}"
    """Folder of the results."""
    existing: str = "refuse"
    """What to do with results in `output`: refuse, resume (evaluate what is missing), overwrite."""
    floors: bool = True
    """Evaluate doing nothing and random actions on the same episodes."""
    cache: str | None = None
    """Folder where floors and ceilings are kept; null: dexworld's folder in the user's cache."""
    videos: int = 4
    """Episodes to film."""
    open_report: bool = False
    """Show the report in a browser at the end."""


def register_schemas() -> None:
    """Tell Hydra the schemas; a misspelt key or a wrong type then fails at once."""
    store = ConfigStore.instance()
    store.store(name="plan_schema", node=PlanConfig)
    for name, planner in PLANNERS.items():
        store.store(group="planner", name=name, node=schema(planner))


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
        return load_dexwm(_path_of(model), model.encoder, model.precision, model.device)
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


def _path_of(config: ModelConfig) -> str:
    if config.path is None:
        raise ValueError(
            f"model.kind={config.kind} needs model.path: a folder of dexworld-train, or one of "
            f"{sorted(shipped_checkpoints())}."
        )
    if config.device != "cpu" and not torch.cuda.is_available():
        raise ValueError(f"model.device={config.device}: there is no CUDA device; choose cpu.")
    return config.path


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
        budget_s=config.agent.budget_s,
        seed=config.seed,
    )


def _make_proposer(config: PlanConfig, model: WorldModel, action_map: ActionMap) -> Proposer | None:
    agent = config.agent
    if agent.rough is not None:
        if agent.policy is not None:
            raise ValueError("agent.rough and agent.policy both propose plans: set one to null.")
        objective = make_objective(config.objective)
        return make_staged_plans(
            agent.rough, model, action_map, objective, agent.execute, agent.increment
        )
    if agent.policy is None:
        return None
    policy = load_imagined(agent.policy, agent, model)
    decided = Mapped(model, action_map)
    noise = None if agent.policy_samples else agent.policy_noise
    return PolicyProposer(decided, policy, agent.policy_plans, noise)


def decisions(agent: AgentConfig) -> dict[str, Any]:
    """Return what decisions mean, in JSON values; agents of the same decide alike."""
    names = ("steps_per_decision", "interpolate", "increment")
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
            f"agent.{name}={json.dumps(then[name])}" for name in now if then[name] != now[name]
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
