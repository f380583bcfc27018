import pickle

import mujoco
import numpy as np
import pytest

from dexworld.envs.push_t.env import PushTEnv
from dexworld.envs.push_t.geometry import KEYPOINTS, placed
from dexworld.envs.push_t.twin import PushTTwin
from dexworld.experiments.benchmark_envs import GOLDEN, twin_error

TOUCHING = np.array([200.0, 180.0, 200.0, 200.0, 0.3])

# ../shared/golden/push_t/README.md: the reference twin against pymunk, all 200 episodes.
REFERENCE = {
    "px": {"median": (0.0, 0.0, 0.04, 0.33), "p90": (0.03, 0.41, 0.58, 3.80)},
    "deg": {"median": (0.0, 0.0, 0.01, 0.16), "p90": (0.02, 0.14, 0.29, 2.19)},
}


def push(twin: PushTTwin, steps: int, seed: int = 0) -> list[np.ndarray]:
    """Drive through the block at (200, 245) and about, and return the states."""
    rng = np.random.default_rng(seed)
    states = []
    for _ in range(steps):
        twin.step(np.array([230.0, 300.0]) + rng.normal(0.0, 60.0, 2))
        states.append(twin.get_state())
    return states


def test_twin_is_as_exact_as_the_reference():
    rows = {row["unit"]: row for row in twin_error() if row["set"] == "all"}
    for unit, quantiles in REFERENCE.items():
        for quantile, expected in quantiles.items():
            measured = [rows[unit][f"{quantile}_{step}"] for step in (1, 5, 10, 25)]
            assert np.all(np.array(measured) < np.array(expected) + 0.005), (unit, quantile)
    page = " ".join((PushTEnv.__doc__ or "").split())
    assert f"median error {rows['px']['median_25']:.1f} px after 25 steps" in page


def test_restored_in_contact_it_repeats_fifty_control_steps_bit_for_bit():
    twin = PushTTwin()
    twin.set_task_state(TOUCHING)
    push(twin, 3, seed=1)
    assert twin.data.ncon > 0
    saved = twin.get_state()
    first = push(twin, 50)
    twin.set_state(saved)
    again = push(twin, 50)
    other = PushTTwin()
    other.set_state(saved)
    elsewhere = push(other, 50)
    assert np.array_equal(first, again)
    assert np.array_equal(first, elsewhere)
    assert np.linalg.norm(twin.task_state(first[-1][None])[0, 2:4] - TOUCHING[2:4]) > 20.0


def test_the_state_is_a_function_of_positions_velocities_and_control_alone():
    """The solver's warm start would change the last bits of some of these episodes."""
    rng = np.random.default_rng(0)
    with np.load(GOLDEN) as golden:
        starts, actions = golden["states"][100:135:5, 0, :5], golden["actions"][100:135:5]
    for start, commands in zip(starts, actions, strict=True):
        usual, disturbed = PushTTwin(), PushTTwin()
        usual.set_task_state(start)
        disturbed.set_task_state(start)
        for command in commands:
            disturbed.data.qacc_warmstart[:] += rng.normal(0.0, 30.0, 5)
            usual.step(command)
            disturbed.step(command)
            assert np.array_equal(usual.data.qpos, disturbed.data.qpos)


def test_pickled_in_contact_it_goes_on_alike():
    twin = PushTTwin()
    twin.set_task_state(TOUCHING)
    push(twin, 3)
    copy = pickle.loads(pickle.dumps(twin))
    assert np.array_equal(push(twin, 5), push(copy, 5))


def test_task_states_round_trip_batched_and_single():
    rng = np.random.default_rng(0)
    task_states = rng.uniform([50, 50, 100, 100, -9], [450, 450, 400, 400, 9], (20, 5))
    twin = PushTTwin()
    physics = twin.physics(task_states)
    assert physics.shape == (20, twin.state_size)
    assert np.allclose(twin.task_state(physics), task_states, rtol=0, atol=1e-12)
    for state, expected in zip(physics, twin.task_state(physics), strict=True):
        twin.set_state(state)
        assert np.array_equal(twin.get_task_state(), expected)


def test_a_state_from_a_task_state_holds_still():
    twin = PushTTwin()
    task_state = np.array([60.0, 400.0, 300.0, 200.0, 2.0])
    twin.set_task_state(task_state)
    for _ in range(5):
        mujoco.mj_step(twin.model, twin.data, 10)
    assert np.allclose(twin.get_task_state(), task_state, rtol=0, atol=1e-9)


def test_features_are_where_the_block_and_the_agent_are():
    twin = PushTTwin()
    twin.set_task_state(TOUCHING)
    push(twin, 4)
    mujoco.mj_forward(twin.model, twin.data)
    task_state = twin.get_task_state()
    sensors = np.tile(twin.data.sensordata, (2, 3, 1))
    features = twin.features(sensors, twin.feature_names)
    assert set(features) == twin.feature_names
    expected = {
        "state": task_state,
        "agent": task_state[None, :2],
        "pose": task_state[2:],
        "keypoints": placed(KEYPOINTS, task_state[2:]),
    }
    for name, value in expected.items():
        assert features[name].shape == (2, 3, *value.shape)
        assert np.allclose(features[name], value, rtol=0, atol=1e-9), name


def test_commands_become_controls_and_are_remembered():
    twin = PushTTwin()
    commands = np.array([[[100.0, 200.0], [300.0, 50.0]]])
    controls = twin.controls(commands, np.zeros((1, twin.state_size)))
    assert controls.shape == (1, 20, 2)
    assert np.array_equal(controls[0, 9], [1.0, 2.0])
    assert np.array_equal(controls[0, 10], [3.0, 0.5])
    twin.step(commands[0, 1])
    assert np.allclose(twin.command(twin.get_state()[None]), commands[0, 1])


def test_one_step_equals_ten_physics_steps_under_its_controls():
    twin, reference = PushTTwin(), PushTTwin()
    for simulation in (twin, reference):
        simulation.set_task_state(TOUCHING)
    command = np.array([231.7, 313.1])
    twin.step(command)
    for control in reference.controls(command[None, None], reference.get_state()[None])[0]:
        reference.data.ctrl[:] = control
        mujoco.mj_step(reference.model, reference.data)
    assert np.array_equal(twin.get_state(), reference.get_state())


@pytest.mark.parametrize("steps", [1, 3])
def test_the_pusher_follows_its_controller(steps):
    twin = PushTTwin()
    twin.set_task_state(np.array([100.0, 100.0, 400.0, 400.0, 0.0]))
    position, velocity = np.array([100.0, 100.0]), np.zeros(2)
    target = np.array([180.0, 60.0])
    for _ in range(steps):
        twin.step(target)
        for _ in range(10):
            velocity = velocity + 0.01 * (100.0 * (target - position) - 20.0 * velocity)
            position = position + 0.01 * velocity
    assert np.allclose(twin.get_task_state()[:2], position, rtol=0, atol=1e-9)


def test_a_foreign_state_is_refused():
    twin = PushTTwin()
    with pytest.raises(ValueError, match="another environment"):
        twin.set_state(np.zeros(twin.state_size + 1))
    with pytest.raises(ValueError, match="NaN"):
        twin.set_state(np.full(twin.state_size, np.nan))
