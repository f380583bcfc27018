"""Setting a scene: where things stand, the hand before them, and what a script makes of it."""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from ..mujoco_env import FloatArray
from ..robots.franka_allegro import ARM_HOME
from .objects import ABSENT, THINGS
from .scene import Scene
from .script import OPEN, Script, Unreachable, posed
from .simulation import ACTIONS, CounterSimulation

PLACES: Final = ((0.45, 0.60), (-0.05, 0.27))
"""Where the target stands: x and y from and to [m]."""
HEADING: Final = 0.5
"""The most that the hand that grasps turns from straight ahead, either way [rad]."""

_COUNTER: Final = ((0.42, 0.70), (-0.30, 0.40))  # where other things may stand [m]
_NEAREST, _FARTHEST = np.transpose(_COUNTER)
_APART = 0.20  # between the target and others, and the least between those [m]
_SETTLING = 5  # control steps in which what was set up comes to rest
_TRIES = 100  # of a place for a thing, and of places for all of them


class Unlucky(Exception):
    """A draw that makes no good episode; the next one may."""


class Stage:
    """A simulation in a scene, and what scripts know about it."""

    def __init__(self, simulation: CounterSimulation, script: Script) -> None:
        self.simulation = simulation
        self.script = script
        self.scene = Scene.of(simulation.scene)

    def layout_of_things(self, rng: np.random.Generator) -> FloatArray:
        """Draw where all things are, `(6, 7)` poses; the target's turn is that of the hand for it.

        Where one finds no place any more, all are drawn again; raises `Unlucky` after 100 times.
        """
        for _ in range(_TRIES):
            poses = self._apart(rng)
            if poses is not None:
                return poses
        raise Unlucky("the counter is too full")

    def _apart(self, rng: np.random.Generator) -> FloatArray | None:
        """Draw where all things are; None where they do not find places."""
        poses = {name: absent(index) for index, name in enumerate(THINGS)}
        place, heading = rng.uniform(*np.transpose(PLACES)), rng.uniform(-HEADING, HEADING)
        poses[self.scene.target] = upright(self.scene.target, place, heading)
        taken = [place]
        # The thumb reaches far to the right of the palm: nothing stands there either.
        taken.append(place + 0.15 * np.array([math.sin(heading), -math.cos(heading)]))
        for name in sorted(self.scene.others):
            for _ in range(_TRIES):
                place = rng.uniform(_NEAREST, _FARTHEST)
                if all(math.dist(place, other) > _APART for other in taken):
                    break
            else:
                return None
            taken.append(place)
            poses[name] = upright(name, place, rng.uniform(-math.pi, math.pi))
        return np.array(list(poses.values()))

    def target_pose(self) -> FloatArray:
        """Return where the target is, `(7,)`."""
        pose: FloatArray = self.simulation.observe(["object"])["object"]
        return pose

    def grasp_heading(self) -> float:
        """Return how a hand has to be turned for the target as it stands; raise if it has fallen."""
        _, _, _, w, x, y, z = self.target_pose().tolist()
        if 1.0 - 2.0 * (x * x + y * y) < 0.95:
            raise Unlucky(f"the {self.scene.target} does not stand upright")
        heading = math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z))
        faces = THINGS[self.scene.target].faces
        if faces == 0:
            return float(np.clip(heading, -HEADING, HEADING))
        turn = 2.0 * math.pi / faces
        return (heading + turn / 2) % turn - turn / 2

    def set_up(self, joints: FloatArray, things: FloatArray) -> None:
        """Start with joints `(23,)` and things `(6, 7)`, and let them come to rest."""
        still = np.zeros(ACTIONS), np.zeros(6 * len(things))
        state = np.concatenate([joints, still[0], things.ravel(), still[1]])
        self.simulation.set_task_state(state)
        for _ in range(_SETTLING):
            self.simulation.step(joints)

    def play(self, commands: FloatArray) -> None:
        """Step through targets `(T, 23)`."""
        for command in commands:
            self.simulation.step(command)

    def command(self) -> FloatArray:
        """Return the present targets `(23,)`."""
        command: FloatArray = self.simulation.command(self.simulation.get_state()[None])[0]
        return command

    def posture(
        self, position: FloatArray, heading: float, near: FloatArray = ARM_HOME
    ) -> FloatArray:
        """Return arm joints with the palm there, fingers down; raise `Unlucky` where there are none."""
        try:
            return self.script.posture(position, heading, near)
        except Unreachable as error:
            raise Unlucky(str(error)) from None

    def hovering(self, rng: np.random.Generator) -> FloatArray:
        """Draw joints `(23,)` with the hand somewhere above the counter."""
        position = rng.uniform((0.33, -0.22, 0.27), (0.52, 0.36, 0.42))
        arm = self.posture(position, rng.uniform(-HEADING, HEADING))
        return posed(arm, OPEN + rng.normal(0.0, 0.05, ACTIONS - len(arm)))


def upright(name: str, place: FloatArray, heading: float) -> FloatArray:
    """Return the pose `(7,)` of a thing that stands on the counter."""
    height = THINGS[name].half[2]
    return np.array([*place, height, math.cos(heading / 2), 0.0, 0.0, math.sin(heading / 2)])


def absent(index: int) -> FloatArray:
    """Return the pose `(7,)` of a thing that is not there."""
    x, y, z = ABSENT
    return np.array([x, y + 0.5 * index, z, 1.0, 0.0, 0.0, 0.0])
