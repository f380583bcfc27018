"""How far a model's predictions are from what then happened, over the horizon."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dexworld.agents.planning import PlanningAgent
from dexworld.experiments.evaluation import EpisodeResult
from dexworld.planners.base import Plan
from dexworld.world_models.base import State, WorldModel
from dexworld.world_models.latent import LatentWorldModel

Truth = dict[str, NDArray[np.float64]]


@dataclass(frozen=True)
class _Planned:
    """What was carried out of a plan."""

    step: int
    """Steps of the episode before it."""
    belief: State
    """What it starts from, one row."""
    actions: Tensor
    """Actions of the model, `[1, K, A]`."""
    lasting: int
    """Steps that they last."""


@dataclass
class _Episode:
    truth: list[Truth] = field(default_factory=list)
    """At the start and after every step."""
    plans: list[_Planned] = field(default_factory=list)


class PredictionError:
    """An observer that lets the model predict again what was done, and compares with what came.

    Twice: each plan from its own belief on, over the steps that were carried out of it (what the
    search relied on); and the whole episode from its first belief on, without another look (how
    fast errors grow). Points are compared, by the mean of their distances in the unit of the
    observation; other predictions mix units, or have none.

    Args:
        agent: who plans.
        truths: for each prediction the observation that tells its truth; see `told`.
    """

    def __init__(self, agent: PlanningAgent, truths: Mapping[str, str]) -> None:
        self.agent = agent
        self.truths = dict(truths)
        self.errors: dict[int, dict[str, dict[str, Any]]] = {}
        """For each episode seed and each prediction that is of points: `steps` since the first
        belief, `open_loop` distances after them, `static` distances of what stays where it was,
        and `plans`, for each plan the distances after so many steps of its own. At 0 steps it is
        the distance of what the model sees from what there is."""
        self._episodes: dict[int, _Episode] = {}

    def begin(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Begin the record of an episode."""
        self._episodes[seed] = _Episode([self._truth(env)])

    def planned(self, seed: int, belief: State, goal: State, plan: Plan, row: int) -> None:
        """Remember what is carried out of the plan."""
        episode, action_map = self._episodes[seed], self.agent.action_map
        actions = decisions = plan.actions[row : row + 1, None, : self.agent.execute]
        if action_map is not None:
            actions = action_map.to_model(decisions, belief)
        lasting = decisions.shape[2] * (1 if action_map is None else action_map.steps)
        step = len(episode.truth) - 1
        episode.plans.append(_Planned(step, belief, actions[:, 0], lasting))

    def stepped(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Remember what came."""
        self._episodes[seed].truth.append(self._truth(env))

    def end(self, result: EpisodeResult) -> None:
        """Compare."""
        episode = self._episodes.pop(result.seed)
        actions = torch.cat([plan.actions for plan in episode.plans], dim=1)
        lasting = sum(plan.lasting for plan in episode.plans)
        whole = replace(episode.plans[0], actions=actions, lasting=lasting)
        open_loop = self._compare(episode, whole)
        plans = [self._compare(episode, plan) for plan in episode.plans]
        self.errors[result.seed] = {
            key: {
                "steps": [step for step, _, _ in found],
                "open_loop": [distance for _, distance, _ in found],
                "static": [still for _, _, still in found],
                "plans": [[distance for _, distance, _ in plan[key]] for plan in plans],
            }
            for key, found in open_loop.items()
        }

    def _truth(self, env: gym.Env[Any, Any]) -> Truth:
        observed = env.observed  # type: ignore[attr-defined]
        return {key: np.array(observed[name], np.float64) for key, name in self.truths.items()}

    def _compare(
        self, episode: _Episode, plan: _Planned
    ) -> dict[str, list[tuple[int, float, float]]]:
        """Return steps, distance of the prediction and of no motion, at each moment predicted."""
        wanted = sorted(self.truths)
        predictions = self.agent.base_model.rollout(plan.belief, plan.actions[:, None], wanted)
        start, later = episode.truth[plan.step], episode.truth[plan.step + 1 :]
        compared = {}
        for key in wanted:
            predicted = predictions[key][0, 0].cpu().double().numpy()
            if predicted.ndim != 3 or predicted.shape[-1] not in (2, 3):
                continue
            if predicted[0].size != start[key].size:  # points in an image, say, not in the world
                continue
            found = []
            if key in plan.belief:
                seen = plan.belief[key][0].cpu().double().numpy()
                found.append((0, _distance(seen, start[key]), 0.0))
            for place, there in enumerate(predicted, start=1):
                # An action of the model may last several steps, or a part of one.
                step, between = divmod(place * plan.lasting, len(predicted))
                if not between and step <= len(later):
                    real = later[step - 1][key]
                    found.append((step, _distance(there, real), _distance(start[key], real)))
            compared[key] = found
        return compared


def told(model: WorldModel, env: gym.Env[Any, Any]) -> dict[str, str]:
    """Return for each prediction that the environment can observe the key of that observation.

    It is the key of the prediction, or the label from which a learned model has learnt the points.
    """
    labels = {}
    if isinstance(model, LatentWorldModel):
        labels = {points.name: points.label for points in model.config.points.sets}
    spaces: Any = env.observation_space
    offered = getattr(env.unwrapped, "observation_keys", None) or list(spaces.spaces)
    named = {key: labels.get(key, key) for key in model.predicts}
    return {key: name for key, name in named.items() if name in offered}


def summary(errors: Sequence[Mapping[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """Return median and 90th percentile over episodes, for each prediction.

    `steps`, and after each of them `median`, `p90` and `static` (the median of no motion) over so
    many `episodes`; `plans` has the first three over plans. What is not finite is infinitely far.
    """
    keys = dict.fromkeys(key for episode in errors for key in episode)
    return {key: _summary([episode[key] for episode in errors if key in episode]) for key in keys}


def _summary(episodes: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    steps = max((episode["steps"] for episode in episodes), key=len)
    whole = _columns([episode["open_loop"] for episode in episodes])
    static = _columns([episode["static"] for episode in episodes])
    plans = _columns([plan for episode in episodes for plan in episode["plans"]])
    return {
        "steps": list(steps),
        **_percentiles(whole),
        "static": _percentiles(static)["median"],
        "episodes": [len(column) for column in whole],
        "plans": {"steps": list(steps[: len(plans)]), **_percentiles(plans)},
    }


def _columns(rows: Sequence[Sequence[float | None]]) -> list[list[float]]:
    """Return the values of each place, of those rows that are long enough."""
    longest = max(len(row) for row in rows)
    reached = [[row[place] for row in rows if len(row) > place] for place in range(longest)]
    return [[np.inf if value is None else value for value in column] for column in reached]


def _percentiles(columns: Sequence[Sequence[float]]) -> dict[str, list[float]]:
    # A value that was measured: between a number and infinity there is no middle.
    both = [np.percentile(column, [50, 90], method="nearest") for column in columns]
    return {"median": [float(p50) for p50, _ in both], "p90": [float(p90) for _, p90 in both]}


def _distance(points: NDArray[np.float64], truth: NDArray[np.float64]) -> float:
    """Return the mean distance to four digits, which are kept for every step of every episode."""
    distances = np.linalg.norm(points - truth.reshape(points.shape), axis=-1)
    return float(f"{distances.mean():.4g}")
