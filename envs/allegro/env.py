"""In-hand reorientation of a cube as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from ..arguments import check_choice
from ..mujoco_env import FloatArray, MujocoEnv
from ..rotations import IDENTITY, angle_between, unit
from .arguments import checked_options, cube_variants
from .drawing import Drawing, Frame
from .goals import OrientationRule, Turn
from .observations import CALIBRATIONS, OBSERVATIONS, PIXELS, Observations
from .simulation import POSE, AllegroSimulation, N
from .starts import StartNoise, settled_start

_DROP = 0.04  # a cube whose centre is so much lower than at the start has been dropped [m]
_MIN_SIZE = 16  # of frames [px]
_VIEW = "front"  # camera of what `render` shows


class AllegroReorientEnv(MujocoEnv):
    """Turn a cube that lies on the palm of an Allegro hand, without dropping it.

    ## Description
    The hand, a Wonik Allegro right hand, is fixed, palm up, its fingers bent to a bowl and
    pointing 0.2 rad downwards. The cube (edges 6 cm, 80 g) has six faces of different colours and
    lies on the palm before the fingers' roots. It is to be turned to an orientation that differs
    from the start by 45 to 90 degrees about the palm's normal. The task follows the reorientation
    of contact-implicit planning (Suh et al. 2025) in numbers of our own.

    | id | goal | success | budget |
    |---|---|---|---|
    | `dexworld/AllegroReorient-v0` | `angles` about `axis`, either way | 0.4 rad, for 10 steps | 100 steps |

    ## Action space
    `Box(-1, 1, (16,), float32)`, rescaled to targets of the joints over their ranges; or, with
    `action="joints"`, the targets themselves [rad]. An action lasts 0.05 s: 10 physics steps, in
    which the targets of the servos (4 Nm/rad, at most 0.7 Nm) move there along a line. So frames are
    20 a second, twice as many as at the counter, since a cube on a palm moves faster; and square.

    | index | joint | -1 [rad] | 1 [rad] |
    |---|---|---|---|
    | 0, 4, 8 | abduction of index, middle, ring finger | -0.47 | 0.47 |
    | 1, 5, 9 | proximal joint | -0.196 | 1.61 |
    | 2, 6, 10 | medial joint | -0.174 | 1.709 |
    | 3, 7, 11 | distal joint | -0.227 | 1.618 |
    | 12 | opposition of the thumb | 0.263 | 1.396 |
    | 13 | abduction of the thumb | -0.105 | 1.163 |
    | 14 | its medial joint | -0.189 | 1.644 |
    | 15 | its distal joint | -0.162 | 1.719 |

    ## Observation space
    `Dict` of the keys named by `observation`, positions in the world [m], z up:

    | key | type | meaning |
    |---|---|---|
    | `state` | float32 (45,) | joints (16) [rad]; cube: position (3), quaternion (4; w first); velocities: joints (16) [rad/s], cube (3) [m/s], its rotation (3) [rad/s] |
    | `proprio` | float32 (16,) | joints [rad] |
    | `keypoints` | float32 (8, 3) | corners of the cube |
    | `fingertips` | float32 (4, 3) | of index, middle and ring finger and thumb |
    | `object` | float32 (7,) | position and quaternion, w first, of the cube |
    | `contact` | float32 (5,) | number of contacts of the four fingers, thumb last, and of the whole hand, with the cube |
    | `pixels_<camera>` | uint8 (size, size, 3) | frames of `above`, `front`, `side`; size = `pixels_size` |
    | `camera_<camera>` | float32 (16,) | the camera's calibration, `dexworld.envs.cameras.Calibration.as_vector` |
    | `scene` | int64 (1,) | which variant of the cube |
    | `physics` | float64 (P,) | exact state, as `get_state()` returns it, of that variant |

    ## Reward
    `1 - error / pi`, error = angle to the goal's orientation [rad]. `info` has `rotation_error`
    [rad], `position_error` (distance from the start) [m], `reward_rotation`, `is_dropped`,
    `is_success`: the error was below 0.4 rad in the last 10 steps.

    ## Starting state
    A variant of the cube (see below); joints within 0.02 rad of the bowl; the cube within 3 mm and
    0.1 rad of its place, any face up. Then the hand holds still for a second. Starts in which the
    cube has not come to rest by then, flat on the palm, are drawn again: it stays there, at the
    whole angle from the goal, if nothing is done. `reset` returns `info["goal"]`: the start, at
    rest, with the cube turned, as an observation with the same keys. The fingers are those of the
    start, so the goal's `contact` says little.

    `reset(options={"state": ...})` starts from 45 numbers in the units and order of `state`, not
    settled; `options={"goal": ...}` sets the goal's orientation, a quaternion; `options={"scene":
    ...}` the variant.

    ## Episode end
    Terminates on success (unless `terminate_on_success=False`), and when the cube has been dropped:
    its centre is 4 cm lower than at the start. Truncated after the budget, 5 s.

    ## Arguments
    - `observation`: keys of the observation; `pixels_size`: side of frames.
    - `action`: `"normalized"` or `"joints"`.
    - `angles`: least and largest angle of the goal [degrees]; `axis`: `"palm"` (its normal),
      `"fingers"`, `"across"` or `"any"`; `direction`: `"both"`, `"left"` (counterclockwise) or
      `"right"`.
    - `mass` [kg], `friction`, `size` [m] of the cube: numbers, or ranges `(least, largest)`, from
      which `scenes` variants are drawn, the same in every environment; an episode's is drawn from
      its seed.
    - `position_noise` [m], `yaw_noise` [rad], `joint_noise` [rad]: how far starts are from the
      nominal one, to either side.
    - `goal_in_pixels`: whether frames show a second cube beside the hand, turned like the goal
      (`render` always does).
    - `terminate_on_success`; `render_mode`: `None` or `"rgb_array"`; `render_size`.

    ## Version history
    - v0: first version.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 20}  # type: ignore[misc]
    observation_keys = OBSERVATIONS
    simulation: AllegroSimulation

    def __init__(
        self,
        *,
        observation: str | Sequence[str] = ("state",),
        pixels_size: int = 128,
        action: str = "normalized",
        angles: Sequence[float] = (45.0, 90.0),
        axis: str = "palm",
        direction: str = "both",
        mass: float | Sequence[float] = 0.08,
        friction: float | Sequence[float] = 1.0,
        size: float | Sequence[float] = 0.06,
        scenes: int = 64,
        position_noise: float = 0.003,
        yaw_noise: float = 0.1,
        joint_noise: float = 0.02,
        goal_in_pixels: bool = True,
        terminate_on_success: bool = True,
        render_mode: str | None = None,
        render_size: int = 480,
    ) -> None:
        """See the class for the arguments; raises `ValueError` for a value it does not know."""
        check_choice("action", action, ("normalized", "joints"))
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if min(pixels_size, render_size) < _MIN_SIZE:
            raise ValueError(
                f"pixels_size={pixels_size}, render_size={render_size}: frames have at least "
                f"{_MIN_SIZE} px."
            )
        self.turn, self.rule = Turn(angles, axis, direction), OrientationRule()
        self.noise = StartNoise(position_noise, yaw_noise, joint_noise)
        cubes = cube_variants(scenes, mass=mass, friction=friction, size=size)
        self.simulation = AllegroSimulation(cubes)
        names = self.select_observations(observation)
        self.goal_in_pixels, self.terminate_on_success = goal_in_pixels, terminate_on_success
        self.render_mode, self.render_size = render_mode, render_size
        self.pixels_size = pixels_size
        self.raw_actions = action == "joints"
        low, high = self.simulation.low, self.simulation.high
        self.action_space = Box(-1.0, 1.0, (N,), np.float32)
        if self.raw_actions:
            self.action_space = Box(low.astype(np.float32), high.astype(np.float32))
        self._observe = Observations(names, pixels_size, self.simulation)
        self.observation_space = self._observe.space
        self._drawn: Drawing | None = None
        self._begin(self.task_state, IDENTITY)

    # Reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode; `options` may give `state`, `goal` and `scene`."""
        super().reset(seed=seed)
        given = checked_options(options)
        scene = int(self.np_random.integers(self.simulation.scenes))
        self.simulation.set_scene(int(given.get("scene", scene)))
        if "state" in given:
            self.simulation.set_task_state(given["state"])
        else:
            settled_start(self.simulation, self.np_random, self.noise)
        start = self.task_state
        self._begin(start, unit(given.get("goal", self.turn.goal(self.np_random, start[POSE][3:]))))
        info = self._info(start)
        info["goal"] = self._observation(self.goal_state, self._goal_physics)
        return self._observation(start, self.get_state), info

    def _begin(self, start: FloatArray, goal: FloatArray) -> None:
        """Set the goal: the start, at rest, with the cube in another orientation."""
        self.goal_state = np.concatenate([start[: N + 3], goal, np.zeros(len(start) - N - 7)])
        self._held = 0

    def _goal_physics(self) -> FloatArray:
        physics: FloatArray = self.simulation.physics(self.goal_state[None])[0]
        return physics

    def set_state(self, physics: FloatArray) -> None:
        """Restore an exact state of the same scene; steps in which the goal was held are forgotten."""
        super().set_state(physics)
        self._held = 0

    # Step

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Move the joints' targets for 0.05 s."""
        self.simulation.step(self.raw_action(self.check_action(action)))
        task_state = self.task_state
        self._held = self._held + 1 if self._error(task_state) < self.rule.tolerance else 0
        info = self._info(task_state)
        solved = info["is_success"] and self.terminate_on_success
        observation = self._observation(task_state, self.get_state)
        return observation, info["reward_rotation"], solved or info["is_dropped"], False, info

    def raw_action(self, action: FloatArray) -> FloatArray:
        """Return joint targets `(..., 16)` [rad]."""
        action = np.asarray(action, np.float64)
        if self.raw_actions:
            return action
        low, high = self.simulation.low, self.simulation.high
        command: FloatArray = low + (action + 1.0) * ((high - low) / 2.0)
        return command

    def normalised_action(self, command: FloatArray) -> FloatArray:
        """Return joint targets `(..., 16)` [rad] as actions."""
        command = np.asarray(command, np.float64)
        if self.raw_actions:
            return command
        low, high = self.simulation.low, self.simulation.high
        action: FloatArray = (command - low) * (2.0 / (high - low)) - 1.0
        return action

    def hold_action(self) -> NDArray[np.float32]:
        """Return the last targets as an action: the fingers stay, and press as they do."""
        command = self.simulation.command(self.get_state()[None])[0]
        action = self.normalised_action(command).astype(np.float32)
        space = self.action_space
        assert isinstance(space, Box)
        return np.clip(action, space.low, space.high)

    # Reward and success

    def _error(self, task_state: FloatArray) -> float:
        return float(angle_between(task_state[POSE][3:], self.goal_state[POSE][3:]))

    def _info(self, task_state: FloatArray) -> dict[str, Any]:
        error = self._error(task_state)
        offset = task_state[POSE][:3] - self.goal_state[POSE][:3]
        return {
            "rotation_error": error,
            "position_error": float(np.linalg.norm(offset)),
            "reward_rotation": 1.0 - error / np.pi,
            "is_dropped": bool(offset[2] < -_DROP),
            "is_success": self._held >= self.rule.hold,
        }

    @property
    def success_rule(self) -> str:
        """The success rule in words, as reports name it."""
        return self.rule.name

    # Observation and rendering

    def _observation(
        self, task_state: FloatArray, physics: Callable[[], FloatArray]
    ) -> dict[str, NDArray[Any]]:
        def others(name: str) -> NDArray[Any]:
            if name == "physics":
                return physics()
            if name == "scene":
                return np.array([self.simulation.scene], np.int64)
            if name in CALIBRATIONS:
                seen = self._drawing().calibration(CALIBRATIONS[name], self.pixels_size)
                return seen.as_vector()
            goal = self.goal_state[POSE][3:] if self.goal_in_pixels else None
            return self._frame(PIXELS[name], self.pixels_size, task_state, goal)

        return self._observe(task_state, self.simulation, others)

    def _frame(
        self, camera: str, size: int, task_state: FloatArray, goal: FloatArray | None
    ) -> Frame:
        return self._drawing().draw(camera, size, task_state, goal, self.simulation.cube.size)

    def _drawing(self) -> Drawing:
        """Return what draws; it is made for the first frame."""
        if self._drawn is None:
            self._drawn = Drawing()
        return self._drawn

    def render(self) -> Frame | None:
        """Return the frame, with the goal."""
        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: choose 'rgb_array'.")
            return None
        return self.draw(self.task_state, self.task_state[None])

    def draw(self, task_state: FloatArray, motion: FloatArray) -> Frame:
        """Return the frame of any task state `(45,)`; what follows it, `motion`, is not drawn."""
        return self._frame(_VIEW, self.render_size, task_state, self.goal_state[POSE][3:])

    def close(self) -> None:
        """Give back what frames are drawn with."""
        if self._drawn is not None:
            self._drawn.close()
