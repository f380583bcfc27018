"""Kinematics against MuJoCo, on random trees of every kind of joint."""

from __future__ import annotations

import re
import subprocess
import sys

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from dexworld.envs.robots.allegro_hand import FINGERTIPS, JOINTS, right_hand
from dexworld.world_models.kinematics import Kinematics, Poses

HINGES_AND_SLIDES = (mujoco.mjtJoint.mjJNT_HINGE, mujoco.mjtJoint.mjJNT_SLIDE)
ALL_KINDS = (*HINGES_AND_SLIDES, mujoco.mjtJoint.mjJNT_BALL, mujoco.mjtJoint.mjJNT_FREE)


def random_tree(
    seed: int, bodies: int = 12, kinds: tuple[mujoco.mjtJoint, ...] = ALL_KINDS
) -> mujoco.MjModel:
    """Return a model of `bodies` bodies, each with up to three joints and a site."""
    rng = np.random.default_rng(seed)
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    everything = [spec.worldbody]
    spec.worldbody.add_site(name="site0", pos=rng.normal(size=3), quat=rng.normal(size=4))
    for index in range(1, bodies + 1):
        parent = everything[rng.integers(len(everything))]
        body = parent.add_body(
            name=f"body{index}", pos=0.3 * rng.normal(size=3), quat=rng.normal(size=4)
        )
        # A moving body needs an inertia; where it is does not matter to kinematics.
        body.add_geom(size=[0.1, 0.0, 0.0], mass=1.0)
        body.add_site(name=f"site{index}", pos=0.2 * rng.normal(size=3), quat=rng.normal(size=4))
        everything.append(body)
        for number in range(rng.integers(4)):
            kind = kinds[rng.integers(len(kinds))]
            free = kind == mujoco.mjtJoint.mjJNT_FREE
            if free and (parent is not spec.worldbody or number):
                continue
            body.add_joint(
                name=f"joint{index}_{number}",
                type=kind,
                pos=np.zeros(3) if free else 0.2 * rng.normal(size=3),
                axis=rng.normal(size=3),
                ref=0.0 if free or kind == mujoco.mjtJoint.mjJNT_BALL else rng.normal(),
                range=[-1.0, 1.5],
                limited=kind in HINGES_AND_SLIDES,
            )
            if free or kind == mujoco.mjtJoint.mjJNT_BALL:
                break
    return spec.compile()


def random_positions(model: mujoco.MjModel, rows: int, seed: int = 0) -> NDArray[np.float64]:
    """Return joint positions `(rows, nq)`; quaternions of any length."""
    return np.random.default_rng(seed).normal(size=(rows, model.nq))


