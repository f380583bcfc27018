"""Forward kinematics of any MuJoCo model: batched, differentiable, only what is asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import once_differentiable

from .joint_chain import JointChain
from .joint_tree import joint_tree

if TYPE_CHECKING:
    import mujoco
    import numpy as np
    from numpy.typing import NDArray


class Poses(NamedTuple):
    """Where frames are in the world."""

    position: Float[Tensor, "*rows frames 3"]
    """Origins [m]."""
    rotation: Float[Tensor, "*rows frames 3 3"]
    """Rotation matrices, whose columns are the frames' axes."""


class Motions(NamedTuple):
    """Where frames are, and how each joint moves them: the geometric Jacobian, in world axes."""

    poses: Poses
    """Where the frames are."""
    linear: Float[Tensor, "*rows frames 3 joints"]
    """Velocities of the origins for a unit of each joint's velocity [m/rad; 1 for a slide]."""
    angular: Float[Tensor, "*rows frames 3 joints"]
    """Angular velocities of the frames for the same [1; 1/m for a slide, which is 0]."""


class Kinematics:
    """Joint positions to the poses of sites and bodies: a chain compiled from an `MjModel`.

    Joints that move none of the frames, and bodies between two joints, cost nothing: what is left
    is a tree of joints, whose levels are computed one after the other, each for all its joints and
    all rows at once. With `X` the frame of the joint above (three axes and an origin as columns),
    `F` the fixed transform to the next joint, whose axis is `z` there,

        hinge: X' = X F Rz(q - q_ref)        slide: X' = X F Tz(q - q_ref)

    Ball and free joints take MuJoCo's quaternions `wxyz`, which are normalised here as there.
    Gradients are those of mechanics, exact and for all joints at once: under a gradient `g` by the
    frames' origins, that by a hinge is its torque, `z . sum_f (p_f - p_hinge) x g_f`. There are no
    second derivatives.

    Args:
        model: Any MuJoCo model.
        frames: Sites and bodies to place, by name; `site:` or `body:` in front where both exist.
        joints: Joints whose positions will be given, in that order. By default those that move one
            of the frames, in the model's order.
        held: Positions `(nq,)` at which all other joints stay; by default the model's `qpos0`.

    Raises:
        ValueError: a name is unknown, ambiguous or given twice, or `held` has another shape.
    """

    def __init__(
        self,
        model: mujoco.MjModel,
        frames: Sequence[str],
        joints: Sequence[str] | None = None,
        held: NDArray[np.float64] | None = None,
    ) -> None:
        self.frames = tuple(frames)
        tree = joint_tree(model, self.frames, joints, held)
        self.joints = tree.joints
        self.low, self.high = torch.from_numpy(tree.ranges).T.contiguous()
        self._chain = JointChain(tree)

    def __repr__(self) -> str:
        return f"Kinematics({len(self.frames)} frames, {len(self.joints)} joints)"

    @property
    def size(self) -> int:
        """How many numbers describe the joints: one for each hinge and slide."""
        return len(self.low)

    def positions(self, joints: Float[Tensor, "*rows size"]) -> Float[Tensor, "*rows frames 3"]:
        """Return the origins of the frames [m], from joint positions [rad, m]."""
        placed = _place(self._rows(joints), self._chain, False)
        return placed.reshape(*joints.shape[:-1], len(self.frames), 3)

    def poses(self, joints: Float[Tensor, "*rows size"]) -> Poses:
        """Return the poses of the frames, from joint positions [rad, m]."""
        return self._as_poses(_place(self._rows(joints), self._chain, True), joints)

    @torch.no_grad()
    def motions(self, joints: Float[Tensor, "*rows size"]) -> Motions:
        """Return poses and Jacobians, without gradients, from joint positions [rad, m].

        Raises:
            ValueError: there are ball or free joints, whose positions are not their velocities'
                integrals.
        """
        if self.size > len(self.joints):
            raise ValueError(f"{self!r} has ball or free joints, which have no Jacobian here.")
        rows = self._rows(joints)
        constants = self._chain.constants(rows)
        placed = self._chain.place(rows)
        frames = self._chain.attach(placed, whole=True)
        by_node = (1 + len(constants.moves), 3, len(rows))
        axes, origins = (
            torch.cat([level[:, part] for level in placed]).view(by_node).permute(2, 1, 0)
            for part in (2, 3)
        )
        # Without the world, and rows by frames by coordinates by joints.
        axes, origins = axes[:, None, :, 1:], origins[:, None, :, 1:]
        arms = frames[:, 3].permute(2, 0, 1)[..., None] - origins
        axes = axes * constants.moves.T[:, None]  # no other joint moves a frame
        turning = torch.linalg.cross(axes, arms, dim=2)
        linear = turning * constants.hinges + axes * (1 - constants.hinges)
        jacobians = []
        for known in (linear, axes * constants.hinges):
            jacobian = known.new_zeros(*known.shape[:-1], self.size)
            jacobian[..., constants.columns] = known
            jacobians.append(jacobian.reshape(*joints.shape[:-1], *jacobian.shape[1:]))
        return Motions(self._as_poses(_rows_first(frames), joints), *jacobians)

    def _rows(self, joints: Tensor) -> Float[Tensor, "rows size"]:
        if joints.shape[-1:] != (self.size,) or not joints.is_floating_point():
            raise ValueError(
                f"joint positions have shape {tuple(joints.shape)} and type {joints.dtype}; the "
                f"last dimension must be {self.size} real numbers, for {list(self.joints)}."
            )
        self._chain.constants(joints)  # made here, because a compiler cannot make them in _Place
        return joints.reshape(math.prod(joints.shape[:-1]), self.size)

    def _as_poses(self, placed: Tensor, joints: Tensor) -> Poses:
        parts = placed.reshape(*joints.shape[:-1], len(self.frames), 4, 3)
        return Poses(parts[..., 3, :], parts[..., :3, :].transpose(-1, -2))


def _place(
    joints: Float[Tensor, "rows size"], chain: JointChain, whole: bool
) -> Float[Tensor, "rows frames parts 3"]:
    """Return the frames of a chain; the gradient is that of mechanics."""
    placed: Tensor = _Place.apply(joints, chain, whole)  # type: ignore[no-untyped-call]
    return placed


class _Place(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, joints: Tensor, chain: JointChain, whole: bool) -> Tensor:
        placed = chain.place(joints)
        frames = chain.attach(placed, whole)
        ctx.chain = chain
        ctx.save_for_backward(joints, frames, *placed[1:])
        return _rows_first(frames)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        joints, frames, *placed = ctx.saved_tensors
        forces = gradient.flatten(1).T.reshape(frames.shape)
        return ctx.chain.pull(joints, placed, frames, forces), None, None


def _rows_first(
    frames: Float[Tensor, "frames parts 3 rows"],
) -> Float[Tensor, "rows frames parts 3"]:
    rows = frames.flatten(0, 2).T.contiguous()
    return rows.reshape(len(rows), *frames.shape[:3])
