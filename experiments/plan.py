"""`dexworld-plan`: evaluates an agent on seeded episodes and says how good it is, honestly."""

from __future__ import annotations

import os
import shlex
import sys
import webbrowser
from dataclasses import asdict
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from dexworld.agents.planning import PlanningAgent
from dexworld.envs.gymnasium_model import REWARD
from dexworld.experiments import config as wiring
from dexworld.experiments.calibration import Calibration, gap
from dexworld.experiments.command_line import (
    CONF,
    USER_ERRORS,
    check_overrides,
    fail,
    log_simulator_warnings,
    provenance,
    settings_help,
)
from dexworld.experiments.config import PlanConfig, register_schemas
from dexworld.experiments.diagnosis import diagnose
from dexworld.experiments.environments import FILMED
from dexworld.experiments.evaluation import (
    EnvMaker,
    EpisodeResult,
    Observer,
    run_episodes,
    summarise,
)
from dexworld.experiments.filming import Filming, predicted_motion
from dexworld.experiments.frame_rate import check_rates
from dexworld.experiments.last_observation import LastObservation
from dexworld.experiments.prediction_error import PredictionError, summary, told
from dexworld.experiments.progress import console_of_errors, tracked
from dexworld.experiments.references import ceiling, decisive, floors, without_ceiling
from dexworld.experiments.report import (
    HEADS,
    markdown_table,
    relative_progress,
    table_rows,
    write_report,
)
from dexworld.experiments.results import ResultsFolder, finite
from dexworld.experiments.rough_plans import RoughConfig
from dexworld.experiments.statistics import episode_seeds

LEARNED_BY = ("planning", "inverse", "belief_policy")
"""Kinds of agents that act by the configured model."""


def evaluate(config: PlanConfig, command: str, console: Console | None = None) -> dict[str, Any]:
    """Evaluate, write the results folder of `config`, and return the metrics.

    Raises:
        ValueError, KeyError, FileExistsError: the configuration is wrong; the message says how.
    """
    console = console or console_of_errors()
    seeds = _seeds(config)
    agent, make_env = wiring.make_agent_and_env(config)
    probe = make_env()
    _check_rates(config, probe.metadata.get("render_fps"))
    resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
    folder = ResultsFolder(
        Path(config.output), resolved, OmegaConf.to_yaml(decisive(config)), config.existing
    )
    done = {episode["seed"]: episode for episode in folder.episodes()}
    missing = [seed for seed in seeds if seed not in done]
    agent.start(missing)  # an agent that cannot act in one of them says so before all of them

    observers: list[Observer] = []
    rule, films = getattr(probe.unwrapped, "success_rule", None), probe.render_mode == FILMED
    probe.close()
    if films:
        films_of = seeds[: config.videos]
        observers.append(Filming(folder.path / "videos", films_of, predicted_motion(agent)))
    elif config.videos:
        console.print(f"{config.env.id} renders no rgb_array: there will be no videos.")
    calibration = prediction = None
    if isinstance(agent, PlanningAgent):
        judged = config.model.kind == "simulator" or REWARD not in agent.objective.reads
        calibration = Calibration(agent.objective, agent.execute, judged)
        prediction = PredictionError(agent, told(agent.base_model, probe))
        observers += [calibration, prediction]
        make_env = _telling(config, agent.observes | set(prediction.truths.values()))
    results = run_episodes(agent, make_env, missing, config.parallel, observers)
    with SummaryWriter(str(folder.path / "tensorboard")) as board:
        for result in tracked(results, len(missing), config.name, console):
            episode = {**asdict(result), "pairs": [], "searches": [], "errors": {}}
            if calibration is not None and prediction is not None:
                episode["pairs"] = calibration.pairs[result.seed]
                episode["searches"] = calibration.searches[result.seed]
                episode["errors"] = prediction.errors[result.seed]
            done[result.seed] = finite(episode)
            folder.append(done[result.seed])
            _log_episode(board, episode, len(done))
        episodes = [done[seed] for seed in seeds]
        _log_curves(board, episodes)

    if rule is None:
        known = any(episode["success"] is not None for episode in episodes)
        rule = "info['is_success']" if known else "the environment reports no success"
    metrics = _metrics(config, rule, seeds, episodes, console)
    folder.write_metrics(metrics)
    folder.write_table(markdown_table(metrics, command))
    write_report(
        folder.path / "report.html", metrics, episodes, folder.path / "videos", resolved, command
    )
    return metrics


def _seeds(config: PlanConfig) -> list[int]:
    if config.first_seed is not None:
        return list(range(config.first_seed, config.first_seed + config.episodes))
    return episode_seeds(config.seed, config.stage, config.episodes)


def _check_rates(config: PlanConfig, rate: float | None) -> None:
    """Raise `ValueError` where an agent's learned models keep another time than the environment."""
    if config.model.kind != "latent" or config.agent.kind not in LEARNED_BY:
        return
    inverse = config.agent.path if config.agent.kind == "inverse" else None
    check_rates((config.model.path, inverse), rate, config.env.id)


