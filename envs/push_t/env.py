"""PushT as a Gymnasium environment: three tasks, two physics engines, one board."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box
from numpy.typing import NDArray

from ..arguments import check_choice
from ..mujoco_env import FloatArray, MujocoEnv
from .arguments import checked_options
from .chipmunk import PushTChipmunk
from .drawing import MIN_SIZE, Frame, Scene, appearance
from .geometry import BOARD, GoalCoverage, coverage, fitted_poses
from .goals import TRIES, solved_by_waiting, trajectory_goal
from .observations import OBSERVATIONS, Observations
from .start_states import START_STATES
from .success import CoverageRule, PoseRule
from .twin import PushTTwin
from .window import Window

FIXED_GOAL = (256.0, 256.0, np.pi / 4)
"""The goal pose of the literature [px, rad]."""

_FULL_REWARD = 0.95  # coverage at which the reward is 1, as in the literature
_FAR = 4.0 * BOARD  # nothing at such a distance is seen [px]


class PushTEnv(MujocoEnv):
    """Push a T-shaped block into a goal pose with a round pusher, seen from above.

    ## Description
    The board is 512 x 512 px, y points down. Motion is quasi-static: a block that is not pushed
    stands still. The task and its numbers are those of Diffusion Policy's PushT (Chi et al. 2023);
    `physics="pymunk"` reproduces gym-pusht 0.1.8 bit for bit, `physics="mujoco"` is a twin of it
    (median error 0.3 px after 25 steps, mostly from crushing the block against a wall) that is
    several times faster. The second task is that of DINO-WM (Zhou et al. 2024), on goals of ours.

    | id | goal | success | budget |
    |---|---|---|---|
    | `dexworld/PushT-v0` | fixed at (256, 256, pi/4) | coverage > 0.95 | 300 steps |
    | `dexworld/PushTGoal-v0` | a later state of a scripted trajectory | 20 px and pi/9 | 50 steps |
    | `dexworld/PushTMulti-v0` | x, y ~ U(156, 356), angle ~ U(0, 2 pi) | coverage > 0.95 | 300 steps |

    ## Action space
    `Box(-1, 1, (2,), float32)`, rescaled to the target position of the pusher; or, with
    `action="pixels"`, that target itself, `Box(0, 512, (2,), float32)`, float64 accepted. An
    action lasts 0.1 s: 10 physics steps with `acceleration = 100 (target - position) - 20 velocity`.

    | index | action | -1 | 1 |
    |---|---|---|---|
    | 0 | target x | 0 px | 512 px |
    | 1 | target y | 0 px | 512 px |

    ## Observation space
    `Dict` of the keys named by `observation`:

    | key | type | meaning |
    |---|---|---|
    | `pixels` | uint8 (size, size, 3) | frame, size = `pixels_size` |
    | `state` | float32 (5,) | agent x, y; block x, y [px]; angle in [0, 2 pi) [rad] |
    | `proprio` | float32 (2,) | agent x, y [px] |
    | `keypoints` | float32 (4, 2) | ends of the bar, top and bottom of the stem: x, y [px] |
    | `physics` | float64 (P,) | exact state, as `get_state()` returns it |

    The block's position is the origin of its frame (pymunk's `body.position`, the middle of the
    bar's outer edge), not its centre of mass. Positions are bounded by -256 and 768 px, since a
    block crushed against a wall can leave the board.

    ## Reward
    `clip(coverage / 0.95, 0, 1)`, coverage = share of the goal T that the block covers. `info` has
    `coverage`, `reward_coverage` (the same term), `is_success`, and with the rule in pixels also
    `position_error` [px] and `angle_error` [rad].

    ## Starting state
    Agent and block as the literature draws them (`reset_distribution`), then one physics step of
    0.01 s. Only `goal="trajectory"` starts in motion, at an exact state of a scripted trajectory in
    which the block then moves at least 20 px or turns at least pi/9 (over 25 steps and the seeds 0
    to 199: median 126 px and 39 degrees); the solution is kept in `solution`. Starts in which
    success already holds, or which waiting solves, are drawn again. `reset` returns
    `info["goal"]`: the goal as an observation, with the same keys. Where the goal is a pose of the
    block only, its agent is where the agent starts.

    `reset(options={"state": ...})` starts at rest from five numbers in the units and order of
    `state`, exactly as given in either `reset_mode`. `options={"goal": ...}` sets the goal alike,
    except where `goal="fixed"`, whose goal and reward are the same in every episode.

    ## Episode end
    Terminates on success (unless `terminate_on_success=False`); truncated after the budget.

    ## Arguments
    - `physics`: `"mujoco"` or `"pymunk"`. An exact pymunk state holds up to 512 control steps.
    - `observation`: keys of the observation; `pixels_size`: side of `pixels`.
    - `action`: `"normalized"` or `"pixels"`.
    - `goal`: `"fixed"`, `"trajectory"` or `"random"`; `goal_offset`: steps from start to goal along
      the trajectory; `goal_includes_agent=False` leaves the agent out of the rule in pixels;
      `goal_in_pixels`: whether `pixels` show the goal T (`render` always does).
    - `reset_distribution`: `"gym_pusht"`, or `"diffusion_policy"` for the seeds of that paper.
    - `reset_mode`: `"legacy"` places the drawn position before the angle, which turns the block
      about its centre of mass, as the literature does; `"direct"` starts where drawn.
    - `terminate_on_success`; `render_mode`: `None`, `"human"`, `"rgb_array"`; `render_size`.
    - `disturbance`: a visual change of frames, one of `drawing.DISTURBANCES`, e.g. `"BgColor-1"`.

    ## Version history
    - v0: first version; goals of `SCRIPTED_PUSHER_VERSION` 1.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["human", "rgb_array"], "render_fps": 10}  # type: ignore[misc]
    observation_keys = OBSERVATIONS
    simulation: PushTTwin | PushTChipmunk

    def __init__(
        self,
        *,
        physics: str = "mujoco",
        observation: str | Sequence[str] = ("state",),
        pixels_size: int = 96,
        action: str = "normalized",
        goal: str = "fixed",
        goal_offset: int = 25,
        goal_includes_agent: bool = True,
        goal_in_pixels: bool = True,
        reset_mode: str = "legacy",
        reset_distribution: str = "gym_pusht",
        terminate_on_success: bool = True,
        render_mode: str | None = None,
        render_size: int = 512,
        disturbance: str | None = None,
    ) -> None:
        """See the class for the arguments; raises `ValueError` for a value it does not know."""
        check_choice("physics", physics, ("mujoco", "pymunk"))
        check_choice("action", action, ("normalized", "pixels"))
        check_choice("goal", goal, ("fixed", "trajectory", "random"))
        check_choice("reset_mode", reset_mode, ("legacy", "direct"))
        check_choice("reset_distribution", reset_distribution, tuple(START_STATES))
        check_choice("render_mode", render_mode, (None, *self.metadata["render_modes"]))
        if goal_offset < 1:
            raise ValueError(f"goal_offset must be at least 1 step, got {goal_offset}.")
        if min(pixels_size, render_size) < MIN_SIZE:
            raise ValueError(
                f"pixels_size={pixels_size}, render_size={render_size}: frames have at least "
                f"{MIN_SIZE} px."
            )
        self.simulation = PushTTwin() if physics == "mujoco" else PushTChipmunk()
        names = self.select_observations(observation)
        self.goal_kind, self.goal_offset = goal, goal_offset
        self.goal_in_pixels = goal_in_pixels
        self.reset_mode, self.reset_distribution = reset_mode, reset_distribution
        self.terminate_on_success = terminate_on_success
        self.render_mode, self.render_size = render_mode, render_size
        self.pixels_size, self.look = pixels_size, appearance(disturbance)
        self.raw_actions = action == "pixels"
        low, high = (0.0, BOARD) if self.raw_actions else (-1.0, 1.0)
        self.action_space = Box(low, high, (2,), np.float32)
        self._observe = Observations(names, pixels_size, self.simulation.state_size)
        self.observation_space = self._observe.space
        self.rule: PoseRule | CoverageRule = (
            PoseRule(includes_agent=goal_includes_agent) if goal == "trajectory" else CoverageRule()
        )
        self.solution: FloatArray | None = None
        self._window: Window | None = None
        self._scenes: dict[str, tuple[list[bytes], Scene]] = {}
        self._set_goal(np.array([*self.simulation.get_task_state()[:2], *FIXED_GOAL]))

    # Reset

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode; `options` may give `state` and `goal`, five numbers each."""
        super().reset(seed=seed)
        given = checked_options(options)
        if "goal" in given and self.goal_kind == "fixed":
            raise ValueError(
                "options['goal'] cannot move the fixed goal; make the environment with "
                "goal='random' (dexworld/PushTMulti-v0), where every episode may have its own."
            )
        self.solution = None
        starts = START_STATES[self.reset_distribution](self.np_random, seed)
        if self.goal_kind == "trajectory" and "goal" not in given:
            goal_physics = self._start_with_trajectory(starts, given.get("state"))
        else:
            self._start_with_pose(starts, given)
            goal_physics = self.simulation.physics(self.goal_state[None])[0]
        task_state = self.simulation.get_task_state()
        info = self._info(task_state)
        info["goal"] = self._observation(self.goal_state, goal_physics)
        if self.render_mode == "human":
            self.render()
        return self._observation(task_state), info

    def _start_with_pose(
        self, starts: Iterator[FloatArray], given: Mapping[str, FloatArray]
    ) -> None:
        for drawn in islice(starts, TRIES):
            if "state" in given:
                self.simulation.start(given["state"])
            else:
                self.simulation.start(drawn, legacy=self.reset_mode == "legacy", settled=True)
            agent = self.simulation.get_task_state()[:2]
            self._set_goal(given.get("goal", np.concatenate([agent, self._draw_goal_pose()])))
            if "state" in given and ("goal" in given or self.goal_kind == "fixed"):
                return  # nothing was drawn, so there is nothing to draw again
            if not self._solved_at_start():
                return
        raise RuntimeError(
            f"all of {TRIES} starts succeed at once or by waiting: "
            "is the given goal where the block starts?"
        )

    def _solved_at_start(self) -> bool:
        start, task_state = self.get_state(), self.task_state
        if isinstance(self.rule, CoverageRule) and self._coverage(*task_state[2:]) < 0.8:
            return False  # an overlap at the start moves a held block by a few pixels at most
        solved = solved_by_waiting(self.simulation, start, self.goal_state, self.rule)
        self.set_state(start)
        return solved

    def _start_with_trajectory(
        self, starts: Iterator[FloatArray], given: FloatArray | None
    ) -> FloatArray:
        lead_in = {}
        if given is not None:
            starts, lead_in = iter([given] * TRIES), {"lead_in": 0}
        chosen = trajectory_goal(
            self.simulation, starts, self.np_random, self.goal_offset, self.rule, **lead_in
        )
        self.set_state(chosen.start)
        self._set_goal(chosen.goal_state)
        self.solution = self.normalised_action(chosen.commands)
        return chosen.goal

    def _draw_goal_pose(self) -> FloatArray:
        if self.goal_kind != "random":
            return np.array(FIXED_GOAL)
        x, y = self.np_random.uniform(156.0, 356.0, 2)
        return np.array([x, y, self.np_random.uniform(0.0, 2.0 * np.pi)])

    def _set_goal(self, goal_state: FloatArray) -> None:
        self.goal_state = np.array(goal_state, np.float64)
        self._coverage = GoalCoverage(self.goal_state[2:])
        self._command: FloatArray | None = None

    # Step

    def step(
        self, action: NDArray[Any]
    ) -> tuple[dict[str, NDArray[Any]], float, bool, bool, dict[str, Any]]:
        """Move the pusher towards a target for 0.1 s."""
        command = self.raw_action(self.check_action(action))
        self.simulation.step(command)
        self._command = command
        task_state = self.simulation.get_task_state()
        info = self._info(task_state)
        terminated = info["is_success"] and self.terminate_on_success
        if self.render_mode == "human":
            self.render()
        return self._observation(task_state), info["reward_coverage"], terminated, False, info

    def raw_action(self, action: FloatArray) -> FloatArray:
        """Return target positions `(..., 2)` [px]."""
        action = np.asarray(action, np.float64)
        return action if self.raw_actions else (action + 1.0) * (BOARD / 2.0)

    def normalised_action(self, command: FloatArray) -> FloatArray:
        """Return target positions `(..., 2)` [px] as actions."""
        command = np.asarray(command, np.float64)
        return command if self.raw_actions else command / (BOARD / 2.0) - 1.0

    def hold_action(self) -> NDArray[np.float32]:
        """Return the action whose target is where the pusher is."""
        action = self.normalised_action(self.task_state[:2])
        space = self.action_space
        assert isinstance(space, Box)
        return np.clip(action, space.low, space.high).astype(np.float32)

    # Observation

    def _observation(
        self, task_state: FloatArray, physics: FloatArray | None = None
    ) -> dict[str, NDArray[Any]]:
        state = self.get_state if physics is None else lambda: physics
        return self._observe(task_state, state, self._pixels)

    def _pixels(self, task_state: FloatArray) -> Frame:
        pose = self.goal_state[2:] if self.goal_in_pixels else None
        return self._scene("pixels", self.pixels_size, pose, None).draw(task_state)

    def _scene(
        self, use: str, size: int, pose: FloatArray | None, agent: FloatArray | None
    ) -> Scene:
        """Return the scene for a use; its background is drawn again only for another goal."""
        goal = [part.tobytes() for part in (pose, agent) if part is not None]
        known = self._scenes.get(use)
        if known is None or known[0] != goal:
            known = self._scenes[use] = (goal, Scene(size, pose, self.look, agent))
        return known[1]

    # Reward and success

    def _info(self, task_state: FloatArray) -> dict[str, Any]:
        _, _, x, y, angle = task_state.tolist()
        covered = self._coverage(x, y, angle)
        info: dict[str, Any] = {"coverage": covered, "reward_coverage": _reward(covered)}
        if isinstance(self.rule, PoseRule):
            distance, turn = self.rule.errors(task_state, self.goal_state)
            info["position_error"], info["angle_error"] = float(distance), float(turn)
            info["is_success"] = bool(self.rule.met(distance, turn))
        else:
            info["is_success"] = bool(self.rule.met(covered))
        return info

    @property
    def success_rule(self) -> str:
        """The success rule in words, as reports name it."""
        return self.rule.name

    @property
    def reward_reads(self) -> frozenset[str]:
        """The block's pose, on which alone the reward of the fixed goal depends."""
        return frozenset({"pose"}) if self.goal_kind == "fixed" else frozenset()

    def reward_of(self, features: Mapping[str, FloatArray]) -> FloatArray:
        """Return the rewards `(...)` of block poses `features["pose"]` `(..., 3)` [px, rad]."""
        rewards: FloatArray = np.minimum(
            coverage(features["pose"], self.goal_state[2:]) / _FULL_REWARD, 1.0
        )
        return rewards

    # Rendering

    def render(self) -> Frame | None:
        """Return the frame, with goal and last target, or show it in a window."""
        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: choose 'human' or 'rgb_array'.")
            return None
        frame = self._render_scene.draw(self.task_state, self._command)
        if self.render_mode == "rgb_array":
            return frame
        if self._window is None:
            self._window = Window(self.render_size, "PushT", self.metadata["render_fps"])
        self._window.show(frame)
        return None

    def draw(self, task_state: FloatArray, motion: FloatArray) -> Frame:
        """Return the frame of any task state `(5,)`, the agent's way through `motion` `(n, 5)` on it."""
        scene = self._render_scene
        # A prediction may lie anywhere, and the numbers that OpenCV draws with are small ones.
        state, motion = (np.clip(each, -_FAR, _FAR) for each in (task_state, motion))
        return scene.draw_path(scene.draw(state), motion[:, :2])

    def task_state_of(self, predictions: Mapping[str, NDArray[Any]]) -> FloatArray | None:
        """Return the task states `(..., 5)` that a model's predictions tell; None: they do not.

        They are `state` `(..., 5)` itself; or else `agent` `(..., 1, 2)` and `keypoints`
        `(..., 4, 2)` [px], whose block is at the pose that fits them best.
        """
        if "state" in predictions:
            return np.asarray(predictions["state"], np.float64)
        if not {"agent", "keypoints"} <= predictions.keys():
            return None
        agent, points = (np.asarray(predictions[k], np.float64) for k in ("agent", "keypoints"))
        told: FloatArray = np.concatenate([agent[..., 0, :], fitted_poses(points)], axis=-1)
        return told

    @property
    def _render_scene(self) -> Scene:
        agent = self.goal_state[:2] if self._shows_goal_agent else None
        return self._scene("render", self.render_size, self.goal_state[2:], agent)

    @property
    def _shows_goal_agent(self) -> bool:
        return isinstance(self.rule, PoseRule) and self.rule.includes_agent

    def close(self) -> None:
        """Close the window, if there is one."""
        if self._window is not None:
            self._window.close()
            self._window = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_window": None}


def _reward(covered: float) -> float:
    return min(covered / _FULL_REWARD, 1.0)
