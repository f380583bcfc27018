"""How fast Franka and Allegro are stepped and drawn at the counter, against loops and robosuite."""

from __future__ import annotations

import copy
import importlib
import math
import os
import time
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
from gymnasium.spaces import Box, Space

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.control import interpolated
from dexworld.envs.counter.drawing import Drawing
from dexworld.envs.counter.env import CounterEnv
from dexworld.envs.counter.script import HOME
from dexworld.envs.counter.simulation import SPEED, SUBSTEPS
from dexworld.envs.mujoco_env import EXACT, FloatArray
from dexworld.envs.rasteriser import Quality
from dexworld.envs.rendering import working_backend
from dexworld.envs.robots.franka_allegro import franka_allegro
from dexworld.envs.rollout import Rollout
from dexworld.experiments.benchmark_tables import Row

HEIGHT, WIDTH = 224, 392
"""Of frames [px]: DexWM's."""
LIFT = "robosuite Lift"

NO_SENSORS = ", sensors off"
ALIKE = Quality(samples=4, slices=28)
"""What robosuite draws with: MuJoCo's own settings; shadows are on, but its light casts none."""

_PERIODS = 15  # control periods of a trajectory


def counter_physics(candidates: int = 16, rounds: int = 5, seconds: float = 2.0) -> list[Row]:
    """Time random motions of the robot on one core, in turns; the best round counts.

    The worlds are the robot alone, the counter of reaching, and robosuite's Lift (a Panda with a
    gripper, and a cube). The ways are a Python loop that sets the controls before each `mj_step`
    and keeps the state after each control period; `Rollout` on one thread; one call of `mj_step`
    for as many steps with controls that stay, which is as much as this physics gives; where the
    world has sensors, which each of these steps reads, `Rollout` and the one call without; `env.step`
    under random actions. Rows give physics steps per second of CPU time, and the ratio to the loop
    of the same world, of Lift to that of the counter; NaN where robosuite cannot be imported.
    """
    share = seconds / rounds
    spent: dict[tuple[str, str], float] = {}
    ways: dict[tuple[str, str], Callable[[], float]] = {}
    for world, (model, physics) in _worlds(candidates).items():
        controls = _controls(model, physics)
        # Bound here, since the next world has others.
        ways[world, "Python mj_step loop"] = lambda m=model, p=physics, c=controls: _timed(  # type: ignore[misc]
            lambda: loop(m, p, c), c.size // c.shape[2]
        )
        models = {"": model}
        if model.nsensor:
            models[NO_SENSORS] = _without_sensors(model)
        for how, each in models.items():
            rollout = Rollout(each, threads=1)
            ways[world, f"rollout, 1 thread{how}"] = lambda r=rollout, p=physics, c=controls: (  # type: ignore[misc]
                _timed(lambda: r(p, c, SUBSTEPS), c.size // c.shape[2])
            )
            ways[world, f"one call of mj_step{how}"] = lambda m=each, p=physics, c=controls: _timed(  # type: ignore[misc]
                lambda: _one_call(m, p, c), c.size // c.shape[2]
            )
    env = gym.make("dexworld/CounterReach-v0").unwrapped
    env.reset(seed=0)
    ways["counter", "env.step"] = lambda: _stepped(env.step, env.action_space, SUBSTEPS, share)
    lift = _lift(frames=False)
    if lift is not None:
        per_step = round(lift.control_timestep / lift.model_timestep)
        bounds = Box(*lift.action_spec)
        ways[LIFT, "env.step"] = lambda: _stepped(lift.step, bounds, per_step, share)
    for _ in range(rounds):
        for name, way in ways.items():
            spent[name] = min(spent.get(name, np.inf), way())
    if lift is None:
        spent[LIFT, "env.step (not installed)"] = np.nan
    rows: list[Row] = []
    for (world, name_of_way), each in spent.items():
        loop_of = "counter" if world == LIFT else world
        ratio = spent[loop_of, "Python mj_step loop"] / each
        rows.append(
            {"world": world, "way": name_of_way, "physics_steps_per_s": 1.0 / each, "ratio": ratio}
        )
    return rows


def counter_frames(seconds: float = 2.0, rounds: int = 3) -> list[Row]:
    """Time frames of 224 x 392 of the torso's camera, and of robosuite's Lift, on one core.

    Rows are of drawing alone, each as it comes; of the same with ours drawn as carefully as
    robosuite draws, by four samples a pixel and with round things as round; of that with robosuite's
    meshes of the arm, too; and of `env.step` with a frame. They give frames per second of CPU time,
    the best of some rounds, robosuite's being NaN where it cannot be imported. One comes after the
    other: robosuite draws into whatever context is open.
    """
    ours = _frames_of_counter(seconds, rounds)
    os.environ.setdefault("MUJOCO_GL", working_backend())  # robosuite would try another one
    lift = _lift(frames=True)
    theirs = dict.fromkeys(ours, math.nan)
    if lift is not None:
        still = np.zeros(lift.action_spec[0].shape)
        drawn, stepped = (
            _per_second(way, seconds, rounds)
            for way in (
                lambda: lift.sim.render(camera_name="agentview", height=HEIGHT, width=WIDTH),
                lambda: lift.step(still),
            )
        )
        theirs = dict(zip(ours, (drawn, drawn, drawn, stepped), strict=True))
        lift.close()
    return [
        {
            "frames": what,
            "dexworld": ours[what],
            LIFT: theirs[what],
            "ratio": ours[what] / theirs[what],
        }
        for what in ours
    ]


def _frames_of_counter(seconds: float, rounds: int) -> dict[str, float]:
    env = gym.make("dexworld/CounterReach-v0", observation="pixels_torso", pixels_size=HEIGHT)
    env.reset(seed=0)
    counter = env.unwrapped
    assert isinstance(counter, CounterEnv)
    hold, state = counter.hold_action(), counter.task_state
    scene = counter.simulation.scene
    drawings = {
        "drawn": Drawing(scene),
        "drawn by 4 samples": Drawing(scene, quality=ALIKE),
        "drawn by 4 samples, mesh arm": Drawing(scene, "mesh", ALIKE),
    }
    ways: dict[str, Callable[[], object]] = {
        what: lambda d=drawing: d.draw("torso", HEIGHT, WIDTH, state)  # type: ignore[misc]
        for what, drawing in drawings.items()
    }
    ways["drawn in env.step"] = lambda: counter.step(hold)
    found = {what: _per_second(way, seconds, rounds) for what, way in ways.items()}
    for drawing in drawings.values():
        drawing.close()
    env.close()
    return found


def loop(model: mujoco.MjModel, physics: FloatArray, controls: FloatArray) -> FloatArray:
    """Step controls `(M, S, nu)` from exact states `(M, P)` in Python; return `(M, T, nq + nv)`."""
    data, found = mujoco.MjData(model), []
    for start, sequence in zip(physics, controls, strict=True):
        mujoco.mj_setState(model, data, start, EXACT)
        for step, control in enumerate(sequence, start=1):
            data.ctrl[:] = control
            mujoco.mj_step(model, data)
            if step % SUBSTEPS == 0:
                found.append(np.concatenate([data.qpos, data.qvel]))
    return np.reshape(found, (len(physics), -1, model.nq + model.nv))


def _without_sensors(model: mujoco.MjModel) -> mujoco.MjModel:
    """Return a model that goes the same way and reads no sensor."""
    blind: mujoco.MjModel = copy.copy(model)
    blind.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_SENSOR)
    return blind


