"""Rounds of `dexworld-train-agent`: the agent plays, the model learns from it, the agent goes on."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from dexworld.agents.collector import Collector
from dexworld.agents.episodes import Episode, EpisodeRunner
from dexworld.agents.policy import Policy
from dexworld.agents.workers import InProcess
from dexworld.experiments import config as wiring
from dexworld.experiments.agent_training import Task, TrainAgentConfig, real_steps
from dexworld.experiments.collection import STAGE
from dexworld.experiments.evaluation import EpisodeResult
from dexworld.experiments.progress import tracked
from dexworld.experiments.schema import schema
from dexworld.experiments.statistics import episode_seeds
from dexworld.experiments.train import train
from dexworld.experiments.training import DataConfig, TrainConfig
from dexworld.world_models.base import HOLD_ACTION
from dexworld.world_models.configuration import to_json
from dexworld.world_models.data.layout import CACHE, PENDING
from dexworld.world_models.data.lerobot import Dataset, DatasetWriter
from dexworld.world_models.interruption import Interruption, polite_end
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.training_settings import TrainingSettings

OBSERVED, PICTURES = "observation.", "observation.images."


class Rounds:
    """The worlds of an agent's rounds.

    Before each round but the first the agent of the last one plays seeded episodes, with some
    noise, which are added to a copy of the data; and the model goes on learning, on all of it.
    Whoever is interrupted goes on where it stopped: a request to end is heard between groups of
    episodes, before the model learns, and between its steps.

    Args:
        config: all settings.
        command: what was typed, for the models' metadata.
        console: where progress is shown.

    Raises:
        ValueError: several rounds in a world that learns nothing.
    """

    def __init__(self, config: TrainAgentConfig, command: str, console: Console) -> None:
        self.config, self.command, self.console = config, command, console
        self.output = Path(config.output)
        self.data = self.output / "data"
        self._tasks = {0: Task(config)}
        if config.training.rounds > 1 and not isinstance(self._tasks[0].model, LatentWorldModel):
            raise ValueError(
                f"training.rounds={config.training.rounds}: between rounds the model learns, and "
                f"model.kind={config.model.kind} has nothing to learn. Set training.rounds=1."
            )

    def folder(self, number: int) -> Path:
        """Return where the model of a round after the first is trained."""
        return self.output / "rounds" / str(number)

    def task(self, number: int) -> Task:
        """Return the task in the world of a round."""
        if number not in self._tasks:
            model = LatentWorldModel.from_pretrained(
                self.folder(number) / "model", self.config.model.device
            )
            self._tasks[number] = Task(self.config, model, self.data)
        return self._tasks[number]

    def refresh(self, policy: Policy, number: int) -> None:
        """Make the model of a round after the first; what is there already is kept.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; the episodes and steps until then are kept.
        """
        if (self.folder(number) / "model").exists():
            return
        with polite_end() as interruption:
            self._copy_data()
            self._play(policy, number, interruption)
            if interruption.requested:
                raise KeyboardInterrupt
            self._learn(number)

    def real_steps(self, number: int, decisions: int) -> int | None:
        """Return the steps of the environment that the agent has learned from so far.

        In a learned model they are those of its data, and those that the agent played; in the
        simulator each step is one. None: the model does not say.
        """
        task = self.task(number)
        if not isinstance(task.model, LatentWorldModel):
            return decisions * task.steps_per_decision
        learned = real_steps(self.task(0).model)
        return None if learned is None else learned + self.played(number)

    def played(self, number: int) -> int:
        """Return the steps that the agent played before a round."""
        if number == 0 or not self.data.exists():
            return 0
        lengths = Dataset(self.data).episodes["length"]
        first = len(Dataset(self.config.starts.path))
        return int((lengths[first : first + number * self.config.refresh.episodes] - 1).sum())

    def _copy_data(self) -> None:
        """Copy the data that episodes start from, to add to it."""
        if self.data.exists():
            return
        unfinished = self.data.with_name(".data.unfinished")
        shutil.rmtree(unfinished, ignore_errors=True)
        ignored = shutil.ignore_patterns(CACHE, PENDING)
        shutil.copytree(self.config.starts.path, unfinished, ignore=ignored)
        unfinished.rename(self.data)

    def _play(self, policy: Policy, number: int, interruption: Interruption) -> None:
        """Add the agent's episodes to the data, until they are enough or somebody wants to end."""
        count = self.config.refresh.episodes
        before = len(Dataset(self.config.starts.path)) + (number - 1) * count
        # Other seeds than those of the data, which may have been collected with the same base.
        seeds = episode_seeds(self.config.seed, STAGE, before + count)[-count:]
        play = _Play(self.task(number - 1), policy, self.config.refresh.noise, self.data)
        about = Dataset(self.data).info
        workers = InProcess(play)
        try:
            with DatasetWriter(
                self.data,
                play.features,
                about["fps"],
                robot_type=about["robot_type"],
                existing="append",
            ) as writer:
                done = writer.episodes - before
                collector = Collector(workers)
                title = f"{self.config.algorithm.name} in {self.config.env.id}"
                results = (_written(writer, e, title) for e in collector.collect(seeds, done))
                for _ in tracked(results, len(seeds) - done, title, self.console):
                    whole = (writer.episodes - before) % collector.group == 0
                    if interruption.requested and whole:
                        break
        finally:
            workers.close()

    def _learn(self, number: int) -> None:
        """Train the model of the last round on."""
        last = self.task(number - 1).model
        assert isinstance(last, LatentWorldModel)
        known, chosen = last.config, self.config.refresh
        steps = chosen.training_steps
        train(
            TrainConfig(
                data=DataConfig(
                    path=str(self.data),
                    observes=list(known.observes),
                    frames=max(known.loss.horizons) + 1,
                    gaps=[known.chunk, known.chunk],
                    batch_size=chosen.batch_size,
                    rebuild_cache=True,
                ),
                model=to_json(known),
                training=schema(TrainingSettings)(
                    steps=steps,
                    learning_rate=chosen.learning_rate,
                    weight_decay=1e-4,
                    warmup=0.05,
                    schedule="linear",
                    precision="32-true",
                    seed=self.config.seed,
                    checkpoint_every=max(1, steps // 4),
                    evaluate_every=steps,
                ),
                initial=self._initial(number),
                name=f"{self.config.name}_round_{number}",
                seed=self.config.seed,
                output=str(self.folder(number)),
            ),
            self.command,
            self.console,
        )

    def _initial(self, number: int) -> str:
        if number == 1:
            return str(self.config.model.path)
        return str(self.folder(number - 1) / "model")


@dataclass
class _Play:
    """Makes what plays an agent's episodes, and records what a dataset holds."""

    task: Task
    policy: Policy
    noise: float
    dataset: Path

    def __post_init__(self) -> None:
        runner = self()
        self.features = runner.features
        runner.close()

    def __call__(self) -> EpisodeRunner:
        features = Dataset(self.dataset).features
        kept = {each.dtype for each in features.values() if each.pictures}
        recorded = {_key(name) for name in features if name.startswith(OBSERVED)} - {HOLD_ACTION}
        agent = self.task.agent(self.policy, self.noise)
        make = wiring.make_env(self.task.plan, agent.observes | recorded)
        images = {"image": "png", "video": "video"}[kept.pop()] if kept else "none"
        return EpisodeRunner(agent, make, images, Dataset(self.dataset).fps)


def _key(name: str) -> str:
    """Return the observation that a column of a dataset holds."""
    if not name.startswith(PICTURES):
        return name.removeprefix(OBSERVED)
    camera = name.removeprefix(PICTURES)
    return "pixels" if camera == "top" else f"pixels_{camera}"


def _written(writer: DatasetWriter, episode: Episode, task: str) -> EpisodeResult:
    """Write an episode, and return what came of it once it is on the disk."""
    extras = {"seed": episode.seed, "success": episode.success}
    writer.add_episode(episode.frames, task=task, extras=extras)
    return EpisodeResult(episode.seed, success=episode.success, steps=episode.steps)
