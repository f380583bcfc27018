"""The schemas of the command lines, and how a configuration becomes objects.

The schemas of planners and objective terms are made from the dataclasses that plan and cost, so a
setting has one name, one type, one default and one place.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import operator
from collections.abc import Iterable
from dataclasses import dataclass, field, fields, make_dataclass
from typing import Any, get_type_hints

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Box
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dexworld.agents.base import Agent, NoOpAgent, RandomAgent
from dexworld.agents.planning import PlanningAgent
from dexworld.envs.goal_observation import GoalObservation
from dexworld.envs.hold_action import HoldAction
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.experiments.command_line import nearest
from dexworld.experiments.evaluation import EnvMaker
from dexworld.planners.base import Objective
from dexworld.planners.cem import CEM
from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.gradient import GradientPlanner
from dexworld.planners.icem import ICEM
from dexworld.planners.mppi import MPPI
from dexworld.planners.objectives import (
    KeypointDistance,
    LatentDistance,
    NegativeReward,
    PoseError,
    Reach,
    Smoothness,
)
from dexworld.planners.shooting import RandomShooting
from dexworld.world_models.actions import Chain, Hold, Increments, Interpolate
from dexworld.world_models.base import ActionMap, WorldModel

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
    "latent": LatentDistance,
    "reach": Reach,
    "smoothness": Smoothness,
    "reward": NegativeReward,
}
"""Slots of the objective: each may hold one term."""


@functools.cache
def schema(built: type[Any]) -> type[Any]:
    """Return a dataclass with the settings of `built`; Hydra cannot write into a frozen one."""
    types = get_type_hints(built)
    settings = [
        (part.name, types[part.name], field(default=part.default)) for part in fields(built)
    ]
    made = make_dataclass(built.__name__, settings)
    made.builds = built  # type: ignore[attr-defined]
    return made


def build(settings: Any) -> Any:
    """Return what a schema describes; raise `ValueError` for settings that cannot be."""
    return type(settings).builds(**vars(settings))


ObjectiveConfig = make_dataclass(
    "ObjectiveConfig",
    [(name, schema(term) | None, field(default=None)) for name, term in TERMS.items()],  # type: ignore[arg-type]
)
"""The terms of the objective by slot; those that are not null add up."""


EVALUATED: dict[str, Any] = {
    "terminate_on_success": False,
    "render_mode": "rgb_array",
    "render_size": 320,
}
"""How environments are evaluated, where their own arguments do not say otherwise: episodes last to
the end of the budget, so that success at any time and at the end can both be told."""


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
    """The dynamics to plan in: here, a simulator."""

    source: str = "physics"
    """What the model's state is built from: the exact `physics`, or the task `state`."""
    env: str | None = None
    """Environment whose simulator is the model; the task's own where null."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of that environment; they are added to those of the task's."""
    threads: int | None = None
    """Cores to roll out on; all where null."""


@dataclass
class AgentConfig:
    """How an agent acts. `kind` is one of planning, random, noop."""

    kind: str = "planning"
    execute: int = 1
    """Decisions carried out before planning again."""
    steps_per_decision: int = 5
    """Environment steps that a decision lasts."""
    interpolate: bool = True
    """Approach a decision along a line, instead of commanding it at once."""
    increment: float | None = None
    """Decisions move the command by at most this, in units of the action; absolute where null."""
    shrink_horizon: bool = True
    """Never plan beyond the end of the episode."""
    budget_s: float | None = None
    """Time for a plan, in seconds."""
    hold: int = 5
    """Steps for which the random agent holds an action."""


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
        store.store(group="planner", name=name, node=schema(planner))  # type: ignore[arg-type]


def make_objective(config: Any) -> Objective:
    """Add the terms that are not None; raise `ValueError` if there are none."""
    chosen = [build(term) for term in vars(config).values() if term is not None]
    if not chosen:
        raise ValueError(f"the objective has no term; give at least one of {list(TERMS)}.")
    return functools.reduce(operator.add, chosen)  # type: ignore[no-any-return]


def make_action_map(config: AgentConfig, action_space: Box) -> ActionMap:
    """Return what a decision means in actions."""
    kind = Interpolate if config.interpolate else Hold
    timing = kind(action_space, config.steps_per_decision)
    if config.increment is None:
        return timing
    return Chain([Increments(action_space, config.increment), timing])


def make_model(config: PlanConfig) -> WorldModel:
    """Return the model to plan in."""
    model = config.model
    env_id, arguments = model.env or config.env.id, {**config.env.kwargs, **model.kwargs}
    check_arguments(env_id, arguments)
    return SimulatorModel(env_id, model.source, model.threads, **arguments)


def make_env(config: PlanConfig, observes: frozenset[str]) -> EnvMaker:
    """Return a maker of the task's environment, observed as an agent needs it."""
    check_arguments(config.env.id, config.env.kwargs)
    given = sorted(
        key for key in observes if not key.startswith("goal_") and key != "hold_action"
    ) or ["state"]

    def make() -> gym.Env[Any, Any]:
        env = gym.make(
            config.env.id,
            observation=given,
            max_episode_steps=config.env.episode_steps,
            **{**EVALUATED, **config.env.kwargs},
        )
        return HoldAction(GoalObservation(env))

    return make


def check_arguments(env_id: str, arguments: Iterable[str]) -> None:
    """Raise `ValueError` for an argument that the environment does not take."""
    module, _, _ = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    entry_point = gym.spec(env_id.removeprefix(f"{module}:")).entry_point
    made = load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point
    known = inspect.signature(made).parameters if made else {}
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in arguments:
        if name not in known:
            raise ValueError(f"{env_id} takes no argument {name!r}. {nearest(name, known)}")


def make_planning_agent(config: PlanConfig, model: WorldModel) -> PlanningAgent:
    """Return the agent that plans."""
    return PlanningAgent(
        model,
        build(config.planner),
        make_objective(config.objective),
        action_map=make_action_map(config.agent, model.action_space),
        execute=config.agent.execute,
        episode_steps=config.env.episode_steps if config.agent.shrink_horizon else None,
        budget_s=config.agent.budget_s,
        seed=config.seed,
    )


def make_floor(kind: str, config: PlanConfig, action_space: Box) -> Agent:
    """Return an agent that needs no model: `noop` or `random`."""
    if kind == "noop":
        return NoOpAgent()
    if kind == "random":
        return RandomAgent(action_space, config.agent.hold, config.seed)
    raise ValueError(f"agent.kind={kind!r}: choose planning, noop or random.")


def make_agent_and_env(config: PlanConfig) -> tuple[Agent, EnvMaker]:
    """Return who acts, and a maker of environments observed as the agent needs it."""
    if config.agent.kind == "planning":
        model = make_model(config)
        agent: Agent = make_planning_agent(config, model)
    else:
        probe = make_env(config, frozenset())()
        agent = make_floor(config.agent.kind, config, probe.action_space)  # type: ignore[arg-type]
        probe.close()
    return agent, make_env(config, agent.observes)
