"""Inverse kinematics of a seven-joint arm: it reaches, says where it cannot, and keeps limits."""

from __future__ import annotations

import math
import re

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dexworld.world_models.inverse_kinematics import InverseKinematics, rotation_vector
from dexworld.world_models.kinematics import Kinematics

LINKS = (
    # offset [m], turn of the next axis about x [degrees], range [rad]
    ((0.0, 0.0, 0.33), 0, 2.9),
    ((0.0, 0.0, 0.0), -90, 1.8),
    ((0.0, -0.32, 0.0), 90, 2.9),
    ((0.08, 0.0, 0.0), 90, 2.0),
    ((-0.08, 0.38, 0.0), -90, 2.9),
    ((0.0, 0.0, 0.0), 90, 2.5),
    ((0.09, 0.0, 0.0), 90, 2.9),
)
HOME = torch.tensor([0.0, 0.3, 0.0, 1.2, 0.0, 0.8, 0.0], dtype=torch.float64)


def arm() -> mujoco.MjModel:
    spec = mujoco.MjSpec()
    body = spec.worldbody
    for index, (offset, turn, limit) in enumerate(LINKS):
        half = math.radians(turn) / 2
        body = body.add_body(
            name=f"link{index}", pos=offset, quat=[math.cos(half), math.sin(half), 0.0, 0.0]
        )
        body.add_geom(size=[0.05, 0.0, 0.0])
        body.add_joint(
            name=f"joint{index}", axis=[0, 0, 1], range=np.rad2deg([-limit, limit]), limited=True
        )
    body.add_site(name="tool", pos=[0.0, 0.0, 0.2])
    body.add_site(name="elbow", pos=[0.0, 0.05, 0.1])
    return spec.compile()


ARM = Kinematics(arm(), ["tool"])
SOLVER = InverseKinematics(ARM)


def inside(rows: int, seed: int, kinematics: Kinematics = ARM) -> Tensor:
    """Return random joint positions inside their limits."""
    generator = torch.Generator().manual_seed(seed)
    unit = torch.rand(rows, kinematics.size, generator=generator, dtype=torch.float64)
    return kinematics.low + (kinematics.high - kinematics.low) * unit


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_reachable_positions_are_reached_from_several_starts(seed: int, dtype: torch.dtype) -> None:
    targets = ARM.positions(inside(10, seed)).to(dtype)
    for start in (HOME.expand(10, 7), inside(10, 100 + seed)):
        found = SOLVER.solve(start.to(dtype), targets)
        assert found.joints.dtype == dtype and found.reached.all()
        distance = (ARM.positions(found.joints) - targets).norm(dim=-1)
        assert (distance <= 1e-3).all()
        torch.testing.assert_close(distance, found.position_error, rtol=0, atol=1e-6)
        assert (found.rotation_error == 0).all()


def test_reachable_poses_are_reached() -> None:
    targets = ARM.poses(inside(20, 0))
    found = SOLVER.solve(HOME.expand(20, 7), targets.position, targets.rotation)
    poses = ARM.poses(found.joints)
    distance = (poses.position - targets.position).norm(dim=-1)
    angle = rotation_vector(targets.rotation @ poses.rotation.mT).norm(dim=-1)
    torch.testing.assert_close(distance, found.position_error)
    torch.testing.assert_close(angle, found.rotation_error)
    near = (distance <= 1e-3) & (angle <= 1e-2)
    assert torch.equal(near[:, 0], found.reached)
    assert found.reached.sum() >= 18, "joint limits stop it too often"
    alone = InverseKinematics(ARM, restarts=0)
    once = alone.solve(HOME.expand(20, 7), targets.position, targets.rotation)
    assert once.reached.sum() < found.reached.sum(), "starting again brings nothing"


def test_what_is_out_of_reach_is_reported_and_come_close_to() -> None:
    targets = torch.tensor([[[0.0, 0.0, 3.0]], [[2.0, 0.0, 0.33]], [[0.3, 0.1, 0.6]]]).double()
    found = InverseKinematics(ARM, restarts=1).solve(HOME.expand(3, 7), targets)
    assert found.reached.tolist() == [False, False, True]
    assert found.joints.isfinite().all()
    upright = ARM.positions(torch.zeros(7).double())[0, 2]  # nearly as high as it gets
    assert found.position_error[0, 0] < 3.0 - upright + 0.02
    assert found.position_error[1, 0] > 0.5


