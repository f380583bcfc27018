"""Where a search starts from."""

from __future__ import annotations

import torch

from dexworld.planners import ICEM, WarmStart
from dexworld.planners.conformance import active_problem
from dexworld.planners.recorder import Recorder
from dexworld.planners.start import fit_horizon


def test_the_spread_of_a_warm_start_is_searched_with() -> None:
    problem = active_problem(4)
    std = torch.full((3, 4, 2), 1e-6, dtype=torch.float64)
    mean = torch.full((3, 1, 4, 2), 0.5, dtype=torch.float64)
    valid = torch.tensor([True, False, True])
    recorder = Recorder(problem.model)
    ICEM(horizon=4, samples=20, elites=4, iterations=1, std_floor=0.0).plan(
        recorder,
        problem.objective,
        problem.state,
        problem.goal,
        warm_start=WarmStart(mean, std, valid),
    )
    distance = (recorder.rollouts[0] - 0.5).abs().amax(dim=(1, 2, 3))
    assert (distance[valid] < 1e-4).all()
    assert distance[1] > 0.5


def test_fit_horizon_repeats_or_cuts() -> None:
    actions = torch.tensor([1.0, 2.0, 3.0])[None, :, None]
    assert fit_horizon(actions, 5)[0, :, 0].tolist() == [1, 2, 3, 3, 3]
    assert fit_horizon(actions, 2)[0, :, 0].tolist() == [1, 2]
