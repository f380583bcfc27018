"""How fast agents live in what a model imagines: rows of the table `imagination`."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from gymnasium.vector import AsyncVectorEnv
from numpy.typing import NDArray
from rich.console import Console
from torch import Tensor

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.agents.imagination_training import ImaginationTrainer
from dexworld.agents.learner import Learner
from dexworld.envs.imagination import ImaginationVectorEnv
from dexworld.envs.push_t.success import PoseRule
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.envs.stable_baselines import ImaginationVecEnv
from dexworld.experiments.agent_training import Task, settings_of
from dexworld.experiments.agent_training import register_schemas as register_training
from dexworld.experiments.benchmark_tables import Row
from dexworld.experiments.collect import collect
from dexworld.experiments.collection import register_schemas as register_collection
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import register_schemas
from dexworld.experiments.statistics import episode_seeds
from dexworld.world_models.actions import Chain, Chunks, Increments, Interpolate
from dexworld.world_models.base import ActionMap, Mapped, State
from dexworld.world_models.latent import LatentWorldModel

ENV, CHECKPOINT, RECIPE = "dexworld/PushTGoal-v0", "push_t_state", "push_t_goal_ppo"
OBSERVED = ("state", "proprio", "keypoints")
DECISION = 5
"""Control steps of a decision: what an agent in the model decides on, and its model predicts."""
HORIZON = 10
"""Decisions in an episode."""

Starts = dict[str, NDArray[Any]]


def require_stable_baselines() -> None:
    """Raise `ImportError` with what to install if stable-baselines3 is missing."""
    try:
        import stable_baselines3  # noqa: F401 - looks whether it is there
    except ImportError as error:
        raise ImportError(
            "the table needs stable-baselines3: pip install 'dexworld[sb3]'."
        ) from error


def imagination_speed(
    seconds: float = 2.0,
    copies: tuple[int, ...] = (64, 1024, 4096),
    processes: int | None = None,
    threads: int | None = None,
) -> list[Row]:
    """Time random actions in PushTGoal: in the simulator, and in what models imagine of it.

    All begin and end their episodes alike: starts and goals are drawn from the same 64, 50 control
    steps, success ends an episode, and the resets are within the time. Simulated environments take
    one action a control step; an imagined step is a decision of five. Ratios are of control steps.

    Args:
        seconds: for each row.
        copies: imagined copies; those of the simulator as the model are the second number.
        processes: of the `AsyncVectorEnv`, each with one environment; None takes four a core, which
            hides some of the time that they wait for one another.
        threads: of the models; as many as cores where None.
    """
    pool = _pool()
    workers = processes or 4 * _cores()
    found = [
        _Speed("one simulated environment after another", 1, 1, _loop(pool, seconds)),
        _Speed(f"AsyncVectorEnv, {workers} processes", workers, 1, _async(pool, workers, seconds)),
    ]
    with _threads(threads or _cores()):
        speed = _imagined(True, pool, copies[1], seconds)
        found.append(_Speed("imagined by the simulator", copies[1], DECISION, speed))
        for count in copies:
            speed = _imagined(False, pool, count, seconds)
            found.append(_Speed(f"imagined by {CHECKPOINT}", count, DECISION, speed))
    return _rows(found)


def training_speed(
    seconds: float = 2.0,
    copies: int = 1024,
    threads: int | None = None,
    overrides: Sequence[str] = (),
) -> list[Row]:
    """Time PPO end to end: acting, imagining, and its gradient steps.

    A step is a decision of five control steps. All rows but the last have the same settings: PPO's
    default network, a reward of nearness, as many steps in an iteration, 4 epochs in 5 minibatches.
    The simulated environments are in its own `SubprocVecEnv`, one a core; the simulator as the model
    rolls out in C. The last row is what `dexworld-train-agent agent_recipe=push_t_goal_ppo` runs, in
    one thread: decisions, features and network seen from the block, rewards of progress, success by
    the environment's rule, and starts that are not solved, from a dataset.

    Args:
        seconds: for each row, at least one iteration after one to warm up.
        copies: imagined copies; an iteration takes 10 steps of each.
        threads: of the models and the policy; as many as cores where None.
        overrides: of the recipe's settings.
    """
    from stable_baselines3.common.vec_env import SubprocVecEnv

    pool, found = _pool(), []
    made: dict[str, tuple[int, Callable[[], Any]]] = {
        "simulated, SubprocVecEnv": (
            _cores(),
            lambda: SubprocVecEnv([partial(_decisions, pool, seed) for seed in range(_cores())]),
        ),
        "imagined by the simulator": (
            copies,
            lambda: ImaginationVecEnv(_imagination(True, pool, copies)),
        ),
        f"imagined by {CHECKPOINT}": (
            copies,
            lambda: ImaginationVecEnv(_imagination(False, pool, copies)),
        ),
    }
    with _threads(threads or _cores()):
        for who, (count, make) in made.items():
            with closing(make()) as env:
                speed = _ppo(env, HORIZON * copies, seconds)
            found.append(_Speed(who, count, DECISION, speed))
    with _threads(1):
        found.append(_recipe(seconds, overrides))
    return _rows(found)


@dataclass(frozen=True)
class _Speed:
    """What was measured of one way to make steps."""

    who: str
    copies: int
    decision: int
    """Control steps of a step."""
    steps_per_s: float


def _rows(found: Sequence[_Speed]) -> list[Row]:
    """Return the rows of speeds, compared by control steps with the first."""
    first = found[0].decision * found[0].steps_per_s
    return [
        {
            "who": each.who,
            "copies": each.copies,
            "steps_per_s": each.steps_per_s,
            "control_steps_per_s": each.decision * each.steps_per_s,
            "faster_than_first": each.decision * each.steps_per_s / first,
        }
        for each in found
    ]


# Episodes


def _pool(size: int = 64) -> Starts:
    """Return starts and goals of PushTGoal, `(size, ...)` by key."""
    env = gym.make(ENV, observation=OBSERVED)
    drawn = []
    for seed in episode_seeds(0, "train", size):
        observation, info = env.reset(seed=seed)
        drawn.append({**observation, **{f"goal_{k}": v for k, v in info["goal"].items()}})
    env.close()
    return {key: np.stack([each[key] for each in drawn]) for key in drawn[0]}


class _Drawn(gym.Wrapper[Any, Any, Any, Any]):
    """Begins episodes at starts and goals of the pool, which cost no search."""

    def __init__(self, env: gym.Env[Any, Any], pool: Starts, seed: int) -> None:
        super().__init__(env)
        self.pool, self.rng = pool, np.random.default_rng(seed)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        row = self.rng.integers(len(self.pool["state"]))
        state, goal = (self.pool[key][row].tolist() for key in ("state", "goal_state"))
        observation, _ = self.env.reset(seed=seed, options={"state": state, "goal": goal})
        return observation, {}


class _Held(gym.Wrapper[Any, Any, Any, Any]):
    """Takes a decision: an action that is held for some steps, whose rewards are added."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        total = 0.0
        for _ in range(DECISION):
            observation, reward, terminated, truncated, info = self.env.step(action)
            total += float(reward)
            if terminated or truncated:
                break
        return observation, total, terminated, truncated, info  # type: ignore[possibly-undefined]


