import numpy as np
import pytest

from dexworld.envs.counter.lift import RISE, lift
from dexworld.envs.counter.script import OPEN


@pytest.fixture(scope="module")
def grasped(make_env):
    env = make_env("grasp", distractors=0, object="bottle")
    env.reset(seed=1)
    return env


def test_a_grasp_holds_and_a_touch_does_not(grasped, script):
    simulation = grasped.simulation
    good = lift(simulation.scene, grasped.goal_physics, script)
    assert good.holds and good.rise == pytest.approx(0.1, abs=0.02)
    assert not lift(simulation.scene, grasped.get_state(), script).holds, "not grasped yet"
    # Let go: the hand still touches, and DexWM's rule may still be met.
    simulation.set_state(grasped.goal_physics)
    command = simulation.command(grasped.goal_physics[None])[0]
    for _ in range(3):
        simulation.step(np.concatenate([command[:7], OPEN]))
    loose = lift(simulation.scene, simulation.get_state(), script)
    assert loose.rise < RISE and not loose.holds


def test_it_disturbs_nothing_and_gives_the_same_each_time(grasped):
    grasped.reset(seed=1)
    before = grasped.get_state()
    assert grasped.lift() == grasped.lift()
    np.testing.assert_array_equal(grasped.get_state(), before)


def test_an_arm_that_cannot_rise_has_not_lifted(grasped, script):
    simulation = grasped.simulation
    state = grasped.goal_physics.copy()
    reaching_up = np.array([0.0, 0.0, 0.0, -0.08, 0.0, 1.6, 0.0])
    task_state = simulation.task_state(state[None])
    task_state[:, :7] = reaching_up
    assert lift(simulation.scene, simulation.physics(task_state)[0], script).rise == 0.0
