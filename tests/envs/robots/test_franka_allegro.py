import mujoco
import numpy as np
import pytest

from dexworld.envs.robots.allegro_hand import WRIST
from dexworld.envs.robots.franka_allegro import (
    ARM_CONTACTS,
    ARM_HOME,
    ARM_LIMITS,
    BASE,
    JOINTS,
    franka_allegro,
)

OPEN = np.array([0.0, 0.05, 0.05, 0.05] * 3 + [1.37, 0.35, 0.3, 0.0])
HOME = np.concatenate([ARM_HOME, OPEN])


@pytest.fixture(scope="module")
def robot():
    return franka_allegro().compile()


def flange_by_denavit_hartenberg(angles):
    """Return the pose of Franka's flange from its published table (Craig's convention)."""
    half = np.pi / 2
    shifts = (0.0, 0.0, 0.0, 0.0825, -0.0825, 0.0, 0.088, 0.0)
    offsets = (0.333, 0.0, 0.316, 0.0, 0.384, 0.0, 0.0, 0.107)
    twists = (0.0, -half, half, half, -half, half, half, 0.0)
    pose = np.eye(4)
    for a, d, alpha, theta in zip(shifts, offsets, twists, (*angles, 0.0), strict=True):
        c, s, ca, sa = np.cos(theta), np.sin(theta), np.cos(alpha), np.sin(alpha)
        pose = pose @ np.array(
            [
                [c, -s, 0.0, a],
                [s * ca, c * ca, -sa, -d * sa],
                [s * sa, c * sa, ca, d * ca],
                [0.0, 0.0, 0.0, 1.0],
            ]
        )
    return pose


def moved(model, angles):
    data = mujoco.MjData(model)
    data.qpos[:] = angles
    mujoco.mj_kinematics(model, data)
    return data


def test_joints_and_servos_come_in_one_order(robot):
    assert tuple(robot.joint(i).name for i in range(robot.njnt)) == JOINTS
    assert tuple(robot.actuator(i).name for i in range(robot.nu)) == JOINTS
    np.testing.assert_array_equal(robot.actuator_trnid[:, 0], np.arange(23))


def test_the_palm_sits_where_the_franka_table_and_the_mount_put_it(robot):
    rng = np.random.default_rng(0)
    low, high = robot.jnt_range.T
    yaw = np.array([[1.0, 1.0, 0.0], [-1.0, 1.0, 0.0], [0.0, 0.0, np.sqrt(2)]]) / np.sqrt(2)
    for angles in rng.uniform(low, high, (10, 23)):
        data = moved(robot, angles)
        flange = flange_by_denavit_hartenberg(angles[:7])
        rear = flange[:3, 3] + (0.11355 - 0.107) * flange[:3, 2]
        np.testing.assert_allclose(data.site(WRIST).xpos, rear, atol=1e-6)
        turned = data.site(WRIST).xmat.reshape(3, 3)
        np.testing.assert_allclose(turned, flange[:3, :3] @ yaw, atol=1e-6)


def test_at_home_fingers_point_down_and_the_palm_away_from_the_base(robot):
    frame = moved(robot, HOME).body("palm").xmat.reshape(3, 3)
    np.testing.assert_allclose(frame, [[1, 0, 0], [0, -1, 0], [0, 0, -1]], atol=2e-3)


@pytest.mark.parametrize("name", ARM_LIMITS)
def test_joint_ranges_are_those_of_the_chosen_arm_in_radians(name):
    model = franka_allegro(limits=name).compile()
    np.testing.assert_allclose(model.jnt_range[:7], ARM_LIMITS[name])
    np.testing.assert_allclose(model.actuator_ctrlrange, model.jnt_range, atol=1e-12)
    assert model.jnt_limited.all()
    assert model.actuator_ctrllimited.all()
    np.testing.assert_allclose(model.actuator_forcerange[:7, 1], [87] * 4 + [12] * 3)