def _simulated(pool: Starts, seed: int) -> gym.Env[Any, Any]:
    return _Drawn(gym.make(ENV, observation=OBSERVED[1:]), pool, seed)


def _decisions(pool: Starts, seed: int) -> gym.Env[Any, Any]:
    torch.set_num_threads(1)
    return _Held(_simulated(pool, seed))


def _imagination(simulator: bool, pool: Starts, copies: int) -> ImaginationVectorEnv:
    """Return imagined PushTGoal, its reward that of nearness, its success the pose rule's."""

    def draw(count: int, rng: np.random.Generator) -> Starts:
        rows = rng.integers(len(pool["state"]), size=count)
        return {key: values[rows] for key, values in pool.items()}

    model: Any
    if simulator:
        model = SimulatorModel(ENV, source="state")
        maps: list[ActionMap] = []
    else:
        model = LatentWorldModel.from_pretrained(CHECKPOINT)
        maps = [Chunks(model.env_action_space, DECISION)]
    space = model.action_space if simulator else model.env_action_space
    decision = Chain([Increments(space, 0.3125), Interpolate(space, DECISION), *maps])
    return ImaginationVectorEnv(
        Mapped(model, decision),
        copies,
        draw,
        horizon=HORIZON,
        observes=("agent", "keypoints"),
        reward=lambda before, actions, after, goal: -_distance(after, goal) / 100.0,
        success=lambda after, goal: _distance(after, goal) < PoseRule().position_tolerance,
    )


