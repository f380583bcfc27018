import pickle

import mujoco
import numpy as np
import pytest

from dexworld.envs.counter.objects import THINGS
from dexworld.envs.counter.scene import Scene
from dexworld.envs.counter.script import CLOSED, HOME, posed
from dexworld.envs.counter.simulation import ACTIONS, PERIOD, SPEED, STATE_SIZE, CounterSimulation
from dexworld.envs.counter.staging import absent, upright

SCENE = Scene("l_left", "navy", "milk", frozenset({"lemon", "bread"}))


def start() -> CounterSimulation:
    simulation = CounterSimulation(SCENE.number)
    poses = [absent(index) for index in range(len(THINGS))]
    for name, place in (("milk", (0.5, 0.1)), ("lemon", (0.6, -0.2)), ("bread", (0.7, 0.35))):
        poses[list(THINGS).index(name)] = upright(name, np.array(place), 0.3)
    state = np.zeros(STATE_SIZE)
    state[:ACTIONS] = HOME
    state[2 * ACTIONS :][: 7 * len(THINGS)] = np.ravel(poses)
    simulation.set_task_state(state)
    return simulation


def test_things_stand_still_and_absent_ones_hang_still():
    simulation = start()
    before = simulation.poses(simulation.get_state())
    for _ in range(20):
        simulation.step(HOME)
    after = simulation.poses(simulation.get_state())
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=3e-4)
    assert np.abs(simulation.get_task_state()[ACTIONS : 2 * ACTIONS]).max() < 1e-6


def test_features_are_what_mujoco_says():
    simulation = start()
    simulation.step(HOME + 0.05)
    seen = simulation.observe(simulation.feature_names)
    data = mujoco.MjData(simulation.model)
    mujoco.mj_setState(
        simulation.model, data, simulation.get_state(), mujoco.mjtState.mjSTATE_INTEGRATION
    )
    mujoco.mj_forward(simulation.model, data)
    np.testing.assert_array_equal(seen["joints"], data.qpos[:ACTIONS])
    np.testing.assert_array_equal(seen["velocities"], data.qvel[:ACTIONS])
    sites = ("wrist", "index_tip", "middle_tip", "ring_tip", "thumb_tip")
    np.testing.assert_allclose(seen["keypoints"], [data.site(name).xpos for name in sites])
    np.testing.assert_allclose(seen["palm"], [*data.body("palm").xpos, *data.body("palm").xquat])
    np.testing.assert_allclose(seen["object"], [*data.body("milk").xpos, *data.body("milk").xquat])
    between = [
        mujoco.mj_geomDistance(
            simulation.model,
            data,
            simulation.model.geom(name).id,
            simulation.model.geom("milk").id,
            1.0,
            None,
        )
        for name in ("palm", *sites[1:])
    ]
    np.testing.assert_allclose(seen["distance"], between, atol=1e-9)
    np.testing.assert_allclose(seen["state"], simulation.get_task_state(), atol=1e-12)


def test_the_target_is_that_of_the_scene():
    for target in ("can", "cereal"):
        simulation = CounterSimulation(Scene("island", "sage", target).number)
        pose = simulation.observe(["object"])["object"]
        np.testing.assert_array_equal(
            pose, simulation.poses(simulation.get_state())[list(THINGS).index(target)]
        )


def test_a_task_state_comes_back_velocities_included():
    simulation, rng = start(), np.random.default_rng(0)
    state = simulation.get_task_state()
    state[ACTIONS : 2 * ACTIONS] = rng.normal(size=ACTIONS)
    turns = rng.normal(size=(len(THINGS), 4))
    poses = state[2 * ACTIONS :][: 7 * len(THINGS)].reshape(-1, 7)
    poses[:, 3:] = turns / np.linalg.norm(turns, axis=1, keepdims=True)
    state[-6 * len(THINGS) :] = rng.normal(size=6 * len(THINGS))
    simulation.set_task_state(state)
    np.testing.assert_allclose(simulation.get_task_state(), state, atol=1e-12)
    np.testing.assert_allclose(simulation.observe(["state"])["state"], state, atol=1e-12)


def test_targets_move_along_lines_and_no_faster_than_the_joints_may():
    simulation = start()
    physics = simulation.get_state()[None]
    near, far = HOME + 0.05, HOME + np.where(np.arange(ACTIONS) < 7, 0.6, 0.0)
    controls = simulation.controls(np.stack([near, far, far])[None], physics)[0]
    assert controls.shape == (60, ACTIONS)
    np.testing.assert_array_equal(controls[19], np.clip(near, simulation.low, simulation.high))
    np.testing.assert_allclose(controls[9], (HOME + controls[19]) / 2)
    np.testing.assert_allclose(controls[39, :7] - controls[19, :7], SPEED[:7] * PERIOD)
    assert (np.abs(np.diff(controls, axis=0)) <= SPEED * PERIOD / 20 + 1e-12).all()
    simulation.step(near)
    np.testing.assert_array_equal(simulation.command(simulation.get_state()[None])[0], controls[19])


def test_targets_beyond_the_ranges_stop_at_their_ends():
    simulation = start()
    for _ in range(40):
        simulation.step(np.full(ACTIONS, 9.0))
    command = simulation.command(simulation.get_state()[None])[0]
    np.testing.assert_array_equal(command, simulation.high)


def test_contacts_are_counted_by_finger():
    simulation = start()
    state = simulation.get_task_state()
    held = 2 * ACTIONS + 7 * list(THINGS).index("milk")
    palm = simulation.observe(["palm"])["palm"]
    state[held : held + 3] = palm[:3] + np.array([0.055, 0.0, -0.07])
    state[held + 3 : held + 7] = (1.0, 0.0, 0.0, 0.0)
    simulation.set_task_state(state)
    assert not simulation.observe(["contact"])["contact"].any()
    for _ in range(8):
        simulation.step(posed(HOME[:7], CLOSED))
    contact = simulation.observe(["contact"])["contact"]
    assert contact[3] > 0 and contact[1] > 0, "thumb and middle finger oppose each other"
    assert contact[4] >= contact[:4].sum()
    assert simulation.penetration(simulation.get_state()) < 1e-3


def test_a_copy_goes_on_alike():
    simulation = start()
    simulation.step(HOME + 0.1)
    copy = pickle.loads(pickle.dumps(simulation))
    assert copy.scene == simulation.scene
    for each in (simulation, copy):
        each.step(HOME - 0.1)
    np.testing.assert_array_equal(simulation.get_state(), copy.get_state())


def test_a_scene_that_does_not_exist():
    with pytest.raises(ValueError, match="scene=-1: CounterSimulation has the scenes 0 to"):
        CounterSimulation(-1)
