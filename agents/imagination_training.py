"""Reinforcement learning inside a world model: algorithms of stable-baselines3, in rounds."""

from __future__ import annotations

import importlib
import json
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..world_models.atomic_folder import atomic_folder, flush, remove_folder, remove_leftovers
from ..world_models.checkpoints import Checkpoint, check_same
from ..world_models.interruption import Interruption, polite_end
from .learner import POLICY, Learner, at_rate, forget_replay
from .policy import Policy

RESUME = ("auto", "never", "must")
PROGRESS = "progress.json"

MakeEnv = Callable[[int], Any]
"""From the number of a round to the copies of its world, a `VecEnv` of stable-baselines3."""
Evaluate = Callable[[Policy, int, int], Mapping[str, float]]
"""`(policy, round, decisions so far)` -> curves by their tags: what the policy is worth in the
world."""
Refresh = Callable[[Policy, int], None]
"""`(policy, round)`: makes the world of a round after the first; does nothing where it is made."""
Observe = Callable[[int, int, str], None]
"""Told of decisions so far, decisions in all, and how it goes."""


@dataclass(frozen=True)
class ImaginationSettings:
    """How long an agent is trained, and how often it is looked at.

    Raises:
        ValueError: a setting has a value that it cannot have.
    """

    steps: int = 2_000_000
    """Decisions to imagine, in all rounds together."""
    rounds: int = 1
    """Parts of the training; before each but the first the model learns what the agent met."""
    evaluate_every: int = 250_000
    """Decisions between evaluations in the environment; each leaves a checkpoint to go on from."""
    learning_rate: float = 1e-3
    """Learning rate at the beginning."""
    final_rate: float = 0.1
    """Learning rate at the end, as a share; it falls along a line, from one evaluation to the
    next."""
    keep: int = 2
    """Checkpoints that are kept, the last ones."""
    seed: int = 0
    """Base of all random streams."""

    def __post_init__(self) -> None:
        for name in ("steps", "rounds", "evaluate_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 1.")
        if not self.learning_rate > 0 or not 0 <= self.final_rate <= 1:
            raise ValueError(
                f"learning_rate={self.learning_rate}, final_rate={self.final_rate}: must be "
                "positive, and a share in [0, 1]."
            )

    def end_of(self, number: int) -> int:
        """Return how many decisions there are by the end of a round."""
        return self.steps * (number + 1) // self.rounds


@dataclass(frozen=True)
class TrainedAgent:
    """What a training leaves."""

    policy: Any
    """The algorithm, which acts by its `predict`."""
    steps: int
    """Decisions that it learned from."""
    seconds: float
    """Time in all calls together, evaluations included."""
    evaluations: tuple[dict[str, float], ...]
    """What was evaluated, and when."""
    resumed_from: int
    """Decisions before this call."""


