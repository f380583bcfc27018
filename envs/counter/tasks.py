"""The three tasks: how their episodes start, how a script solves them, and what is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Protocol, runtime_checkable

import numpy as np

from ..mujoco_env import FloatArray
from ..rotations import angle_between
from .lift import lift
from .objects import THINGS
from .script import CLOSED, OPEN, Unreachable, grasp_position, motion, posed, waiting_position
from .simulation import ACTIONS
from .staging import Stage, Unlucky
from .success import Features, GraspRule, PlaceRule, ReachRule, SuccessRule

TRIES: Final = 60
"""Draws that are tried before giving up."""

_AT_REST = 10  # control steps for which it is waited at start and goal
_DRIFT, _TURN = 5e-3, 0.06  # how far object and joints may go meanwhile [m, rad]
_MOVED = 0.02  # how far a thing may go that nobody should touch [m]
_PRESSED = 1e-3  # how deep contacts may be at start and goal [m]
_FAR = 0.22  # of the hand from its goal at the start of reaching [m]
_CARRIED = 0.18  # of the object from its goal at the start of placing [m]
_LIFTED, _LOWERED = 0.12, 0.07  # of the hand at the start of placing, and then down again [m]
_IN_AIR, _OFF_COUNTER = (
    0.09,
    0.03,
)  # of the object then, above where it would stand, at the least [m]
_TRAY = ((0.36, 0.54), (-0.18, 0.36))  # where the palm carries things to [m]

_ARM = ACTIONS - 16


@dataclass(frozen=True)
class Episode:
    """A start, a goal and what leads from one to the other; exact states `(P,)`."""

    start: FloatArray
    goal: FloatArray
    solution: FloatArray | None
    """Joint targets `(T, 23)` of the script [rad]; None where the goal is not the script's."""


@runtime_checkable
class Task(Protocol):
    """What the hand is asked for."""

    @property
    def rule(self) -> SuccessRule:
        """When it is done."""
        ...

    def begin(self, stage: Stage, rng: np.random.Generator) -> None:
        """Bring the simulation to a start at rest; raise `Unlucky` where that fails."""
        ...

    def solution(self, stage: Stage, rng: np.random.Generator) -> FloatArray:
        """Return targets `(T, 23)` that solve it from where the simulation is."""
        ...

    def check(self, stage: Stage, episode: Episode) -> None:
        """Raise `Unlucky` unless the simulation, now at the goal, is where it should be."""
        ...


class Reach:
    """Bring the open hand to where it would grasp the object from."""

    rule = ReachRule()

    def begin(self, stage: Stage, rng: np.random.Generator) -> None:
        """Start somewhere above the counter."""
        things = stage.layout_of_things(rng)
        stage.set_up(stage.hovering(rng), things)

    def solution(self, stage: Stage, rng: np.random.Generator) -> FloatArray:
        """Go to before the object and wait there."""
        heading = stage.grasp_heading()
        grasp = grasp_position(stage.scene.target, stage.target_pose()[:2], heading)
        before = posed(stage.posture(waiting_position(grasp, heading), heading), OPEN)
        return motion(stage.command(), [(before, 15), (before, 5)])

    def check(self, stage: Stage, episode: Episode) -> None:
        """The hand had some way to go, and the object was left alone."""
        simulation = stage.simulation
        start, goal = (
            simulation.observe(["keypoints", "object"], state)
            for state in (episode.start, episode.goal)
        )
        if self.rule.distance(start, goal) < _FAR:
            raise Unlucky("the hand starts near its goal")
        if np.linalg.norm(goal["object"][:3] - start["object"][:3]) > _MOVED:
            raise Unlucky("the script pushed the object")


class Grasp:
    """Grasp the object from before it."""

    rule = GraspRule()

    def begin(self, stage: Stage, rng: np.random.Generator) -> None:
        """Start near where a script would, the hand open."""
        things = stage.layout_of_things(rng)
        before = _before(stage, things, rng)
        noisy = before + np.concatenate([rng.normal(0.0, 0.04, _ARM), np.zeros(ACTIONS - _ARM)])
        stage.set_up(noisy, things)

    def solution(self, stage: Stage, rng: np.random.Generator) -> FloatArray:
        """Slide the hand around the object, close it and hold."""
        heading = stage.grasp_heading()
        position = grasp_position(stage.scene.target, stage.target_pose()[:2], heading)
        waiting = stage.posture(waiting_position(position, heading), heading)
        grasp = stage.posture(position, heading, waiting)
        stages = [(posed(waiting, OPEN), 5), (posed(grasp, OPEN), 5), (posed(grasp, CLOSED), 5)]
        return motion(stage.command(), [*stages, (posed(grasp, CLOSED), 10)])

    def check(self, stage: Stage, episode: Episode) -> None:
        """What is grasped can be lifted."""
        if not lift(stage.simulation.scene, episode.goal, stage.script).holds:
            raise Unlucky("the script's grasp does not hold")


