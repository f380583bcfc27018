"""Plans that a policy proposes to a search: what they are, and what they are good for."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reaching import SPEED, Seeker, anywhere, point

from dexworld.agents.planning import PlanningAgent
from dexworld.agents.proposals import PolicyProposer, Proposer, beside
from dexworld.planners import CEM, RandomShooting, WarmStart
from dexworld.planners.linear_quadratic import QuadraticCost
from dexworld.planners.recorder import Recorder


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


class Wanderer(Seeker):
    """Goes to the goal, or about as far."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        decided, _ = super().predict(observation, deterministic=True)
        strays = 0.0 if deterministic else 0.2 * torch.randn(decided.shape).numpy()
        return np.clip(decided + strays, -1.0, 1.0).astype(np.float32), None


def test_they_may_be_samples_of_the_policy() -> None:
    model, state, goal = problem()
    proposer = PolicyProposer(model, Wanderer(), 4, None)

    def plans(*seeds: int) -> torch.Tensor:
        found = proposer.propose(state, goal, None, horizon=6, seeds=torch.tensor(seeds))
        return found.actions

    found = plans(7, 8, 9)
    straight, *_ = propose(noise=0.0)
    torch.testing.assert_close(found[:, 0], straight.actions[:, 0])
    assert (found[:, 1:] != found[:, :1]).flatten(2).any(2).all()
    ends = model.rollout(state, found)["state"][:, :, -1]
    assert ((ends - goal["state"][:, None]).abs() < 4 * 0.2 * SPEED).all()
    other = plans(7, 1, 2)
    assert torch.equal(found[0], other[0]) and not torch.equal(found[1], other[1])


def test_a_search_may_rerank_the_samples_and_do_nothing_else() -> None:
    proposer = PolicyProposer(point(), Wanderer(), 5, None)
    planner = RandomShooting(horizon=6, samples=5)
    agent = PlanningAgent(point(), planner, QuadraticCost(), proposer=proposer)
    drawn = {k: 0.5 * each for k, each in anywhere(3, np.random.default_rng(3)).items()}
    agent.model = recorder = Recorder(point())
    _, state = agent.predict(drawn, agent.start(range(3)))
    (one,) = state.fresh
    assert recorder.searched.shape == (3, 5, 6, 2) and one.plan.search.evaluations == 2 * 5
    _, state = agent.predict(drawn, state)
    (two,) = state.fresh
    candidates = recorder.rollouts[-1]
    assert torch.equal(candidates[:, 0, :-1], one.plan.actions[:, 1:]), "what is left of the last"
    ends = point().rollout(two.belief, candidates)["state"][:, 1:, -1]
    assert ((ends - two.goal["state"][:, None]).abs() < 4 * 0.2 * SPEED).all(), "none is random"


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