def mujoco_poses(
    model: mujoco.MjModel, joints: NDArray[np.float64], frames: tuple[str, ...]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return positions `(rows, F, 3)` and rotations `(rows, F, 3, 3)` by MuJoCo, one row at once."""
    data = mujoco.MjData(model)
    positions, rotations = [], []
    for row in joints:
        data.qpos[:] = row
        mujoco.mj_kinematics(model, data)
        found = [data.site(name) if _is_site(model, name) else data.body(name) for name in frames]
        positions.append([each.xpos.copy() for each in found])
        rotations.append([each.xmat.reshape(3, 3).copy() for each in found])
    return np.array(positions), np.array(rotations)


def _is_site(model: mujoco.MjModel, name: str) -> bool:
    return bool(mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_SITE, name) >= 0)


def all_joints(model: mujoco.MjModel) -> list[str]:
    return [model.joint(index).name for index in range(model.njnt)]


def frames_of(model: mujoco.MjModel) -> tuple[str, ...]:
    """Return all sites, and every other body, in a random order and some of them twice."""
    names = [model.site(index).name for index in range(model.nsite)]
    names += [model.body(index).name for index in range(0, model.nbody, 2)]
    return tuple(np.random.default_rng(0).choice(names, len(names) + 3))


seeds = st.integers(0, 10_000)


@given(seeds)
@settings(max_examples=12)
def test_poses_are_those_of_mujoco(seed: int) -> None:
    model = random_tree(seed)
    frames, joints = frames_of(model), random_positions(model, 5)
    poses = Kinematics(model, frames, all_joints(model)).poses(torch.from_numpy(joints))
    position, rotation = mujoco_poses(model, joints, frames)
    np.testing.assert_allclose(poses.position, position, rtol=0, atol=1e-12)
    np.testing.assert_allclose(poses.rotation, rotation, rtol=0, atol=1e-12)


@given(seeds)
@settings(max_examples=12)
def test_positions_are_those_of_poses(seed: int) -> None:
    model = random_tree(seed)
    kinematics = Kinematics(model, frames_of(model), all_joints(model))
    joints = torch.from_numpy(random_positions(model, 6)).reshape(2, 3, -1)
    poses, positions = kinematics.poses(joints), kinematics.positions(joints)
    assert positions.shape == (2, 3, len(kinematics.frames), 3)
    assert poses.rotation.shape == (2, 3, len(kinematics.frames), 3, 3)
    torch.testing.assert_close(positions, poses.position, rtol=0, atol=1e-14)


@given(seeds)
@settings(max_examples=12)
def test_gradients_are_those_of_finite_differences(seed: int) -> None:
    model = random_tree(seed)
    kinematics = Kinematics(model, frames_of(model), all_joints(model))
    joints = torch.from_numpy(random_positions(model, 3)).requires_grad_()
    generator = torch.Generator().manual_seed(seed)

    def pulled(poses: Poses) -> Tensor:
        return sum(
            (w * each).flatten(2).sum(2) for w, each in zip(weights, poses, strict=True)
        ).sum(1)

    weights = [
        torch.randn(each.shape[1:], generator=generator, dtype=torch.float64)
        for each in kinematics.poses(joints)
    ]
    (gradient,) = torch.autograd.grad(pulled(kinematics.poses(joints)).sum(), joints)
    step = 1e-6 * torch.eye(kinematics.size, dtype=torch.float64)
    for row, expected in zip(joints.detach(), gradient, strict=True):
        both = [pulled(kinematics.poses(row + sign * step)) for sign in (1, -1)]
        torch.testing.assert_close((both[0] - both[1]) / 2e-6, expected, rtol=1e-6, atol=1e-7)
    positions = kinematics.positions(joints)
    (of_positions,) = torch.autograd.grad((weights[0] * positions).sum(), joints)
    (same,) = torch.autograd.grad((weights[0] * kinematics.poses(joints).position).sum(), joints)
    torch.testing.assert_close(of_positions, same, rtol=0, atol=1e-12)


@given(seeds)
@settings(max_examples=12)
def test_jacobians_are_those_of_mujoco(seed: int) -> None:
    model = random_tree(seed, kinds=HINGES_AND_SLIDES)
    frames = tuple(model.site(index).name for index in range(model.nsite))
    joints = random_positions(model, 2)
    motions = Kinematics(model, frames, all_joints(model)).motions(torch.from_numpy(joints))
    data = mujoco.MjData(model)
    linear, angular = np.empty((2, 3, model.nv))
    for row, values in enumerate(joints):
        data.qpos[:] = values
        mujoco.mj_kinematics(model, data)
        mujoco.mj_comPos(model, data)
        for place, name in enumerate(frames):
            mujoco.mj_jacSite(model, data, linear, angular, model.site(name).id)
            np.testing.assert_allclose(motions.linear[row, place], linear, atol=1e-12)
            np.testing.assert_allclose(motions.angular[row, place], angular, atol=1e-12)
    position, rotation = mujoco_poses(model, joints, frames)
    np.testing.assert_allclose(motions.poses.position, position, atol=1e-12)
    np.testing.assert_allclose(motions.poses.rotation, rotation, atol=1e-12)


@given(seeds)
@settings(max_examples=12)
def test_joints_that_are_not_given_are_held(seed: int) -> None:
    model = random_tree(seed)
    frames, joints = frames_of(model), random_positions(model, 4)
    rng = np.random.default_rng(seed)
    chosen = rng.permutation(all_joints(model))[: rng.integers(model.njnt + 1)].tolist()
    held = joints[0].copy()
    moved = np.repeat(held[None], 4, axis=0)
    columns = []
    for name in chosen:
        start = model.joint(name).qposadr[0]
        columns += range(start, start + len(model.joint(name).qpos0))
    moved[:, columns] = joints[:, columns]
    kinematics = Kinematics(model, frames, chosen, held)
    assert kinematics.joints == tuple(chosen)
    position, rotation = mujoco_poses(model, moved, frames)
    poses = kinematics.poses(torch.from_numpy(joints[:, columns]))
    np.testing.assert_allclose(poses.position, position, rtol=0, atol=1e-12)
    np.testing.assert_allclose(poses.rotation, rotation, rtol=0, atol=1e-12)


def test_by_default_joints_that_move_a_frame_are_given_and_others_stay_at_their_references() -> (
    None
):
    model = random_tree(3, kinds=HINGES_AND_SLIDES)
    kinematics = Kinematics(model, ["site9"])
    body, moving = model.body("body9").id, set()
    while body:
        first = int(model.body_jntadr[body])
        moving |= set(range(first, first + int(model.body_jntnum[body])))
        body = int(model.body_parentid[body])
    assert kinematics.joints == tuple(model.joint(index).name for index in sorted(moving))
    assert 0 < len(moving) < model.njnt
    joints = model.qpos0[sorted(moving)] + 0.3
    everything = model.qpos0.copy()
    everything[sorted(moving)] = joints
    position, _ = mujoco_poses(model, everything[None], ("site9",))
    np.testing.assert_allclose(kinematics.positions(torch.from_numpy(joints)), position[0])


def test_limits_are_those_of_the_model() -> None:
    model = right_hand().compile()
    reverse = JOINTS[::-1]
    kinematics = Kinematics(model, FINGERTIPS, reverse)
    np.testing.assert_array_equal(kinematics.low, model.jnt_range[::-1, 0])
    np.testing.assert_array_equal(kinematics.high, model.jnt_range[::-1, 1])
    free = Kinematics(random_tree(1), ["site1"], all_joints(random_tree(1)))
    assert free.low.isinf().any() and free.low.shape == (free.size,)


def test_float32_agrees_to_a_micrometre() -> None:
    model = right_hand().compile()
    kinematics = Kinematics(model, FINGERTIPS, JOINTS)
    low, high = model.jnt_range.T
    joints = np.random.default_rng(0).uniform(low, high, (1000, 16)).astype(np.float32)
    position, rotation = mujoco_poses(model, joints.astype(np.float64), FINGERTIPS)
    poses = kinematics.poses(torch.from_numpy(joints))
    assert poses.position.dtype == torch.float32
    np.testing.assert_allclose(poses.position, position, rtol=0, atol=1e-6)
    np.testing.assert_allclose(poses.rotation, rotation, rtol=0, atol=1e-6)


def test_rows_do_not_influence_each_other() -> None:
    model = random_tree(5)
    kinematics = Kinematics(model, frames_of(model), all_joints(model))
    joints = torch.from_numpy(random_positions(model, 4)).requires_grad_()
    with torch.no_grad():
        together = kinematics.positions(joints)
        for row in range(4):
            alone = kinematics.positions(joints[row])
            torch.testing.assert_close(alone, together[row], rtol=0, atol=1e-14)
    (own,) = torch.autograd.grad(kinematics.positions(joints)[1].sum(), joints)
    assert (own[[0, 2, 3]] == 0).all() and own[1].any()


def test_a_row_that_is_not_finite_stays_alone() -> None:
    model = random_tree(5, kinds=HINGES_AND_SLIDES)
    kinematics = Kinematics(model, frames_of(model), all_joints(model))
    joints = torch.from_numpy(random_positions(model, 3))
    joints[1] = torch.nan
    finite = kinematics.positions(joints).isfinite().flatten(1)
    assert finite[[0, 2]].all() and not finite[1].all()


def test_no_rows_are_no_poses() -> None:
    for seed, kinds in ((0, ALL_KINDS), (3, HINGES_AND_SLIDES)):
        model = random_tree(seed, kinds=kinds)
        kinematics = Kinematics(model, ["site1", "site9"], all_joints(model))
        joints = torch.zeros(0, kinematics.size, requires_grad=True)
        assert kinematics.positions(joints).shape == (0, 2, 3)
        (gradient,) = torch.autograd.grad(kinematics.poses(joints).rotation.sum(), joints)
        assert gradient.shape == joints.shape
    assert kinematics.motions(joints).linear.shape == (0, 2, 3, kinematics.size)


def test_what_nothing_moves_has_a_pose_and_no_gradient() -> None:
    kinematics = Kinematics(right_hand().compile(), ["wrist", "palm"])
    assert kinematics.joints == () and kinematics.size == 0
    assert kinematics.positions(torch.zeros(2, 0)).shape == (2, 2, 3)
    ignored = Kinematics(right_hand().compile(), ["wrist"], JOINTS)
    joints = torch.zeros(2, 16, requires_grad=True)
    (gradient,) = torch.autograd.grad(ignored.positions(joints).sum(), joints)
    assert (gradient == 0).all()


def test_second_derivatives_are_refused() -> None:
    kinematics = Kinematics(right_hand().compile(), FINGERTIPS, JOINTS)
    joints = torch.zeros(1, 16, requires_grad=True)
    weights = torch.ones(1, 4, 3, requires_grad=True)
    (gradient,) = torch.autograd.grad(
        kinematics.positions(joints), joints, weights, create_graph=True
    )
    with pytest.raises(RuntimeError, match="once_differentiable"):
        gradient.sum().backward()


def test_names_choose_between_a_site_and_a_body() -> None:
    spec = mujoco.MjSpec()
    body = spec.worldbody.add_body(name="tool", pos=[1, 0, 0])
    body.add_joint(name="turn", axis=[0, 0, 1])
    body.add_geom(size=[0.1, 0, 0])
    body.add_site(name="tool", pos=[0, 2, 0])
    model = spec.compile()
    kinematics = Kinematics(model, ["body:tool", "site:tool"])
    found = kinematics.positions(torch.zeros(1))
    assert found.tolist() == [[1.0, 0.0, 0.0], [1.0, 2.0, 0.0]]
    with pytest.raises(ValueError, match="'tool' is a site and a body: say 'site:tool' or"):
        Kinematics(model, ["tool"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"frames": ["indx_tip"]}, "no site or body 'indx_tip'. Did you mean 'index_tip'"),
        ({"frames": ["body:index_tip"]}, "there is no body 'index_tip'."),
        ({"frames": ["site:palm"]}, "there is no site 'palm'. There are ['index_tip', "),
        ({"frames": []}, "no frames to place"),
        ({"frames": ["palm"], "joints": ["thumb_media"]}, "Did you mean 'thumb_medial'?"),
        ({"frames": ["palm"], "joints": ["thumb_medial"] * 2}, "name one of them twice"),
        ({"frames": ["palm"], "held": np.zeros(3)}, "held has shape (3,); the model's joint"),
    ],
)
def test_nonsense_is_refused(arguments, said) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        Kinematics(right_hand().compile(), **arguments)


def test_joint_positions_of_another_shape_or_type_are_refused() -> None:
    kinematics = Kinematics(right_hand().compile(), FINGERTIPS, JOINTS)
    with pytest.raises(ValueError, match=r"shape \(2, 15\).*must be 16 real numbers"):
        kinematics.positions(torch.zeros(2, 15))
    ball = Kinematics(random_tree(0), frames_of(random_tree(0)), all_joints(random_tree(0)))
    assert ball.size > len(ball.joints)
    with pytest.raises(ValueError, match="ball or free joints"):
        ball.motions(torch.zeros(1, ball.size))


COMPILED = """
import torch
from dexworld.envs.robots.allegro_hand import FINGERTIPS, JOINTS, right_hand
from dexworld.world_models.kinematics import Kinematics

kinematics = Kinematics(right_hand().compile(), FINGERTIPS, JOINTS)
joints = torch.rand(8, 16, generator=torch.Generator().manual_seed(0)).requires_grad_()
weights = torch.rand(8, 4, 3, generator=torch.Generator().manual_seed(1))
compiled = torch.compile(kinematics.positions, fullgraph=True, backend="aot_eager")
torch.testing.assert_close(compiled(joints), kinematics.positions(joints))
pulls = [torch.autograd.grad(f(joints), joints, weights) for f in (compiled, kinematics.positions)]
torch.testing.assert_close(*pulls)
"""


@pytest.mark.slow
def test_it_compiles_in_one_piece() -> None:
    """In a process of its own: the checks of types that tests run under do not compile."""
    subprocess.run([sys.executable, "-c", COMPILED], check=True, timeout=200)