class Place:
    """Carry the object, which is in the hand, to another place."""

    rule = PlaceRule()

    def begin(self, stage: Stage, rng: np.random.Generator) -> None:
        """Start with the object grasped and lifted."""
        things = stage.layout_of_things(rng)
        stage.set_up(_before(stage, things, rng), things)
        stage.play(Grasp().solution(stage, rng))
        command = stage.command()
        up = posed(_shifted(stage, command[:_ARM], np.array([0.0, 0.0, _LIFTED])), command[_ARM:])
        stage.play(motion(command, [(up, 8), (up, _AT_REST)]))
        self._in_hand(stage, _IN_AIR)

    def solution(self, stage: Stage, rng: np.random.Generator) -> FloatArray:
        """Carry it to the other place, lower it to 5 cm above where it was grasped, and hold it."""
        command = stage.command()
        here, _ = stage.script.palm_pose(command[:_ARM])
        there = here[:2]
        while np.linalg.norm(there - here[:2]) < _CARRIED:
            there = rng.uniform(*np.transpose(_TRAY))
        shift = np.array([*(there - here[:2]), -_LOWERED])
        over = posed(_shifted(stage, command[:_ARM], np.array([*shift[:2], 0.0])), command[_ARM:])
        down = posed(_shifted(stage, over[:_ARM], np.array([0.0, 0.0, shift[2]])), command[_ARM:])
        return motion(command, [(over, 12), (down, 5), (down, 5)])

    def check(self, stage: Stage, episode: Episode) -> None:
        """It is still in the hand."""
        self._in_hand(stage, _OFF_COUNTER)

    def _in_hand(self, stage: Stage, least: float) -> None:
        seen = stage.simulation.observe(["object", "contact"])
        height = seen["object"][2] - THINGS[stage.scene.target].half[2]
        if not Grasp.rule.touches(seen) or height < least:
            raise Unlucky("the object was dropped")


TASKS: Final[Mapping[str, Task]] = {"reach": Reach(), "grasp": Grasp(), "place": Place()}
"""The tasks by name."""


def draw_episode(task: Task, stage: Stage, rng: np.random.Generator) -> Episode:
    """Draw a start and a goal that a script reaches from it, re-simulated.

    Waiting does not succeed; in a second of it neither start nor goal change by more than 5 mm or
    0.06 rad of the object or a joint; and things that nobody should touch stay where they are. The
    simulation is left at the start. Raises `RuntimeError` after 60 draws in vain.
    """
    reasons = []
    for _ in range(TRIES):
        try:
            task.begin(stage, rng)
            episode = completed(task, stage, rng)
        except Unlucky as reason:
            reasons.append(str(reason))
            continue
        stage.simulation.set_state(episode.start)
        return episode
    raise RuntimeError(f"none of {TRIES} starts made an episode; the last ones: {reasons[-3:]}")


def completed(task: Task, stage: Stage, rng: np.random.Generator) -> Episode:
    """Return an episode from where the simulation is; raise `Unlucky` if it is not a good one."""
    simulation = stage.simulation
    start = simulation.get_state()
    solution = task.solution(stage, rng)
    stage.play(solution)
    goal = simulation.get_state()
    episode = Episode(start, goal, solution)
    task.check(stage, episode)
    if max(simulation.penetration(state) for state in (start, goal)) > _PRESSED:
        raise Unlucky("something is pressed into something")
    features = simulation.observe(task.rule.reads, goal)
    others = [name in stage.scene.others for name in simulation.things]
    before, after = (simulation.poses(state)[others, :3] for state in (start, goal))
    if (np.linalg.norm(after - before, axis=1) > _MOVED).any():
        raise Unlucky("the script pushed something aside")
    for state, wanted in ((goal, True), (start, False)):
        simulation.set_state(state)
        command, reads = stage.command(), {*task.rule.reads, "object", "joints"}
        first = simulation.observe(reads)
        for _ in range(_AT_REST):
            simulation.step(command)
            seen = simulation.observe(reads)
            if bool(task.rule(seen, features)) is not wanted:
                raise Unlucky("the goal does not last" if wanted else "waiting succeeds")
            if _drifts(first, seen):
                raise Unlucky(f"the {'goal' if wanted else 'start'} is not at rest")
    return episode


def _drifts(before: Features, after: Features) -> bool:
    """Return whether the object or a joint has moved, or the object has turned."""
    moved = np.linalg.norm(after["object"][:3] - before["object"][:3])
    turned = angle_between(after["object"][3:], before["object"][3:])
    bent = np.abs(after["joints"] - before["joints"]).max()
    return bool(moved > _DRIFT or max(turned, bent) > _TURN)


def _before(stage: Stage, things: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Return joints `(23,)` of the open hand before the target, which stands where it is to be."""
    pose = things[list(stage.simulation.things).index(stage.scene.target)]
    heading = 2.0 * float(np.arctan2(pose[6], pose[3]))
    grasp = grasp_position(stage.scene.target, pose[:2], heading)
    return posed(stage.posture(waiting_position(grasp, heading), heading), OPEN)


def _shifted(stage: Stage, arm: FloatArray, shift: FloatArray) -> FloatArray:
    try:
        return stage.script.shifted(arm, shift)
    except Unreachable as error:
        raise Unlucky(str(error)) from None