def _distance(state: State, goal: State | None) -> Tensor:
    """Return how far agent and block are from the goal, `[B]` [px]."""
    assert goal is not None
    gaps = [(state[key] - goal[key]).flatten(1).norm(dim=1) for key in ("agent", "keypoints")]
    return torch.stack(gaps).amax(0)


# Clocks


def _cores() -> int:
    return len(os.sched_getaffinity(0))


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Let torch compute in so many threads."""
    usual = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(usual)


def _timed(step: Callable[[], int], seconds: float) -> float:
    """Return how many a second `step`, which returns how many it made, makes; after one to warm up."""
    step()
    made, began = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds or not made:
        made += step()
    return made / elapsed


def _loop(pool: Starts, seconds: float) -> float:
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (1000, 2)).astype(np.float32)
    with closing(_simulated(pool, 0)) as env:
        env.reset(seed=0)

        def play() -> int:
            for action in actions:
                _, _, terminated, truncated, _ = env.step(action)
                if terminated or truncated:
                    env.reset()
            return len(actions)

        return _timed(play, seconds)


def _vector(env: Any, copies: int, seconds: float) -> float:
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (HORIZON, copies, 2)).astype(np.float32)
    env.reset(seed=0)

    def play() -> int:
        for action in actions:
            env.step(action)
        return HORIZON * copies

    return _timed(play, seconds)


def _async(pool: Starts, processes: int, seconds: float) -> float:
    with closing(
        AsyncVectorEnv([partial(_simulated, pool, seed) for seed in range(processes)])
    ) as env:
        return _vector(env, processes, seconds)


def _imagined(simulator: bool, pool: Starts, copies: int, seconds: float) -> float:
    with closing(_imagination(simulator, pool, copies)) as env:
        return _vector(env, copies, seconds)


def _recipe(seconds: float, overrides: Sequence[str]) -> _Speed:
    """Time the training of a recipe, without its evaluations and checkpoints."""
    register_schemas()
    register_collection()
    register_training()
    with TemporaryDirectory() as place:
        data = f"{place}/play"
        episodes = ["episodes=32", "steps=60", f"output={data}"]
        collect(compose_config("collect", episodes), "dexworld-collect", Console(quiet=True))
        given = [f"agent_recipe={RECIPE}", f"starts.path={data}", *overrides]
        task = Task(compose_config("train_agent", given))
        learner, copies = task.learner(), task.config.copies

        def train(iterations: int) -> float:
            """Return the seconds that so many iterations take."""
            steps = iterations * copies * learner.arguments["n_steps"]
            with TemporaryDirectory(dir=place) as folder:
                trainer = ImaginationTrainer(
                    replace(settings_of(task.config), steps=steps, evaluate_every=steps),
                    learner,
                    Path(folder),
                    lambda _: task.copies(),
                    evaluate=lambda *_: {},
                )
                return trainer.fit().seconds

        once = train(1)  # warms up, and says how many are to be timed
        iterations = max(1, round(seconds / once))
        steps = iterations * copies * learner.arguments["n_steps"]
        speed = steps / train(iterations)
    who = f"dexworld-train-agent agent_recipe={RECIPE}"
    return _Speed(who, copies, task.steps_per_decision, speed)


def _ppo(env: Any, size: int, seconds: float) -> float:
    settings = {"n_steps": size // env.num_envs, "batch_size": size // 5, "n_epochs": 4}
    ppo = Learner("PPO", settings).make(env, seed=0)

    def learn() -> int:
        ppo.learn(size, reset_num_timesteps=False)
        return size

    return _timed(learn, seconds)
