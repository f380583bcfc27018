"""`dexworld-collect`: records an explorer's episodes as a dataset, on any number of workers."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from dexworld.agents.collector import Collector
from dexworld.agents.episodes import Episode
from dexworld.experiments.collection import (
    STAGE,
    CollectConfig,
    make_recipe,
    make_workers,
    register_schemas,
)
from dexworld.experiments.command_line import (
    CONF,
    USER_ERRORS,
    check_overrides,
    fail,
    provenance,
    settings_help,
)
from dexworld.experiments.config import EnvConfig
from dexworld.experiments.dataset_card import shown, write_card
from dexworld.experiments.evaluation import EpisodeResult
from dexworld.experiments.explorers import EXPLORERS, explorer_name
from dexworld.experiments.progress import tracked
from dexworld.experiments.statistics import episode_seeds
from dexworld.experiments.trajectories import COLLECTION, collected_with
from dexworld.world_models.data.lerobot import DatasetWriter


def collect(config: CollectConfig, command: str, console: Console | None = None) -> dict[str, Any]:
    """Collect what is missing of a dataset, write its card, and return the card's figures.

    Raises:
        ValueError, KeyError, TypeError, OSError, ImportError: the configuration is wrong; the
            message says how.
        RuntimeError: an episode failed or a worker ended; the dataset holds those before it.
    """
    console = console or Console(stderr=True)
    folder, recipe = Path(config.output), make_recipe(config)
    seeds = episode_seeds(config.seed, STAGE, config.episodes)
    described = {**recipe.described(), "seed": config.seed, "stage": STAGE}
    if config.existing == "append":
        _check_same(folder, described)
    runner = recipe()  # says what is wrong before any worker starts
    runner.close()
    title = f"{explorer_name(recipe.explorer)} in {recipe.env_id}"
    with DatasetWriter(
        folder,
        runner.features,
        recipe.fps,
        robot_type=recipe.env_id,
        info={COLLECTION: described, "provenance": provenance(config.seed)},
        existing=config.existing,
    ) as writer:
        done = writer.episodes
        if done < len(seeds):
            with closing(make_workers(config, recipe)) as workers:
                episodes = Collector(workers, config.group).collect(seeds, done)
                results = _written(episodes, writer, title)
                for _ in tracked(results, len(seeds) - done, title, console):
                    pass
    return write_card(folder, command)


def _written(
    episodes: Iterator[Episode], writer: DatasetWriter, task: str
) -> Iterator[EpisodeResult]:
    """Write episodes, and yield what came of each once it is on the disk."""
    for episode in episodes:
        try:
            extras = {"seed": episode.seed, "success": episode.success}
            writer.add_episode(episode.frames, task=task, extras=extras)
        except ValueError as error:
            raise ValueError(f"the episode of seed {episode.seed}: {error}") from error
        yield EpisodeResult(episode.seed, success=episode.success, steps=episode.steps)


def _check_same(folder: Path, described: dict[str, Any]) -> None:
    """Raise `ValueError` if the dataset in a folder was collected with other settings."""
    if not (folder / "meta" / "info.json").exists():
        return
    before = collected_with(folder)
    if before is None:
        raise ValueError(
            f"{folder} was not made by dexworld-collect, and cannot be gone on with: choose another "
            "output."
        )
    then, now = (dict(_leaves("", settings)) for settings in (before, described))
    changes = [
        f"{name}: {then.get(name)} then, {now.get(name)} now"
        for name in sorted(then.keys() | now.keys())
        if then.get(name) != now.get(name)
    ]
    if changes:
        raise ValueError(
            f"{folder} was collected with other settings ({'; '.join(changes)}). "
            "Choose another output, or existing=overwrite."
        )


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, each in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), each)
    else:
        yield path, list(value) if isinstance(value, tuple) else value


@hydra.main(version_base="1.3", config_path=CONF, config_name="collect")
def _run(composed: DictConfig) -> None:
    console = Console(stderr=True)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        config: CollectConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
        figures = collect(config, command, console)
    except KeyboardInterrupt:
        console.print(
            f"\ninterrupted; finished episodes are in {composed.output}. "
            "The same command with existing=append goes on."
        )
        raise SystemExit(130) from None
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    except RuntimeError as error:
        if os.environ.get("HYDRA_FULL_ERROR"):
            raise
        problem = str(error).rstrip(".")
        fail(f"{problem}. Episodes before it are in {composed.output}; existing=append goes on.")
    told = ", ".join(f"{name} {shown(name, value)}" for name, value in figures.items())
    console.print(f"{config.output}: {told}", soft_wrap=True)


HELP = """\
dexworld-collect records an explorer's episodes in an environment, as a LeRobot dataset (v3.0) with
a card (README.md, coverage.png) in `output`. The same settings give the same dataset, on any number
of workers; after Ctrl-C or a crash, existing=append goes on where it stopped.

  dexworld-collect episodes=1000 steps=60 output=outputs/self_play
  dexworld-collect episodes=1000 steps=60 images=png pixels_size=64 workers=4 output=outputs/pixels
  dexworld-collect episodes=2000 steps=60 existing=append output=outputs/self_play   # more of it
  dexworld-collect collector=coloured_noise collector.scale=0.3 episodes=50
  dexworld-collect collector=noisy_replay collector.path=outputs/demonstrations
  dexworld-collect collector=random env=gymnasium env.id=Pendulum-v1 env.episode_steps=200

An error is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.

Settings are given as key=value, group.key=value or group=option; the most used ones:

"""


def main() -> None:
    """Run the command line."""
    register_schemas()
    if {"--help", "-h"} & set(sys.argv[1:]):
        lines = [settings_help({"": CollectConfig, "env.": EnvConfig})]
        for name, settings in EXPLORERS.items():
            lines += [f"\n  with collector={name}:", settings_help({"collector.": settings})]
        sys.stdout.write("\n".join([HELP.rstrip("\n"), "", *lines, "\n"]))
        sys.stdout.flush()
    check_overrides("collect", sys.argv[1:])
    _run()


if __name__ == "__main__":
    main()