@pytest.mark.parametrize("seed", range(3))
def test_joints_stay_inside_their_limits(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    wild = 3 * torch.randn(20, 7, generator=generator, dtype=torch.float64)
    targets = torch.randn(20, 1, 3, generator=generator, dtype=torch.float64)
    found = InverseKinematics(ARM, restarts=1, iterations=20).solve(wild, targets)
    assert (found.joints >= ARM.low).all() and (found.joints <= ARM.high).all()


def test_a_joint_at_its_limit_leaves_the_way_to_the_others() -> None:
    """Of two hinges about one axis one is stuck; shared, each step would go but half the way."""
    spec = mujoco.MjSpec()
    spec.compiler.degree = False
    first = spec.worldbody.add_body()
    first.add_geom(size=[0.1, 0, 0])
    first.add_joint(name="stuck", axis=[0, 0, 1], range=[-0.1, 0.1], limited=True)
    second = first.add_body()
    second.add_geom(size=[0.1, 0, 0])
    second.add_joint(name="other", axis=[0, 0, 1])
    second.add_site(name="tip", pos=[1, 0, 0])
    kinematics = Kinematics(spec.compile(), ["tip"])
    target = kinematics.positions(torch.tensor([0.1, 0.9]).double())
    quick = InverseKinematics(kinematics, iterations=7, restarts=0, damping=1e-6)
    found = quick.solve(torch.tensor([0.1, 0.0]).double(), target)
    assert found.reached and found.joints[0] == 0.1


def test_rows_do_not_influence_each_other() -> None:
    targets = ARM.poses(inside(4, 3))
    start = inside(4, 4)
    solver = InverseKinematics(ARM, iterations=30, restarts=1)
    together = solver.solve(start, targets.position, targets.rotation)
    assert together.reached.any() and not together.reached.all()
    for row in range(4):
        one = slice(row, row + 1)
        alone = solver.solve(start[one], targets.position[one], targets.rotation[one])
        torch.testing.assert_close(alone.joints, together.joints[one], rtol=0, atol=1e-9)


def test_rows_may_have_any_shape_or_none() -> None:
    targets = ARM.positions(inside(6, 3)).reshape(2, 3, 1, 3)
    found = SOLVER.solve(HOME.expand(2, 3, 7), targets)
    assert found.joints.shape == (2, 3, 7) and found.reached.shape == (2, 3)
    assert found.position_error.shape == (2, 3, 1)
    single = SOLVER.solve(HOME, targets[1, 2])
    torch.testing.assert_close(single.joints, found.joints[1, 2], rtol=0, atol=1e-9)
    assert SOLVER.solve(HOME.expand(0, 7), torch.zeros(0, 1, 3).double()).reached.shape == (0,)


def test_joints_that_the_target_leaves_free_are_drawn_home() -> None:
    """An arm of seven joints has four to spare for a position."""
    targets = ARM.positions(inside(10, 5))
    start = inside(10, 6)
    home = HOME.expand(10, 7)

    def away(posture: float) -> float:
        patient = InverseKinematics(ARM, posture=posture, longest_step=0.05)
        return float((patient.solve(start, targets, home=home).joints - home).norm(dim=1).mean())

    assert away(0.3) < 0.8 * away(0.0)


def test_a_target_that_is_met_moves_nothing() -> None:
    start = inside(4, 7)
    poses = ARM.poses(start)
    assert torch.equal(SOLVER.solve(start, poses.position, poses.rotation).joints, start)


def test_several_frames_are_brought_to_their_targets_at_once() -> None:
    both = Kinematics(arm(), ["tool", "elbow"])
    targets = both.positions(inside(10, 8))
    found = InverseKinematics(both).solve(HOME.expand(10, 7), targets)
    assert found.position_error.shape == (10, 2)
    assert found.reached.sum() >= 9


def test_joints_may_be_ignored_and_may_slide() -> None:
    spec = mujoco.MjSpec()
    cart = spec.worldbody.add_body(name="cart")
    cart.add_joint(name="rail", type=mujoco.mjtJoint.mjJNT_SLIDE, axis=[1, 0, 0])
    cart.add_geom(size=[0.1, 0, 0])
    cart.add_site(name="tip", pos=[0, 0, 1])
    lid = cart.add_body()
    lid.add_joint(name="lid", axis=[0, 1, 0])
    lid.add_geom(size=[0.1, 0, 0])
    kinematics = Kinematics(spec.compile(), ["tip"], ["lid", "rail"])
    start = torch.tensor([0.7, 0.0], dtype=torch.float64)
    found = InverseKinematics(kinematics).solve(start, torch.tensor([[4.0, 0.0, 1.0]]).double())
    assert found.reached and found.joints[0] == 0.7
    assert found.joints[1] == pytest.approx(4.0, abs=1e-3)


def test_what_is_not_finite_is_not_reached_and_stays_alone() -> None:
    targets = ARM.positions(inside(3, 9))
    targets[1] = torch.nan
    found = InverseKinematics(ARM, restarts=0).solve(HOME.expand(3, 7), targets)
    assert found.reached.tolist() == [True, False, True]


@given(st.floats(0.0, math.pi), st.integers(0, 1000))
def test_rotation_vectors_are_axis_times_angle(angle: float, seed: int) -> None:
    axis = torch.randn(3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    axis /= axis.norm()
    x, y, z = (angle * axis).tolist()
    skew = torch.tensor([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]], dtype=torch.float64)
    found = rotation_vector(torch.matrix_exp(skew))
    expected = angle * axis
    if angle > math.pi - 1e-7:  # half a turn is one about either end of the axis
        expected = expected * torch.sign(found @ expected)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize("axis", [(1.0, 0.0, 0.0), (0.0, 0.6, -0.8), (-0.6, 0.0, 0.8)])
def test_half_a_turn_has_an_angle_of_pi(axis: tuple[float, float, float]) -> None:
    a = torch.tensor(axis, dtype=torch.float64)
    found = rotation_vector(2 * torch.outer(a, a) - torch.eye(3).double())
    torch.testing.assert_close(found.abs(), math.pi * a.abs())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("damping", 0.0, "InverseKinematics(damping=0.0): it must be positive."),
        ("longest_step", -1.0, "it must be positive."),
        ("posture", -0.1, "it must not be negative."),
        ("iterations", 0, "take at least one."),
    ],
)
def test_nonsense_is_refused(name: str, value: float, said: str) -> None:
    with pytest.raises(ValueError, match=re.escape(said)):
        InverseKinematics(ARM, **{name: value})
