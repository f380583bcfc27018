import importlib
import pickle
import sys
from pathlib import Path

import gym_pusht  # noqa: F401 - registers the public environment
import gymnasium as gym
import numpy as np
import pytest

from dexworld.envs.push_t.chipmunk import PushTChipmunk, import_pymunk

GOLDEN = Path(__file__).parents[2] / "data" / "push_t_golden.npz"


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as data:
        return dict(data)


def press(simulation: PushTChipmunk, steps: int) -> list[np.ndarray]:
    """Crush the block of `test_restored_...` against the wall, where contact caches matter most."""
    states = []
    for step in range(steps):
        simulation.step(np.array([480.0 + step % 3, 250.0 + 7.0 * (step % 5)]))
        states.append(simulation.get_task_state())
    return states


def test_restored_in_contact_it_repeats_fifty_control_steps_bit_for_bit():
    simulation = PushTChipmunk()
    simulation.start(np.array([300.0, 250.0, 400.0, 250.0, 1.2]), settled=True)
    press(simulation, 20)
    saved = simulation.get_state()
    first = press(simulation, 50)
    simulation.set_state(saved)
    again = press(simulation, 50)
    other = PushTChipmunk()
    other.set_state(saved)
    elsewhere = press(other, 50)
    assert np.array_equal(first, again)
    assert np.array_equal(first, elsewhere)


def test_restoring_a_continuation_only_plays_what_is_new():
    simulation, other = PushTChipmunk(), PushTChipmunk()
    start = np.array([300.0, 250.0, 400.0, 250.0, 1.2])
    for each in (simulation, other):
        each.start(start)
        press(each, 3)
    other_steps = []
    simulation_step = other.step
    later = press(simulation, 4)
    other.step = lambda command: (other_steps.append(1), simulation_step(command))  # type: ignore[method-assign]
    other.set_state(simulation.get_state())
    assert len(other_steps) == 4
    assert np.array_equal(other.get_task_state(), later[-1])


@pytest.mark.parametrize("legacy", [True, False])
def test_a_start_and_its_pose(legacy):
    simulation = PushTChipmunk()
    simulation.start(np.array([0.0, 10.0, 20.0, 30.0, 1.0]), legacy=legacy)
    expected = [0.0, 10.0, 57.866196, 50.686398, 1.0] if legacy else [0.0, 10.0, 20.0, 30.0, 1.0]
    assert np.allclose(simulation.get_task_state(), expected, rtol=0, atol=1e-5)


def test_physics_of_task_states_restores_them():
    simulation = PushTChipmunk()
    task_states = np.array([[100.0, 90.0, 300.0, 200.0, 1.0], [50.0, 60.0, 200.0, 310.0, -7.0]])
    for state, task_state in zip(simulation.physics(task_states), task_states, strict=True):
        simulation.set_state(state)
        assert np.allclose(simulation.get_task_state(), task_state, rtol=0, atol=1e-9)


def test_pickled_it_goes_on_alike():
    simulation = PushTChipmunk()
    simulation.start(np.array([300.0, 250.0, 400.0, 250.0, 1.2]))
    press(simulation, 10)
    copy = pickle.loads(pickle.dumps(simulation))
    assert np.array_equal(press(simulation, 10), press(copy, 10))


def test_states_that_are_none_are_refused():
    simulation = PushTChipmunk()
    size = simulation.state_size
    with pytest.raises(ValueError, match="another environment"):
        simulation.set_state(np.zeros(41))
    with pytest.raises(ValueError, match="NaN"):
        simulation.set_state(np.full(size, np.nan))
    with pytest.raises(ValueError, match="no pymunk history"):
        simulation.set_state(np.full(size, 0.5))


def test_a_history_beyond_the_capacity_is_an_error():
    simulation = PushTChipmunk(capacity=2)
    press(simulation, 3)
    with pytest.raises(RuntimeError, match="at most 2"):
        simulation.get_state()


def test_without_pymunk_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymunk", None)
    with pytest.raises(ImportError, match=r"dexworld\[pymunk\]"):
        PushTChipmunk()


def test_pymunk_7_is_refused(monkeypatch):
    monkeypatch.setattr(importlib.import_module("pymunk"), "version", "7.1.0")
    with pytest.raises(ImportError, match=r"7\.1\.0"):
        import_pymunk()


def test_it_is_the_public_environment_from_given_states(golden):
    """`reset_to_state` of gym-pusht, which the golden episodes do not use."""
    public = gym.make("gym_pusht/PushT-v0", obs_type="state", disable_env_checker=True)
    simulation = PushTChipmunk()
    for episode in range(3):
        given = np.array([100.0, 120.0, 250.0, 260.0, 0.7 * episode])
        observation, _ = public.reset(seed=0, options={"reset_to_state": given})
        simulation.start(given, legacy=True, settled=True)
        for action in golden["actions"][episode]:
            assert np.array_equal(simulation.get_task_state()[:4], observation[:4])
            observation, *_ = public.step(action)
            simulation.step(action)
