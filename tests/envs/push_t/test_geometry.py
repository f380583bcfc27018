from pathlib import Path

import numpy as np
import pytest

from dexworld.envs.push_t.geometry import (
    AREA,
    KEYPOINTS,
    OUTLINE,
    GoalCoverage,
    angle_difference,
    centre_of_mass,
    coverage,
    fitted_poses,
    legacy_pose,
    placed,
)

GOLDEN = Path(__file__).parents[2] / "data" / "push_t_golden.npz"
GOAL = np.array([256.0, 256.0, np.pi / 4])


def test_coverage_is_that_of_the_public_environment():
    with np.load(GOLDEN) as golden:
        states, expected = golden["states"], golden["coverage"]
    poses = states[..., 2:5]
    assert np.abs(coverage(poses, GOAL) - expected).max() < 1e-9
    assert (expected > 0).mean() > 0.1
    single = GoalCoverage(GOAL)
    chosen = poses[::7].reshape(-1, 3)
    one_by_one = [single(*pose) for pose in chosen.tolist()]
    assert np.abs(np.array(one_by_one) - expected[::7].ravel()).max() < 1e-9


@pytest.mark.parametrize("angle", [0.0, 1.0, -4.0, 11.0])
def test_coverage_of_itself_is_one_and_turns_with_the_goal(angle):
    pose = np.array([200.0, 300.0, angle])
    assert coverage(pose, pose) == pytest.approx(1.0, abs=1e-12)
    assert GoalCoverage(pose)(200.0, 300.0, angle + 2 * np.pi) == pytest.approx(1.0, abs=1e-9)


def test_coverage_of_a_shifted_bar_is_known():
    up, down = np.array([0.0, 0.0, 0.0]), np.array([0.0, 0.0, np.pi])
    assert coverage(up, down) == pytest.approx(0.0, abs=1e-9)  # bars back to back
    overlapping = coverage(up, np.array([0.0, 30.0, np.pi]))  # bar on bar, stems apart
    assert overlapping == pytest.approx(120 * 30 / AREA, abs=1e-9)


def test_blocks_that_cannot_overlap_are_not_measured():
    far = np.array([0.0, 0.0, 0.0])
    assert coverage(far, np.array([0.0, 200.0, 0.0])) == 0.0
    assert GoalCoverage(far)(0.0, 200.0, 0.0) == 0.0
    touching = GoalCoverage(np.array([0.0, 239.0, np.pi]))(0.0, 0.0, 0.0)  # stem on stem, 1 px
    assert touching == pytest.approx(30.0 / AREA, abs=1e-9)


def test_coverage_broadcasts():
    poses = np.zeros((4, 3, 3)) + GOAL
    assert coverage(poses, GOAL).shape == (4, 3)
    assert coverage(poses, np.zeros((3, 3)) + GOAL).shape == (4, 3)


def test_legacy_pose_is_the_example_of_the_public_environment():
    legacy = legacy_pose(np.array([20.0, 30.0, 1.0]))
    assert np.allclose(legacy, [57.866196, 50.686398, 1.0], rtol=0, atol=1e-5)


def test_legacy_placing_keeps_the_centre_of_mass_where_it_was_unturned():
    pose = np.array([20.0, 30.0, 1.0])
    assert np.allclose(centre_of_mass(legacy_pose(pose)), [20.0, 30.0 + 45.0])


def test_placing_keeps_shapes():
    outline = placed(OUTLINE, np.array([[100.0, 50.0, 0.0], [0.0, 0.0, np.pi / 2]]))
    assert np.allclose(outline[0], OUTLINE + np.array([100.0, 50.0]))
    assert np.allclose(outline[1], OUTLINE @ np.array([[0.0, 1.0], [-1.0, 0.0]]))
    assert placed(KEYPOINTS, np.zeros((2, 5, 3))).shape == (2, 5, 4, 2)


def test_angle_difference_is_on_the_circle():
    assert angle_difference(np.array(0.1), np.array(2 * np.pi - 0.1)) == pytest.approx(0.2)
    assert angle_difference(np.array(9.0), np.array(9.0 + 6 * np.pi)) == pytest.approx(
        0.0, abs=1e-9
    )


def test_poses_are_found_again_from_their_keypoints():
    random = np.random.default_rng(0)
    poses = random.uniform((0, 0, -np.pi), (512, 512, np.pi), (4, 5, 3))
    np.testing.assert_allclose(fitted_poses(placed(KEYPOINTS, poses)), poses, atol=1e-9)
    np.testing.assert_allclose(
        fitted_poses(placed(OUTLINE, poses[0, 0]), OUTLINE), poses[0, 0], atol=1e-9
    )


def test_no_pose_is_closer_to_points_of_no_rigid_body():
    random = np.random.default_rng(1)
    points = placed(KEYPOINTS, np.array([200.0, 300.0, 2.0])) + random.normal(0, 30, (50, 4, 2))
    fitted = fitted_poses(points)

    def misfit(poses):
        return np.square(placed(KEYPOINTS, poses) - points).sum(axis=(-2, -1))

    for step in np.diag([0.1, 0.1, 1e-3]):
        assert (misfit(fitted + step) > misfit(fitted)).all()
        assert (misfit(fitted - step) > misfit(fitted)).all()
    assert (misfit(fitted) < misfit(fitted + np.array([0.0, 0.0, np.pi]))).all(), (
        "the other way round"
    )
