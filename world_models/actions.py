"""Action maps: how the decisions of a planner become actions of a model and of an environment."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import torch
from gymnasium.spaces import Box
from jaxtyping import Float
from numpy.typing import ArrayLike
from torch import Tensor

from .base import COMMAND, ActionMap, State
from .cameras import CALIBRATION_SIZE, Camera
from .hand_keypoints import HANDS, KEYPOINTS, hand_action
from .kinematics import Kinematics

__all__ = [
    "COMMAND",
    "Chain",
    "Chunks",
    "Forked",
    "Hold",
    "Increments",
    "Interpolate",
    "JointsToKeypoints",
]


class _SharedSpaceMap:
    """A map whose environment actions are its model actions, `steps` for every decision."""

    def __init__(self, action_space: Box, steps: int = 1) -> None:
        if steps < 1:
            raise ValueError(f"{type(self).__name__}(steps) must be at least 1, got {steps}.")
        self.action_space = action_space
        self.steps = steps

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Return the model's actions."""
        raise NotImplementedError

    def to_env(
        self, decisions: Float[Tensor, "batch horizon action"], state: State
    ) -> Float[Tensor, "batch env_horizon env_action"]:
        """Return the environment's actions, which are the model's."""
        return self.to_model(decisions.unsqueeze(1), state).squeeze(1)


class Hold(_SharedSpaceMap):
    """Each decision is held for `steps` actions (frame skip, action repeat)."""

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Repeat every decision: `a[t k + i] = u[t]`."""
        return decisions.repeat_interleave(self.steps, dim=2)


class Interpolate(_SharedSpaceMap):
    """Each decision is a waypoint, reached along a straight line in `steps` actions.

    The line starts at the last command, `state["command"]`: with `w[-1]` that command,
    `a[t k + i] = w[t-1] + (i+1)/k (w[t] - w[t-1])`.
    """

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Return the points of the line through the waypoints."""
        previous = torch.cat([_start(decisions, state), decisions[:, :, :-1]], dim=2)
        fraction = torch.arange(1, self.steps + 1, device=decisions.device) / self.steps
        fraction = fraction.to(decisions.dtype)[:, None]
        points = torch.lerp(previous.unsqueeze(3), decisions.unsqueeze(3), fraction)
        return points.flatten(2, 3)


class Increments(_SharedSpaceMap):
    """Each decision, in [-1, 1], moves the command by at most `scale`, within the bounds.

    `w[t] = clip(w[t-1] + scale u[t], low, high)`, with `w[-1] = state["command"]`; `scale` is one
    number, or one for each dimension.
    Planning in increments keeps sampled motions smooth where absolute targets jump about.
    """

    def __init__(self, action_space: Box, scale: float | Sequence[float]) -> None:
        shape = action_space.shape
        super().__init__(Box(-1.0, 1.0, shape, np.float32))
        scales = np.asarray(scale, np.float64)
        if not (scales > 0).all():
            raise ValueError(f"Increments(scale) must be positive, got {scale}.")
        if scales.shape not in ((), shape):
            raise ValueError(f"Increments(scale) is one number or {shape[0]}, got {scale}.")
        self.scale = torch.from_numpy(scales)
        self.low = torch.as_tensor(action_space.low)
        self.high = torch.as_tensor(action_space.high)

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Return the accumulated command after each decision."""
        low, high = self.low.to(decisions), self.high.to(decisions)
        command = _start(decisions, state)[:, :, 0]
        commands = []
        for increment in (self.scale.to(decisions) * decisions).unbind(2):
            command = torch.clamp(command + increment, low, high)
            commands.append(command)
        return torch.stack(commands, dim=2)


class Chunks(_SharedSpaceMap):
    """Environment actions, of which a model takes `chunk` at once: the last of a `Chain`.

    They stay what they are in the environment; a model's action is `chunk` of them in a row.
    """

    def __init__(self, action_space: Box, chunk: int) -> None:
        super().__init__(action_space)
        if chunk < 1:
            raise ValueError(f"Chunks(chunk) must be at least 1, got {chunk}.")
        self.chunk = chunk

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Return chunks of actions; raise `ValueError` if there is no whole number of them."""
        if decisions.shape[2] % self.chunk:
            raise ValueError(
                f"{decisions.shape[2]} environment actions are not chunks of {self.chunk}, which "
                f"the model takes at once: decide for multiples (agent.steps_per_decision)."
            )
        return torch.unflatten(decisions, 2, (-1, self.chunk)).flatten(3)

    def to_env(
        self, decisions: Float[Tensor, "batch horizon action"], state: State
    ) -> Float[Tensor, "batch env_horizon env_action"]:
        """Return the actions."""
        return decisions


