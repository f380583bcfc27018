import pickle

import mujoco
import numpy as np
import pytest

from dexworld.envs.allegro.scene import CUBE, Cube
from dexworld.envs.allegro.simulation import POSE, STATE_SIZE, AllegroSimulation, N
from dexworld.envs.allegro.starts import NOMINAL, StartNoise, settled_start
from dexworld.envs.mujoco_env import FloatArray
from dexworld.envs.robots.allegro_hand import FINGERS, FINGERTIPS, JOINTS
from dexworld.envs.rollout import Rollout

CUBES = (Cube(), Cube(mass=0.15, friction=0.6, size=0.05))


def wiggle(steps: int, seed: int = 0) -> FloatArray:
    """Return targets `(steps, 16)` that move the fingers against the cube."""
    noise = np.random.default_rng(seed).normal(0.0, 0.15, (steps, N))
    return np.clip(NOMINAL + np.cumsum(noise, axis=0) * 0.3, -0.1, 1.6)


def in_contact(scene: int = 0) -> AllegroSimulation:
    simulation = AllegroSimulation(CUBES)
    simulation.set_scene(scene)
    settled_start(simulation, np.random.default_rng(1), StartNoise())
    for target in wiggle(4):
        simulation.step(target)
    assert simulation.data.ncon > 1
    return simulation


def test_commands_are_in_the_order_of_the_joints():
    model = AllegroSimulation().model
    assert [model.actuator(index).name for index in range(N)] == list(JOINTS)
    assert [model.joint(index).name for index in range(N)] == list(JOINTS)


@pytest.mark.parametrize("scene", [0, 1])
def test_fifty_steps_from_a_saved_state_are_bit_identical(scene):
    simulation = in_contact(scene)
    saved, targets = simulation.get_state(), wiggle(50, seed=2)
    first = []
    for target in targets:
        simulation.step(target)
        first.append(simulation.get_state())
    other = AllegroSimulation(CUBES)
    other.set_scene(scene)
    other.set_state(saved)
    for target, expected in zip(targets, first, strict=True):
        other.step(target)
        np.testing.assert_array_equal(other.get_state(), expected)


@pytest.mark.parametrize("scene", [0, 1])
def test_contacts_are_those_that_mujoco_finds(scene):
    """By the names of what touches: fingers in their order, and anything of the hand."""
    simulation, seen = in_contact(scene), []
    for target in [*wiggle(10, seed=4), *np.full((10, N), 1.2)]:
        simulation.step(target)
        state = simulation.get_task_state()
        data = mujoco.MjData(simulation.model)
        data.qpos[:] = state[: N + 7]
        mujoco.mj_forward(simulation.model, data)
        expected = np.zeros(5)
        for contact in data.contact:
            names = [simulation.model.geom(geom).bodyid[0] for geom in contact.geom]
            names = [simulation.model.body(body).name for body in names]
            if CUBE in names and "world" not in names:
                names.remove(CUBE)
                finger = names[0].partition("_")[0]
                expected[4] += 1
                if finger in FINGERS:
                    expected[FINGERS.index(finger)] += 1
        found = simulation.contacts(state)
        np.testing.assert_array_equal(found, expected)
        seen.append(found)
    assert (np.max(seen, axis=0) > 0).sum() > 3, "fingers and palm touched it"
    away = simulation.get_task_state()
    away[POSE][:3] = (0.0, 0.0, 2.0)
    np.testing.assert_array_equal(simulation.contacts(away), np.zeros(5))
    away[POSE][:3] = (1.0, 0.0, 0.0)  # in the floor
    np.testing.assert_array_equal(simulation.contacts(away), np.zeros(5))


@pytest.mark.parametrize("scene", [0, 1])
def test_features_of_a_rollout_are_those_of_the_steps(scene):
    simulation = in_contact(scene)
    start, targets = simulation.get_state()[None], wiggle(8, seed=3)
    result = Rollout(simulation.model, 1)(
        start, simulation.controls(targets[None], start), simulation.substeps
    )
    features = simulation.features(result.sensors, simulation.feature_names)
    for time, target in enumerate(targets):
        simulation.step(target)
        seen = {name: values[0, time] for name, values in features.items()}
        task_state = simulation.get_task_state()
        np.testing.assert_allclose(seen["state"], task_state, atol=1e-12)
        np.testing.assert_array_equal(seen["joints"], seen["state"][:N])
        np.testing.assert_array_equal(seen["pose"], seen["state"][POSE])
        corners, tips = simulation.points(task_state)
        np.testing.assert_allclose(seen["keypoints"], corners, atol=1e-12)
        np.testing.assert_allclose(seen["fingertips"], tips, atol=1e-12)
    edge = np.linalg.norm(seen["keypoints"][1] - seen["keypoints"][0])
    assert edge == pytest.approx(CUBES[scene].size)


def test_points_are_those_of_mujoco():
    simulation = in_contact()
    data = mujoco.MjData(simulation.model)
    mujoco.mj_copyData(data, simulation.model, simulation.data)
    mujoco.mj_forward(simulation.model, data)
    task_state = simulation.get_task_state()
    _, tips = simulation.points(task_state)
    np.testing.assert_allclose(tips, [data.site(name).xpos for name in FINGERTIPS], atol=1e-12)
    np.testing.assert_allclose(task_state[POSE][:3], data.body(CUBE).xpos, atol=1e-12)
    velocity = np.empty(6)
    body = simulation.model.body(CUBE).id
    mujoco.mj_objectVelocity(simulation.model, data, mujoco.mjtObj.mjOBJ_XBODY, body, velocity, 0)
    np.testing.assert_allclose(task_state[-6:], [*velocity[3:], *velocity[:3]], atol=1e-12)


def test_a_task_state_can_be_started_from():
    simulation = in_contact()
    task_state = simulation.get_task_state()
    assert task_state.shape == (STATE_SIZE,) and abs(task_state[-3:]).max() > 1e-3
    simulation.set_task_state(task_state)
    np.testing.assert_allclose(simulation.get_task_state(), task_state, atol=1e-12)
    held = simulation.command(simulation.get_state()[None])[0]
    np.testing.assert_allclose(held, np.clip(task_state[:N], simulation.low, simulation.high))


def test_scenes_differ_and_are_kept():
    simulation = AllegroSimulation(CUBES)
    assert simulation.scenes == 2 and simulation.cube == CUBES[0]
    simulation.set_scene(1)
    assert simulation.cube == CUBES[1]
    assert simulation.model is simulation.model_of(1) is not simulation.model_of(0)
    for scene in (-1, 2):
        with pytest.raises(
            ValueError, match=f"scene={scene}: AllegroSimulation has the scenes 0 to 1"
        ):
            simulation.set_scene(scene)


def test_a_pickled_simulation_goes_on_alike():
    simulation = in_contact(1)
    copy = pickle.loads(pickle.dumps(simulation))
    assert copy.scene == 1
    for target in wiggle(5, seed=4):
        simulation.step(target)
        copy.step(target)
    np.testing.assert_array_equal(simulation.get_state(), copy.get_state())
