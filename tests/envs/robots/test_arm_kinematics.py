import numpy as np
import pytest

from dexworld.envs.robots.arm_kinematics import ArmKinematics
from dexworld.envs.robots.franka_allegro import ARM_HOME, ARM_LIMITS


@pytest.fixture(scope="module")
def kinematics() -> ArmKinematics:
    return ArmKinematics()


def test_at_home_the_fingers_point_down_and_the_palm_away(kinematics):
    position, orientation = kinematics.palm_pose(ARM_HOME)
    np.testing.assert_allclose(orientation[:, 2], (0.0, 0.0, -1.0), atol=1e-3)
    np.testing.assert_allclose(orientation[:, 0], (1.0, 0.0, 0.0), atol=1e-3)
    assert 0.4 < position[0] < 0.6 and abs(position[1]) < 1e-3


def test_it_finds_what_can_be_reached(kinematics):
    rng = np.random.default_rng(0)
    low, high = np.array(ARM_LIMITS["panda"]).T
    for _ in range(10):
        joints = np.clip(ARM_HOME + rng.normal(0.0, 0.3, 7), low + 0.1, high - 0.1)
        position, orientation = kinematics.palm_pose(joints)
        solution = kinematics.solve(position, orientation)
        assert solution.found, solution
        assert (solution.joints > low).all() and (solution.joints < high).all()
        here, turned = kinematics.palm_pose(solution.joints)
        np.testing.assert_allclose(here, position, atol=3e-3)
        np.testing.assert_allclose(turned, orientation, atol=3e-2)


def test_it_says_what_it_does_not_find(kinematics):
    _, orientation = kinematics.palm_pose(ARM_HOME)
    solution = kinematics.solve(np.array([1.5, 0.0, 0.3]), orientation)
    assert not solution.found and solution.distance > 0.3
    low, high = np.array(ARM_LIMITS["panda"]).T
    assert (solution.joints > low).all() and (solution.joints < high).all()


def test_the_null_space_goes_to_the_rest_posture(kinematics):
    position, orientation = kinematics.palm_pose(ARM_HOME)
    away = ARM_HOME + np.array([0.4, 0.0, -0.4, 0.0, 0.0, 0.0, 0.0])
    solution = kinematics.solve(position, orientation, start=away)
    assert np.abs(solution.joints - ARM_HOME).max() < np.abs(away - ARM_HOME).max()


def test_the_limits_are_those_of_the_robot():
    fr3 = ArmKinematics("fr3")
    np.testing.assert_array_equal(fr3.low, np.array(ARM_LIMITS["fr3"])[:, 0])
