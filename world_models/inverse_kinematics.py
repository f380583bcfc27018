"""Joint positions that bring frames where they shall be: damped least squares, for many at once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .kinematics import Kinematics, Poses


class Solution(NamedTuple):
    """Joint positions, and how far from their targets they leave the frames."""

    joints: Float[Tensor, "*rows joints"]
    """Inside their limits [rad, m]."""
    position_error: Float[Tensor, "*rows frames"]
    """Distances of the frames' origins from the targets [m]."""
    rotation_error: Float[Tensor, "*rows frames"]
    """Angles between the frames and the targets [rad]; zero where none was asked for."""
    reached: Bool[Tensor, "*rows"]
    """Whether all errors of a row are within the tolerances."""


@dataclass(frozen=True)
class InverseKinematics:
    """Differential inverse kinematics, as damped least squares with limits and a posture.

    From the start, joints move by steps `d` that minimise

        |J d - e|^2 + damping |d - posture (home - q)|^2

    with `e` the errors of positions and (weighted) of rotations, and `J` their Jacobian: what the
    targets leave free is drawn home. A step is shortened until no joint moves by more than
    `longest_step`, and a joint at its limit that would go beyond it stays there while the others
    make up for it. Rows that have arrived stop; those that have not when the `iterations` are over
    try again from random joint positions, `restarts` times, and keep the best. Rows do not
    influence each other.
    """

    kinematics: Kinematics
    """From joints to the frames that have targets."""
    damping: float = 1e-4
    """Weight of the length of steps."""
    rotation_weight: float = 0.3
    """Metres of error that one radian counts as."""
    posture: float = 0.05
    """Part of the way home that joints go in a step where that changes no error."""
    longest_step: float = 0.2
    """Largest change of a joint in one iteration [rad, m]."""
    iterations: int = 100
    """Steps from one start."""
    restarts: int = 3
    """Random starts of rows that the first one does not bring to their targets."""
    position_tolerance: float = 1e-3
    """Distance at which a target is reached [m]."""
    rotation_tolerance: float = 1e-2
    """Angle at which it is [rad]."""

    def __post_init__(self) -> None:
        for name in ("damping", "longest_step", "position_tolerance", "rotation_tolerance"):
            if not getattr(self, name) > 0:
                raise ValueError(
                    f"InverseKinematics({name}={getattr(self, name)}): it must be positive."
                )
        for name in ("rotation_weight", "posture", "restarts"):
            if not getattr(self, name) >= 0:
                raise ValueError(
                    f"InverseKinematics({name}={getattr(self, name)}): it must not be negative."
                )
        if self.iterations < 1:
            raise ValueError(f"InverseKinematics(iterations={self.iterations}): take at least one.")

    @torch.no_grad()
    def solve(
        self,
        start: Float[Tensor, "*rows joints"],
        position: Float[Tensor, "*rows frames 3"],
        rotation: Float[Tensor, "*rows frames 3 3"] | None = None,
        *,
        home: Float[Tensor, "*#rows joints"] | None = None,
        seed: int = 0,
    ) -> Solution:
        """Return joint positions for targets of the frames, and whether they reach them.

        Args:
            start: Joint positions to start from; moved inside their limits.
            position: Where the origins shall be [m].
            rotation: How the frames shall be turned; by default that is free.
            home: Where joints are drawn that the targets leave free; by default `start`.
            seed: Of the random starts. Unlimited joints start there from where they are.
        """
        lead = start.shape[:-1]
        start = self._inside(start.reshape(-1, start.shape[-1]))
        home = start if home is None else home.expand(*lead, -1).reshape(start.shape)
        shape = (len(start), len(self.kinematics.frames), 3)
        targets = _Targets(
            position.reshape(shape), None if rotation is None else rotation.reshape(*shape, 3)
        )
        best = self._judge(self._descend(start, home, targets), targets)
        generator = torch.Generator().manual_seed(seed)
        for _ in range(self.restarts):
            left = torch.nonzero(~best.reached)[:, 0]
            if len(left) == 0:
                break
            some = targets.of(left)
            fresh = self._random(start[left], generator)
            tried = self._judge(self._descend(fresh, home[left], some), some)
            better = self._cost(tried) < self._cost(best)[left]
            for kept, new in zip(best, tried, strict=True):
                kept[left[better]] = new[better]
        return Solution(*(each.reshape((*lead, *each.shape[1:])) for each in best))

    def _descend(self, start: Tensor, home: Tensor, targets: _Targets) -> Tensor:
        """Return where steps from `start` lead; rows that arrive stop."""
        joints, moving = start.clone(), torch.arange(len(start), device=start.device)
        for _ in range(self.iterations):
            motions = self.kinematics.motions(joints[moving])
            missing = targets.of(moving)
            far = ~self._judge(joints[moving], missing, motions.poses).reached
            if not far.any():
                break
            moving, missing = moving[far], missing.of(far)
            turn = missing.turn(motions.poses.rotation[far])
            errors = [missing.position - motions.poses.position[far]]
            jacobians = [motions.linear[far]]
            if turn is not None:
                errors.append(self.rotation_weight * turn)
                jacobians.append(self.rotation_weight * motions.angular[far])
            error, jacobian = torch.cat(errors, 1).flatten(1), torch.cat(jacobians, 1).flatten(1, 2)
            step = self._step(joints[moving], home[moving], error, jacobian)
            joints[moving] = self._inside(joints[moving] + step)
        return joints

    def _step(
        self,
        joints: Float[Tensor, "rows joints"],
        home: Float[Tensor, "rows joints"],
        error: Float[Tensor, "rows errors"],
        jacobian: Float[Tensor, "rows errors joints"],
    ) -> Float[Tensor, "rows joints"]:
        """Return the damped step of least squares, among joints that are free to take it."""
        low, high = self._limits(joints)
        pull = self.damping * self.posture * (home - joints)
        towards = torch.einsum("bej,be->bj", jacobian, error) + pull
        free = ~((joints <= low) & (towards < 0) | (joints >= high) & (towards > 0))
        jacobian = jacobian * free[:, None]
        normal = jacobian.mT @ jacobian
        normal.diagonal(dim1=-2, dim2=-1).add_(self.damping)
        # Not raising: a row that is not finite stays so, and is not reached.
        factor, _ = torch.linalg.cholesky_ex(normal)
        step = torch.cholesky_solve((towards * free)[..., None], factor)[..., 0]
        longest = step.abs().amax(1, keepdim=True).clamp(min=self.longest_step)
        return step * (self.longest_step / longest)

    def _judge(self, joints: Tensor, targets: _Targets, poses: Poses | None = None) -> Solution:
        """Return joints with their errors; `poses` are those of the frames, where known."""
        poses = self.kinematics.poses(joints) if poses is None else poses
        distance = torch.linalg.vector_norm(targets.position - poses.position, dim=-1)
        turn = targets.turn(poses.rotation)
        angle = torch.zeros_like(distance) if turn is None else turn.norm(dim=-1)
        near = (distance <= self.position_tolerance) & (angle <= self.rotation_tolerance)
        return Solution(joints, distance, angle, near.all(-1))

    def _cost(self, solution: Solution) -> Float[Tensor, " rows"]:
        errors = solution.position_error + self.rotation_weight * solution.rotation_error
        return errors.sum(-1)

    def _limits(self, like: Tensor) -> tuple[Tensor, Tensor]:
        return self.kinematics.low.to(like), self.kinematics.high.to(like)

    def _inside(self, joints: Tensor) -> Tensor:
        low, high = self._limits(joints)
        return torch.minimum(torch.maximum(joints, low), high)

    def _random(self, start: Tensor, generator: torch.Generator) -> Tensor:
        """Return the same random joint positions for all rows, whatever other rows there are."""
        low, high = self._limits(start)
        fraction = torch.rand(start.shape[-1], generator=generator, dtype=torch.float64).to(start)
        return torch.where((high - low).isfinite(), low + fraction * (high - low), start)


