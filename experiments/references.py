"""What a success rate is to be compared with: floors and ceilings on the same episodes."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.console import Console

from dexworld.experiments.command_line import code_fingerprint
from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    PlanConfig,
    make_agent_and_env,
)
from dexworld.experiments.evaluation import run_episodes, summarise
from dexworld.experiments.progress import tracked
from dexworld.experiments.results import finite

FLOORS = ("noop", "random")


def floors(config: PlanConfig, seeds: Sequence[int], console: Console) -> dict[str, Any]:
    """Return the figures of doing nothing and of random actions."""
    if not config.floors or config.agent.kind != "planning":
        return {}
    agents = {kind: {"kind": kind, "hold": config.agent.hold} for kind in FLOORS}
    return {
        kind: evaluate_cached(with_groups(config, agent=agent), seeds, console)
        for kind, agent in agents.items()
    }


def ceiling(
    config: PlanConfig, run: Mapping[str, Any], seeds: Sequence[int], console: Console
) -> dict[str, Any]:
    """Return the figures of the same planner in a model without error."""
    if config.agent.kind != "planning" or not config.floors:
        return {}
    exact = config.model.source == "physics" and not config.model.kwargs
    if exact and config.model.env in (None, config.env.id):
        _remember(_cache_file(config, seeds), run)
        return {"who": "simulator as the model", "same_as_run": True, **run}
    perfect = with_groups(
        config,
        env={
            "id": config.model.env or config.env.id,
            "kwargs": {**config.env.kwargs, **config.model.kwargs},
            "episode_steps": config.env.episode_steps,
        },
        model={"threads": config.model.threads},
    )
    figures = evaluate_cached(perfect, seeds, console)
    return {"who": "simulator as its own model", "same_as_run": False, **figures}


def with_groups(config: PlanConfig, **changes: dict[str, Any]) -> PlanConfig:
    """Return the configuration with whole groups replaced."""
    schemas = {"agent": AgentConfig, "env": EnvConfig, "model": ModelConfig}
    parts = {name: schemas[name](**values) for name, values in changes.items()}
    return PlanConfig(**{**vars(config), **parts})


def evaluate_cached(config: PlanConfig, seeds: Sequence[int], console: Console) -> dict[str, Any]:
    """Evaluate, or return what the same code found for the same task, agent and episodes."""
    file = _cache_file(config, seeds)
    if file.exists():
        cached: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
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
    """Return the settings that decide what an episode is.

    The others say which episodes are evaluated, how fast, and what is done with the results.
    """
    parts = ("env", "model", "planner", "objective", "agent")
    settings = {name: part for name, part in asdict(config).items() if name in parts}
    settings["model"].pop("threads")
    return settings


def _remember(file: Path, figures: Mapping[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps(finite(figures)), encoding="utf-8")
    unfinished.replace(file)


def _cache_file(config: PlanConfig, seeds: Sequence[int]) -> Path:
    """Return where the figures of an agent on these episodes are kept."""
    wanted = decisive(config)
    if config.agent.kind != "planning":
        wanted = {key: wanted[key] for key in ("env", "agent")}
    key = json.dumps([code_fingerprint(), list(seeds), wanted], sort_keys=True, default=str)
    name = f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if config.cache is not None:
        return Path(config.cache) / name
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dexworld" / name
