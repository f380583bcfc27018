"""Any Gymnasium environment, observed as an agent needs it."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Collection, Iterable, Mapping
from functools import partial
from typing import Any

import gymnasium as gym
from gymnasium.envs.registration import load_env_creator
from gymnasium.spaces import Dict

from dexworld.envs.goal_observation import GoalObservation
from dexworld.envs.gymnasium_model import PHYSICS, ExactState
from dexworld.envs.hold_action import HoldAction
from dexworld.envs.keyed_observation import KeyedObservation
from dexworld.experiments.command_line import nearest
from dexworld.experiments.evaluation import EnvMaker
from dexworld.world_models.base import GOAL_PREFIX, HOLD_ACTION

EVALUATED: dict[str, Any] = {"terminate_on_success": False, "render_size": 320}
"""Arguments that evaluation gives to environments that take them, where the configuration does not
say otherwise: episodes last to the end of the budget, so that success at any time and at the end
can both be told."""

OBSERVED = "observation"
"""The argument by which an environment lets its observation keys be chosen."""

FILMED = "rgb_array"
"""The render mode of films."""


def environment(
    env_id: str, kwargs: Mapping[str, Any], episode_steps: int, observes: Collection[str]
) -> EnvMaker:
    """Return a maker of an environment whose observations hold what an agent observes.

    Arguments that the environment does not take are left out. An array observation becomes
    `{"observation": array}`. `physics` is observed of every environment with `get_state` and
    `set_state`, `goal_<key>` of those that give `info["goal"]`, `hold_action` of those with `Box`
    actions; what remains unobserved, the agent names.

    Raises:
        ValueError: an argument that the environment does not take, a module that is not there.
        gym.error.Error: an unknown id.
        TypeError: `physics` of an environment that cannot be restored, observations that are
            neither arrays nor a `Dict` of them, `hold_action` of actions that are no `Box`.
    """
    check_arguments(env_id, kwargs)
    known = named_arguments(env_id)
    own = sorted(k for k in observes if not k.startswith(GOAL_PREFIX) and k != HOLD_ACTION)
    given = {name: value for name, value in EVALUATED.items() if name in known}
    if OBSERVED in known and own:
        given[OBSERVED] = own
    if _films(env_id):
        given["render_mode"] = FILMED
    make = partial(gym.make, env_id, max_episode_steps=episode_steps, **{**given, **dict(kwargs)})
    goals = frozenset(key for key in observes if key.startswith(GOAL_PREFIX))
    shows_goal = bool(goals) and goals <= _goals_of(_keyed(make()))

    def wrapped() -> gym.Env[Any, Any]:
        env = _keyed(make())
        if shows_goal:
            env = GoalObservation(env)
        if PHYSICS in observes and PHYSICS not in env.observation_space.spaces:  # type: ignore[attr-defined]
            env = ExactState(env)
        return HoldAction(env) if HOLD_ACTION in observes else env

    return wrapped


def check_arguments(env_id: str, arguments: Iterable[str]) -> None:
    """Raise `ValueError` for an argument that the environment does not take."""
    known = inspect.signature(_creator(env_id)).parameters
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in known.values()):
        return
    for name in arguments:
        if name not in known:
            raise ValueError(f"{env_id} takes no argument {name!r}. {nearest(name, known)}")


def named_arguments(env_id: str) -> frozenset[str]:
    """Return the arguments that the environment takes by name; `**kwargs` promise nothing."""
    return frozenset(inspect.signature(_creator(env_id)).parameters)


def module_and_id(env_id: str) -> tuple[str, str]:
    """Split `module:Id` into the module, which may be empty, and the registered id."""
    module, _, name = env_id.rpartition(":")
    return module, name


def _creator(env_id: str) -> Any:
    """Return the class or function that makes an environment, its module being imported first."""
    module, name = module_and_id(env_id)
    if module:
        try:
            importlib.import_module(module)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"{env_id}: the module {module!r} cannot be imported ({error}). "
                "Is it installed, or its folder in PYTHONPATH?"
            ) from error
    entry_point = gym.spec(name).entry_point
    return load_env_creator(entry_point) if isinstance(entry_point, str) else entry_point


def _films(env_id: str) -> bool:
    """Return whether frames of the environment can be had."""
    creator = _creator(env_id)
    modes = (getattr(creator, "metadata", None) or {}).get("render_modes", ())
    parameters = inspect.signature(creator).parameters.values()
    taken = any(p.name == "render_mode" or p.kind is p.VAR_KEYWORD for p in parameters)
    return FILMED in modes and taken


def _keyed(env: gym.Env[Any, Any]) -> gym.Env[Any, Any]:
    return env if isinstance(env.observation_space, Dict) else KeyedObservation(env)


def _goals_of(env: gym.Env[Any, Any]) -> frozenset[str]:
    """Return the keys under which `GoalObservation` would show the goal of the environment."""
    _, info = env.reset(seed=0)
    env.close()
    goal = info.get("goal")
    return (
        frozenset(GOAL_PREFIX + key for key in goal) if isinstance(goal, Mapping) else frozenset()
    )
