"""Which joints move which frames: a MuJoCo model, pruned to what some of its frames depend on."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

FREE = int(mujoco.mjtJoint.mjJNT_FREE)
BALL = int(mujoco.mjtJoint.mjJNT_BALL)
SLIDE = int(mujoco.mjtJoint.mjJNT_SLIDE)
HINGE = int(mujoco.mjtJoint.mjJNT_HINGE)
WIDTH = {FREE: 7, BALL: 4, SLIDE: 1, HINGE: 1}
"""Numbers that describe a joint: an angle, a displacement, a quaternion `wxyz`, a pose."""
WORLD = 0
"""The node that does not move."""


@dataclass(frozen=True)
class Node:
    """A joint that moves a requested frame; everything between two of them is one transform.

    Its frame has the joint's anchor as origin and, for a hinge or a slide, its axis as `z`.
    """

    kind: int
    """`FREE`, `BALL`, `SLIDE` or `HINGE`."""
    parent: int
    """The node that moves this one; `WORLD` where none does."""
    level: int
    """Joints above this one, and itself."""
    column: int
    """Where its numbers begin among the joint positions."""
    reference: float
    """Position of a hinge or slide in which it does not move the bodies."""
    transform: FloatArray
    """`(4, 4)`: from the parent's frame to this one's, before the joint moves."""


@dataclass(frozen=True)
class Attachment:
    """Where a requested frame is fixed."""

    node: int
    """The last joint that moves it."""
    transform: FloatArray
    """`(4, 4)`: from that joint's frame to the requested one."""


@dataclass(frozen=True)
class JointTree:
    """The joints that move some frames of a model, level by level."""

    nodes: tuple[Node, ...]
    """The world, then joints sorted by level and, within one, by kind: parents come first."""
    frames: tuple[Attachment, ...]
    """The requested frames, in their order."""
    joints: tuple[str, ...]
    """Names of the joints whose positions are given, in their order."""
    ranges: FloatArray
    """`(size, 2)`: lowest and highest of each number; infinite where there is no limit."""


def joint_tree(
    model: mujoco.MjModel,
    frames: Sequence[str],
    joints: Sequence[str] | None = None,
    held: FloatArray | None = None,
) -> JointTree:
    """Return the joints that move `frames`, merged and pruned.

    Args:
        model: Any MuJoCo model.
        frames: Names of sites and bodies; `site:` or `body:` in front where both exist.
        joints: Joints whose positions will be given, in that order; those that move none of the
            frames are allowed and ignored. By default all that do move one, in the model's order.
        held: Positions `(nq,)` at which all other joints stay; by default the model's `qpos0`.

    Raises:
        ValueError: a name is unknown, ambiguous or given twice, or `held` has another shape.
    """
    builder = _Builder(model, joints, held)
    return builder.tree(frames)


