"""The task of an environment inside a model: where episodes start, what is rewarded, when it is done."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexworld.envs.imagination import Reward, Success, predicted_reward
from dexworld.envs.imagined_starts import StartStates
from dexworld.envs.push_t.geometry import fitted_poses
from dexworld.envs.push_t.success import CoverageRule, PoseRule
from dexworld.planners.base import Objective
from dexworld.world_models.base import GOAL_PREFIX, Observation, State, WorldModel

AGENT, KEYPOINTS = "agent", "keypoints"
PREDICTED = "predicted"
"""Kind of reward, and its term: the environment's own, as the model predicts it."""
TRIES = 50
"""Times that starts are drawn before giving up on finding some that are not yet solved."""


@dataclass(frozen=True)
class Progress:
    """Reward of how much the cost has gone down: `scale (c(before) - c(after))`.

    Over an episode it adds up to what was gained from start to end, so that no way of getting there
    is paid better than another. With `near`, `c = near log(1 + cost / near)`: what is gained close
    to the goal counts in full, far away less and less; `c = cost` without.
    """

    objective: Objective
    """The cost of a moment."""
    scale: float = 1.0
    """Reward per unit of cost."""
    near: float | None = None
    """Cost of which one is close to the goal."""

    def __call__(self, before: State, actions: Tensor, after: State, goal: State | None) -> Tensor:
        """Return the rewards `[B]`."""
        costs = [self._cost(state, actions, goal) for state in (before, after)]
        return self.scale * (costs[0] - costs[1])

    def _cost(self, state: State, actions: Tensor, goal: State | None) -> Tensor:
        cost = cost_of(self.objective, state, actions, goal)
        return cost if self.near is None else self.near * torch.log1p(cost / self.near)


@dataclass(frozen=True)
class Nearness(Progress):
    """Reward of a low cost: `-scale c(after)`, in every step."""

    def __call__(self, before: State, actions: Tensor, after: State, goal: State | None) -> Tensor:
        """Return the rewards `[B]`."""
        return -self.scale * self._cost(after, actions, goal)


@dataclass(frozen=True)
class Bonus:
    """Reward of success."""

    success: Success
    """When there is success."""
    size: float = 1.0
    """The reward."""

    def __call__(self, before: State, actions: Tensor, after: State, goal: State | None) -> Tensor:
        """Return the rewards `[B]`."""
        return self.size * self.success(after, goal).double()


def cost_of(objective: Objective, state: State, actions: Tensor, goal: State | None) -> Tensor:
    """Return the cost of a moment `[B]`, of which a state tells what the objective reads.

    Raises:
        KeyError: it does not, or the objective compares with a goal and there is none.
    """
    missing = sorted(objective.reads - set(state))
    if missing:
        raise KeyError(
            f"the objective reads {missing}, and states of the model have {sorted(state)}: choose "
            "another objective."
        )
    moment = {key: state[key][:, None, None] for key in objective.reads}
    return objective.cost(moment, actions[:, None, None], state, goal or {})[:, 0]


@dataclass(frozen=True)
class RuleSuccess:
    """PushT's own rule, of the pusher and the four points of the block that a model predicts.

    The block's pose is that whose points come closest to the predicted ones.
    """

    rule: PoseRule | CoverageRule
    """When an episode of the environment succeeds."""
    goal_state: NDArray[np.float64] | None = None
    """Task state `(5,)` of a goal that all episodes share; that of the encoded goal where None."""

    def __call__(self, state: State, goal: State | None) -> Tensor:
        """Return which states reach their goals `[B]`."""
        wanted = self.goal_state
        if wanted is None:
            if goal is None:
                raise KeyError("goal")
            wanted = task_states(goal)
        reached = self.rule(task_states(state), wanted)
        return torch.from_numpy(reached)


def task_states(state: State) -> NDArray[np.float64]:
    """Return PushT's task states `(B, 5)` of what a model predicts: pusher, pose of the block."""
    agent, points = (state[key].detach().cpu().double().numpy() for key in (AGENT, KEYPOINTS))
    return np.concatenate([agent.reshape(len(agent), 2), fitted_poses(points)], axis=1)


def success_of(env: Any, model: WorldModel, shared_goal: bool) -> Success | None:
    """Return the rule of an environment for a model's states; None where it cannot be told.

    Args:
        env: the environment, after a reset.
        model: what predicts.
        shared_goal: whether starts have no goals of their own, but the environment's.
    """
    rule = getattr(env, "rule", None)
    if not isinstance(rule, (PoseRule, CoverageRule)) or not {AGENT, KEYPOINTS} <= model.predicts:
        return None
    return RuleSuccess(rule, np.asarray(env.goal_state) if shared_goal else None)


class UnsolvedStarts:
    """Draws from other starts those in which success does not already hold.

    Args:
        starts: draws.
        model: encodes starts and goals.
        success: tells.
    """

    def __init__(self, starts: StartStates, model: WorldModel, success: Success) -> None:
        self.starts, self.model, self.success = starts, model, success

    def __call__(self, count: int, rng: np.random.Generator) -> Observation:
        """Return so many starts; raise `ValueError` where hardly any is unsolved."""
        kept: list[Mapping[str, Any]] = []
        found = 0
        for _ in range(TRIES):
            drawn = self.starts(max(8, 2 * (count - found)), rng)
            goal = {
                key.removeprefix(GOAL_PREFIX): value
                for key, value in drawn.items()
                if key.startswith(GOAL_PREFIX)
            }
            solved = self.success(
                self.model.encode(drawn), self.model.encode(goal) if goal else None
            )
            rows = (~solved.numpy()).nonzero()[0]
            kept.append({key: np.asarray(value)[rows] for key, value in drawn.items()})
            found += len(rows)
            if found >= count:
                return {
                    key: np.concatenate([each[key] for each in kept])[:count] for key in kept[0]
                }
        raise ValueError(
            f"of {TRIES} x {count} starts with goals nearly all are solved as they begin: choose "
            "goals further ahead (starts.goal_after)."
        )


def rewards_of(
    kind: str,
    model: WorldModel,
    objective: Objective | None,
    scale: float,
    near: float | None,
    success: Success | None,
    bonus: float,
) -> dict[str, Reward]:
    """Return the terms of the reward by name: that of the kind, and `success` where it is paid.

    Raises:
        ValueError: an unknown kind, one whose objective or success is missing or that the model does
            not predict, or a `near` that is not positive.
    """
    kinds: dict[str, type[Progress]] = {"progress": Progress, "nearness": Nearness}
    terms: dict[str, Reward]
    if kind == PREDICTED:
        terms = {kind: predicted_reward(model)}
    elif kind not in kinds:
        raise ValueError(f"reward.kind={kind!r}: choose one of {[*kinds, PREDICTED]}.")
    elif objective is None:
        raise ValueError(f"reward.kind={kind} needs an objective, e.g. objective=push_t.")
    elif near is not None and not near > 0:
        raise ValueError(f"reward.near={near}: give a positive cost, or null.")
    else:
        terms = {kind: kinds[kind](objective, scale, near)}
    if bonus and success is None:
        raise ValueError(
            f"reward.success={bonus}, and success of this environment cannot be told of the "
            "model's states: set reward.success=0."
        )
    if bonus and success is not None:
        terms["success"] = Bonus(success, bonus)
    return terms
