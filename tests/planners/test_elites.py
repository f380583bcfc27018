"""Which candidates are elites, and which of them live on."""

from __future__ import annotations

import torch

from dexworld.planners import CEM
from dexworld.planners.conformance import active_problem
from dexworld.planners.elites import best
from dexworld.planners.recorder import Recorder


def test_best_sorts_by_cost() -> None:
    costs = torch.tensor([[3.0, 1.0, 2.0, torch.inf]])
    actions = torch.arange(4.0)[None, :, None, None]
    chosen, least = best(actions, costs, 2)
    assert chosen.flatten().tolist() == [1.0, 2.0]
    assert least.flatten().tolist() == [1.0, 2.0]
    assert best(actions, costs, 9)[0].shape[1] == 4


def test_elites_are_kept_without_being_evaluated_again() -> None:
    problem = active_problem(4)
    recorder = Recorder(problem.model)
    CEM(horizon=4, samples=20, elites=4, kept=3, iterations=3).plan(
        recorder, problem.objective, problem.state, problem.goal
    )
    first, second, third = recorder.rollouts
    for earlier, later in ((first, second), (first, third), (second, third)):
        again = (earlier.unsqueeze(1) == later.unsqueeze(2)).all(dim=-1).all(dim=-1)
        assert not again.any()
