"""How fast control sequences are rolled out in C, against stepping them in Python."""

from __future__ import annotations

import time
from collections.abc import Callable

import mujoco
import numpy as np

from dexworld.envs.mujoco_env import FloatArray, MujocoSimulation
from dexworld.envs.push_t.twin import PushTTwin
from dexworld.envs.rollout import Rollout
from dexworld.experiments.benchmark_tables import Row


def rollout_speed(candidates: int = 200, horizon: int = 25, rounds: int = 3) -> list[Row]:
    """Time the same candidates in a Python loop and in C on 1 and 2 threads; best round counts.

    Rows give physics steps per second, and the ratio to the loop.
    """
    twin = PushTTwin()
    rng = np.random.default_rng(0)
    start = np.array([[200.0, 300.0, 256.0, 256.0, 1.0]])
    physics = np.repeat(twin.physics(start), candidates, axis=0)
    controls = twin.controls(rng.uniform(100.0, 400.0, (candidates, horizon, 2)), physics)
    ways: dict[str, Callable[[], object]] = {
        "Python mj_step loop": lambda: _loop(twin, physics, controls)
    }
    for threads in (1, 2):
        rollout = Rollout(twin.model, threads)
        name = f"rollout, {threads} thread{'s' * (threads > 1)}"
        ways[name] = lambda rollout=rollout: rollout(physics, controls, twin.substeps)  # type: ignore[misc]
    seconds = {name: _best(way, rounds) for name, way in ways.items()}
    steps = candidates * controls.shape[1]
    loop = seconds["Python mj_step loop"]
    return [
        {"way": name, "physics_steps_per_s": steps / spent, "ratio": loop / spent}
        for name, spent in seconds.items()
    ]


def _loop(simulation: MujocoSimulation, physics: FloatArray, controls: FloatArray) -> None:
    model, data = simulation.model, simulation.data
    for start, sequence in zip(physics, controls, strict=True):
        simulation.set_state(start)
        for control in sequence:
            data.ctrl[:] = control
            mujoco.mj_step(model, data)


def _best(way: Callable[[], object], rounds: int) -> float:
    way()
    spent = []
    for _ in range(rounds):
        before = time.perf_counter()
        way()
        spent.append(time.perf_counter() - before)
    return min(spent)
