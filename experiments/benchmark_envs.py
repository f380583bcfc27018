"""How exact and how fast the simulated environments are: rows of the table `envs`."""

from __future__ import annotations

import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.push_t.geometry import OUTLINE, WALL_FAR, WALL_NEAR, placed
from dexworld.envs.push_t.twin import PushTTwin
from dexworld.experiments.benchmark_tables import Row

GOLDEN = Path(__file__).parent.parent / "tests" / "data" / "push_t_golden.npz"
"""200 episodes of the public gym-pusht: states `(200, 41, 10)`, actions `(200, 40, 2)`."""
STEPS = (1, 5, 10, 25)


def twin_error(golden: Path = GOLDEN) -> list[Row]:
    """Replay the golden actions in the twin: the block's error after 1, 5, 10 and 25 steps.

    `wall` are the episodes in which the block touches a wall (comes within 1 px) in those steps:
    what the pusher crushes there moves chaotically. Distances in pixels, angles in degrees.

    Raises:
        FileNotFoundError, ValueError: `golden` is not there, or does not hold trajectories.
    """
    states, actions = load_golden(golden)
    errors = np.array([_errors(s, a) for s, a in zip(states, actions, strict=True)])
    wall = np.array([_meets_wall(episode[: max(STEPS) + 1]) for episode in states])
    rows: list[Row] = []
    for name, episodes in (("all", wall | True), ("no wall", ~wall), ("wall", wall)):
        for unit, chosen in (("px", errors[episodes, :, 0]), ("deg", errors[episodes, :, 1])):
            row: Row = {"set": name, "episodes": int(episodes.sum()), "unit": unit}
            for step in STEPS:
                row[f"median_{step}"] = float(np.median(chosen[:, step - 1]))
                row[f"p90_{step}"] = float(np.quantile(chosen[:, step - 1], 0.9))
            rows.append(row)
    return rows


def load_golden(golden: Path) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the states and the actions of the golden trajectories.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it does not hold them.
    """
    if not golden.exists():
        raise FileNotFoundError(
            f"{golden} is not there: give the golden trajectories by --golden, or use a checkout."
        )
    try:
        with golden.open("rb") as file, np.load(file, allow_pickle=False) as data:
            return data["states"], data["actions"]
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{golden} does not hold golden trajectories: {error}") from error


def require_gym_pusht() -> None:
    """Raise `ImportError` with what to install if the public environment is missing."""
    try:
        import gym_pusht  # noqa: F401 - registers the public environment
    except ImportError as error:
        raise ImportError('the comparison needs gym-pusht: pip install "dexworld[dev]".') from error


def push_t_speed(seconds: float = 2.0, rounds: int = 3) -> list[Row]:
    """Time `env.step` of PushT and of gym-pusht, one core each, in turns; the best round counts.

    Both take the same random targets through `gym.make`'s wrappers; episodes that end are reset
    within the time. `seconds` is per environment, observation and round.
    """
    require_gym_pusht()
    makers: dict[str, dict[str, Callable[[], gym.Env[Any, Any]]]] = {
        "steps": {
            "dexworld": lambda: gym.make("dexworld/PushT-v0", action="pixels"),
            "gym-pusht": lambda: gym.make("gym_pusht/PushT-v0", obs_type="state"),
        },
        "96x96 frames": {
            "dexworld": lambda: gym.make(
                "dexworld/PushT-v0", action="pixels", observation="pixels", pixels_size=96
            ),
            "gym-pusht": lambda: gym.make("gym_pusht/PushT-v0", obs_type="pixels"),
        },
    }
    rows: list[Row] = []
    for what, pair in makers.items():
        best = dict.fromkeys(pair, 0.0)
        for _ in range(rounds):
            for name, make in pair.items():
                best[name] = max(best[name], _steps_per_second(make(), seconds))
        rows.append(
            {
                "what": f"{what} per second",
                "dexworld": best["dexworld"],
                "gym-pusht": best["gym-pusht"],
                "ratio": best["dexworld"] / best["gym-pusht"],
            }
        )
    return rows


def _errors(states: NDArray[np.float64], actions: NDArray[np.float64]) -> list[list[float]]:
    twin = PushTTwin()
    twin.set_task_state(states[0, :5])
    errors = []
    for action, expected in zip(actions[: max(STEPS)], states[1:], strict=False):
        twin.step(action)
        difference = twin.get_task_state() - expected[:5]
        errors.append([float(np.hypot(*difference[2:4])), abs(float(np.rad2deg(difference[4])))])
    return errors


def _meets_wall(states: NDArray[np.float64]) -> bool:
    corners = placed(OUTLINE, states[:, 2:5])
    return bool(((corners < WALL_NEAR + 1.0) | (corners > WALL_FAR - 1.0)).any())


def _steps_per_second(env: gym.Env[Any, Any], seconds: float) -> float:
    targets = np.random.default_rng(0).uniform(0.0, 512.0, (1000, 2)).astype(np.float32)
    env.reset(seed=0)
    steps, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < seconds:
        _, _, terminated, truncated, _ = env.step(targets[steps % len(targets)])
        steps += 1
        if terminated or truncated:
            env.reset()
    env.close()
    return steps / elapsed