class Forked:
    """Decisions that a model takes by one map and an environment by another.

    A model that predicts from one waypoint to the next, for instance, and an environment that is
    led along the line between them.
    """

    def __init__(self, for_model: ActionMap, for_env: ActionMap) -> None:
        if for_model.action_space != for_env.action_space:
            raise ValueError(
                f"the two maps of a Forked take the same decisions; these are "
                f"{for_model.action_space} and {for_env.action_space}."
            )
        self.for_model, self.for_env = for_model, for_env
        self.action_space = for_model.action_space
        self.steps = for_env.steps

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Return the model's actions."""
        return self.for_model.to_model(decisions, state)

    def to_env(
        self, decisions: Float[Tensor, "batch horizon action"], state: State
    ) -> Float[Tensor, "batch env_horizon env_action"]:
        """Return the environment's actions."""
        return self.for_env.to_env(decisions, state)


class Chain(_SharedSpaceMap):
    """Maps applied one after another, the first one to the decisions."""

    def __init__(self, maps: Sequence[ActionMap]) -> None:
        if not maps:
            raise ValueError("Chain needs at least one action map.")
        super().__init__(maps[0].action_space, math.prod(each.steps for each in maps))
        self.maps = tuple(maps)

    def to_env(
        self, decisions: Float[Tensor, "batch horizon action"], state: State
    ) -> Float[Tensor, "batch env_horizon env_action"]:
        """Apply every map in order, the last one for the environment."""
        for action_map in self.maps[:-1]:
            decisions = action_map.to_model(decisions.unsqueeze(1), state).squeeze(1)
        return self.maps[-1].to_env(decisions, state)

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates model_horizon model_action"]:
        """Apply every map in order."""
        for action_map in self.maps:
            decisions = action_map.to_model(decisions, state)
        return decisions


