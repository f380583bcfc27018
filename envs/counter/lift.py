"""Whether a grasp holds: lift the object by ten centimetres and wait for a second."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from ..mujoco_env import FloatArray
from .script import Script, Unreachable, motion, posed
from .simulation import ACTIONS, CounterSimulation

LIFT: Final = 0.10
"""How far the hand is lifted [m]."""
RISE: Final = 0.06
"""How far the object has to follow, and to stay, for the grasp to count [m]."""

_UP_STEPS, _WAIT_STEPS = 6, 10


class Lift(NamedTuple):
    """What became of the object."""

    rise: float
    """How high it stayed above where it was: the lowest moment of the second after the lift [m]."""

    @property
    def holds(self) -> bool:
        """Whether the object followed the hand."""
        return self.rise > RISE


def lift(scene: int, physics: FloatArray, script: Script | None = None) -> Lift:
    """Try a grasp: from an exact state `(P,)` of a scene, lift the hand as it is and wait.

    The arm's target goes up by 10 cm in 0.6 s and stays for 1 s, the fingers' targets do not change.
    DexWM's rule for grasping is met by any touch; this is not. An arm that cannot rise has not
    lifted: its rise is 0. It runs in a simulation of its own, with the script's limits of the joints,
    and disturbs none.
    """
    script = script or Script()
    simulation = CounterSimulation(scene, script.limits)
    simulation.set_state(physics)
    command = simulation.command(physics[None])[0]
    arm, hand = np.split(command, [ACTIONS - 16])
    try:
        up = posed(script.shifted(arm, np.array([0.0, 0.0, LIFT])), hand)
    except Unreachable:
        return Lift(0.0)
    before = simulation.observe(["object"])["object"][2]
    rises = []
    for target in motion(command, [(up, _UP_STEPS), (up, _WAIT_STEPS)]):
        simulation.step(target)
        rises.append(simulation.observe(["object"])["object"][2] - before)
    return Lift(float(min(rises[_UP_STEPS:])))
