"""`dexworld-plan`: evaluates an agent on seeded episodes and says how good it is, honestly."""

from __future__ import annotations

import hashlib
import json
import os
import shlex
import sys
import webbrowser
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import torch
from numpy.typing import NDArray
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table
from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from dexworld.agents.base import Agent
from dexworld.agents.planning import PlanningAgent
from dexworld.experiments import config as wiring
from dexworld.experiments.calibration import Calibration, gap
from dexworld.experiments.command_line import (
    CONF,
    USER_ERRORS,
    check_overrides,
    code_fingerprint,
    fail,
    provenance,
    settings_help,
)
from dexworld.experiments.config import PlanConfig, register_schemas
from dexworld.experiments.evaluation import (
    EnvMaker,
    EpisodeResult,
    Observer,
    run_episodes,
    summarise,
)
from dexworld.experiments.filming import Filming, Predict
from dexworld.experiments.report import table_rows, write_report
from dexworld.experiments.results import ResultsFolder, finite
from dexworld.experiments.statistics import episode_seeds
from dexworld.world_models.base import State


def evaluate(config: PlanConfig, command: str, console: Console | None = None) -> dict[str, Any]:
    """Evaluate, write the results folder of `config`, and return the metrics.

    Raises:
        ValueError, KeyError, FileExistsError: the configuration is wrong; the message says how.
    """
    console = console or Console(stderr=True)
    seeds = _seeds(config)
    agent, make_env = _agent_and_env(config)
    resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
    settled = OmegaConf.to_yaml({k: v for k, v in asdict(config).items() if k not in _NOT_RESULTS})
    folder = ResultsFolder(Path(config.output), settled, config.existing)
    done = [e for e in folder.episodes() if e["seed"] in set(seeds)]
    folder.keep(done)
    missing = [seed for seed in seeds if seed not in {episode["seed"] for episode in done}]

    observers: list[Observer] = [
        Filming(folder.path / "videos", seeds[: config.videos], _prediction(agent))
    ]
    calibration = None
    if isinstance(agent, PlanningAgent):
        calibration = Calibration(agent.objective, agent.execute)
        observers.append(calibration)
    results = run_episodes(agent, make_env, missing, config.parallel, observers)
    with SummaryWriter(str(folder.path / "tensorboard")) as board:
        for result in _tracked(results, len(missing), config.name, console):
            episode = {**asdict(result), "pairs": [], "searches": []}
            if calibration is not None:
                episode["pairs"] = calibration.pairs[result.seed]
                episode["searches"] = calibration.searches[result.seed]
            folder.append(finite(episode))
            done.append(finite(episode))
            _log_episode(board, episode, len(done))

    by_seed = {episode["seed"]: episode for episode in done}
    episodes = [by_seed[seed] for seed in seeds]
    metrics = _metrics(config, agent, make_env, seeds, episodes, console)
    folder.write_metrics(metrics)
    write_report(
        folder.path / "report.html", metrics, episodes, folder.path / "videos", resolved, command
    )
    return metrics


_NOT_RESULTS = ("output", "existing", "open_report", "cache")
"""Settings that do not change what an episode is."""


def _seeds(config: PlanConfig) -> list[int]:
    if config.first_seed is not None:
        return list(range(config.first_seed, config.first_seed + config.episodes))
    return episode_seeds(config.seed, config.stage, config.episodes)


def _agent_and_env(config: PlanConfig) -> tuple[Agent, EnvMaker]:
    if config.agent.kind == "planning":
        model = wiring.make_model(config)
        agent: Agent = wiring.make_planning_agent(config, model)
    else:
        probe = wiring.make_env(config, frozenset())()
        agent = wiring.make_floor(config.agent.kind, config, probe.action_space)  # type: ignore[arg-type]
        probe.close()
    return agent, wiring.make_env(config, agent.observes)