def test_the_servos_hold_any_pose_against_gravity(robot):
    assert robot.opt.gravity[2] < -9
    rng = np.random.default_rng(1)
    for _ in range(4):
        target = HOME.copy()
        target[:7] += rng.uniform(-0.4, 0.4, 7)
        data = mujoco.MjData(robot)
        data.qpos[:] = data.ctrl[:] = target
        mujoco.mj_step(robot, data, 400)
        np.testing.assert_allclose(data.qpos, target, atol=1e-3)


def test_without_gravity_compensation_the_arm_would_sag():
    spec = franka_allegro()
    for body in spec.bodies:
        body.gravcomp = 0.0
    model = spec.compile()
    data = mujoco.MjData(model)
    data.qpos[:] = data.ctrl[:] = HOME
    mujoco.mj_step(model, data, 400)
    assert np.abs(data.qpos - HOME)[:7].max() > 3e-3


def test_a_waypoint_is_reached_in_half_a_second_without_overshoot(robot):
    data = mujoco.MjData(robot)
    data.qpos[:] = data.ctrl[:] = HOME
    target = HOME + np.where(np.arange(23) < 7, 0.2, 0.3) * np.where(HOME > 1.0, -1, 1)
    for share in np.linspace(0.01, 1.0, 100):
        data.ctrl[:] = (1 - share) * HOME + share * target
        mujoco.mj_step(robot, data)
    assert np.abs(data.qpos - target).max() < 0.06
    mujoco.mj_step(robot, data, 100)
    passed = np.sign(target - HOME) * (data.qpos - target)
    assert passed.max() < 5e-3
    np.testing.assert_allclose(data.qpos, target, atol=5e-3)


@pytest.mark.parametrize("visuals", ["none", pytest.param("mesh", marks=pytest.mark.slow)])
def test_what_is_drawn_does_not_change_the_motion(robot, visuals):
    motions = []
    for model in (robot, franka_allegro(visuals).compile()):
        data = mujoco.MjData(model)
        data.qpos[:] = HOME
        data.ctrl[:] = HOME + 0.2
        mujoco.mj_step(model, data, 100)
        motions.append(data.qpos.copy())
        assert model.body_mass.sum() == pytest.approx(18.5 + 0.9589)
    np.testing.assert_array_equal(*motions)
    faces = {"none": 0, "mesh": 100_000}[visuals]
    assert model.nmeshface >= faces
    assert robot.nmeshface < 5000
    if not faces:
        assert model.nmesh == 0
        assert (model.geom_contype | model.geom_conaffinity).all()


def test_the_arm_bumps_into_what_offers_its_bit_and_never_into_its_hand():
    for bits, touched in ((1 | ARM_CONTACTS, True), (1, False)):
        spec = franka_allegro()
        spec.worldbody.add_geom(
            name="wall",
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[0.08, 0.0, 0.65],
            size=[0.05, 0.5, 0.05],
            conaffinity=bits,
        )
        model = spec.compile()
        data = mujoco.MjData(model)
        data.qpos[:] = HOME
        mujoco.mj_forward(model, data)
        bumped = {model.geom(geom).name for pair in data.contact.geom for geom in pair} - {"wall"}
        assert all(name.startswith("bumper") for name in bumped)
        assert bool(bumped) == touched


def test_the_robot_can_be_attached_to_a_scene_that_lies_elsewhere(tmp_path):
    scene = mujoco.MjSpec()
    scene.modelfiledir = str(tmp_path)
    frame = scene.worldbody.add_frame(pos=[0.0, 0.0, 1.0])
    frame.attach_body(franka_allegro().body(BASE), "", "")
    model = scene.compile()
    assert model.nu == 23
    np.testing.assert_allclose(model.jnt_range[:7], ARM_LIMITS["panda"])
    np.testing.assert_allclose(moved(model, HOME).body("link1").xpos, [0, 0, 1.333])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            {"visuals": "photo"},
            r"visuals='photo': the arm is drawn as one of \['fast', 'mesh', 'none'\]",
        ),
        ({"limits": "ur5"}, r"limits='ur5': ranges are known of \['panda', 'fr3'\]"),
    ],
)
def test_unknown_names_are_answered_with_those_there_are(arguments, message):
    with pytest.raises(ValueError, match=message):
        franka_allegro(**arguments)
