"""Rollouts in C against `mj_step` in Python: the same states and features, bit for bit."""

from __future__ import annotations

import copy
import threading

import mujoco
import numpy as np
import pytest

from dexworld.envs.mujoco_env import FloatArray, MujocoSimulation
from dexworld.envs.push_t.twin import PushTTwin
from dexworld.envs.rollout import Rollout, RolloutResult

FULL = mujoco.mjtState.mjSTATE_FULLPHYSICS
HORIZON = 6


@pytest.fixture(params=["push_t", "pinch"])
def simulation(request, pinch) -> MujocoSimulation:
    return PushTTwin() if request.param == "push_t" else pinch


def in_contact(simulation: MujocoSimulation) -> FloatArray:
    """Return an exact state in which bodies touch."""
    if isinstance(simulation, PushTTwin):
        simulation.set_task_state(np.array([200.0, 180.0, 200.0, 200.0, 0.3]))
        simulation.step(np.array([230.0, 300.0]))
        assert simulation.data.ncon > 0
        return simulation.get_state()
    return simulation.squeeze()


def commands_for(simulation: MujocoSimulation, rows: int = 3) -> FloatArray:
    rng = np.random.default_rng(0)
    if isinstance(simulation, PushTTwin):
        return rng.uniform(150.0, 350.0, (rows, HORIZON, 2))
    return np.array([0.06, -0.06]) + rng.normal(0.0, 0.02, (rows, HORIZON, 2))


def stepped(
    simulation: MujocoSimulation, start: FloatArray, commands: FloatArray
) -> tuple[FloatArray, RolloutResult]:
    """Return exact states, full physics and sensors by `simulation.step` in a Python loop."""
    model, data = simulation.model, simulation.data
    exact, physics, sensors = [], [], []
    for row in commands:
        simulation.set_state(start)
        for command in row:
            simulation.step(command)
            exact.append(simulation.get_state())
            full = np.empty(mujoco.mj_stateSize(model, FULL))
            mujoco.mj_getState(model, data, full, FULL)
            physics.append(full)
            aside = mujoco.MjData(model)
            mujoco.mj_copyData(aside, model, data)
            mujoco.mj_forward(model, aside)
            sensors.append(aside.sensordata.copy())
    shape = commands.shape[:2]
    return (
        np.reshape(exact, (*shape, -1)),
        RolloutResult(np.reshape(physics, (*shape, -1)), np.reshape(sensors, (*shape, -1))),
    )


def rolled(rollout: Rollout, simulation: MujocoSimulation, start: FloatArray, commands: FloatArray):
    states = np.repeat(start[None], len(commands), axis=0)
    return rollout(states, simulation.controls(commands, states), simulation.substeps)


def assert_equal(actual: RolloutResult, expected: RolloutResult) -> None:
    np.testing.assert_array_equal(actual.physics, expected.physics)
    np.testing.assert_array_equal(actual.sensors, expected.sensors)


def test_states_equal_steps_and_sensors_equal_forward_in_contact(simulation) -> None:
    start, commands = in_contact(simulation), commands_for(simulation)
    _, expected = stepped(simulation, start, commands)
    assert len(np.unique(expected.physics[:, -1, 1])) == len(commands), "the commands do nothing"
    for threads in (1, 2):
        rollout = Rollout(simulation.model, threads)
        assert_equal(rolled(rollout, simulation, start, commands), expected)
        rollout.close()


def test_the_toy_depends_on_its_warm_start(pinch) -> None:
    start, commands = pinch.squeeze(), commands_for(pinch)
    rollout = Rollout(pinch.model, 1)
    cold = start.copy()
    cold[rollout.slice(mujoco.mjtState.mjSTATE_WARMSTART)] = 0.0
    warm = rolled(rollout, pinch, start, commands).physics
    assert not np.array_equal(warm, rolled(rollout, pinch, cold, commands).physics)


def test_rows_do_not_depend_on_each_other(simulation) -> None:
    start, commands = in_contact(simulation), commands_for(simulation)
    rollout = Rollout(simulation.model, 2)
    together = rolled(rollout, simulation, start, commands)
    for row in range(len(commands)):
        alone = rolled(rollout, simulation, start, commands[row : row + 1])
        assert_equal(alone, RolloutResult(together.physics[[row]], together.sensors[[row]]))


