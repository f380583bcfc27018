"""The arithmetic of kinematics: a joint tree, level by level, for many rows at once.

Rows come last here, so that every operation runs over long stretches of memory. A moving frame is
`(6, 3 rows)`: its three axes, its origin, and two columns of workspace, each with three numbers for
each row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from .joint_tree import BALL, FREE, HINGE, SLIDE, WIDTH, WORLD, JointTree

Moving = Float[Tensor, "_ 6 flat"]
"""The frames of the joints of one level."""


@dataclass(frozen=True)
class _Group:
    """Joints of one kind on one level."""

    kind: int
    here: slice  # among the joints of the level
    among: slice  # among all joints
    numbers: slice  # among the joint positions, in the order of the joints


@dataclass(frozen=True)
class _Level:
    """Joints with equally many joints above them, the last of which is one level up."""

    nodes: slice  # among all nodes
    above: slice | None  # the nodes of the level above that move them; None where they are mixed
    groups: tuple[_Group, ...]


@dataclass(frozen=True)
class Constants:
    """What of a tree are numbers, in one precision and on one device."""

    lifts: tuple[Float[Tensor, "_ 6 4"], ...]
    """Of each level, from the frame above to the joint: axes, origin, and where a hinge turns to."""
    parents: tuple[Int[Tensor, " _"], ...]
    """Of each level, among the joints of the level above."""
    columns: Int[Tensor, " size"]
    """Where the numbers of the joints stand among the joint positions."""
    references: Float[Tensor, "size 1"]
    """Positions in which joints do not move the bodies."""
    frames: tuple[Float[Tensor, "_ _ 4"] | None, ...]
    """Of each level, from its joints to axes and origins of equally many frames of the tree each."""
    origins: tuple[Float[Tensor, "_ _ 4"] | None, ...]
    """The same, to origins alone."""
    order: Int[Tensor, " frames"]
    """Where the frames of the tree are found among these."""
    moves: Float[Tensor, "joints frames"]
    """1 where a joint moves a frame."""
    hinges: Float[Tensor, " joints"]
    """1 where a joint turns, 0 where it slides."""

    def to(self, like: Tensor) -> Constants:
        """Return them in the precision and on the device of `like`."""
        return Constants(
            lifts=tuple(each.to(like) for each in self.lifts),
            parents=tuple(each.to(like.device) for each in self.parents),
            columns=self.columns.to(like.device),
            references=self.references.to(like),
            frames=tuple(each if each is None else each.to(like) for each in self.frames),
            origins=tuple(each if each is None else each.to(like) for each in self.origins),
            order=self.order.to(like.device),
            moves=self.moves.to(like),
            hinges=self.hinges.to(like),
        )


class JointChain:
    """A joint tree that is ready to run: places its frames, and pulls forces at them back."""

    def __init__(self, tree: JointTree) -> None:
        self.tree = tree
        self.columns = [
            node.column + offset for node in tree.nodes[1:] for offset in range(WIDTH[node.kind])
        ]
        self._in_order = self.columns == list(range(len(tree.ranges)))
        self._levels = _levels(tree)
        self._exact = _constants(tree, self.columns, self._levels)
        self._made: dict[tuple[torch.dtype, torch.device], Constants] = {}

    def place(self, joints: Float[Tensor, "rows size"]) -> list[Moving]:
        """Return the frames of all joints, level by level; the first level is the world alone."""
        constants, rows = self.constants(joints), len(joints)
        numbers = joints.T.contiguous()
        if not self._in_order:
            numbers = numbers.index_select(0, constants.columns)
        numbers = numbers - constants.references
        by_row = (len(numbers), 1, 1, rows)
        sines, cosines = numbers.sin().view(by_row), numbers.cos().view(by_row)
        world = torch.eye(6, 3, dtype=joints.dtype, device=joints.device)
        placed = [world[:, :, None].expand(6, 3, rows).reshape(1, 6, 3 * rows)]
        for level, lift, parents in zip(
            self._levels, constants.lifts, constants.parents, strict=True
        ):
            above = placed[-1][level.above or parents, :4]
            lifted = torch.bmm(lift, above.expand(len(lift), -1, -1))
            frames = lifted.view(len(lift), 6, 3, rows)
            for group in level.groups:
                _move(frames[group.here], group, numbers, sines, cosines)
            placed.append(lifted)
        return placed

    def attach(self, placed: Sequence[Moving], whole: bool) -> Float[Tensor, "frames parts 3 rows"]:
        """Return the frames of the tree: their origins, or their axes and origins if `whole`."""
        constants, rows = self.constants(placed[0]), placed[0].shape[-1] // 3
        attached = constants.frames if whole else constants.origins
        parts = torch.cat(
            [
                torch.bmm(each, level[:, :4]).flatten(0, 1)
                for each, level in zip(attached, placed, strict=True)
                if each is not None
            ]
        )
        size = 4 if whole else 1
        frames = parts.view(len(parts) // size, size, 3, rows)
        return frames.index_select(0, constants.order)

    def pull(
        self,
        joints: Float[Tensor, "rows size"],
        placed: Sequence[Moving],
        frames: Float[Tensor, "frames parts 3 rows"],
        forces: Float[Tensor, "frames parts 3 rows"],
    ) -> Float[Tensor, "rows size"]:
        """Return the gradient by the joint positions, from that by the frames' parts.

        `placed` are the levels below the world. A force at a frame is a force and a torque at
        every joint that moves it; each of its axes is a lever with a force of its own.
        """
        if not placed:
            return torch.zeros_like(joints)
        constants, rows = self.constants(joints), len(joints)
        by_joint = (len(constants.moves), 3, rows)
        force = (constants.moves @ forces[:, -1].flatten(1)).view(by_joint)
        torque = (constants.moves @ _cross(frames, forces).sum(1).flatten(1)).view(by_joint)
        origins = torch.cat([level[:, 3] for level in placed]).view(by_joint)
        torque = torque - _cross(origins, force)
        pulled = []
        for level, lifted in zip(self._levels, placed, strict=True):
            moved = lifted.view(len(lifted), 6, 3, rows)
            for group in level.groups:
                axes, pull, twist = moved[group.here], force[group.among], torque[group.among]
                if group.kind == HINGE:
                    pulled.append((axes[:, 2] * twist).sum(1))
                elif group.kind == SLIDE:
                    pulled.append((axes[:, 2] * pull).sum(1))
                else:
                    numbers = joints.T[self.columns[group.numbers]]
                    quaternions = numbers.view(len(axes), WIDTH[group.kind], rows)[:, -4:]
                    turn = _pull_quaternion(quaternions, (axes[:, :3] * twist[:, None]).sum(2))
                    parts = [pull, turn] if group.kind == FREE else [turn]
                    pulled.append(torch.cat(parts, dim=1).flatten(0, 1))
        gradient = torch.cat(pulled)
        if not self._in_order:
            every = joints.new_zeros(joints.shape[1], rows)
            gradient = every.index_copy(0, constants.columns, gradient)
        return gradient.T.contiguous()

    def constants(self, like: Tensor) -> Constants:
        """Return the numbers in the precision and on the device of `like`; made once for each."""
        key = (like.dtype, like.device)
        if key not in self._made:
            self._made[key] = self._exact.to(like)
        return self._made[key]


def _move(
    frames: Float[Tensor, "nodes 6 3 rows"],
    group: _Group,
    numbers: Float[Tensor, "size rows"],
    sines: Float[Tensor, "size 1 1 rows"],
    cosines: Float[Tensor, "size 1 1 rows"],
) -> None:
    """Move frames, in place, from where their joints are to where these bring them."""
    if group.kind == HINGE:
        turned = frames[:, :2].mul_(cosines[group.numbers])
        turned.addcmul_(frames[:, 4:], sines[group.numbers])
    elif group.kind == SLIDE:
        frames[:, 3].addcmul_(frames[:, 2], numbers[group.numbers, None])
    else:
        poses = numbers[group.numbers].view(len(frames), WIDTH[group.kind], frames.shape[-1])
        if group.kind == FREE:
            frames[:, 3] = poses[:, :3]
        turn = _matrix(poses[:, -4:])[:, :, :, None]
        frames[:, :3] = (frames[:, :3, None] * turn).sum(1)


def _levels(tree: JointTree) -> list[_Level]:
    """Return the levels below the world."""
    nodes = tree.nodes
    starts = np.cumsum([0, *(WIDTH[node.kind] for node in nodes[1:])]).tolist()
    depths = [node.level for node in nodes]
    levels = []
    for depth in range(1, 1 + max(depths)):
        first, above = depths.index(depth), depths.index(depth - 1)
        here = range(first, first + depths.count(depth))
        groups = []
        for kind in (FREE, BALL, SLIDE, HINGE):
            members = [index for index in here if nodes[index].kind == kind]
            if members:
                low, high = members[0], members[-1] + 1
                groups.append(
                    _Group(
                        kind=kind,
                        here=slice(low - first, high - first),
                        among=slice(low - 1, high - 1),
                        numbers=slice(starts[low - 1], starts[high - 1]),
                    )
                )
        parents = [nodes[index].parent - above for index in here]
        levels.append(_Level(slice(here.start, here.stop), _as_slice(parents), tuple(groups)))
    return levels


def _as_slice(parents: Sequence[int]) -> slice | None:
    """Return one parent of all, or parents in a row, as a slice; None for others."""
    first, count = parents[0], len(parents)
    if all(parent == first for parent in parents):
        return slice(first, first + 1)
    if list(parents) == list(range(first, first + count)):
        return slice(first, first + count)
    return None


def _constants(tree: JointTree, columns: Sequence[int], levels: Sequence[_Level]) -> Constants:
    """Return the numbers of a tree."""
    nodes = tree.nodes
    lifts = np.zeros((len(nodes), 6, 4))
    moves = np.zeros((len(nodes), len(tree.frames)))
    for lift, node in zip(lifts, nodes, strict=True):
        lift[:4] = node.transform.T
        lift[4], lift[5] = lift[1], -lift[0]  # what a hinge turns the first two axes towards
    for column, frame in enumerate(tree.frames):
        above = frame.node
        while above != WORLD:
            moves[above, column] = 1.0
            above = nodes[above].parent
    references = [[node.reference] for node in nodes[1:] for _ in range(WIDTH[node.kind])]
    frames, order = _attached(tree, [slice(0, 1), *(level.nodes for level in levels)])
    firsts = [0, *(level.nodes.start for level in levels)]
    return Constants(
        lifts=tuple(torch.from_numpy(lifts[level.nodes]) for level in levels),
        parents=tuple(
            torch.tensor([node.parent - first for node in nodes[level.nodes]])
            for level, first in zip(levels, firsts, strict=False)
        ),
        columns=torch.tensor(columns, dtype=torch.long),
        references=torch.tensor(references, dtype=torch.float64).reshape(-1, 1),
        frames=tuple(each if each is None else each.flatten(1, 2) for each in frames),
        origins=tuple(each if each is None else each[:, :, 3].contiguous() for each in frames),
        order=torch.tensor(order),
        moves=torch.from_numpy(moves[1:]),
        hinges=torch.tensor([node.kind == HINGE for node in nodes[1:]], dtype=torch.float64),
    )


def _attached(
    tree: JointTree, levels: Sequence[slice]
) -> tuple[list[Float[Tensor, "_ _ 4 4"] | None], list[int]]:
    """Return the frames that are fixed to the nodes of each level, and where each one is found.

    A frame that is asked for twice is made once. The nodes of a level have equally many frames;
    those that are too many are zero, and nowhere asked for.
    """
    made: list[Tensor | None] = []
    found: dict[tuple[int, bytes], int] = {}
    keys = [(frame.node, frame.transform.tobytes()) for frame in tree.frames]
    frames = dict(zip(keys, tree.frames, strict=True))
    count = 0
    for level in levels:
        nodes = range(level.start, level.stop)
        here = [[key for key in frames if key[0] == node] for node in nodes]
        most = max(map(len, here))
        weights = np.zeros((len(here), most, 4, 4))
        for row, attached in enumerate(here):
            for number, key in enumerate(attached):
                weights[row, number] = frames[key].transform.T
                found[key] = count + row * most + number
        made.append(torch.from_numpy(weights) if most else None)
        count += len(here) * most
    return made, [found[key] for key in keys]


def _cross(
    a: Float[Tensor, "*frames 3 rows"], b: Float[Tensor, "*frames 3 rows"]
) -> Float[Tensor, "*frames 3 rows"]:
    ax, ay, az = a.unbind(-2)
    bx, by, bz = b.unbind(-2)
    return torch.stack([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx], dim=-2)


def _matrix(quaternions: Float[Tensor, "nodes 4 rows"]) -> Float[Tensor, "nodes 3 3 rows"]:
    """Return rotation matrices of quaternions `wxyz` of any length, indexed `[row, column]`."""
    unit = quaternions / torch.linalg.vector_norm(quaternions, dim=1, keepdim=True)
    w, x, y, z = unit.unbind(1)
    entries = [
        1 - 2 * (y * y + z * z),
        2 * (x * y - w * z),
        2 * (x * z + w * y),
        2 * (x * y + w * z),
        1 - 2 * (x * x + z * z),
        2 * (y * z - w * x),
        2 * (x * z - w * y),
        2 * (y * z + w * x),
        1 - 2 * (x * x + y * y),
    ]
    return torch.stack(entries, dim=1).reshape(len(w), 3, 3, w.shape[-1])


def _pull_quaternion(
    quaternions: Float[Tensor, "nodes 4 rows"], torque: Float[Tensor, "nodes 3 rows"]
) -> Float[Tensor, "nodes 4 rows"]:
    """Return the gradient by quaternions, from the torque in the frame that they turn.

    A change `dq` turns that frame by `2 (w dv - v dw - v x dv)` in its own axes.
    """
    length = torch.linalg.vector_norm(quaternions, dim=1, keepdim=True)
    unit = quaternions / length
    real, imaginary = unit[:, :1], unit[:, 1:]
    by_real = -(imaginary * torque).sum(1, keepdim=True)
    by_imaginary = real * torque + _cross(imaginary, torque)
    return 2 * torch.cat([by_real / length, by_imaginary / length], dim=1)
