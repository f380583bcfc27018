import mujoco
import numpy as np
import pytest

from dexworld.envs.robots.allegro_hand import (
    FINGERTIPS,
    JOINTS,
    LINKS,
    MIRROR_SIGNS,
    PALM,
    WRIST,
    left_hand,
    mirrored,
    right_hand,
    set_contact_options,
)

GOLDEN_TIPS = {
    0.0: [
        (0.0, 0.05531, 0.13344),
        (0.0, 0.0, 0.13620),
        (0.0, -0.05531, 0.13344),
        (-0.0132, 0.16770, -0.08607),
    ],
    0.5: [
        (0.07445, 0.09155, 0.08101),
        (0.07445, 0.04067, 0.08713),
        (0.07445, -0.01052, 0.08810),
        (0.07173, 0.11518, -0.02841),
    ],
}
"""Fingertips [m] with all joints at one angle [rad]: index, middle, ring, thumb.

Computed from an independently written model of the same tables.
"""

GRASP = np.array([0.0, 0.459, 0.921, 0.506] * 3 + [1.319, 0.475, 1.462, 0.784])
OPEN = np.array([0.0, 0.05, 0.05, 0.05] * 3 + [1.37, 0.35, 0.3, 0.0])

CAN = """
<mujoco>
  <worldbody>
    <body name="can" pos="0.0502 0 0.0714">
      <freejoint/>
      <geom type="cylinder" size="0.031 0.08" mass="0.1" condim="4" friction="1 0.01 0.0005"
            solref="0.01 1"/>
    </body>
  </worldbody>
</mujoco>
"""
"""Along the fingers, in front of the palm."""


def points(model, angles, sites):
    data = mujoco.MjData(model)
    data.qpos[:] = angles
    mujoco.mj_kinematics(model, data)
    return np.array([data.site(name).xpos for name in sites])


def names(model, count, accessor):
    return tuple(getattr(model, accessor)(index).name for index in range(count))


@pytest.fixture(scope="module")
def right():
    return right_hand().compile()


@pytest.fixture(scope="module")
def left():
    return left_hand().compile()


@pytest.mark.parametrize("angle", GOLDEN_TIPS)
def test_fingertips_are_where_the_real_hand_has_them(right, angle):
    found = points(right, angle, FINGERTIPS)
    np.testing.assert_allclose(found, GOLDEN_TIPS[angle], atol=1e-4, rtol=0)


@pytest.mark.parametrize("hand", ["right", "left"])
def test_sixteen_joints_and_the_mass_of_the_links(hand, request):
    model = request.getfixturevalue(hand)
    assert (model.njnt, model.nq, model.nbody) == (16, 16, 18)
    assert names(model, 16, "joint") == JOINTS
    assert names(model, 16, "actuator") == JOINTS
    assert tuple(model.body(2 + index).name for index in range(16)) == LINKS
    assert model.body_mass.sum() == pytest.approx(0.959, abs=5e-4)
    assert not np.isin(model.geom_type, [mujoco.mjtGeom.mjGEOM_MESH]).any()


def test_servos_reach_over_the_range_of_their_joints(right):
    np.testing.assert_allclose(right.actuator_ctrlrange, right.jnt_range, atol=1e-12)
    np.testing.assert_array_equal(right.actuator_forcerange, np.tile([-0.7, 0.7], (16, 1)))


def test_the_left_hand_is_the_mirror_image_at_mirrored_angles(right, left):
    rng = np.random.default_rng(0)
    sites = (*FINGERTIPS, WRIST)
    for angles in rng.uniform(right.jnt_range[:, 0], right.jnt_range[:, 1], (20, 16)):
        image = points(left, MIRROR_SIGNS * angles, sites)
        np.testing.assert_allclose(image, points(right, angles, sites) * [1, -1, 1], atol=1e-12)
    assert np.abs(points(left, angles, sites) - image).max() > 0.01  # the signs matter


def test_the_mirrored_mass_and_shapes_match(right, left):
    np.testing.assert_allclose(left.body_ipos, right.body_ipos * [1, -1, 1], atol=1e-12)
    np.testing.assert_allclose(left.body_inertia, right.body_inertia, rtol=1e-9)
    np.testing.assert_allclose(left.geom_size, right.geom_size)
    np.testing.assert_allclose(left.geom_pos, right.geom_pos * [1, -1, 1], atol=1e-12)


def test_mirroring_twice_changes_nothing(right):
    twice = mirrored(mirrored(right_hand())).compile()
    for field in ("body_pos", "body_quat", "body_iquat", "geom_pos", "geom_quat", "jnt_axis"):
        np.testing.assert_allclose(getattr(twice, field), getattr(right, field), atol=1e-12)


