"""Plans that a policy proposes to a search: what they are, and what they are good for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reaching import SPEED, Seeker, anywhere, point

from dexworld.agents.planning import PlanningAgent
from dexworld.agents.proposals import PolicyProposer, Proposer, beside
from dexworld.planners import CEM, WarmStart
from dexworld.planners.linear_quadratic import QuadraticCost


def problem(rows: int = 3):
    drawn = {key: 0.5 * each for key, each in anywhere(rows, np.random.default_rng(0)).items()}
    model = point()  # which gets as far as 1.2 in six decisions
    return model, model.encode(drawn), model.encode({"state": drawn["goal_state"]})


def propose(rows: int = 3, plans: int = 4, noise: float = 0.5, seeds=None, left=None):
    model, state, goal = problem(rows)
    proposer = PolicyProposer(model, Seeker(), plans, noise)
    assert isinstance(proposer, Proposer) and proposer.evaluations == plans
    seeds = torch.arange(rows) if seeds is None else seeds
    found = proposer.propose(state, goal, left, horizon=6, seeds=seeds)
    return found, model, state, goal


def test_the_first_plan_is_what_the_policy_would_do() -> None:
    found, model, state, goal = propose()
    assert found.actions.shape == (3, 4, 6, 2)
    x = state["state"]
    for decision in found.actions[:, 0].unbind(1):
        expected = torch.clamp((goal["state"] - x) / SPEED, -1, 1)
        torch.testing.assert_close(decision, expected)
        x = model.step({"state": x}, decision)["state"]
    torch.testing.assert_close(x, goal["state"], atol=1e-5, rtol=0)


def test_the_others_stray_and_come_back() -> None:
    found, model, state, goal = propose(noise=0.3)
    others = found.actions[:, 1:]
    assert (others.abs() <= 1).all()
    assert (others != found.actions[:, :1]).flatten(2).any(2).all()
    ends = model.rollout(state, found.actions)["state"][:, :, -1]
    # One decision of noise away from the goal, however much there was before it.
    assert ((ends - goal["state"][:, None]).abs() < 4 * 0.3 * SPEED).all()


def test_problems_have_streams_of_their_own() -> None:
    every, *_ = propose(seeds=torch.tensor([7, 8, 9]))
    other, *_ = propose(seeds=torch.tensor([7, 1, 2]))
    assert torch.equal(every.actions[0], other.actions[0])
    assert not torch.equal(every.actions[1], other.actions[1])


def test_they_stand_beside_what_is_left_of_the_last_plan() -> None:
    left = WarmStart(torch.full((3, 1, 4, 2), 0.25))
    found, *_ = propose(left=left)
    assert found.actions.shape == (3, 5, 6, 2)
    assert (found.actions[:, 0] == 0.25).all()  # what the search begins around
    alone, *_ = propose()
    assert torch.equal(found.actions[:, 1:], alone.actions)
    spread = WarmStart(left.actions, std=torch.full((3, 4, 2), 0.1))
    assert (beside(spread, alone.actions).std == 0.1).all()


def test_a_search_with_a_policy_needs_fewer_candidates() -> None:
    def cost(iterations: int, proposer: Proposer | None) -> tuple[float, int]:
        planner = CEM(horizon=6, samples=16, iterations=iterations, elites=4)
        agent = PlanningAgent(point(), planner, QuadraticCost(), proposer=proposer)
        drawn = {k: 0.5 * each for k, each in anywhere(8, np.random.default_rng(3)).items()}
        _, state = agent.predict(drawn, agent.start(range(8)))
        (fresh,) = state.fresh
        return float(fresh.plan.cost.mean()), fresh.plan.search.evaluations

    proposer = PolicyProposer(point(), Seeker(), 2, 0.1)
    plain, evaluations = cost(4, None)
    guided, fewer = cost(1, proposer)
    assert fewer == 16 + 2 and evaluations == 64  # what the policy rolls out is counted
    assert guided < 1e-6 and plain > 1e-4


@pytest.mark.parametrize(("plans", "noise"), [(0, 0.1), (2, -0.1)])
def test_what_cannot_be_proposed(plans, noise) -> None:
    with pytest.raises(ValueError, match=rf"plans={plans}, noise={noise}"):
        PolicyProposer(point(), Seeker(), plans, noise)
