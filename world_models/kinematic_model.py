"""A robot that is where its joints are told to be, and carries what it holds: a model without forces."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from .base import (
    COMMAND,
    ROLLOUT,
    STEP,
    State,
    WorldModel,
    Wrapper,
    check_actions,
    check_keys,
    check_state,
)
from .kinematics import Kinematics

JOINTS, KEYPOINTS, PALM, OBJECT, CONTACT = "joints", "keypoints", "palm", "object", "contact"
"""Keys of states and predictions, in the names of `dexworld/CounterReach-v0` and its kin."""


class KinematicModel(Wrapper):
    """The kinematics of a robot hand as a world model, a thousand times cheaper than its physics.

    Joints are where they are commanded, as fast as they may move. What the hand touches at the
    start goes with the palm like a part of it; everything else stays where it is, and nothing is
    ever in the way. It predicts `joints`, `keypoints` (points of the hand), `palm` and `object`
    (poses, quaternions w first). So it is for plans of reaching and carrying, which a search in a
    better model can start from; it does not know how to grasp.

    Args:
        model: Of the same robot; its states are those of this model too, and hold what is predicted
            here, and `contact`, whose last number says how often the hand touches the object.
        kinematics: From the joints to the keypoints and, as the last frame, the palm.
        joint_range: Joint positions [rad] at the lower and upper bounds of the actions.
        furthest: The most that joints move in an action [rad]; any way where None.

    Raises:
        KeyError: the states of `model` lack what is needed.
        ValueError: the kinematics are of another number of joints.
    """

    predicts = frozenset({JOINTS, KEYPOINTS, PALM, OBJECT})
    differentiable = True

    def __init__(
        self,
        model: WorldModel,
        kinematics: Kinematics,
        joint_range: tuple[ArrayLike, ArrayLike],
        furthest: ArrayLike | None = None,
    ) -> None:
        check_keys({*self.predicts, CONTACT}, model, type(self).__name__)
        if model.action_space.shape != (kinematics.size,):
            raise ValueError(
                f"{kinematics!r} are of {kinematics.size} joints, and actions have shape "
                f"{model.action_space.shape}: give the joints that are commanded."
            )
        self.model, self.kinematics = model, kinematics
        low, high = (torch.from_numpy(np.array(each, np.float64)) for each in joint_range)
        first, last = (
            torch.from_numpy(each.astype(np.float64))
            for each in (model.action_space.low, model.action_space.high)
        )
        self._scale = (high - low) / (last - first)
        self._offset = low - self._scale * first
        self._furthest = torch.full_like(low, torch.inf)
        if furthest is not None:
            self._furthest = torch.from_numpy(np.array(furthest, np.float64))

    def rollout(
        self,
        state: State,
        actions: Float[Tensor, "batch candidates horizon action"],
        keys: Collection[str] | None = None,
    ) -> dict[str, Tensor]:
        """Place the hand, and what it holds, after each action."""
        check_actions(actions, self.action_space, dims=ROLLOUT, state=state)
        keys = self.predicts if keys is None else frozenset(keys)
        check_keys(keys, self, "a rollout")
        self._check(state)
        return self._placed(self._reached(state, actions)[1], state, keys)

    def step(self, state: State, actions: Float[Tensor, "batch action"]) -> State:
        """Return what is known of the state one action later."""
        check_actions(actions, self.action_space, dims=STEP, state=state)
        self._check(state)
        command, joints = self._reached(state, actions[:, None, None])
        after = {COMMAND: command, **self._placed(joints, state, self.predicts)}
        moved = {key: value[:, 0, 0].to(state[key]) for key, value in after.items()}
        return {**moved, CONTACT: state[CONTACT]}

    def _check(self, state: State) -> None:
        points, size = len(self.kinematics.frames) - 1, self.kinematics.size
        known = {COMMAND: (size,), JOINTS: (size,), KEYPOINTS: (points, 3), PALM: (7,)}
        contacts = tuple(state[CONTACT].shape[1:]) if CONTACT in state else (1,)
        check_state(state, {**known, OBJECT: (7,), CONTACT: contacts}, self)

    def _reached(self, state: State, actions: Tensor) -> tuple[Tensor, Tensor]:
        """Return commands as far as they are reached, as actions and as joints `[B, N, T, A]`."""
        scale, offset, furthest = (
            each.to(actions) for each in (self._scale, self._offset, self._furthest)
        )
        here = (offset + scale * state[COMMAND].to(actions))[:, None]
        # One number that is not finite makes all joints unknown, now and from then on.
        known = torch.where(actions.isfinite().all(-1, keepdim=True), actions, torch.nan)
        reached = []
        for target in (offset + scale * known).unbind(2):
            here = here + torch.clamp(target - here, -furthest, furthest)
            reached.append(here)
        joints = torch.stack(reached, dim=2)
        return (joints - offset) / scale, joints

    def _placed(self, joints: Tensor, state: State, keys: frozenset[str]) -> dict[str, Tensor]:
        placed = {JOINTS: joints}
        if keys - {JOINTS}:
            poses = self.kinematics.poses(joints)
            placed[KEYPOINTS] = poses.position[..., :-1, :]
            if keys - {JOINTS, KEYPOINTS}:
                place, turn = (
                    poses.position[..., -1, :],
                    quaternion_of(poses.rotation[..., -1, :, :]),
                )
                placed[PALM] = torch.cat([place, turn], dim=-1)
                placed[OBJECT] = _carried(state, placed[PALM])
        # In the precision of the other model's, which objectives compare them with.
        return {key: placed[key].to(state[key]) for key in keys}


def _carried(
    state: Mapping[str, Tensor], palm: Float[Tensor, "batch candidates horizon 7"]
) -> Float[Tensor, "batch candidates horizon 7"]:
    """Return where the object is once the palm is there."""
    start, known = (state[key].to(palm)[:, None, None] for key in (PALM, OBJECT))
    back = _conjugate(start[..., 3:])
    held_at = _turned(back, known[..., :3] - start[..., :3])
    turn = _product(palm[..., 3:], _product(back, known[..., 3:]))
    place = palm[..., :3] + _turned(palm[..., 3:], held_at)
    carried = torch.cat([place, turn], dim=-1)
    left = (state[CONTACT].flatten(1)[:, -1] == 0)[:, None, None, None] & carried.isfinite()
    return torch.where(left, known, carried)


def quaternion_of(matrix: Float[Tensor, "*rows 3 3"]) -> Float[Tensor, "*rows 4"]:
    """Return a unit quaternion of a rotation, w first, of either sign.

    The rows of `4 q q^T` are multiples of `q`, and the one with the largest diagonal is precise.
    """
    (a, b, c), (d, e, f), (g, h, i) = (row.unbind(-1) for row in matrix.unbind(-2))
    rows = [
        torch.stack([1 + a + e + i, h - f, c - g, d - b], dim=-1),
        torch.stack([h - f, 1 + a - e - i, b + d, c + g], dim=-1),
        torch.stack([c - g, b + d, 1 - a + e - i, f + h], dim=-1),
        torch.stack([d - b, c + g, f + h, 1 - a - e + i], dim=-1),
    ]
    every = torch.stack(rows, dim=-2)
    best = every.diagonal(dim1=-2, dim2=-1).argmax(-1)[..., None, None]
    longest = every.gather(-2, best.expand(*best.shape[:-1], 4))[..., 0, :]
    return torch.nn.functional.normalize(longest, dim=-1)


def _conjugate(quaternion: Float[Tensor, "*rows 4"]) -> Float[Tensor, "*rows 4"]:
    return quaternion * quaternion.new_tensor([1.0, -1.0, -1.0, -1.0])


def _product(
    first: Float[Tensor, "*#rows 4"], second: Float[Tensor, "*#rows 4"]
) -> Float[Tensor, "*#rows 4"]:
    """Return the rotation `first` after `second`."""
    w, u, x, v = first[..., :1], first[..., 1:], second[..., :1], second[..., 1:]
    vector = w * v + x * u + _cross(u, v)
    return torch.cat([w * x - (u * v).sum(-1, keepdim=True), vector], dim=-1)


def _turned(
    quaternion: Float[Tensor, "*#rows 4"], vector: Float[Tensor, "*#rows 3"]
) -> Float[Tensor, "*#rows 3"]:
    w, u = quaternion[..., :1], quaternion[..., 1:]
    return vector + 2 * _cross(u, _cross(u, vector) + w * vector)


def _cross(
    first: Float[Tensor, "*#rows 3"], second: Float[Tensor, "*#rows 3"]
) -> Float[Tensor, "*#rows 3"]:
    crossed: Tensor = torch.linalg.cross(first, second, dim=-1)
    return crossed
