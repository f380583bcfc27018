"""Reach, grasp and place at a kitchen counter as Gymnasium environments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from ..arguments import check_choice
from ..mujoco_env import FloatArray, MujocoEnv
from ..robots.franka_allegro import ARM_LIMITS
from .arguments import SceneChoice, checked_options, distractors_of
from .drawing import Drawing, Frame, with_goal, with_path
from .lift import Lift, lift
from .observations import OBSERVATIONS, Observations
from .scene import OVERVIEW, Scene
from .script import Script
from .simulation import ACTIONS, CounterSimulation
from .staging import Stage, Unlucky
from .success import HELD_STEPS, GraspRule
from .tasks import TASKS, Episode, completed, draw_episode

_MIN_SIZE = 16  # of frames [px]
_VISUALS = ("fast", "mesh")


class CounterEnv(MujocoEnv):
    """Reach, grasp or place things on a kitchen counter with a Franka arm and an Allegro hand.

    ## Description
    A kitchen in the manner of RoboCasa, in one of 6 layouts and 7 styles: counters, sink, stove,
    cupboards, window, fridge, and what stands around. Before it are a Franka Panda, at the height
    of the counter top, with an Allegro right hand, and a camera to its left. On the counter are the
    object of the task, which is as large as the hand can grasp from above (a can, a bottle, a carton
    of milk or a box of cereal, about 6 x 6 x 16 cm, 0.15 to 0.2 kg), and other things that are in
    the way. Positions are in the frame of the arm's base: x ahead, y to the left, z up from the
    counter top [m]. The tasks are those of DexWM (2025), in a simulation of our own.

    | id | start | goal | success |
    |---|---|---|---|
    | `dexworld/CounterReach-v0` | the hand above the counter | the open hand before the object | mean distance of wrist and fingertips < 0.15 m |
    | `dexworld/CounterGrasp-v0` | the open hand before the object | the hand holds the object, on the counter | wrist-object distance < 0.20 m and contact |
    | `dexworld/CounterPlace-v0` | the object in the hand, lifted | the object in the hand, elsewhere, 5 cm above where it was grasped | object-goal distance < 0.10 m |

    A rule has to be met in 10 consecutive steps. The budget is 50 steps, 5 s.

    ## Action space
    `Box(-1, 1, (23,), float32)`, rescaled to targets of the joints over their ranges; or, with
    `action="joints"`, the targets themselves [rad]. An action lasts 0.1 s: 20 physics steps, in
    which the targets of the servos move there along a line, or as far as the rated speeds of the
    joints allow (2.175 and 2.61 rad/s, fingers 10 rad/s). Five actions are a waypoint of DexWM's.

    | index | joint | -1 [rad] | 1 [rad] |
    |---|---|---|---|
    | 0-6 | arm, from the base | -2.8973, -1.7628, -2.8973, -3.0718, -2.8973, -0.0175, -2.8973 | 2.8973, 1.7628, 2.8973, -0.0698, 2.8973, 3.7525, 2.8973 |
    | 7, 11, 15 | abduction of index, middle, ring finger | -0.47 | 0.47 |
    | 8, 12, 16 | proximal joint | -0.196 | 1.61 |
    | 9, 13, 17 | medial joint | -0.174 | 1.709 |
    | 10, 14, 18 | distal joint | -0.227 | 1.618 |
    | 19-22 | thumb: opposition, abduction, medial, distal | 0.263, -0.105, -0.189, -0.162 | 1.396, 1.163, 1.644, 1.719 |

    ## Observation space
    `Dict` of the keys named by `observation`:

    | key | type | meaning |
    |---|---|---|
    | `state` | float32 (124,) | joints (23) [rad] and velocities (23); all things in the order of `objects.THINGS`: position and quaternion (6 x 7), linear and angular velocity (6 x 6) |
    | `proprio`, `velocities` | float32 (23,) | joints [rad], their velocities [rad/s] |
    | `keypoints` | float32 (5, 3) | wrist, tips of index, middle, ring finger, thumb |
    | `palm`, `object` | float32 (7,) | position and quaternion, w first, of palm and object |
    | `distance` | float32 (5,) | from palm and the four fingertips to the object, at most 1 m |
    | `contact` | float32 (5,) | number of contacts of the four fingers, and of the whole hand, with the object |
    | `pixels_torso`, `pixels_wrist` | uint8 (size, 1.75 size, 3) | frames; size = `pixels_size` |
    | `camera_torso`, `camera_wrist` | float32 (16,) | `dexworld.envs.cameras.Calibration.as_vector` |
    | `scene` | int64 (1,) | layout, style, object and distractors, as `scene.Scene` numbers them |
    | `physics` | float64 (P,) | exact state, as `get_state()` returns it, of that scene |

    `pixels_torso` is DexWM's camera: 60 degrees down, a vertical field of view of 80 degrees. It
    always sees the hand, but not always the object: in 20 episodes each, of reach, grasp and place,
    no pixel showed it in 5, 1 and 2 starts and in 1, 1 and 2 goals, and fewer than 50 of the 87,808
    pixels did in 6, 1 and 4 starts and 2, 3 and 3 goals (`python -m
    dexworld.experiments.visibility`). `pixels_wrist` shows it in all but a start of reaching.

    ## Reward
    `max(0, 1 - distance / 0.5 m)` of the rule's distance; for grasping half of it, and 0.5 in
    contact. `info` has `distance`, `held_steps` (consecutive steps in which the rule was met),
    `reward_distance`, `reward_contact`, `is_success`.

    ## Starting state
    The object stands within 15 x 32 cm, turned by at most 0.5 rad; other things at least 20 cm away.
    A script that knows everything then solves the task in simulation: what it reaches is the goal,
    an exact state, and its joint targets are kept as actions in `solution`. Draws in which it fails,
    pushes other things, or does not hold what it grasped when lifted by 10 cm are drawn again, as are
    those that waiting solves or, at start or goal, changes: in a second the object goes less than
    5 mm, and turns, as joints do, by less than 0.06 rad. `reset` returns `info["goal"]`: the goal as an observation with the
    same keys.

    `reset(options=...)` takes `layout`, `style`, `object`, `distractors` for one episode; `state`,
    124 numbers as in `state`, to start from, things that are not in the scene staying as given; and
    `goal`, alike. Where only a start is given, the script's solution from there is the goal.

    ## Episode end
    Terminates on success (unless `terminate_on_success=False`); truncated after the budget.

    ## Arguments
    - `task`: `"reach"`, `"grasp"` or `"place"`.
    - `observation`: keys of the observation; `pixels_size`: height of frames, 224 as DexWM's.
    - `action`: `"normalized"` or `"joints"`.
    - `layout`: `"random"` or one of `layouts.LAYOUTS`; `style`: of `styles.STYLES`; `object`: of
      `objects.TARGETS`; `distractors`: how many other things, or which.
    - `limits`: ranges of the arm's joints, those of the `"panda"`, as in the table, or of the
      `"fr3"`, the same arm's successor; scripts and actions keep to them.
    - `visuals`: the arm that frames show, `"fast"`, of coarse meshes, or `"mesh"`, of robosuite's,
      for which a kitchen takes seconds to compile and a frame several times as long to draw.
    - `terminate_on_success`; `render_mode`: `None` or `"rgb_array"`; `render_size`: height of what
      `render` returns, which shows the goal in its corner.

    `lift()` tells whether the grasp of the present state holds: DexWM's rule is met by any touch.

    ## Version history
    - v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]
    observation_keys = OBSERVATIONS
    simulation: CounterSimulation

    def __init__(
        self,
        *,
        task: str = "reach",
        observation: str | Sequence[str] = ("state",),
        pixels_size: int = 224,
        action: str = "normalized",
        layout: str = "random",
        style: str = "random",
        object: str = "random",
        distractors: int | Sequence[str] = 2,
        limits: str = "panda",
        visuals: str = "fast",
        terminate_on_success: bool = True,
        render_mode: str | None = None,
        render_size: int = 360,
    ) -> None:
        """See the class for the arguments; raises `ValueError` for a value it does not know."""
        check_choice("task", task, tuple(TASKS))
        check_choice("action", action, ("normalized", "joints"))
        check_choice("limits", limits, tuple(ARM_LIMITS))
        check_choice("visuals", visuals, _VISUALS)
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if min(pixels_size, render_size) < _MIN_SIZE:
            raise ValueError(
                f"pixels_size={pixels_size}, render_size={render_size}: frames are at least "
                f"{_MIN_SIZE} px high."
            )
        self.choice = SceneChoice(layout, style, object, distractors_of(distractors))
        self.task = TASKS[task]
        self.rule = self.task.rule
        names = self.select_observations(observation)
        scene = self.choice.draw(np.random.default_rng(0)).number
        self.simulation = CounterSimulation(scene, limits)
        self.terminate_on_success = terminate_on_success
        self.render_mode, self.render_size, self.pixels_size = render_mode, render_size, pixels_size
        self.raw_actions = action == "joints"
        low, high = self.simulation.low, self.simulation.high
        self.action_space = Box(-1.0, 1.0, (ACTIONS,), np.float32)
        if self.raw_actions:
            self.action_space = Box(low.astype(np.float32), high.astype(np.float32))
        self._observe = Observations(
            names, pixels_size, _width(pixels_size), self.simulation.state_size
        )
        self.observation_space = self._observe.space
        self.solution: FloatArray | None = None
        self._script = Script(limits)
        self._drawing = Drawing(self.simulation.scene, visuals)
        self._set_goal(self.get_state())

    # Reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode; for the options, see the class."""
        super().reset(seed=seed)
        given = checked_options(options)
        scene = replace(self.choice, **{k: v for k, v in given.items() if k not in _STATES})
        self.simulation.set_scene(scene.draw(self.np_random).number)
        episode = self._begin(given)
        if "goal" in given:
            goal = self.simulation.physics(given["goal"][None])[0]
            episode = replace(episode, goal=goal, solution=None)
        self.simulation.set_state(episode.start)
        self.solution = None
        if episode.solution is not None:
            self.solution = self.normalised_action(episode.solution)
        self._set_goal(episode.goal)
        info = self._info()
        info["goal"] = self._observation(episode.goal)
        return self._observation(self.get_state()), info

    def _begin(self, given: Mapping[str, Any]) -> Episode:
        stage = Stage(self.simulation, self._script)
        if "state" not in given:
            return draw_episode(self.task, stage, self.np_random)
        self.simulation.set_task_state(given["state"])
        if "goal" in given:
            return Episode(self.get_state(), self.get_state(), None)
        try:
            return completed(self.task, stage, self.np_random)
        except Unlucky as error:
            raise ValueError(
                f"options['state'] leads to no goal: {error}. Give options['goal'] too."
            ) from None

    def _set_goal(self, physics: FloatArray) -> None:
        self.goal_physics = physics
        self._goal = self.simulation.observe(self.rule.reads, physics)
        self._goal_frame: Frame | None = None
        self._held = 0

    def set_state(self, physics: FloatArray) -> None:
        """Restore an exact state of the same scene; steps in which the rule held are forgotten."""
        super().set_state(physics)
        self._held = 0

    # Step

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Move the joints' targets for 0.1 s."""
        self.simulation.step(self.raw_action(self.check_action(action)))
        features = self.simulation.observe(self.rule.reads)
        self._held = self._held + 1 if self.rule(features, self._goal) else 0
        info = self._info(features)
        reward = sum(value for key, value in info.items() if key.startswith("reward_"))
        terminated = info["is_success"] and self.terminate_on_success
        return self._observation(self.get_state()), reward, terminated, False, info

    def raw_action(self, action: FloatArray) -> FloatArray:
        """Return joint targets `(..., 23)` [rad]."""
        action = np.asarray(action, np.float64)
        if self.raw_actions:
            return action
        low, high = self.simulation.low, self.simulation.high
        command: FloatArray = low + (action + 1.0) * ((high - low) / 2.0)
        return command

    def normalised_action(self, command: FloatArray) -> FloatArray:
        """Return joint targets `(..., 23)` [rad] as actions."""
        command = np.asarray(command, np.float64)
        if self.raw_actions:
            return command
        low, high = self.simulation.low, self.simulation.high
        action: FloatArray = (command - low) * (2.0 / (high - low)) - 1.0
        return action

    def hold_action(self) -> NDArray[np.float32]:
        """Return the last targets as an action: the hand stays, and presses as it does."""
        command = self.simulation.command(self.get_state()[None])[0]
        action = self.normalised_action(command).astype(np.float32)
        space = self.action_space
        assert isinstance(space, Box)
        return np.clip(action, space.low, space.high)

    # Reward and success

    def _info(self, features: Mapping[str, FloatArray] | None = None) -> dict[str, Any]:
        seen = self.simulation.observe(self.rule.reads) if features is None else features
        terms = self.rule.rewards(seen, self._goal)
        return {
            "distance": float(self.rule.distance(seen, self._goal)),
            "held_steps": self._held,
            **{f"reward_{name}": float(value) for name, value in terms.items()},
            "is_success": self._held >= HELD_STEPS,
        }

    @property
    def success_rule(self) -> str:
        """The success rule in words, as reports name it."""
        return self.rule.name

    @property
    def reward_reads(self) -> frozenset[str]:
        """What the reward of grasping depends on; those of reaching and placing have goals."""
        return self.rule.reads if isinstance(self.rule, GraspRule) else frozenset()

    def reward_of(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Return the rewards `(...)` of grasping."""
        if not self.reward_reads:
            return super().reward_of(features)
        terms = self.rule.rewards(features, features)
        return np.asarray(sum(terms.values()))

    def lift(self) -> Lift:
        """Try the grasp of the present state, which stays as it is."""
        return lift(self.simulation.scene, self.get_state(), self._script)

    # Observation and rendering

    def _observation(self, physics: FloatArray) -> dict[str, NDArray[Any]]:
        self._drawing.show(self.simulation.scene)
        height = self.pixels_size
        size = (height, _width(height))

        def pixels(camera: str, task_state: FloatArray) -> Frame:
            return self._drawing.draw(camera, *size, task_state)

        def calibration(camera: str, task_state: FloatArray) -> NDArray[np.float32]:
            return self._drawing.calibration(camera, *size, task_state).as_vector()

        return self._observe(self.simulation, physics, pixels, calibration)

    def render(self) -> Frame | None:
        """Return the frame, with the goal in its corner."""
        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: choose 'rgb_array'.")
            return None
        return self._overview(self.task_state)

    def draw(self, task_state: FloatArray, motion: FloatArray) -> Frame:
        """Return the frame of any task state `(124,)`, the object's way through `motion` on it."""
        place = 2 * ACTIONS + 7 * self.simulation.things.index(self._target)
        size = (self.render_size, _width(self.render_size))
        frame = self._overview(task_state)
        seen_by = self._drawing.calibration(OVERVIEW, *size, task_state)
        return with_path(frame, motion[:, place : place + 3], seen_by)

    @property
    def _target(self) -> str:
        return Scene.of(self.simulation.scene).target

    def _overview(self, task_state: FloatArray) -> Frame:
        self._drawing.show(self.simulation.scene)
        size = (self.render_size, _width(self.render_size))
        if self._goal_frame is None:
            goal = self.simulation.task_state(self.goal_physics[None])[0]
            self._goal_frame = self._drawing.draw(OVERVIEW, *size, goal)
        return with_goal(self._drawing.draw(OVERVIEW, *size, task_state), self._goal_frame)

    def close(self) -> None:
        """Give back what frames are drawn with."""
        self._drawing.close()


_STATES = ("state", "goal")


def _width(height: int) -> int:
    """Return the width of frames, whose sides are as 7 to 4: DexWM's 392 x 224."""
    return round(1.75 * height)
