import numpy as np
import pytest

from dexworld.envs.counter.objects import TARGETS, THINGS
from dexworld.envs.counter.scene import Scene
from dexworld.envs.counter.script import (
    CLOSED,
    HOME,
    OPEN,
    Unreachable,
    downwards,
    grasp_position,
    motion,
    posed,
    waiting_position,
)
from dexworld.envs.counter.simulation import CounterSimulation
from dexworld.envs.counter.staging import Stage, absent, upright
from dexworld.envs.rotations import inverse, turned


def test_the_hand_points_down_and_faces_its_heading():
    for heading in (-0.5, 0.0, 0.4):
        orientation = downwards(heading)
        np.testing.assert_allclose(orientation[:, 2], (0.0, 0.0, -1.0))
        np.testing.assert_allclose(orientation[:, 0], (np.cos(heading), np.sin(heading), 0.0))
        assert np.linalg.det(orientation) == pytest.approx(1.0)


def test_a_posture_puts_the_palm_there(script):
    position = np.array([0.48, 0.12, 0.2])
    here, orientation = script.palm_pose(script.posture(position, 0.3))
    np.testing.assert_allclose(here, position, atol=3e-3)
    np.testing.assert_allclose(orientation, downwards(0.3), atol=3e-2)


def test_a_shift_keeps_the_orientation(script):
    arm = script.posture(np.array([0.45, 0.0, 0.16]), 0.0)
    before, after = (
        script.palm_pose(a) for a in (arm, script.shifted(arm, np.array([0.0, 0.1, 0.1])))
    )
    np.testing.assert_allclose(after[0] - before[0], (0.0, 0.1, 0.1), atol=3e-3)
    np.testing.assert_allclose(after[1], before[1], atol=3e-2)


def test_what_is_out_of_reach_is_said(script):
    with pytest.raises(Unreachable, match=r"cannot be at \[1.3, 0.0, 0.2\]"):
        script.posture(np.array([1.3, 0.0, 0.2]), 0.0)
    with pytest.raises(Unreachable, match="cannot be moved by"):
        script.shifted(HOME[:7], np.array([2.0, 0.0, 0.0]))


def test_a_motion_goes_from_target_to_target():
    first, second = HOME + 0.2, HOME - 0.1
    targets = motion(HOME, [(first, 4), (second, 2)])
    np.testing.assert_allclose(targets[3], first)
    np.testing.assert_allclose(targets[[0, 4]], [HOME + 0.05, HOME + 0.05])
    np.testing.assert_array_equal(targets[5], second)


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("heading", [-0.4, 0.3])
def test_the_scripted_grasp_holds_for_three_seconds(name, heading, script):
    """Slide, close, settle, lift by 12 cm, swing, hold: the object stays in the hand."""
    simulation = CounterSimulation(Scene("one_wall", "modern", name).number)
    stage = Stage(simulation, script)
    place = np.array([0.5, 0.1])
    grasp = grasp_position(name, place, heading)
    near = script.posture(grasp, heading)
    waiting = posed(script.posture(waiting_position(grasp, heading), heading, near), OPEN)
    poses = np.array([absent(index) for index in range(len(THINGS))])
    poses[list(THINGS).index(name)] = upright(name, place, heading)
    stage.set_up(waiting, poses)
    up = posed(script.shifted(near, np.array([0.0, 0.0, 0.12])), CLOSED)
    aside = up.copy()
    aside[0] += 0.4
    grasped = posed(near, CLOSED)
    stage.play(
        motion(waiting, [(posed(near, OPEN), 5), (grasped, 5), (grasped, 2), (up, 6), (aside, 3)])
    )
    before = in_palm(simulation)
    assert simulation.observe(["object"])["object"][2] > 0.08 + 0.1
    stage.play(np.repeat(aside[None], 30, axis=0))
    assert np.linalg.norm(in_palm(simulation) - before) < 8e-3


def in_palm(simulation: CounterSimulation) -> np.ndarray:
    """Where the object is, in the frame of the palm."""
    seen = simulation.observe(["palm", "object"])
    away = seen["object"][:3] - seen["palm"][:3]
    return turned(inverse(seen["palm"][3:]), away)
