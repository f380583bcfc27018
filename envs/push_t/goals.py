"""Goals that can be reached: states of a scripted trajectory, a few steps after its start."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from ..mujoco_env import FloatArray, Simulation
from .geometry import OUTLINE, WALL_FAR, WALL_NEAR, angle_difference, placed
from .scripted_pusher import ScriptedPusher
from .success import SuccessRule

TRIES = 200
"""Trajectories that are tried before giving up."""
MOVED, TURNED = 20.0, np.pi / 9.0
"""Between start and goal the block moves or turns at least so much [px, rad]."""

_LEAD_IN = 50  # control steps in which a trajectory can reach a good start
_NEAR = 60.0  # the pusher's centre starts at most this far from a corner or edge of the block [px]
_CLEAR = 10.0  # at start and goal the block keeps so far from the walls [px]
_HOLD = 30  # control steps after which a held pusher, and so the block, has come to rest


@dataclass(frozen=True)
class TrajectoryGoal:
    """A start, a later state of the same trajectory, and what led from one to the other."""

    start: FloatArray
    """Exact state at the start `(P,)`."""
    goal: FloatArray
    """Exact state at the goal `(P,)`."""
    goal_state: FloatArray
    """Task state at the goal `(5,)` [px, rad]."""
    commands: FloatArray
    """The pusher's targets in between `(offset, 2)` [px]: a solution."""


def trajectory_goal(
    simulation: Simulation,
    starts: Iterator[FloatArray],
    rng: np.random.Generator,
    offset: int,
    success: SuccessRule,
    *,
    lead_in: int = _LEAD_IN,
) -> TrajectoryGoal:
    """Draw a start and the state `offset` control steps later along a scripted trajectory.

    The block moves at least 20 px or turns at least pi/9 in between, keeps clear of the walls at
    both ends, and the pusher starts near it; holding the pusher still does not succeed. With
    `lead_in=0` the start is where a trajectory begins, wherever that is. Raises `RuntimeError` after 200
    trajectories without such a pair. `simulation` is left in an arbitrary state.
    """
    for task_state in islice(starts, TRIES):
        simulation.set_task_state(task_state)
        physics, states, commands = _trajectory(simulation, ScriptedPusher(rng), lead_in + offset)
        candidates = _candidates(states, offset, choosy=lead_in > 0)
        for first in rng.permutation(candidates)[:3].tolist():
            last = first + offset
            chosen = TrajectoryGoal(
                physics[first], physics[last], states[last], commands[first:last]
            )
            if not solved_by_waiting(simulation, chosen.start, chosen.goal_state, success):
                return chosen
    raise RuntimeError(
        f"no trajectory of {TRIES} moved the block enough within goal_offset={offset} steps: "
        "choose a larger goal_offset, or start the block further from the walls."
    )


def solved_by_waiting(
    simulation: Simulation, start: FloatArray, goal_state: FloatArray, success: SuccessRule
) -> bool:
    """Return whether the start succeeds, now or while the pusher holds its place.

    The pusher's controller brings it to rest, and with it the block, within 3 s; nothing moves
    after that, so there is no need to simulate a whole episode. The simulation is left there.
    """
    simulation.set_state(start)
    task_state = simulation.get_task_state()
    place = task_state[:2].copy()
    for _ in range(_HOLD):
        if success(task_state, goal_state):
            return True
        simulation.step(place)
        task_state = simulation.get_task_state()
    return bool(success(task_state, goal_state))


def _trajectory(
    simulation: Simulation, pusher: ScriptedPusher, steps: int
) -> tuple[list[FloatArray], FloatArray, FloatArray]:
    physics, states, commands = [simulation.get_state()], [simulation.get_task_state()], []
    for _ in range(steps):
        commands.append(pusher.act(states[-1]))
        simulation.step(commands[-1])
        physics.append(simulation.get_state())
        states.append(simulation.get_task_state())
    return physics, np.array(states), np.array(commands)


def _candidates(states: FloatArray, offset: int, choosy: bool) -> NDArray[np.int64]:
    """Return the indices of good starts among task states `(T, 5)`."""
    starts, goals = states[:-offset], states[offset:]
    moved = np.linalg.norm(goals[:, 2:4] - starts[:, 2:4], axis=-1) >= MOVED
    turned = angle_difference(goals[:, 4], starts[:, 4]) >= TURNED
    good = moved | turned
    if choosy:
        corners = placed(OUTLINE, states[:, 2:])
        clear = (corners > WALL_NEAR + _CLEAR) & (corners < WALL_FAR - _CLEAR)
        inside = clear.all(axis=(1, 2))
        good &= inside[:-offset] & inside[offset:]
        good &= _distance_to_outline(starts[:, :2], corners[:-offset]) <= _NEAR
    return np.flatnonzero(good)


def _distance_to_outline(points: FloatArray, corners: FloatArray) -> FloatArray:
    """Return distances `(T,)` of points `(T, 2)` to closed outlines `(T, K, 2)`."""
    sides = np.roll(corners, -1, axis=1) - corners
    to_point = points[:, None] - corners
    along = (to_point * sides).sum(-1) / (sides * sides).sum(-1)
    nearest = to_point - np.clip(along, 0.0, 1.0)[..., None] * sides
    distances: FloatArray = np.linalg.norm(nearest, axis=-1).min(axis=1)
    return distances