def _prediction(agent: Agent) -> Predict | None:
    """Return what shows the motion that a plan predicts, where the model can tell."""
    if not isinstance(agent, PlanningAgent) or "state" not in agent.model.predicts:
        return None

    def predict(belief: State, decisions: Tensor) -> NDArray[Any]:
        actions = decisions[:, None]
        if agent.action_map is not None:
            actions = agent.action_map.to_model(actions, belief)
        motion = agent.base_model.rollout(belief, actions, ["state"])["state"][0, 0]
        return motion.cpu().double().numpy()

    return predict


def _metrics(
    config: PlanConfig,
    agent: Agent,
    make_env: EnvMaker,
    seeds: list[int],
    episodes: list[dict[str, Any]],
    console: Console,
) -> dict[str, Any]:
    env = make_env()
    rule = getattr(env.unwrapped, "success_rule", "info['is_success']")
    env.close()
    run = _summary(episodes)
    floors = {}
    if config.floors and config.agent.kind == "planning":
        for kind in ("noop", "random"):
            floor = _with(config, agent={"kind": kind, "hold": config.agent.hold})
            floors[kind] = _cached(floor, seeds, console)
    return {
        "name": config.name,
        "env": config.env.id,
        "agent": _agent_name(config),
        "success_rule": rule,
        **run,
        "seed": config.seed,
        "stage": config.stage,
        "parallel": config.parallel,
        "floors": floors,
        "ceiling": _ceiling(config, run, seeds, console),
        "model_error": gap([pair for episode in episodes for pair in episode["pairs"]]),
        "provenance": provenance(config.seed),
    }


def _summary(episodes: list[dict[str, Any]]) -> dict[str, Any]:
    names = EpisodeResult.__dataclass_fields__
    return summarise([EpisodeResult(**{n: e[n] for n in names}) for e in episodes])


def _agent_name(config: PlanConfig) -> str:
    if config.agent.kind != "planning":
        return config.agent.kind
    model = config.model
    return f"{type(config.planner).__name__} in {model.env or config.env.id} ({model.source})"


def _ceiling(
    config: PlanConfig, run: dict[str, Any], seeds: list[int], console: Console
) -> dict[str, Any]:
    """Return the figures of the same planner in a model without error."""
    if config.agent.kind != "planning" or not config.floors:
        return {}
    exact = config.model.source == "physics" and not config.model.kwargs
    if exact and config.model.env in (None, config.env.id):
        return {"who": "simulator as the model", "same_as_run": True, **run}
    perfect = _with(
        config,
        env={
            "id": config.model.env or config.env.id,
            "kwargs": {**config.env.kwargs, **config.model.kwargs},
            "episode_steps": config.env.episode_steps,
        },
        model={"threads": config.model.threads},
    )
    figures = _cached(perfect, seeds, console)
    return {"who": "simulator as its own model", "same_as_run": False, **figures}


def _with(config: PlanConfig, **changes: dict[str, Any]) -> PlanConfig:
    """Return the configuration with whole groups replaced."""
    schema = {"agent": wiring.AgentConfig, "env": wiring.EnvConfig, "model": wiring.ModelConfig}
    parts = {name: schema[name](**values) for name, values in changes.items()}
    return PlanConfig(**{**config.__dict__, **parts})


def _cached(config: PlanConfig, seeds: list[int], console: Console) -> dict[str, Any]:
    """Evaluate, or return what the same code found for the same task, agent and episodes."""
    wanted = {k: v for k, v in asdict(config).items() if k not in (*_NOT_RESULTS, "name", "videos")}
    if config.agent.kind != "planning":
        wanted = {key: wanted[key] for key in ("env", "agent", "parallel")}
    key = json.dumps([code_fingerprint(), seeds, wanted], sort_keys=True, default=str)
    file = _cache_folder(config) / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if file.exists():
        cached: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
        return cached
    agent, make_env = _agent_and_env(config)
    title = config.agent.kind if config.agent.kind != "planning" else "ceiling"
    results = run_episodes(agent, make_env, seeds, config.parallel)
    figures: dict[str, Any] = finite(summarise(list(_tracked(results, len(seeds), title, console))))
    file.parent.mkdir(parents=True, exist_ok=True)
    unfinished = file.with_suffix(f".{os.getpid()}.part")
    unfinished.write_text(json.dumps(figures), encoding="utf-8")
    unfinished.replace(file)
    return figures