@pytest.mark.parametrize("threads", [1, 2])
def test_advance_is_exact_and_can_be_gone_on_from(simulation, threads) -> None:
    start, commands = in_contact(simulation), commands_for(simulation)
    exact, expected = stepped(simulation, start, commands)
    rollout = Rollout(simulation.model, threads)
    states = np.repeat(start[None], len(commands), axis=0)
    half = HORIZON // 2
    middle = rollout.advance(states, simulation.controls(commands[:, :half], states))
    np.testing.assert_array_equal(middle, exact[:, half - 1])
    rest = simulation.controls(commands[:, half:], middle)
    result = rollout(middle, rest, simulation.substeps)
    assert_equal(result, RolloutResult(expected.physics[:, half:], expected.sensors[:, half:]))
    np.testing.assert_array_equal(rollout.advance(middle, rest), exact[:, -1])
    np.testing.assert_array_equal(states[0], start, "advance changed the states it was given")


@pytest.mark.parametrize("threads", [1, 2])
def test_rows_may_be_of_different_models(pinch, threads) -> None:
    heavy = copy.copy(pinch.model)
    heavy.body_mass[heavy.body("ball").id] *= 3.0
    start, commands = pinch.squeeze(), commands_for(pinch)
    states = np.repeat(start[None], len(commands), axis=0)
    controls, light = pinch.controls(commands, states), pinch.model
    models = [light, heavy, light]
    rollout = Rollout(light, threads)
    mixed = rollout(states, controls, pinch.substeps, models)
    advanced = rollout.advance(states, controls, models)
    sensors = rollout.sensors(advanced, models)
    for model, rows in ((light, [0, 2]), (heavy, [1])):
        alone = Rollout(model, 1)
        expected = alone(states[rows], controls[rows], pinch.substeps)
        assert_equal(RolloutResult(mixed.physics[rows], mixed.sensors[rows]), expected)
        np.testing.assert_array_equal(advanced[rows], alone.advance(states[rows], controls[rows]))
        np.testing.assert_array_equal(sensors[rows], expected.sensors[:, -1])
    assert not np.array_equal(mixed.physics, rollout(states, controls, pinch.substeps).physics), (
        "the models do not differ"
    )


def test_sensors_of_states_equal_forward(simulation) -> None:
    start, commands = in_contact(simulation), commands_for(simulation)
    exact, expected = stepped(simulation, start, commands)
    rollout = Rollout(simulation.model, 2)
    np.testing.assert_array_equal(rollout.sensors(exact[:, -1]), expected.sensors[:, -1])


@pytest.mark.parametrize("aside", ["mocap", "weld", "force", "joint force", "nothing"])
def test_inputs_set_aside_are_honoured(pinch, aside) -> None:
    start, commands = pinch.squeeze(), commands_for(pinch)
    data = pinch.data
    if aside in {"mocap", "weld"}:
        data.mocap_pos[0] = [0.0, 0.1, 0.2]
        data.mocap_quat[0] = [0.6, 0.0, 0.8, 0.0]
    if aside == "weld":
        data.eq_active[0] = 1
    if aside == "force":
        data.xfrc_applied[pinch.model.body("ball").id] = [0.0, 0.3, 0.4, 0.0, 0.0, 0.01]
    if aside == "joint force":
        data.qfrc_applied[:2] = [0.5, -0.5]
    changed = pinch.get_state()
    assert np.array_equal(changed, start) == (aside == "nothing")
    _, plain = stepped(pinch, start, commands)
    exact, expected = stepped(pinch, changed, commands)
    if aside in {"weld", "force", "joint force"}:
        assert not np.array_equal(plain.physics, expected.physics)
    rollout = Rollout(pinch.model, 1)
    assert_equal(rolled(rollout, pinch, changed, commands), expected)
    # In a batch with rows that have nothing set aside, too.
    states, both = np.stack([start, changed]), np.repeat(commands[:1], 2, axis=0)
    result = rollout(states, pinch.controls(both, states), pinch.substeps)
    np.testing.assert_array_equal(result.physics, [plain.physics[0], expected.physics[0]])
    np.testing.assert_array_equal(rollout.sensors(exact[:, -1]), expected.sensors[:, -1])
    np.testing.assert_array_equal(
        rollout.advance(states, pinch.controls(both, states))[1], exact[0, -1]
    )


