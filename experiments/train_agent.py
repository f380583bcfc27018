"""`dexworld-train-agent`: trains an agent inside a world model, or in the simulator by the same code."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from dexworld.agents.imagination_training import (
    ImaginationSettings,
    ImaginationTrainer,
    TrainedAgent,
)
from dexworld.agents.learner import POLICY
from dexworld.agents.policy import Policy
from dexworld.experiments import config as wiring
from dexworld.experiments.agent_rounds import Rounds
from dexworld.experiments.agent_training import (
    AlgorithmConfig,
    RewardConfig,
    RoundsConfig,
    StartsConfig,
    TrainAgentConfig,
    register_schemas,
    settings_of,
)
from dexworld.experiments.command_line import (
    CONF,
    USER_ERRORS,
    check_overrides,
    fail,
    log_simulator_warnings,
    provenance,
    settings_help,
)
from dexworld.experiments.evaluation import summarise
from dexworld.experiments.progress import console_of_errors
from dexworld.experiments.results import finite
from dexworld.experiments.statistics import episode_seeds
from dexworld.experiments.train import portable
from dexworld.world_models.latent import LatentWorldModel

CONFIG, METRICS = "config.yaml", "metrics.json"


def train_agent(
    config: TrainAgentConfig, command: str, console: Console | None = None
) -> dict[str, Any]:
    """Train, write the folder of `config`, and return the metrics.

    Raises:
        ValueError, KeyError, TypeError, OSError, ImportError: the configuration is wrong.
        KeyboardInterrupt: the last checkpoint is what the same command goes on from.
    """
    console = console or console_of_errors()
    folder, settings = Path(config.output), settings_of(config)
    rounds = Rounds(config, command, console)
    first = rounds.task(0)
    learner = first.learner()
    seeds = episode_seeds(
        config.seed, config.stage, max(config.episodes, config.evaluation_episodes)
    )
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CONFIG).exists():
        # That of another training, which this one is about to be told from, stays.
        _write_config(config, folder)

    def evaluate(policy: Policy, number: int, decisions: int) -> dict[str, float]:
        results, priced = rounds.task(number).judge(policy, seeds[: config.evaluation_episodes])
        figures = summarise(results)
        steps = rounds.real_steps(number, decisions)
        return {
            "eval/success_rate": figures["success_rate"],
            "eval/mean_reward": figures["mean_return"],
            **{f"model/{name}": value for name, value in priced.items()},
            **({} if steps is None else {"model/real_steps": float(steps)}),
        }

    with Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        disable=not console.is_terminal,
    ) as progress:
        bar = progress.add_task(config.name, total=settings.steps, said="")

        def refresh(policy: Policy, number: int) -> None:
            progress.stop()  # playing and learning have bars of their own
            rounds.refresh(policy, number)
            progress.start()

        def observe(done: int, total: int, said: str) -> None:
            progress.update(bar, completed=min(done, total), total=total, said=said)

        trainer = ImaginationTrainer(
            settings,
            learner,
            folder,
            lambda number: rounds.task(number).copies(),
            evaluate=evaluate,
            refresh=refresh,
            decisive=first.decisive(),
            observe=observe,
        )
        trained = trainer.fit(config.resume)
    metrics = _metrics(config, command, rounds, trained, seeds[: config.episodes])
    _write_model(rounds, settings.rounds - 1, folder)
    (folder / METRICS).write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    _write_config(config, folder)
    return metrics


def _metrics(
    config: TrainAgentConfig, command: str, rounds: Rounds, trained: TrainedAgent, seeds: list[int]
) -> dict[str, Any]:
    last = config.training.rounds - 1
    task = rounds.task(last)
    results, priced = task.judge(trained.policy, seeds)
    probe = wiring.make_env(task.plan, frozenset())()
    rule = getattr(probe.unwrapped, "success_rule", "info['is_success']")
    probe.close()
    run = summarise(results)
    told = ("episodes", "success_rate", "success_interval", "success_rate_at_end", "mean_return")
    learned = isinstance(task.model, LatentWorldModel)
    metrics = {
        "name": config.name,
        "command": portable(command),
        "env": config.env.id,
        "algorithm": config.algorithm.name,
        "trained_in": Path(str(config.model.path)).name if learned else config.model.kind,
        "success_rule": rule,
        "stage": config.stage,
        **{name: run[name] for name in told},
        **priced,
        "real_steps": rounds.real_steps(last, trained.steps),
        "played_steps": rounds.played(last),
        "imagined_decisions": trained.steps,
        "imagined_steps": trained.steps * task.steps_per_decision,
        "rounds": config.training.rounds,
        "seconds": trained.seconds,
        "resumed_from": trained.resumed_from,
        "evaluations": list(trained.evaluations),
        "seed": config.seed,
        "provenance": provenance(config.seed),
    }
    found: dict[str, Any] = finite(metrics)
    return found


def _write_model(rounds: Rounds, last: int, folder: Path) -> None:
    """Write the model beside the policy, which sees through it."""
    model = rounds.task(last).model
    if isinstance(model, LatentWorldModel):
        model.save_pretrained(folder / "model", metadata=model.metadata)


def _write_config(config: TrainAgentConfig, folder: Path) -> None:
    resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
    (folder / CONFIG).write_text(resolved, encoding="utf-8")


def print_metrics(metrics: dict[str, Any], console: Console) -> None:
    """Print what the agent has become, and how it came there."""
    table = Table(title=f"{metrics['name']}: {metrics['success_rule']}", title_justify="left")
    heads = ("decisions", "real steps", "success", "imagined", "real return", "imagined", "gap")
    for head in heads:
        table.add_column(head, justify="right")
    keys = ("real_return", "imagined_return", "exploitation_gap")
    for each in metrics["evaluations"]:
        steps = each.get("model/real_steps")
        table.add_row(
            str(each["steps"]),
            "?" if steps is None else f"{steps:.0f}",
            f"{each['eval/success_rate']:.0%}",
            f"{each['model/imagined_success_rate']:.0%}",
            *(f"{each[f'model/{key}']:.2f}" for key in keys),
        )
    console.print(table)
    low, high = metrics["success_interval"]
    console.print(
        f"{metrics['success_rate']:.0%} [{low:.0%}, {high:.0%}] of {metrics['episodes']} episodes "
        f"({metrics['stage']}) succeed; in the model {metrics['imagined_success_rate']:.0%} of the "
        "same.",
        highlight=False,
    )


@hydra.main(version_base="1.3", config_path=CONF, config_name="train_agent")
def _run(composed: DictConfig) -> None:
    # Thousands of small copies: more threads only wait for one another.
    torch.set_num_threads(1)
    log_simulator_warnings()
    console = console_of_errors()
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        config: TrainAgentConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
        metrics = train_agent(config, command, console)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; the same command goes on in {composed.output}.")
        raise SystemExit(130) from None
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    print_metrics(metrics, console)
    console.print(f"policy: {(Path(config.output) / POLICY).resolve()}", soft_wrap=True)


HELP = """\
dexworld-train-agent trains an agent of stable-baselines3 inside a world model. Imagined episodes
start from the frames of a dataset, later frames being their goals; every now and then the agent is
tried in the environment, and what it earns there is compared with what it earns in the model. With
training.rounds above 1 the agent then plays, the model learns from it, and the agent goes on. It
writes policy.zip, the model beside it, checkpoints, TensorBoard curves and metrics.json into
`output`; the same command again goes on where it was interrupted.

  dexworld-train-agent agent_recipe=push_t_goal_ppo starts.path=outputs/play output=outputs/ppo
  dexworld-train-agent agent_recipe=push_t_goal_sac starts.path=outputs/play training.rounds=3
  dexworld-train-agent agent_recipe=push_t_goal_ppo starts.path=outputs/play model=simulator_state
  dexworld-plan experiment=push_t_goal_state agent=belief_policy agent.path=outputs/ppo/policy.zip \\
      model.path=outputs/ppo/model

An error is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.

Settings are given as key=value, group.key=value or group=option; the most used ones:

"""


def main() -> None:
    """Run the command line."""
    wiring.register_schemas()
    register_schemas()
    if {"--help", "-h"} & set(sys.argv[1:]):
        groups = {
            "": TrainAgentConfig,
            "env.": wiring.EnvConfig,
            "model.": wiring.ModelConfig,
            "starts.": StartsConfig,
            "reward.": RewardConfig,
            "algorithm.": AlgorithmConfig,
            "training.": ImaginationSettings,
            "refresh.": RoundsConfig,
        }
        sys.stdout.write(f"{HELP}{settings_help(groups)}\n\n")
        sys.stdout.flush()
    # Whether the recipe gives an argument of the algorithm, or it has its default, is all one.
    sys.argv[1:] = [re.sub(r"^\+*(?=algorithm\.arguments\b)", "++", each) for each in sys.argv[1:]]
    check_overrides("train_agent", sys.argv[1:])
    _run()


if __name__ == "__main__":
    main()