def _cache_folder(config: PlanConfig) -> Path:
    if config.cache is not None:
        return Path(config.cache)
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "dexworld"


def _tracked(
    results: Iterable[EpisodeResult], total: int, title: str, console: Console
) -> Iterable[EpisodeResult]:
    """Yield the results, with a progress bar where somebody can see it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} reached the goal"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, successes=0)
        successes = 0
        for result in results:
            successes += result.success
            progress.update(task, advance=1, successes=successes)
            yield result


def _log_episode(board: SummaryWriter, episode: dict[str, Any], step: int) -> None:
    for key in ("success", "success_at_end", "episode_return", "max_reward", "model_evaluations"):
        board.add_scalar(f"episode/{key}", float(episode[key]), step)
    if episode["plan_seconds"]:
        board.add_scalar(
            "plan/seconds", sum(episode["plan_seconds"]) / len(episode["plan_seconds"]), step
        )
    for search in episode["searches"][:1]:
        for iteration, cost in enumerate(search):
            board.add_scalar(f"search/episode_{step}", cost, iteration)


def print_table(metrics: dict[str, Any], console: Console) -> None:
    """Print the table of the report."""
    table = Table(title=f"{metrics['name']}: {metrics['success_rule']}", title_justify="left")
    heads = {
        "who": "",
        "success": "any time",
        "at_end": "at the end",
        "steps": "steps",
        "reward": "max reward",
        "latency": "s/plan p50 / p95",
        "evaluations": "candidates/episode",
    }
    for head in heads.values():
        table.add_column(head, justify="left" if not head else "right")
    for row in table_rows(metrics):
        table.add_row(*(str(row[key]) for key in heads), style="bold" if row["main"] else None)
    console.print(table)


@hydra.main(version_base="1.3", config_path=CONF, config_name="plan")
def _run(composed: DictConfig) -> None:
    # The search is many small tensor operations, which threads only slow down; the simulator
    # rolls out on all cores by itself.
    torch.set_num_threads(1)
    console = Console(stderr=True)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        config: PlanConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
        metrics = evaluate(config, command, console)
    except KeyboardInterrupt:
        console.print(
            f"\ninterrupted; finished episodes are in {composed.output}. "
            "The same command with existing=resume goes on."
        )
        raise SystemExit(130) from None
    except USER_ERRORS as error:
        fail(error)
    print_table(metrics, console)
    report = (Path(config.output) / "report.html").resolve()
    console.print(f"report: {report}", soft_wrap=True)
    if config.open_report:
        webbrowser.open(report.as_uri())


HELP = """\
dexworld-plan evaluates a planner, or a floor, on seeded episodes of an environment. It writes
metrics.json, videos, TensorBoard curves and report.html (one self-contained file) into `output`.

  dexworld-plan experiment=push_t_goal_simulator episodes=20 output=outputs/mine
  dexworld-plan planner=icem planner.samples=64 agent.execute=2
  dexworld-plan agent=noop env=push_t episodes=10 existing=overwrite

Settings are given as key=value, group.key=value or group=option; the most used ones:

"""


def main() -> None:
    """Run the command line."""
    register_schemas()
    if {"--help", "-h"} & set(sys.argv[1:]):
        groups = {
            "": PlanConfig,
            "env.": wiring.EnvConfig,
            "model.": wiring.ModelConfig,
            "agent.": wiring.AgentConfig,
        }
        sys.stdout.write(f"{HELP}{settings_help(groups)}\n\n")
        sys.stdout.flush()
    check_overrides("plan", sys.argv[1:])
    _run()


if __name__ == "__main__":
    main()
