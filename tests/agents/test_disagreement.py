"""Disagreement-seeking exploration, where it is known what members disagree about."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from dexworld.agents.base import Agent
from dexworld.agents.disagreement import DisagreementSeeker, NoisyPlans
from dexworld.planners import CEM, Disagreement, Planner
from dexworld.planners.linear_quadratic import LinearModel
from dexworld.world_models.base import State

SPACE = Box(np.float64([-1.0, -2.0]), np.float64([1.0, 2.0]), dtype=np.float64)
SEARCH = CEM(horizon=4, samples=16, iterations=3, elites=4)


class East(LinearModel):
    """A point `x' = x + 0.2 u`, about which one knows the less the further east it is."""

    predicts = frozenset({"state", "disagreement"})

    def __init__(self) -> None:
        eye = torch.eye(2, dtype=torch.float64)
        super().__init__(eye, 0.2 * eye, SPACE)

    def rollout(
        self, state: State, actions: Tensor, keys: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        way = super().rollout(state, actions)["state"]
        found = {"state": way, "disagreement": way[..., 0].exp()}
        return {key: found[key] for key in (self.predicts if keys is None else keys)}


def acted(agent: DisagreementSeeker, seeds: list[int], steps: int = 8) -> np.ndarray:
    """Return actions [steps, B, A] from the same place."""
    state, places, actions = agent.start(seeds), np.zeros((len(seeds), 2)), []
    for _ in range(steps):
        action, state = agent.predict({"state": places}, state)
        actions.append(action)
        places = places + 0.2 * action
    return np.stack(actions)


def test_it_goes_where_members_disagree_without_a_goal() -> None:
    agent = DisagreementSeeker(East(), SEARCH, execute=2)
    assert isinstance(agent, Agent) and agent.observes == {"state"}
    actions = acted(agent, [0, 1, 2])
    assert actions[..., 0].mean() > 0.7
    noisy = acted(DisagreementSeeker(East(), NoisyPlans(SEARCH, 0.5), execute=2), [0, 1, 2])
    assert 0.3 < noisy[..., 0].mean() < actions[..., 0].mean()


def test_noise_differs_from_seed_to_seed_and_not_from_time_to_time() -> None:
    agent = DisagreementSeeker(East(), NoisyPlans(SEARCH, 0.5), execute=2)
    together = acted(agent, [5, 6, 7])
    for row in range(3):
        np.testing.assert_array_equal(acted(agent, [5 + row])[:, 0], together[:, row])
    assert not np.array_equal(together[:, 0], together[:, 1])
    assert not np.array_equal(together[:2], together[2:4]), "every plan has its own noise"


def plan(planner: Planner, seeds: list[int] | None = None, rows: int = 3):  # type: ignore[no-untyped-def]
    state = {"state": torch.zeros(rows, 2, dtype=torch.float64)}
    given = None if seeds is None else torch.tensor(seeds)
    return plan_from(planner, state, given)


def plan_from(planner: Planner, state: State, seeds: Tensor | None):  # type: ignore[no-untyped-def]
    return planner.plan(East(), Disagreement(), state, {}, seeds=seeds, horizon=3)


def test_a_noisy_plan_is_near_the_plan_inside_the_bounds_and_told_truly() -> None:
    planner = NoisyPlans(SEARCH, 0.1, exponent=0.0)
    assert isinstance(planner, Planner) and planner.horizon == 4
    quiet, noisy = plan(SEARCH, [3, 4, 5]), plan(planner, [3, 4, 5])
    assert torch.equal(plan(NoisyPlans(SEARCH, 0.0), [3, 4, 5]).actions, quiet.actions)
    assert noisy.actions.shape == (3, 3, 2)
    offset = noisy.actions - quiet.actions
    assert offset.abs().amax((1, 2)).min() > 0.0 and offset.abs().max() < 1.0
    low, high = (torch.as_tensor(bound) for bound in (SPACE.low, SPACE.high))
    assert ((noisy.actions >= low) & (noisy.actions <= high)).all()
    wild = plan(NoisyPlans(SEARCH, 9.0), [3, 4, 5]).actions
    assert ((wild >= low) & (wild <= high)).all() and (wild == high).any()
    state = {"state": torch.zeros(3, 2, dtype=torch.float64)}
    predicted = East().rollout(state, noisy.actions[:, None], {"disagreement"})["disagreement"]
    assert torch.equal(noisy.predictions["disagreement"], predicted[:, 0])
    torch.testing.assert_close(noisy.cost, -predicted[:, 0].mean(1))
    assert torch.equal(plan(planner).actions, plan(planner, [0, 1, 2]).actions)


def test_noise_is_as_large_as_it_is_told() -> None:
    quiet = CEM(horizon=3, samples=1, elites=1, kept=1, iterations=1)
    noise = plan(NoisyPlans(quiet, 0.1), rows=400).actions
    torch.testing.assert_close(
        noise.std((0, 1)), torch.tensor([0.1, 0.2]).double(), rtol=0.08, atol=0
    )


def test_what_cannot_be() -> None:
    eye = torch.eye(2, dtype=torch.float64)
    with pytest.raises(KeyError, match=r"reads \['disagreement'\].*it predicts \['state'\]"):
        DisagreementSeeker(LinearModel(eye, eye, SPACE), SEARCH)
    with pytest.raises(ValueError, match=r"scale=-0.1"):
        NoisyPlans(SEARCH, -0.1)
