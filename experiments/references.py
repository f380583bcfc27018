"""What a success rate is to be compared with: floors and ceilings on the same episodes."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from dexworld.experiments.command_line import code_fingerprint, version
from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    PlanConfig,
    make_agent_and_env,
    make_model,
    make_objective,
)
from dexworld.experiments.evaluation import run_episodes, summarise
from dexworld.experiments.progress import tracked
from dexworld.experiments.results import finite
from dexworld.experiments.schema import build
from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.gradient import GradientPlanner

FLOORS = ("noop", "random")
LATENT, DEXWM = "latent", "dexwm"
"""Kinds of learned models."""
FOLLOW_GRADIENTS = (GradientPlanner, CEMGradient)
DECISIVE_PACKAGES = ("numpy", "torch", "mujoco", "pymunk")
"""Packages another version of which may make another episode of the same seed."""


def floors(config: PlanConfig, seeds: Sequence[int], console: Console) -> dict[str, Any]:
    """Return the figures of doing nothing and of random actions."""
    if not config.floors or config.agent.kind in FLOORS:
        return {}
    agents = {kind: {"kind": kind, "hold": config.agent.hold} for kind in FLOORS}
    return {
        kind: evaluate_cached(with_groups(config, agent=agent), seeds, console)
        for kind, agent in agents.items()
    }


def ceiling(
    config: PlanConfig, run: Mapping[str, Any], seeds: Sequence[int], console: Console
) -> dict[str, Any]:
    """Return the figures of the same planner in a model without error; nothing where none is."""
    if config.agent.kind != "planning" or not config.floors or without_ceiling(config):
        return {}
    if config.model.kind == LATENT:
        figures = evaluate_cached(_oracle(config), seeds, console)
        who = "simulator as the model, same planner and objective"
        return {"who": who, "same_as_run": False, "same_episodes": True, **figures}
    exact = config.model.source == "physics" and not config.model.kwargs
    if exact and config.model.env in (None, config.env.id):
        _remember(_cache_file(config, seeds), run)
        who = "simulator as the model"
        return {"who": who, "same_as_run": True, "same_episodes": True, **run}
    perfect = with_groups(
        config,
        env={
            "id": config.model.env or config.env.id,
            "kwargs": {**config.env.kwargs, **config.model.kwargs},
            "episode_steps": config.env.episode_steps,
        },
        model={"kind": config.model.kind, "threads": config.model.threads},
    )
    figures = evaluate_cached(perfect, seeds, console)
    # In another engine the same seed may begin, and for a scripted goal also end, elsewhere.
    same_episodes = perfect.env == config.env
    who = "simulator as its own model"
    if not same_episodes:
        who += " (same seeds, its own physics)"
    return {"who": who, "same_as_run": False, "same_episodes": same_episodes, **figures}


def without_ceiling(config: PlanConfig) -> str:
    """Return why no model without error can take a learned one's place; empty where one can.

    Raises:
        ValueError, KeyError: the simulator that is to take it cannot be.
    """
    if config.agent.kind != "planning" or config.model.kind not in (LATENT, DEXWM):
        return ""
    if config.model.kind == DEXWM:
        return "no simulator predicts what a DexWM predicts"
    if isinstance(build(config.planner), FOLLOW_GRADIENTS):
        return "the planner follows gradients, which no simulator gives"
    try:
        simulator = make_model(_oracle(config))
    except TypeError:
        env_id = config.model.env or config.env.id
        return f"{env_id}, as it is made here, does not run on MuJoCo (model.kwargs: in a twin)"
    missing = sorted(make_objective(config.objective).reads - simulator.predicts)
    if missing:
        return f"the objective reads {', '.join(missing)}, which no simulator predicts"
    return ""


def _oracle(config: PlanConfig) -> PlanConfig:
    """Return the same planner and objective with the simulator in the learned model's place.

    `model.env`, `kwargs` and `source` say which simulator.
    """
    model = {**vars(config.model), "kind": "simulator", "path": None, "device": "cpu"}
    return with_groups(config, model=model)


def with_groups(config: PlanConfig, **changes: dict[str, Any]) -> PlanConfig:
    """Return the configuration with whole groups replaced."""
    schemas = {"agent": AgentConfig, "env": EnvConfig, "model": ModelConfig}
    parts = {name: schemas[name](**values) for name, values in changes.items()}
    return PlanConfig(**{**vars(config), **parts})


def evaluate_cached(config: PlanConfig, seeds: Sequence[int], console: Console) -> dict[str, Any]:
    """Evaluate, or return what the same code found for the same task, agent and episodes."""
    file = _cache_file(config, seeds)
    cached = _recall(file)
    if cached is not None:
        return cached
    agent, make_env = make_agent_and_env(config)
    title = config.agent.kind if config.agent.kind != "planning" else "ceiling"
    results = tracked(
        run_episodes(agent, make_env, seeds, config.parallel), len(seeds), title, console
    )
    figures: dict[str, Any] = finite(summarise(list(results)))
    _remember(file, figures)
    return figures


def decisive(config: PlanConfig) -> dict[str, Any]:
    """Return what decides what an episode is: settings, the package's code, versions of others.

    The other settings say which episodes are evaluated, how fast, and what is done with the
    results.
    """
    parts = ("env", "model", "planner", "objective", "agent")
    settings = {name: part for name, part in asdict(config).items() if name in parts}
    settings["model"].pop("threads")
    versions = {name: version(name) for name in DECISIVE_PACKAGES}
    return {**settings, "code": {"dexworld": code_fingerprint(), **versions}}


def _recall(file: Path | None) -> dict[str, Any] | None:
    """Return the figures in a file of the cache, if they are there and can be read."""
    if file is None:
        return None
    try:
        cached: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return cached


def _remember(file: Path | None, figures: Mapping[str, Any]) -> None:
    if file is None:
        return
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(f".{os.getpid()}.part")
        unfinished.write_text(json.dumps(finite(figures)), encoding="utf-8")
        unfinished.replace(file)
    except OSError as error:
        _warn_once(f"{file.parent}: {error.strerror}")


@functools.cache
def _warn_once(reason: str) -> None:
    logging.getLogger(__name__).warning(
        "floors and ceilings are not kept for the next evaluation (%s); "
        "choose another folder by cache=...",
        reason,
    )


def _cache_file(config: PlanConfig, seeds: Sequence[int]) -> Path | None:
    """Return where the figures of an agent on these episodes are kept; None: nowhere."""
    folder = _cache_folder(config)
    if folder is None:
        return None
    wanted = decisive(config)
    if config.agent.kind != "planning":
        wanted = {key: wanted[key] for key in ("env", "agent", "code")}
    key = json.dumps([list(seeds), wanted], sort_keys=True, default=str)
    return folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"


def _cache_folder(config: PlanConfig) -> Path | None:
    if config.cache is not None:
        return Path(config.cache)
    try:
        # As the specification of these folders asks, an empty variable counts as none.
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError as error:
        _warn_once(str(error))
        return None
    return Path(home) / "dexworld"