def _telling(config: PlanConfig, observes: frozenset[str]) -> EnvMaker:
    """Return a maker of environments that observe so much, and tell what they showed last."""
    make = wiring.make_env(config, observes)
    return lambda: LastObservation(make())


def _metrics(
    config: PlanConfig,
    rule: str,
    seeds: list[int],
    episodes: list[dict[str, Any]],
    console: Console,
) -> dict[str, Any]:
    names = EpisodeResult.__dataclass_fields__
    run = summarise([EpisodeResult(**{n: e[n] for n in names}) for e in episodes])
    metrics = {
        "name": config.name,
        "env": config.env.id,
        "agent": _agent_name(config),
        "success_rule": rule,
        **run,
        "seed": config.seed,
        "stage": config.stage,
        "parallel": config.parallel,
        "floors": floors(config, seeds, console),
        "ceiling": ceiling(config, run, seeds, console),
        "no_ceiling": without_ceiling(config) if config.floors else "",
        "model_error": gap([pair for episode in episodes for pair in episode["pairs"]]),
        "prediction_error": summary([episode["errors"] for episode in episodes]),
        "provenance": provenance(config.seed),
    }
    metrics = finite(metrics)
    return {**metrics, "diagnosis": diagnose(metrics, episodes)}


def _agent_name(config: PlanConfig) -> str:
    if config.agent.kind in ("sb3", "belief_policy"):
        return f"{config.agent.algorithm} {config.agent.path}"
    if config.agent.kind != "planning":
        return config.agent.kind
    model, planner = config.model, type(config.planner).__name__
    if config.agent.policy is not None:
        planner += f" guided by {config.agent.algorithm}"
    if config.agent.inverse is not None:
        planner += " guided by an inverse model"
    if model.kind == "latent":
        return f"{planner} in {'/'.join(Path(str(model.path)).parts[-2:])} (learned)"
    dynamics = model.source if model.kind == "simulator" else model.kind
    return f"{planner} in {model.env or config.env.id} ({dynamics})"


def _log_episode(board: SummaryWriter, episode: dict[str, Any], step: int) -> None:
    for key in ("success", "success_at_end", "episode_return", "max_reward", "model_evaluations"):
        if episode[key] is not None:
            board.add_scalar(f"episode/{key}", float(episode[key]), step)
    if episode["plan_seconds"]:
        board.add_scalar(
            "plan/seconds", sum(episode["plan_seconds"]) / len(episode["plan_seconds"]), step
        )


def _log_curves(board: SummaryWriter, episodes: list[dict[str, Any]]) -> None:
    """Log what is of all episodes: how searches go on, how errors grow."""
    searches = [s for episode in episodes for s in episode["searches"] if None not in s]
    if searches:
        for iteration, change in enumerate(np.median(relative_progress(searches), axis=0)):
            board.add_scalar("search/change_of_best_cost", change, iteration)
    for key, found in summary([episode["errors"] for episode in episodes]).items():
        for name in ("median", "static"):
            for step, distance in zip(found["steps"], found[name], strict=True):
                board.add_scalar(f"prediction_error/{key}_{name}", distance, step)


def print_table(metrics: dict[str, Any], console: Console) -> None:
    """Print the table of the report, and what it means."""
    table = Table(title=f"{metrics['name']}: {metrics['success_rule']}", title_justify="left")
    for head in HEADS.values():
        left = head == HEADS["who"]
        table.add_column(head, justify="left" if left else "right", overflow="fold")
    for row in table_rows(metrics):
        table.add_row(*(str(row[key]) for key in HEADS), style="bold" if row["main"] else None)
    console.print(table)
    for sentence in metrics["diagnosis"]:
        console.print(f"- {sentence}", highlight=False, markup=False)


@hydra.main(version_base="1.3", config_path=CONF, config_name="plan")
def _run(composed: DictConfig) -> None:
    # The search is many small tensor operations, which threads only slow down; the simulator
    # rolls out on all cores by itself.
    torch.set_num_threads(1)
    log_simulator_warnings()
    console = console_of_errors()
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
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    print_table(metrics, console)
    report = (Path(config.output) / "report.html").resolve()
    console.print(f"report: {report}", soft_wrap=True)
    if config.open_report and {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        webbrowser.open(report.as_uri())


HELP = """\
dexworld-plan evaluates any agent on seeded episodes of an environment. It writes metrics.json,
videos, TensorBoard curves and report.html (one self-contained file) into `output`.

  dexworld-plan experiment=push_t_goal_simulator episodes=20 output=outputs/mine
  dexworld-plan planner=icem planner.samples=64 agent.execute=2
  dexworld-plan agent=noop env=push_t episodes=10 existing=overwrite
  dexworld-plan agent=sb3 agent.path=policy.zip agent.algorithm=SAC env=push_t
  dexworld-plan env=gymnasium env.id=my_module:Mine-v0 env.episode_steps=100 \\
    model=gymnasium agent=planning objective=reward

An error is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.

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
            "agent.rough.": RoughConfig,
        }
        sys.stdout.write(f"{HELP}{settings_help(groups)}\n\n")
        sys.stdout.flush()
    check_overrides("plan", sys.argv[1:])
    _run()


if __name__ == "__main__":
    main()