def _one_call(model: mujoco.MjModel, physics: FloatArray, controls: FloatArray) -> None:
    data = mujoco.MjData(model)
    for start in physics:
        mujoco.mj_setState(model, data, start, EXACT)
        mujoco.mj_step(model, data, controls.shape[1])


def _worlds(candidates: int) -> Mapping[str, tuple[mujoco.MjModel, FloatArray]]:
    """Return models and exact states `(M, P)` to start from."""
    alone = franka_allegro("none").compile()
    data = mujoco.MjData(alone)
    data.qpos[:] = data.ctrl[:] = HOME
    state = np.empty(mujoco.mj_stateSize(alone, EXACT))
    mujoco.mj_getState(alone, data, state, EXACT)
    env = gym.make("dexworld/CounterReach-v0").unwrapped
    assert isinstance(env, CounterEnv)
    env.reset(seed=0)
    starts = {
        "Franka + Allegro": (alone, state),
        "counter": (env.simulation.model, env.get_state()),
    }
    return {
        world: (model, np.repeat(start[None], candidates, axis=0))
        for world, (model, start) in starts.items()
    }


def _controls(model: mujoco.MjModel, physics: FloatArray) -> FloatArray:
    """Return controls `(M, S, 23)` of arms that wander, and fingers that move, at random."""
    rng = np.random.default_rng(0)
    data = mujoco.MjData(model)
    mujoco.mj_setState(model, data, physics[0], EXACT)
    start = np.repeat(data.ctrl[None].copy(), len(physics), axis=0)
    steps = 0.02 * SPEED * rng.normal(size=(len(physics), _PERIODS, model.nu))
    targets = start[:, None] + np.cumsum(steps, axis=1)
    low, high = model.actuator_ctrlrange.T
    return interpolated(np.clip(targets, low, high), start, SUBSTEPS)


def _lift(frames: bool) -> Any:
    """Return robosuite's Lift at 20 Hz, or None where robosuite cannot be imported."""
    try:
        robosuite: Any = importlib.import_module("robosuite")
    except ImportError:
        return None
    env = robosuite.make(
        "Lift",
        robots="Panda",
        has_renderer=False,
        has_offscreen_renderer=frames,
        use_camera_obs=frames,
        camera_names="agentview",
        camera_heights=HEIGHT,
        camera_widths=WIDTH,
        horizon=10**9,
    )
    env.reset()
    return env


def _stepped(
    step: Callable[[Any], object], actions: Space[Any], substeps: int, seconds: float
) -> float:
    """Return the time of a physics step under random actions [s]."""
    actions.seed(0)
    return _each(lambda: step(actions.sample()), seconds) / substeps


def _timed(work: Callable[[], object], count: int) -> float:
    """Return CPU seconds for each of `count` things that are done at once."""
    before = time.process_time()
    work()
    return (time.process_time() - before) / count


def _per_second(work: Callable[[], object], seconds: float, rounds: int) -> float:
    """Return how often a second of CPU time allows a call, in the best round."""
    return 1.0 / min(_each(work, seconds / rounds) for _ in range(rounds))


def _each(work: Callable[[], object], seconds: float) -> float:
    """Return CPU seconds of one call, repeated for so long."""
    work()
    before, calls = time.process_time(), 0
    while (spent := time.process_time() - before) < seconds:
        work()
        calls += 1
    return spent / calls
