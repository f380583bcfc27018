"""What hands that know everything do at the counter, for explorers to follow under noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import gymnasium as gym
import numpy as np
from numpy.typing import NDArray

from dexworld.agents.exploration import NoisyScript, Trajectory
from dexworld.envs.counter.env import CounterEnv
from dexworld.envs.counter.objects import TARGETS, THINGS
from dexworld.envs.counter.scene import Scene
from dexworld.envs.counter.script import CLOSED, OPEN, Script, Unreachable, motion, posed
from dexworld.envs.counter.simulation import ACTIONS
from dexworld.envs.counter.tasks import Grasp

FloatArray = NDArray[np.float64]

ROOM: Final = ((0.33, -0.25, 0.16), (0.62, 0.36, 0.42))
"""Where the palm reaches to: from and to, in the frame of the arm's base [m]. The fingertips, 15 cm
below it, come down to the counter."""
SPEED: Final = 0.3
"""How fast it goes there [m/s]."""

_ARM = ACTIONS - 16
_POSES = slice(2 * ACTIONS, 2 * ACTIONS + 7 * len(THINGS))
_TRIES = 50


@dataclass(frozen=True)
class ReachTargetsSettings:
    """Random places that the palm goes to, by inverse kinematics, the hand opening and closing."""

    heading: float = 0.8
    """The most that the palm turns from straight ahead, either way [rad]."""
    closing: float = 0.5
    """The most that the hand closes on the way: 0 not at all, 1 as in a grasp."""
    exponent: float = 2.0
    """Of the noise's power spectrum `f^-exponent`: 0 white, 1 pink, 2 red."""
    scale: float = 0.01
    """Standard deviation of the noise, as a share of half the range of the actions."""


@dataclass(frozen=True)
class NoisyLiftSettings:
    """A scripted grasp and lift, often of another thing than the script was made for, under noise."""

    permute: float = 0.5
    """How often another thing stands where the script's stood."""
    height: float = 0.2
    """The most that is lifted by [m]."""
    exponent: float = 2.0
    """Of the noise's power spectrum `f^-exponent`: 0 white, 1 pink, 2 red."""
    scale: float = 0.02
    """Standard deviation of the noise, as a share of half the range of the actions."""


@dataclass(frozen=True)
class OpenAndCloseSettings:
    """The hand opens and closes, the arm stays."""

    closing: float = 1.0
    """The most that the hand closes: 1 as in a grasp."""
    exponent: float = 2.0
    """Of the noise's power spectrum `f^-exponent`: 0 white, 1 pink, 2 red."""
    scale: float = 0.01
    """Standard deviation of the noise, as a share of half the range of the actions."""


@dataclass(frozen=True)
class CounterPlaySettings:
    """All of that: in every episode the palm goes places, or lifts, or the hand opens and closes."""

    lift: float = 0.35
    """How often a grasp and lift is tried, as `noisy_lift` does."""
    open_and_close: float = 0.1
    """How often only the hand moves, as in `open_and_close`; else as in `reach_targets`."""
    exponent: float = 2.0
    """Of the noise's power spectrum `f^-exponent`: 0 white, 1 pink, 2 red."""
    scale: float = 0.02
    """Standard deviation of the noise, as a share of half the range of the actions."""

    def __post_init__(self) -> None:
        if min(self.lift, self.open_and_close) < 0 or self.lift + self.open_and_close > 1:
            raise ValueError(
                f"collector.lift={self.lift}, collector.open_and_close={self.open_and_close}: shares "
                "of the episodes, from 0 to 1 together."
            )


CounterSettings = (
    ReachTargetsSettings | NoisyLiftSettings | OpenAndCloseSettings | CounterPlaySettings
)


def make_counter_explorer(
    settings: CounterSettings, env_id: str, arguments: Mapping[str, Any], steps: int
) -> NoisyScript:
    """Return who explores the counter, after a script.

    Args:
        settings: of one of the scripts.
        env_id: where it acts.
        arguments: those the environment is made with.
        steps: actions in an episode.

    Raises:
        TypeError: the environment is not the counter, or not of a task that the script is for.
    """
    env = gym.make(env_id, **{**arguments, "observation": "state", "action": "normalized"})
    scripts = CounterScripts(env, steps)
    lifts = NoisyLiftSettings | CounterPlaySettings
    if isinstance(settings, lifts) and not isinstance(scripts.env.task, Grasp):
        raise TypeError(
            "collector=noisy_lift and counter_play lift what they have grasped: env=counter_grasp."
        )
    script = partial(scripts.trajectory, settings=settings)
    return NoisyScript(env.action_space, script, steps, settings.exponent, settings.scale)