class _Builder:
    """Walks from the requested frames to the world, once for every body on the way."""

    def __init__(
        self, model: mujoco.MjModel, joints: Sequence[str] | None, held: FloatArray | None
    ) -> None:
        self.model = model
        self.held = np.asarray(model.qpos0 if held is None else held, np.float64)
        if self.held.shape != (model.nq,):
            raise ValueError(
                f"held has shape {self.held.shape}; the model's joint positions have ({model.nq},)."
            )
        self.given = None if joints is None else [self._joint(name) for name in joints]
        if self.given is not None and len(set(self.given)) < len(self.given):
            raise ValueError(f"joints {list(joints or ())} name one of them twice.")
        self.nodes = [Node(-1, -1, 0, 0, 0.0, np.eye(4))]
        self.joint_of_node = [-1]
        self.bodies: dict[int, Attachment] = {0: Attachment(WORLD, np.eye(4))}

    def tree(self, frames: Sequence[str]) -> JointTree:
        """Return the tree of these frames."""
        if not frames:
            raise ValueError("there are no frames to place: name a site or a body at least.")
        attached = [self._frame(name) for name in frames]
        joints = sorted(self.joint_of_node[1:]) if self.given is None else self.given
        widths = [WIDTH[int(self.model.jnt_type[joint])] for joint in joints]
        starts = np.cumsum(widths, dtype=int) - widths
        column = dict(zip(joints, starts.tolist(), strict=True))
        rank = self._ranks()
        nodes: list[Node] = [self.nodes[WORLD]] * len(self.nodes)
        for old, (node, joint) in enumerate(zip(self.nodes, self.joint_of_node, strict=True)):
            if old != WORLD:
                where = (rank[node.parent], node.level, column[joint])
                nodes[rank[old]] = Node(node.kind, *where, node.reference, node.transform)
        return JointTree(
            nodes=tuple(nodes),
            frames=tuple(Attachment(rank[each.node], each.transform) for each in attached),
            joints=tuple(self.model.joint(joint).name for joint in joints),
            ranges=np.concatenate([np.empty((0, 2)), *(self._range(joint) for joint in joints)]),
        )

    def _ranks(self) -> list[int]:
        """Return the place of every node after sorting by level, kind and the parent's place."""
        rank = {WORLD: 0}
        for level in range(1, 1 + max(node.level for node in self.nodes)):
            here = [index for index, node in enumerate(self.nodes) if node.level == level]
            here.sort(key=lambda index: (self.nodes[index].kind, rank[self.nodes[index].parent]))
            for index in here:
                rank[index] = len(rank)
        return [rank[index] for index in range(len(self.nodes))]

    def _frame(self, name: str) -> Attachment:
        kind, _, rest = name.partition(":")
        if kind not in ("site", "body") or not rest:
            kind, rest = "", name
        site = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_SITE, rest)
        body = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_BODY, rest)
        if not kind and site >= 0 and body >= 0:
            raise ValueError(
                f"frame {name!r} is a site and a body: say 'site:{name}' or 'body:{name}'."
            )
        if site >= 0 and kind != "body":
            base = self._body(int(self.model.site_bodyid[site]))
            local = transform(self.model.site_pos[site], self.model.site_quat[site])
            return Attachment(base.node, base.transform @ local)
        if body >= 0 and kind != "site":
            return self._body(body)
        objects = [("site", self.model.site, self.model.nsite)]
        objects.append(("body", self.model.body, self.model.nbody))
        known = [get(i).name for what, get, n in objects if kind in ("", what) for i in range(n)]
        raise ValueError(f"there is no {kind or 'site or body'} {rest!r}.{_nearest(rest, known)}")

    def _joint(self, name: str) -> int:
        joint = int(mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_JOINT, name))
        if joint < 0:
            known = [self.model.joint(index).name for index in range(self.model.njnt)]
            raise ValueError(f"there is no joint {name!r}.{_nearest(name, known)}")
        return joint

    def _body(self, body: int) -> Attachment:
        """Return where a body is attached; adds the joints above it that are not there yet."""
        if body in self.bodies:
            return self.bodies[body]
        model = self.model
        above = self._body(int(model.body_parentid[body]))
        node = above.node
        pose = above.transform @ transform(model.body_pos[body], model.body_quat[body])
        first = int(model.body_jntadr[body])
        for joint in range(first, first + int(model.body_jntnum[body])):
            kind = int(model.jnt_type[joint])
            anchor = transform(model.jnt_pos[joint])
            if kind == FREE:
                pose = np.eye(4)  # a free joint says where the body is in the world
            elif kind != BALL:
                anchor[:3, :3] = _along(model.jnt_axis[joint])
            if self.given is None or joint in self.given:
                moved, reference = pose @ anchor, 0.0
                if kind in (HINGE, SLIDE):
                    reference = float(model.qpos0[model.jnt_qposadr[joint]])
                level = self.nodes[node].level + 1
                self.nodes.append(Node(kind, node, level, 0, reference, moved))
                self.joint_of_node.append(joint)
                node, pose = len(self.nodes) - 1, np.linalg.inv(anchor)
            else:
                pose = pose @ anchor @ self._held_motion(joint) @ np.linalg.inv(anchor)
        self.bodies[body] = Attachment(node, pose)
        return self.bodies[body]

    def _held_motion(self, joint: int) -> FloatArray:
        kind, start = int(self.model.jnt_type[joint]), int(self.model.jnt_qposadr[joint])
        at = self.held[start : start + WIDTH[kind]]
        if kind == FREE:
            return transform(at[:3], at[3:])
        if kind == BALL:
            return transform(np.zeros(3), at)
        moved = float(at[0] - self.model.qpos0[start])
        if kind == SLIDE:
            return transform(np.array([0.0, 0.0, moved]))
        return transform(np.zeros(3), np.array([np.cos(moved / 2), 0.0, 0.0, np.sin(moved / 2)]))

    def _range(self, joint: int) -> FloatArray:
        unlimited = np.tile([-np.inf, np.inf], (WIDTH[int(self.model.jnt_type[joint])], 1))
        if self.model.jnt_limited[joint] and len(unlimited) == 1:
            return np.array(self.model.jnt_range[joint : joint + 1])
        return unlimited


def transform(position: FloatArray, quaternion: FloatArray | None = None) -> FloatArray:
    """Return the `(4, 4)` matrix of a position and a quaternion `wxyz`, which is normalised."""
    matrix = np.eye(4)
    matrix[:3, 3] = position
    if quaternion is not None:
        rotation, unit = np.empty(9), np.array(quaternion, np.float64)
        mujoco.mju_normalize4(unit)
        mujoco.mju_quat2Mat(rotation, unit)
        matrix[:3, :3] = rotation.reshape(3, 3)
    return matrix


def _along(axis: FloatArray) -> FloatArray:
    """Return a rotation whose third column is the unit vector `axis`."""
    first = np.eye(3)[np.argmin(np.abs(axis))]
    first = first - (first @ axis) * axis
    first /= np.linalg.norm(first)
    return np.stack([first, np.cross(axis, first), axis], axis=1)


def _nearest(name: str, known: Sequence[str]) -> str:
    names = sorted(filter(None, known))
    close = difflib.get_close_matches(name, names, n=1)
    return f" Did you mean {close[0]!r}?" if close else f" There are {names}."
