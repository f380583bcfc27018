"""PushT in pymunk (Chipmunk): the physics of the public environment, for comparable numbers."""

from __future__ import annotations

import importlib
from itertools import pairwise
from typing import Any

import numpy as np

from ..mujoco_env import FloatArray
from .geometry import AGENT_RADIUS, CENTRE_OF_MASS

TIMESTEP = 0.01
"""Physics step [s]."""
SUBSTEPS = 10
"""Physics steps in one control period."""
POSITION_GAIN, VELOCITY_GAIN = 100.0, 20.0
"""The controller's gains [1/s^2, 1/s]: `acceleration = 100 (target - position) - 20 velocity`."""

PLACED, LEGACY = 0.0, 1.0
"""How an episode began: at a pose as given; or position before angle, as the public reset does."""

_START = 7  # entries of a saved state before the commands: origin, task state (5), settled, count
_HEADER = _START + 1


class PushTChipmunk:
    """PushT on pymunk 6 behind the `Simulation` surface; agrees with gym-pusht bit for bit.

    pymunk does not give away all that its next step depends on: the velocities that correct
    overlaps, the impulses cached with each contact and the order of its collision tree stay
    inside. Restoring poses and velocities alone costs 0.25 px (90th percentile) after 25 steps. So
    a state is the history since the start, which is exact: how the episode began, and every
    command since. Restoring one replays it, at about 0.05 ms per command (only what is new, where
    the saved state continues the present one). States hold at most `capacity` commands.
    """

    def __init__(self, capacity: int = 512) -> None:
        self.pymunk = import_pymunk()
        self.capacity = capacity
        self.state_size = _HEADER + 2 * capacity
        self.start(np.array([256.0, 400.0, 256.0, 300.0, 0.0]))

    def start(self, task_state: FloatArray, *, legacy: bool = False, settled: bool = False) -> None:
        """Begin an episode at a task state `(5,)` [px, rad].

        `legacy` sets the block's position before its angle; `settled` runs one step of 0.01 s.
        """
        origin = [LEGACY if legacy else PLACED, *task_state, settled]
        self._origin = tuple(float(number) for number in origin)
        self._commands: list[tuple[float, float]] = []
        self._build()
        x_agent, y_agent, x, y, angle = self._origin[1:6]
        self._agent.position = (x_agent, y_agent)
        if legacy:
            self._block.position = (x, y)
            self._block.angle = angle
        else:
            self._block.angle = angle
            self._block.position = (x, y)
        if settled:
            self._space.step(TIMESTEP)
        else:
            self._space.reindex_shapes_for_body(self._agent)
            self._space.reindex_shapes_for_body(self._block)

    def step(self, command: FloatArray) -> None:
        """Advance 0.1 s towards the target `command` `(2,)` [px]."""
        x, y = float(command[0]), float(command[1])
        agent, space = self._agent, self._space
        for _ in range(SUBSTEPS):
            position, velocity = agent.position, agent.velocity
            agent.velocity = (
                velocity.x
                + (POSITION_GAIN * (x - position.x) - VELOCITY_GAIN * velocity.x) * TIMESTEP,
                velocity.y
                + (POSITION_GAIN * (y - position.y) - VELOCITY_GAIN * velocity.y) * TIMESTEP,
            )
            space.step(TIMESTEP)
        self._commands.append((x, y))

    def get_state(self) -> FloatArray:
        """Return the history since the start, `(P,)`, zero-padded to a fixed length."""
        count = len(self._commands)
        if count > self.capacity:
            raise RuntimeError(
                f"{count} control steps since the start: an exact pymunk state holds at most "
                f"{self.capacity}. Reset, or make PushTChipmunk(capacity=...) larger."
            )
        state = np.zeros(self.state_size)
        state[:_START] = self._origin
        state[_START] = count
        state[_HEADER : _HEADER + 2 * count] = np.reshape(self._commands, -1)
        return state

    def set_state(self, physics: FloatArray) -> None:
        """Restore a history by replaying it; the motion that follows is bit-identical."""
        origin, commands = self._history(np.asarray(physics, np.float64))
        known = len(self._commands)
        if origin != self._origin or commands[:known] != self._commands:
            self.start(np.array(origin[1:6]), legacy=origin[0] == LEGACY, settled=origin[6] == 1.0)
            known = 0
        for command in commands[known:]:
            self.step(np.array(command))

    def get_task_state(self) -> FloatArray:
        """Return the task state [px, rad]."""
        agent, block = self._agent.position, self._block.position
        return np.array([agent.x, agent.y, block.x, block.y, self._block.angle])

    def set_task_state(self, task_state: FloatArray) -> None:
        """Start at rest from a task state `(5,)` [px, rad]."""
        self.start(task_state)

    def physics(self, task_state: FloatArray) -> FloatArray:
        """Return states at rest `(M, P)` with the given task states `(M, 5)`."""
        task_state = np.asarray(task_state, np.float64)
        states = np.zeros((len(task_state), self.state_size))
        states[:, 0], states[:, 1:6] = PLACED, task_state
        return states

    def _history(self, physics: FloatArray) -> tuple[tuple[float, ...], list[tuple[float, float]]]:
        if physics.shape != (self.state_size,):
            raise ValueError(
                f"a state of shape {physics.shape} cannot be restored: this simulation's states "
                f"have shape ({self.state_size},). Was it saved in another environment?"
            )
        if not np.isfinite(physics).all():
            raise ValueError("a state with NaN or infinite entries cannot be restored.")
        origin, count = tuple(physics[:_START].tolist()), physics[_START]
        if count not in range(self.capacity + 1) or origin[0] not in (PLACED, LEGACY):
            raise ValueError("this is no pymunk history. Was it saved in another environment?")
        flat = physics[_HEADER : _HEADER + 2 * int(count)].reshape(-1, 2).tolist()
        return origin, [(x, y) for x, y in flat]

    def _build(self) -> None:
        """Build the board as the public environment does, in the same order."""
        pymunk = self.pymunk
        self._space = space = pymunk.Space()
        space.gravity = (0.0, 0.0)
        space.damping = 0.0
        corners = [(5, 506), (5, 5), (506, 5), (506, 506)]
        sides = [*pairwise(corners), (corners[0], corners[3])]
        space.add(*(pymunk.Segment(space.static_body, a, b, 2) for a, b in sides))
        # The collision tree, and so the last bits, depends on where shapes are when they are added.
        self._agent = pymunk.Body(body_type=pymunk.Body.KINEMATIC)
        self._agent.position = (256, 400)
        space.add(self._agent, pymunk.Circle(self._agent, AGENT_RADIUS))
        bar = [(-60, 30), (60, 30), (60, 0), (-60, 0)]
        stem = [(-15, 30), (-15, 120), (15, 120), (15, 30)]
        inertia = 2 * pymunk.moment_for_poly(1, bar)  # the public code takes the bar's twice
        self._block = pymunk.Body(1, inertia)
        shapes = [pymunk.Poly(self._block, bar), pymunk.Poly(self._block, stem)]
        self._block.center_of_gravity = (0.0, CENTRE_OF_MASS)
        self._block.position = (256, 300)
        space.add(self._block, *shapes)

    def __getstate__(self) -> dict[str, Any]:
        return {"capacity": self.capacity, "physics": self.get_state()}

    def __setstate__(self, saved: dict[str, Any]) -> None:
        PushTChipmunk.__init__(self, saved["capacity"])
        self.set_state(saved["physics"])


def import_pymunk() -> Any:
    """Return pymunk 6; raise `ImportError` with what to install otherwise."""
    try:
        pymunk = importlib.import_module("pymunk")
    except ImportError as error:
        raise ImportError(
            'physics="pymunk" needs pymunk: pip install "dexworld[pymunk]", '
            'or choose physics="mujoco".'
        ) from error
    if int(pymunk.version.split(".")[0]) >= 7:
        raise ImportError(
            f"pymunk {pymunk.version} is installed; the public PushT means pymunk 6, and 7 moves "
            'differently: pip install "dexworld[pymunk]".'
        )
    return pymunk