class CounterScripts:
    """Trajectories of episodes at the counter, each of which depends on its seed alone.

    Args:
        env: a counter of its own, where scripts look ahead.
        steps: actions in an episode.

    Raises:
        TypeError: it is another environment.
    """

    def __init__(self, env: gym.Env[Any, Any], steps: int) -> None:
        if not isinstance(env.unwrapped, CounterEnv):
            raise TypeError(
                f"this collector knows the counter, not {type(env.unwrapped).__name__}: choose "
                "env=counter_reach, counter_grasp or counter_place, or another collector."
            )
        self.env, self.steps = env.unwrapped, steps
        self._script = Script(self.env.simulation.limits)

    def trajectory(self, seed: int, settings: CounterSettings) -> Trajectory:
        """Return what happens in the episode of a seed."""
        if isinstance(settings, CounterPlaySettings):
            return self.trajectory(seed, _played(seed, settings))
        if isinstance(settings, ReachTargetsSettings):
            return self.reach_targets(seed, settings)
        if isinstance(settings, NoisyLiftSettings):
            return self.lift(seed, settings)
        return self.open_and_close(seed, settings)

    def reach_targets(self, seed: int, settings: ReachTargetsSettings) -> Trajectory:
        """Go from one random place to the next."""
        rng, command = self._begin(seed)
        here, _ = self._script.palm_pose(command[:_ARM])
        stages, steps, arm = [], 0, command[:_ARM]
        while steps < self.steps:
            there, arm = self._somewhere(rng, settings.heading, arm)
            hand = OPEN + rng.uniform(0.0, settings.closing) * (CLOSED - OPEN)
            count = max(3, round(float(np.linalg.norm(there - here)) / (0.1 * SPEED)))
            stages.append((posed(arm, hand), count))
            here, steps = there, steps + count
        return self._trajectory(motion(command, stages), {})

    def lift(self, seed: int, settings: NoisyLiftSettings) -> Trajectory:
        """Grasp what is there as the script would, lift it and hold it."""
        rng, _ = self._begin(seed)
        assert self.env.solution is not None
        grasp = self.env.raw_action(self.env.solution)
        arm, hand = np.split(grasp[-1], [_ARM])
        height = rng.uniform(0.4, 1.0) * settings.height
        try:
            up = self._script.shifted(arm, np.array([0.0, 0.0, height]))
        except Unreachable:
            up = arm
        lifted = motion(grasp[-1], [(posed(up, hand), 8)])
        start: dict[str, Any] = {}
        if rng.random() < settings.permute:
            start = self._permuted(rng)
        return self._trajectory(np.concatenate([grasp, lifted]), start)

    def open_and_close(self, seed: int, settings: OpenAndCloseSettings) -> Trajectory:
        """Close the hand where it is, more or less, and open it again."""
        rng, command = self._begin(seed)
        arm, stages, steps = command[:_ARM], [], 0
        while steps < self.steps:
            for share in (rng.uniform(0.3, 1.0) * settings.closing, rng.uniform(0.0, 0.2)):
                count = int(rng.integers(3, 9))
                stages.append((posed(arm, OPEN + share * (CLOSED - OPEN)), count))
                steps += count
        return self._trajectory(motion(command, stages), {})

    def _begin(self, seed: int) -> tuple[np.random.Generator, FloatArray]:
        """Look at the start of an episode; return a stream of its own, and the joints' targets."""
        self.env.reset(seed=seed)
        command = self.env.simulation.command(self.env.get_state()[None])[0]
        return np.random.default_rng([seed, 1]), command

    def _somewhere(
        self, rng: np.random.Generator, heading: float, near: FloatArray
    ) -> tuple[FloatArray, FloatArray]:
        """Return a place for the palm, and arm joints that bring it there."""
        for _ in range(_TRIES):
            place = rng.uniform(*ROOM)
            try:
                return place, self._script.posture(place, rng.uniform(-heading, heading), near)
            except Unreachable:
                continue
        raise RuntimeError(f"the palm reaches none of {_TRIES} places in {ROOM}.")

    def _permuted(self, rng: np.random.Generator) -> dict[str, Any]:
        """Return how an episode begins as this one, with another thing where the target is."""
        scene = Scene.of(self.env.simulation.scene)
        name = str(rng.choice([name for name in TARGETS if name != scene.target]))
        goal = self.env.simulation.task_state(self.env.goal_physics[None])[0]
        others = scene.others - {name} | ({scene.target} if name in scene.others else set())
        return {
            "options": {
                "layout": scene.layout,
                "style": scene.style,
                "object": name,
                "distractors": sorted(others),
                "state": _swapped(self.env.task_state, scene.target, name),
                "goal": _swapped(goal, scene.target, name),
            }
        }

    def _trajectory(self, commands: FloatArray, reset: Mapping[str, Any]) -> Trajectory:
        actions = self.env.normalised_action(commands[: self.steps])
        return Trajectory(np.clip(actions, -1.0, 1.0).astype(np.float32), reset)


def _played(seed: int, settings: CounterPlaySettings) -> CounterSettings:
    """Return what is done in the episode of a seed."""
    drawn = np.random.default_rng([seed, 2]).random()
    if drawn < settings.lift:
        return NoisyLiftSettings()
    if drawn < settings.lift + settings.open_and_close:
        return OpenAndCloseSettings()
    return ReachTargetsSettings()


def _swapped(state: FloatArray, first: str, second: str) -> FloatArray:
    """Return a task state with two things in each other's place, standing as high as they are."""
    state = state.copy()
    poses = state[_POSES].reshape(-1, 7)
    places = [list(THINGS).index(name) for name in (first, second)]
    poses[places] = poses[places[::-1]]
    for place, old, new in zip(places, (second, first), (first, second), strict=True):
        poses[place, 2] += THINGS[new].half[2] - THINGS[old].half[2]
    return state
