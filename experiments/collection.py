"""What `dexworld-collect` reads, and how it becomes the episodes of a dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from dexworld.agents.episodes import IMAGES, EpisodeRunner
from dexworld.agents.workers import InProcess, Processes, RayActors, Workers
from dexworld.envs.gymnasium_model import PHYSICS
from dexworld.experiments.command_line import log_simulator_warnings
from dexworld.experiments.config import EnvConfig
from dexworld.experiments.environments import environment, named_arguments
from dexworld.experiments.explorers import (
    EXPLORERS,
    explorer_name,
    explorer_settings,
    make_explorer,
)
from dexworld.experiments.schema import schema

STAGE = "train"
"""Stage of the episode seeds: what is collected is never evaluated on."""
PIXELS = "pixels"
BACKENDS = ("processes", "ray")

UNSEEN_GOAL: dict[str, Any] = {"goal_in_pixels": False}
"""Arguments given to environments that take them, where the configuration does not say otherwise:
a goal that nobody is after does not belong into frames that a model learns from."""


@dataclass
class CollectConfig:
    """Everything that `dexworld-collect` reads."""

    env: EnvConfig = field(default_factory=EnvConfig)
    collector: Any = MISSING
    episodes: int = 100
    """Episodes of the dataset, those that are there already included."""
    steps: int | None = None
    """Steps of an episode; the budget of the environment's task where null."""
    seed: int = 0
    """Base of all random streams."""
    observe: list[str] | None = None
    """Observation keys to record; null: all that are neither frames nor simulator states."""
    images: str = "none"
    """Frames: png (lossless), video (smaller), or none."""
    pixels_size: int = 64
    """Side of the frames in pixels."""
    workers: int = 0
    """Processes or Ray actors that play; 0 plays in this process."""
    backend: str = "processes"
    """Where workers are: processes (of this machine) or ray (extra `ray`)."""
    address: str | None = None
    """A running Ray cluster, e.g. auto or ray://host:10001; this machine where null."""
    group: int = 16
    """Episodes that are played side by side by a worker."""
    fps: float | None = None
    """Steps a second; what the environment says where null."""
    output: str = "outputs/dataset"
    """Folder of the dataset."""
    existing: str = "error"
    """What to do with a dataset in `output`: error, append (what is missing), overwrite."""


def register_schemas() -> None:
    """Tell Hydra the schemas; a misspelt key or a wrong type then fails at once."""
    store = ConfigStore.instance()
    store.store(name="collect_schema", node=CollectConfig)
    for name, settings in EXPLORERS.items():
        store.store(group="explorer", name=name, node=schema(settings))


@dataclass(frozen=True)
class Recipe:
    """All that decides what an episode is, beside its seed; travels to workers as it is."""

    env_id: str
    arguments: Mapping[str, Any]
    """Of the environment."""
    steps: int
    """Actions in an episode, at most."""
    explorer: Any
    """Settings of the explorer."""
    observe: tuple[str, ...] | None
    """Observation keys to record; all but frames and simulator states where None."""
    images: str
    """How frames are kept."""
    fps: float
    """Steps a second."""

    def __call__(self) -> EpisodeRunner:
        """Make explorer and environments; raise what is wrong with them."""
        # Workers play beside each other already: threads would only wait for each other.
        torch.set_num_threads(1)
        log_simulator_warnings()
        probe = environment(self.env_id, self.arguments, self.steps, ())()
        keys = self._recorded(probe.unwrapped)
        agent = make_explorer(self.explorer, probe, self.env_id, dict(self.arguments), self.steps)
        probe.close()
        make = environment(self.env_id, self.arguments, self.steps, keys | agent.observes)
        runner = EpisodeRunner(agent, make, self.images, self.fps)
        self._check(runner)
        return runner

    def _check(self, runner: EpisodeRunner) -> None:
        """Raise `ValueError` if what is to be recorded is not observed."""
        given = runner.env.observation_space.spaces  # type: ignore[attr-defined]
        missing = sorted(set(self.observe or ()) - set(given))
        if missing:
            raise ValueError(
                f"observe={list(self.observe or ())}: {self.env_id} gives {sorted(given)}."
            )
        if self.images != "none" and not any(f.pictures for f in runner.features.values()):
            raise ValueError(
                f"images={self.images}: {self.env_id} gives no frames; choose images=none."
            )

    def _recorded(self, env: Any) -> frozenset[str]:
        offered = frozenset(getattr(env, "observation_keys", ()))
        frames = frozenset(key for key in offered if key.startswith(PIXELS)) or frozenset({PIXELS})
        if self.observe is not None:
            keys = frozenset(self.observe)
            frames = frames & keys or frames  # of some cameras, where they are named
        else:
            keys = offered - frames - {PHYSICS}
        return keys if self.images == "none" else keys | frames

    def described(self) -> dict[str, Any]:
        """Return it in the types of JSON, as it is kept in a dataset."""
        return {
            "env": {"id": self.env_id, "kwargs": dict(self.arguments), "steps": self.steps},
            "explorer": {"name": explorer_name(self.explorer), **asdict(self.explorer)},
            "observe": None if self.observe is None else list(self.observe),
            "images": self.images,
            "fps": self.fps,
        }


def make_recipe(config: CollectConfig) -> Recipe:
    """Return what the episodes of a configuration are; raise `ValueError` for what cannot be."""
    if config.images not in IMAGES:
        raise ValueError(f"images={config.images!r}: choose one of {list(IMAGES)}.")
    if config.images != "none" and config.pixels_size < 1:
        raise ValueError(f"pixels_size={config.pixels_size}: frames have at least 1 pixel.")
    env, given = config.env, dict(UNSEEN_GOAL)
    if config.images != "none":
        given["pixels_size"] = config.pixels_size
    known = named_arguments(env.id)
    steps = env.episode_steps if config.steps is None else config.steps
    if steps < 1:
        raise ValueError(f"steps={steps}: an episode has at least 1 step.")
    arguments = {**{name: given[name] for name in given if name in known}, **env.kwargs}
    return Recipe(
        env_id=env.id,
        arguments=arguments,
        steps=steps,
        explorer=explorer_settings(type(config.collector).builds, vars(config.collector)),
        observe=None if config.observe is None else tuple(config.observe),
        images=config.images,
        fps=_fps(config, arguments),
    )


def _fps(config: CollectConfig, arguments: Mapping[str, Any]) -> float:
    probe = environment(config.env.id, arguments, 1, ())()
    told = probe.metadata.get("render_fps")
    probe.close()
    fps = told if config.fps is None else config.fps
    if fps is None:
        raise ValueError(f"{config.env.id} does not say how long a step lasts: give fps=.")
    return float(fps)


def make_workers(config: CollectConfig, recipe: Recipe) -> Workers:
    """Return who plays; raise `ValueError` for an unknown backend or a negative number."""
    if config.backend not in BACKENDS:
        raise ValueError(f"backend={config.backend!r}: choose one of {list(BACKENDS)}.")
    if config.workers < 0:
        raise ValueError(f"workers={config.workers}: give 0 for this process, or more.")
    if config.address is not None and config.backend != "ray":
        raise ValueError(f"address={config.address!r} is for backend=ray.")
    if config.backend == "ray":
        return RayActors(recipe, max(1, config.workers), config.address)
    return Processes(recipe, config.workers) if config.workers else InProcess(recipe)