class JointsToKeypoints:
    """Joint targets, which a model takes as how far they move the keypoints of a hand: DexWM's G.

    With `H` the 21 keypoints by forward kinematics, `R` the camera's rotation, and `q[-1]` the last
    command, `a[t] = R^T (H(q[t]) - H(q[t-1]))` [m], in the rows of that hand: 132 numbers. The
    camera stands still, and so does the other hand. The environment takes the joint targets, and
    with `keep_joints` so does the model, behind those 132.

    Joints are not clipped to their limits: planners stay inside the action space, and a warning
    says where that reaches beyond.

    Args:
        action_space: Of the environment, which takes joint targets.
        kinematics: From the joints to the keypoints, in the order of `hand_keypoints.KEYPOINTS`.
        camera: In whose frame the model sees movements, or the key of a state that carries its
            calibration, `[B, 16]`.
        hand: `left` or `right`: which rows of the action.
        joint_range: Joint positions [rad] at the lower and at the upper bounds of the action space;
            by default actions are joint positions.
        keep_joints: Whether the model's actions end in the joint targets, as the action space has
            them: for models that predict joints, or carry the last command.

    Raises:
        ValueError: one of these does not fit the others.

    Warns:
        UserWarning: the action space reaches beyond the limits of joints.
    """

    steps = 1

    def __init__(
        self,
        action_space: Box,
        kinematics: Kinematics,
        camera: Camera | str,
        *,
        hand: str = "right",
        joint_range: tuple[ArrayLike, ArrayLike] | None = None,
        keep_joints: bool = False,
    ) -> None:
        if len(kinematics.frames) != len(KEYPOINTS) or hand not in HANDS:
            raise ValueError(
                f"JointsToKeypoints moves the {len(KEYPOINTS)} keypoints of one of {list(HANDS)}; "
                f"it is given {len(kinematics.frames)} frames of {hand!r} (see hand_frames)."
            )
        if action_space.shape != (kinematics.size,):
            raise ValueError(
                f"the action space has shape {action_space.shape} and {kinematics!r} takes "
                f"({kinematics.size},): give it the joints that the environment commands."
            )
        self.action_space = action_space
        self.kinematics = kinematics
        self.camera = camera
        self.hand = hand
        self.keep_joints = keep_joints
        self._scale = torch.ones(kinematics.size, dtype=torch.float64)
        self._offset = torch.zeros_like(self._scale)
        if joint_range is not None:
            low = torch.as_tensor(action_space.low, dtype=torch.float64)
            size = torch.as_tensor(action_space.high, dtype=torch.float64) - low
            if not (size.isfinite() & (size > 0)).all():
                raise ValueError(f"{action_space} has no bounds that joint_range could stand for.")
            first, last = (torch.as_tensor(np.array(each, np.float64)) for each in joint_range)
            self._scale = (last - first) / size
            self._offset = first - self._scale * low
        self._check_limits()

    def _check_limits(self) -> None:
        """Warn once, here: looking at every decision would make a GPU wait."""
        ends = torch.stack(
            [
                self._offset + self._scale * torch.as_tensor(bound, dtype=torch.float64)
                for bound in (self.action_space.low, self.action_space.high)
            ]
        )
        low, high = self.kinematics.low, self.kinematics.high
        slack = 1e-4  # bounds are often of single precision, or rounded for reading
        beyond = (ends.amin(0) < low - slack) | (ends.amax(0) > high + slack)
        if not beyond.any():
            return
        worst = int(beyond.nonzero()[0])
        warnings.warn(
            f"JointsToKeypoints: {int(beyond.sum())} of {len(beyond)} joints may be sent beyond "
            f"their limits; number {worst} to between {ends[:, worst].amin():.4g} and "
            f"{ends[:, worst].amax():.4g}, where {low[worst]:.4g} to {high[worst]:.4g} is allowed. "
            "Narrow the action space or joint_range, unless the environment clips.",
            stacklevel=3,
        )

    def to_model(
        self, decisions: Float[Tensor, "batch candidates horizon action"], state: State
    ) -> Float[Tensor, "batch candidates horizon model_action"]:
        """Return the movements of the keypoints, as the model's camera sees them."""
        keypoints = self.keypoints(decisions)
        start = self.keypoints(_start(decisions[:, :1], state))
        start = start.expand(-1, decisions.shape[1], -1, -1, -1)
        moved = keypoints - torch.cat([start, keypoints[:, :, :-1]], dim=2)
        action = hand_action(moved @ self._rotation(state).to(decisions), self.hand)
        return torch.cat([action, decisions], dim=-1) if self.keep_joints else action

    def to_env(
        self, decisions: Float[Tensor, "batch horizon action"], state: State
    ) -> Float[Tensor, "batch horizon action"]:
        """Return the joint targets."""
        return decisions

    def keypoints(self, actions: Float[Tensor, "*rows action"]) -> Float[Tensor, "*rows 21 3"]:
        """Return where joint targets, as the action space has them, bring the keypoints [m]."""
        return self.kinematics.positions(
            self._offset.to(actions) + self._scale.to(actions) * actions
        )

    def _rotation(self, state: State) -> Tensor:
        if isinstance(self.camera, Camera):
            return self.camera.rotation
        if self.camera not in state or state[self.camera].shape[1:] != (CALIBRATION_SIZE,):
            raise KeyError(
                f"JointsToKeypoints reads the camera's calibration from state['{self.camera}'], "
                f"[B, {CALIBRATION_SIZE}]; the state has {sorted(state)}. Give it a Camera."
            )
        return Camera.from_vector(state[self.camera], 1, 1).rotation[:, None, None]


def _start(decisions: Tensor, state: State) -> Tensor:
    """Return the last command, `[B, N, 1, A]`."""
    if COMMAND not in state:
        raise KeyError(
            f"the action map continues from state['{COMMAND}'], which this model does not carry; "
            f"the state has {sorted(state)}. Use Hold, or a model that carries it."
        )
    command = state[COMMAND].to(decisions)
    return command[:, None, None].expand(-1, decisions.shape[1], 1, -1)