def test_what_comes_after_a_divergence_is_not_a_number(pinch, monkeypatch, tmp_path) -> None:
    monkeypatch.chdir(tmp_path)  # MuJoCo writes MUJOCO_LOG.TXT
    start, commands = pinch.squeeze(), commands_for(pinch)
    healthy = rolled(Rollout(pinch.model, 1), pinch, start, commands)
    commands[1, 2:] = 1e14
    for threads in (1, 2):
        result = rolled(Rollout(pinch.model, threads), pinch, start, commands)
        for values, expected in zip(result, healthy, strict=True):
            np.testing.assert_array_equal(values[[0, 2]], expected[[0, 2]])
            np.testing.assert_array_equal(values[1, :2], expected[1, :2])
            assert np.isnan(values[1, 2:]).all()


@pytest.mark.parametrize("threads", [1, 2])
def test_a_divergence_is_the_same_in_advance(pinch, monkeypatch, tmp_path, threads) -> None:
    monkeypatch.chdir(tmp_path)
    start, commands = pinch.squeeze(), commands_for(pinch)
    rollout = Rollout(pinch.model, threads)
    states = np.repeat(start[None], len(commands), axis=0)
    healthy = rollout.advance(states, pinch.controls(commands, states))
    commands[1, 2] = 1e14
    advanced = rollout.advance(states, pinch.controls(commands, states))
    np.testing.assert_array_equal(advanced[[0, 2]], healthy[[0, 2]])
    assert np.isnan(advanced[1]).all()
    # A warning of an earlier row, or call, does not count.
    np.testing.assert_array_equal(
        rollout.advance(states[[1, 0]], pinch.controls(commands[[1, 0]], states[[1, 0]]))[1],
        healthy[0],
    )


@pytest.mark.parametrize("threads", [1, 2])
def test_what_is_not_finite_stays_so_and_writes_no_log(
    simulation, monkeypatch, tmp_path, threads
) -> None:
    monkeypatch.chdir(tmp_path)
    start, commands = in_contact(simulation), commands_for(simulation)
    rollout = Rollout(simulation.model, threads)
    healthy = rolled(rollout, simulation, start, commands)
    states = np.repeat(start[None], len(commands), axis=0)
    states[2, 1] = np.nan
    broken = commands.copy()
    broken[1, 3] = np.nan
    controls = simulation.controls(broken, states)
    result = rollout(states, controls, simulation.substeps)
    for values, expected in zip(result, healthy, strict=True):
        np.testing.assert_array_equal(values[0], expected[0])
        np.testing.assert_array_equal(values[1, :3], expected[1, :3])
        assert np.isnan(values[1, 3:]).all() and np.isnan(values[2]).all()
    advanced = rollout.advance(states, controls)
    assert np.isfinite(advanced[0]).all() and np.isnan(advanced[1:]).all()
    assert np.isnan(rollout.advance(advanced[1:], controls[1:])).all()
    seen = rollout.sensors(advanced)
    assert np.isfinite(seen[0]).all() and np.isnan(seen[1:]).all()
    np.testing.assert_array_equal(seen[0], healthy.sensors[0, -1])
    assert not list(tmp_path.iterdir()), "MuJoCo wrote a log"


def test_threads_are_kept_until_closing(pinch) -> None:
    start, commands = pinch.squeeze(), commands_for(pinch)
    states = np.repeat(start[None], len(commands), axis=0)
    controls = pinch.controls(commands, states)
    before, started = set(threading.enumerate()), set()
    rollout = Rollout(pinch.model, 2)
    for _ in range(6):
        rollout.advance(states, controls)
        started |= set(threading.enumerate()) - before
    assert 1 <= len(started) <= 2
    assert all(thread.is_alive() for thread in started)
    rollout.close()
    assert not any(thread.is_alive() for thread in started)
    with pytest.raises(RuntimeError):
        rollout.advance(states, controls)
    rollout.close()


def test_a_rollout_needs_a_thread() -> None:
    model = PushTTwin().model
    assert Rollout(model).threads >= 1
    for threads in (0, -1):
        with pytest.raises(ValueError, match="threads must be at least 1"):
            Rollout(model, threads)