def test_a_mirror_reflects_slides_inertias_and_capsules_between_points():
    spec = mujoco.MjSpec.from_string("""
    <mujoco><worldbody><body name="a" pos="0 0.1 0">
      <inertial pos="0.01 0.02 0" mass="1" fullinertia="0.1 0.2 0.25 0.01 0.02 0.03"/>
      <joint name="slide" type="slide" axis="0 1 1"/>
      <geom type="capsule" fromto="0 0 0 0.1 0.2 0.3" size="0.01"/>
      <site name="s" pos="0 0.1 0" quat="0.9 0.1 0.2 0.3"/>
    </body></worldbody></mujoco>""")
    right, left = spec.compile(), mirrored(spec).compile()
    flip = np.diag([1.0, -1.0, 1.0])
    data = {"right": mujoco.MjData(right), "left": mujoco.MjData(left)}
    for model, one in ((right, data["right"]), (left, data["left"])):
        one.qpos[:] = 0.07
        mujoco.mj_forward(model, one)
    for part in ("geom_xpos", "site_xpos", "xipos"):
        found, expected = getattr(data["left"], part), getattr(data["right"], part) @ flip
        np.testing.assert_allclose(found, expected, atol=1e-12)
    turn = data["right"].site("s").xmat.reshape(3, 3)
    np.testing.assert_allclose(
        data["left"].site("s").xmat.reshape(3, 3), flip @ turn @ flip, atol=1e-12
    )

    def inertia(one, model):
        axes = one.ximat[1].reshape(3, 3)
        return axes @ np.diag(model.body_inertia[1]) @ axes.T

    np.testing.assert_allclose(
        inertia(data["left"], left), flip @ inertia(data["right"], right) @ flip, atol=1e-9
    )


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('<freejoint name="f"/><geom size="0.1"/>', "joint 'f' cannot be mirrored: only hinges"),
        ('<geom name="g" size="0.1" euler="10 0 0"/>', "'g' cannot be mirrored: write it as a qua"),
    ],
)
def test_what_cannot_be_mirrored_is_refused(body, reason):
    spec = mujoco.MjSpec.from_string(f"<mujoco><worldbody><body>{body}</body></worldbody></mujoco>")
    with pytest.raises(ValueError, match=reason):
        mirrored(spec)


@pytest.mark.parametrize("pose", [OPEN, GRASP], ids=["open", "grasp"])
@pytest.mark.parametrize("hand", ["right", "left"])
def test_the_servos_hold_a_pose_against_gravity_without_touching_themselves(hand, pose, request):
    model = request.getfixturevalue(hand)
    target = pose if hand == "right" else MIRROR_SIGNS * pose
    data = mujoco.MjData(model)
    data.qpos[:] = target
    data.ctrl[:] = target
    mujoco.mj_step(model, data, 400)
    assert data.ncon == 0
    np.testing.assert_allclose(data.qpos, target, atol=1e-3)
    assert np.abs(data.qvel).max() < 1e-4


def slip(pyramidal):
    """How far a grasped can moves in three seconds with the fingers pointing down [m]."""
    scene = mujoco.MjSpec.from_string(CAN)
    scene.worldbody.add_frame().attach_body(right_hand().body(PALM), "", "")
    scene.option.gravity = (0.0, 0.0, 0.0)
    set_contact_options(scene)
    if pyramidal:
        scene.option.cone = mujoco.mjtCone.mjCONE_PYRAMIDAL
        scene.option.impratio = 1.0
    model = scene.compile()
    data = mujoco.MjData(model)
    data.qpos[7:] = OPEN
    for share in np.linspace(0.0, 1.0, 100):
        data.ctrl[:] = OPEN + share * (GRASP - OPEN)
        mujoco.mj_step(model, data)
    model.opt.gravity[:] = (0.0, 0.0, 9.81)
    mujoco.mj_step(model, data, 100)
    before = data.body("can").xpos.copy()
    mujoco.mj_step(model, data, 600)
    return np.linalg.norm(data.body("can").xpos - before)


def test_a_grasped_can_stays_because_of_the_contact_options():
    assert slip(pyramidal=False) < 0.01
    assert slip(pyramidal=True) > 0.02


def test_two_hands_fit_into_one_scene():
    scene = mujoco.MjSpec()
    for prefix, hand in (("", right_hand()), ("left_", left_hand())):
        frame = scene.worldbody.add_frame(pos=[0.0, 0.5 * bool(prefix), 0.0])
        frame.attach_body(hand.body(PALM), prefix, "")
    model = scene.compile()
    assert (model.nu, model.nexclude) == (32, 32)
    one = right_hand().compile()
    np.testing.assert_allclose(model.jnt_range, np.tile(one.jnt_range, (2, 1)))
    np.testing.assert_allclose(model.actuator_ctrlrange, np.tile(one.jnt_range, (2, 1)), atol=1e-12)