class ImaginationTrainer:
    """Trains an agent in a folder; it knows no world but what factories make.

    Training is made of legs of `evaluate_every` decisions. Each begins with fresh episodes and
    random streams of its own, and ends with an evaluation and a checkpoint; so a training that was
    killed and started again learns the same, bit for bit on the same machine.

    Curves go to `folder/tensorboard` under the tags of stable-baselines3, beside what `evaluate`
    returns and `model/disagreement`, where the model tells of it. `folder/policy.zip` is the agent.

    Args:
        settings: for how long.
        learner: what learns.
        folder: where checkpoints and curves go; each training has its own.
        make_env: makes the copies of a round's world.
        evaluate: judges the agent.
        refresh: called as a round after the first is entered.
        decisive: what else the result depends on, JSON values. A checkpoint with others is refused.
        observe: watches.
        clock: seconds, for measuring.
    """

    def __init__(
        self,
        settings: ImaginationSettings,
        learner: Learner,
        folder: Path,
        make_env: MakeEnv,
        *,
        evaluate: Evaluate,
        refresh: Refresh | None = None,
        decisive: Mapping[str, Any] | None = None,
        observe: Observe | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if settings.rounds > 1 and refresh is None:
            raise ValueError(
                f"rounds={settings.rounds}: nothing would change between them; give refresh=, or "
                "rounds=1."
            )
        self.settings, self.learner, self.folder = settings, learner, folder
        self.make_env, self.evaluate, self.refresh = make_env, evaluate, refresh
        self.observe, self.clock = observe, clock
        trained = {"algorithm": learner.algorithm, "steps": settings.steps}
        trained |= {"rounds": settings.rounds, "evaluate_every": settings.evaluate_every}
        trained |= {"rate": settings.learning_rate, "final_rate": settings.final_rate}
        self.decisive = {**trained, "seed": settings.seed, **(decisive or {})}

    def fit(self, resume: str = "auto") -> TrainedAgent:
        """Train, or go on.

        Args:
            resume: `auto` goes on from the last checkpoint if there is one, `must` insists that
                there is one, `never` that there is none.

        Raises:
            KeyboardInterrupt: Ctrl-C or SIGTERM; the last checkpoint is what to go on from.
            FileExistsError, FileNotFoundError: there are checkpoints, or none, against `resume`.
            ValueError: the checkpoint is of another training, or of another world.
        """
        self.learner.check()
        checkpoint = self._latest(resume)
        with polite_end() as interruption:
            return _Run(self, checkpoint, interruption).run()

    def _latest(self, resume: str) -> Checkpoint | None:
        if resume not in RESUME:
            raise ValueError(f"resume={resume!r}: choose one of {list(RESUME)}.")
        paths = sorted((self.folder / "checkpoints").glob("step_*"))
        if not paths:
            if resume == "must":
                raise FileNotFoundError(f"{self.folder} holds no checkpoint to resume from.")
            return None
        if resume == "never":
            raise FileExistsError(
                f"{self.folder} holds checkpoints. Choose another folder, or resume."
            )
        try:
            saved = json.loads((paths[-1] / PROGRESS).read_text(encoding="utf-8"))
            checkpoint = Checkpoint(paths[-1], saved["steps"], saved["decisive"], {})
        except (OSError, ValueError, KeyError) as error:
            raise ValueError(
                f"the checkpoint {paths[-1]} cannot be read ({error}): delete this folder, and "
                "training goes on from the one before."
            ) from None
        check_same(checkpoint, self.decisive)
        return checkpoint


class _Run:
    """One call of `ImaginationTrainer.fit`."""

    def __init__(
        self, trainer: ImaginationTrainer, checkpoint: Checkpoint | None, ending: Interruption
    ) -> None:
        self.trainer, self.settings, self.ending = trainer, trainer.settings, ending
        self.checkpoint = checkpoint
        self.round, self.steps, self.seconds = 0, 0, 0.0
        self.evaluations: list[dict[str, float]] = []
        if checkpoint is not None:
            saved = json.loads((checkpoint.path / PROGRESS).read_text(encoding="utf-8"))
            self.round, self.steps, self.seconds = saved["round"], saved["steps"], saved["seconds"]
            self.evaluations = saved["evaluations"]
        self.resumed_from = self.steps
        self.learned: Any = None
        self._disagreement: list[float] = []

    def run(self) -> TrainedAgent:
        first = self.round
        for number in range(first, self.settings.rounds):
            self._enter(number)
            while self.steps < self.settings.end_of(number):
                self._leg()
        assert self.learned is not None
        _replace(self.trainer.folder / POLICY, self.trainer.folder / "checkpoints" / self._name)
        return TrainedAgent(
            self.learned, self.steps, self.seconds, tuple(self.evaluations), self.resumed_from
        )

    def _enter(self, number: int) -> None:
        """Take the agent into the world of a round."""
        trainer, learner = self.trainer, self.trainer.learner
        if number and trainer.refresh is not None:
            policy = self.learned
            if policy is None:
                assert self.checkpoint is not None
                policy = learner.load(self.checkpoint.path)
            trainer.refresh(policy, number)
            if self.ending.requested:
                raise KeyboardInterrupt
        env = trainer.make_env(number)
        if self.learned is None and self.checkpoint is None:
            self.learned = learner.make(env, self.settings.seed)
        elif self.learned is None:
            assert self.checkpoint is not None
            self.learned = learner.load(self.checkpoint.path, env)
        else:
            learner.enter(self.learned, env)
        if number > self.round:
            forget_replay(self.learned)
        self.round = number
        self.learned.set_logger(_logger(trainer.folder))

    def _leg(self) -> None:
        """Train until the next evaluation, evaluate, and save."""
        settings, learned, began = self.settings, self.learned, self.trainer.clock()
        every = settings.evaluate_every
        until = min((self.steps // every + 1) * every, settings.end_of(self.round))
        learned.set_env(learned.get_env(), force_reset=True)  # fresh episodes
        learned.set_random_seed(_stream(settings.seed, self.steps))
        done = self.steps / settings.steps
        at_rate(learned, settings.learning_rate * (1 - (1 - settings.final_rate) * done))
        self._disagreement = []
        on_policy = not hasattr(learned, "replay_buffer")
        learned.learn(
            until - self.steps,
            callback=self._on_step,
            log_interval=1 if on_policy else 10 * learned.n_envs,
            reset_num_timesteps=False,
        )
        if self.ending.requested:
            raise KeyboardInterrupt
        self.steps = int(learned.num_timesteps)
        found = {k: float(v) for k, v in self._evaluated().items()}
        self.seconds += self.trainer.clock() - began
        told = {"steps": self.steps, "round": self.round, "seconds": round(self.seconds, 1)}
        self.evaluations.append({**told, **found})
        self._save()

    def _on_step(self, seen: Mapping[str, Any], _: Mapping[str, Any]) -> bool:
        """Watch a decision of all copies, and say whether to go on."""
        learned = seen["self"]
        for info in seen["infos"]:
            if "disagreement" in info:
                self._disagreement.append(info["disagreement"])
        if self.trainer.observe is not None:
            success = learned.ep_success_buffer
            told = f"imagined success {np.mean(success):.0%}" if success else ""
            rounds = self.settings.rounds
            told = f"round {self.round + 1}/{rounds} {told}" if rounds > 1 else told
            self.trainer.observe(learned.num_timesteps, self.settings.steps, told)
        return not self.ending.requested

    def _evaluated(self) -> dict[str, float]:
        found = dict(self.trainer.evaluate(self.learned, self.round, self.steps))
        if self._disagreement:
            found["model/disagreement"] = float(np.mean(self._disagreement))
        for tag, value in found.items():
            self.learned.logger.record(tag, value)
        self.learned.logger.dump(self.steps)
        return found

    @property
    def _name(self) -> str:
        return f"step_{self.steps:09d}"

    def _save(self) -> None:
        folder = self.trainer.folder / "checkpoints"
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        with atomic_folder(folder / self._name) as unfinished:
            self.trainer.learner.save(self.learned, unfinished)
            progress = {
                "steps": self.steps,
                "round": self.round,
                "seconds": self.seconds,
                "decisive": self.trainer.decisive,
                "evaluations": self.evaluations,
            }
            text = json.dumps(progress, indent=2)
            (unfinished / PROGRESS).write_text(text, encoding="utf-8")
        for old in sorted(folder.glob("step_*"))[: -self.settings.keep]:
            remove_folder(old)


def _logger(folder: Path) -> Any:
    """Return what writes the curves of stable-baselines3, and nothing to the terminal."""
    logs: Any = importlib.import_module("stable_baselines3.common.logger")
    place = folder / "tensorboard"
    return logs.Logger(str(place), [logs.TensorBoardOutputFormat(str(place))])


def _stream(seed: int, steps: int) -> int:
    """Return the seed of a leg that begins after so many decisions."""
    return int(np.random.SeedSequence([seed, steps]).generate_state(1)[0] >> 1)


def _replace(file: Path, checkpoint: Path) -> None:
    """Copy the agent of a checkpoint, so that a file is the old one or the whole new one."""
    unfinished = file.with_name(f".{file.name}.part")
    shutil.copyfile(checkpoint / POLICY, unfinished)
    flush(unfinished)
    unfinished.replace(file)
