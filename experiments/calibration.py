"""Compares what plans predicted with what came: the gap that is the model's fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from numpy.typing import NDArray

from dexworld.experiments.evaluation import EpisodeResult
from dexworld.planners.base import Objective, Plan
from dexworld.world_models.base import State


class Calibration:
    """An observer that pairs the predicted cost of the executed decisions with the real cost.

    Both are the objective's cost of a single moment: once of the prediction for the moment at
    which the next plan is made, once of the belief that is encoded at that moment. So a learned
    model is held to what it really sees then, in its latents too where the objective compares
    these; how well it sees is no part of the gap, but the prediction error after 0 steps.

    Args:
        objective: the cost.
        execute: decisions carried out of every plan.
        judged: whether beliefs tell what the objective reads. A reward is of a step and not of a
            moment: a belief may hold none, and then there are no pairs.
    """

    def __init__(self, objective: Objective, execute: int, judged: bool = True) -> None:
        self.objective = objective
        self.judged = judged
        self.execute = execute
        self.pairs: dict[int, list[tuple[float, float]]] = {}
        """For each episode seed, predicted and real cost; a pair for every plan but the first."""
        self.searches: dict[int, list[list[float]]] = {}
        """For each episode seed, the best cost after each iteration of every plan."""
        self._predicted: dict[int, tuple[dict[str, torch.Tensor], torch.Tensor]] = {}

    def begin(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Begin the record of an episode."""
        self.pairs[seed], self.searches[seed] = [], []
        self._predicted.pop(seed, None)

    def planned(self, seed: int, belief: State, goal: State, plan: Plan, row: int) -> None:
        """Compare with the last plan's prediction for now."""
        self.searches[seed].append(plan.search.best_cost[:, row].tolist())
        if self.judged and seed in self._predicted:
            predicted, action = self._predicted[seed]
            now = {key: belief[key][:, None, None] for key in self.objective.reads if key in belief}
            if len(now) == len(self.objective.reads):
                pair = [
                    float(self.objective.cost(seen, action, belief, goal)[0, 0])
                    for seen in (predicted, now)
                ]
                self.pairs[seed].append((pair[0], pair[1]))
        last = min(self.execute, plan.actions.shape[1]) - 1
        part = slice(last, last + 1)
        self._predicted[seed] = (
            {key: value[row : row + 1, None, part] for key, value in plan.predictions.items()},
            plan.actions[row : row + 1, None, part],
        )

    def stepped(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Nothing to see between plans."""

    def end(self, result: EpisodeResult) -> None:
        """The last plan has no successor to compare with."""
        self._predicted.pop(result.seed, None)


def gap(pairs: Sequence[Sequence[float | None]]) -> dict[str, float | None]:
    """Return the mean predicted cost, the mean real cost, their mean absolute gap and correlation.

    The correlation (Pearson's) is None where one of them never changes.
    """
    both = finite_pairs(pairs)
    if not len(both):
        return {}
    predicted, real = both.T
    varied = min(np.ptp(predicted), np.ptp(real)) > 0
    return {
        "mean_predicted_cost": float(predicted.mean()),
        "mean_real_cost": float(real.mean()),
        "mean_absolute_gap": float(np.abs(predicted - real).mean()),
        "correlation": float(np.corrcoef(predicted, real)[0, 1]) if varied else None,
    }


def finite_pairs(pairs: Sequence[Sequence[float | None]]) -> NDArray[np.float64]:
    """Return the pairs `(n, 2)` of which both costs are finite; None stands for one that is not."""
    both = np.array(pairs, np.float64).reshape(-1, 2)
    whole: NDArray[np.float64] = both[np.isfinite(both).all(axis=1)]
    return whole