class _Targets(NamedTuple):
    """Where frames shall be."""

    position: Float[Tensor, "rows frames 3"]
    rotation: Float[Tensor, "rows frames 3 3"] | None

    def of(self, rows: Tensor) -> _Targets:
        """Return the targets of some rows."""
        return _Targets(self.position[rows], None if self.rotation is None else self.rotation[rows])

    def turn(
        self, rotation: Float[Tensor, "rows frames 3 3"]
    ) -> Float[Tensor, "rows frames 3"] | None:
        """Return how frames have to turn, as rotation vectors in the world's axes [rad]."""
        return None if self.rotation is None else rotation_vector(self.rotation @ rotation.mT)


def rotation_vector(matrix: Float[Tensor, "*rows 3 3"]) -> Float[Tensor, "*rows 3"]:
    """Return the axis of a rotation times its angle, in [0, pi] [rad]."""
    lower = torch.stack([matrix[..., 2, 1], matrix[..., 0, 2], matrix[..., 1, 0]], dim=-1)
    upper = torch.stack([matrix[..., 1, 2], matrix[..., 2, 0], matrix[..., 0, 1]], dim=-1)
    twice_sine = lower - upper  # times the axis
    diagonal = matrix.diagonal(dim1=-2, dim2=-1)
    twice_cosine = diagonal.sum(-1, keepdim=True) - 1
    length = torch.linalg.vector_norm(twice_sine, dim=-1, keepdim=True)
    angle = torch.atan2(length, twice_cosine)
    # Near half a turn the sine vanishes, and the axis is seen in (1 - cos) a a^T instead.
    symmetric = (matrix + matrix.mT) / 2 - torch.diag_embed((twice_cosine / 2).expand_as(diagonal))
    column = symmetric.gather(-1, diagonal.argmax(-1)[..., None, None].expand(*diagonal.shape, 1))
    column = column[..., 0] * torch.where((column[..., 0] * twice_sine).sum(-1, True) < 0, -1, 1)
    opposite = column / torch.linalg.vector_norm(column, dim=-1, keepdim=True).clamp(min=1e-12)
    tiny = torch.finfo(matrix.dtype).eps ** 0.5
    usual = twice_sine * (angle / length.clamp(min=1e-30))
    near_half = (twice_cosine < 0) & (length < tiny)
    return torch.where(near_half, angle * opposite, torch.where(length > 0, usual, twice_sine / 2))
