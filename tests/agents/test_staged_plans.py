"""Plans of stages: found in a rougher model, followed by what is known, ended by what is only tried."""

from __future__ import annotations

import pytest
import torch
from reaching import point

from dexworld.agents.planning import PlanningAgent
from dexworld.agents.proposals import Proposer
from dexworld.agents.staged_plans import StagedPlans
from dexworld.planners import CEM, WarmStart
from dexworld.planners.linear_quadratic import QuadraticCost
from dexworld.world_models.base import State

MODEL = point()  # x' = x + 0.2 u
SEARCH = CEM(horizon=2, samples=64, iterations=6, elites=8, kept=2, std_floor=0.0)
GOAL = torch.tensor([[0.3, -0.2], [-0.1, 0.25]])
STD = torch.tensor([0.1, 0.0])


def belief(place: torch.Tensor | None = None) -> State:
    return {"state": torch.zeros(2, 2) if place is None else place}


def staged(**changes: object) -> StagedPlans:
    settings = {"rough_std": torch.tensor([0.5, 0.5]), "std": STD, **changes}
    proposer = StagedPlans(MODEL, SEARCH, QuadraticCost(0.0), **settings)  # type: ignore[arg-type]
    assert isinstance(proposer, Proposer) and proposer.evaluations == 0
    return proposer


def propose(proposer: StagedPlans, left: WarmStart | None = None, horizon: int = 4) -> WarmStart:
    seeds = torch.tensor([3, 4])
    found = proposer.propose(belief(), {"state": GOAL}, left, horizon=horizon, seeds=seeds)
    assert found is not None
    return found


def end(plan: torch.Tensor) -> torch.Tensor:
    return MODEL.rollout(belief(), plan)["state"][:, 0, -1]


def test_what_the_rough_search_finds_leads_to_the_goal_and_stays_there() -> None:
    found = propose(staged())
    assert found.actions.shape == (2, 1, 4, 2)
    torch.testing.assert_close(end(found.actions), GOAL, atol=0.02, rtol=0)
    assert (found.actions[:, :, 2:] == 0).all()
    assert found.std is not None
    torch.testing.assert_close(found.std, STD.expand(2, 4, 2))
    torch.testing.assert_close(propose(staged()).actions, found.actions)


def test_no_spread_leaves_an_action_alone() -> None:
    found = propose(staged(rough_std=torch.tensor([0.5, 0.0])))
    assert (found.actions[..., 1] == 0).all()
    torch.testing.assert_close(end(found.actions)[:, 0], GOAL[:, 0], atol=0.02, rtol=0)


def half(state: State, goal: State) -> torch.Tensor:
    return torch.full((2, 1, 2), 0.5)


def up(state: State, goal: State) -> torch.Tensor:
    return torch.tensor([[0.0, 1.0], [0.0, 0.25]]).expand(2, 2, 2)


def test_stages_follow_one_another() -> None:
    found = propose(staged(then=half, trial=up), horizon=6)
    torch.testing.assert_close(end(found.actions[:, :, :2]), GOAL, atol=0.02, rtol=0)
    assert (found.actions[:, 0, 2] == 0.5).all() and (found.actions[:, 0, 3] == 0).all()
    torch.testing.assert_close(found.actions[:, 0, 4:], up({}, {}))
    assert found.std is not None
    torch.testing.assert_close(found.std[:, :4], STD.expand(2, 4, 2))
    assert (found.std[:, 4:] == 0).all()


def test_a_trial_is_never_part_of_what_is_left() -> None:
    left = WarmStart(torch.arange(1.0, 7.0)[None, None, :, None].expand(2, 1, 6, 2) / 10)
    found = propose(staged(then=half, trial=up, execute=1), left, horizon=6)
    # Of six decisions the last two were a trial, which has moved on by the one executed.
    torch.testing.assert_close(found.actions[:, 0, :3], left.actions[:, 0, :3])
    assert (found.actions[:, 0, 3] == 0).all()
    torch.testing.assert_close(found.actions[:, 0, 4:], up({}, {}))


def test_without_known_decisions_what_is_left_is_searched_around() -> None:
    left = WarmStart(torch.zeros(2, 1, 4, 2))
    torch.testing.assert_close(end(propose(staged(), left).actions), GOAL, atol=0.02, rtol=0)


def test_the_search_that_follows_leaves_the_trial_alone() -> None:
    planner = CEM(horizon=4, samples=16, iterations=3, elites=4, kept=1, std_floor=0.0)
    agent = PlanningAgent(MODEL, planner, QuadraticCost(0.01), proposer=staged(trial=up))
    observation = {"state": torch.zeros(2, 2).numpy(), "goal_state": GOAL.numpy()}
    state = None
    for _ in range(3):
        actions, state = agent.predict(observation, state)
        (made,) = state.fresh
        torch.testing.assert_close(made.plan.actions[:, 2:], up({}, {}))
        assert actions.shape == (2, 2)
        assert made.plan.search.evaluations == 3 * 16


def test_a_plan_needs_room_before_its_trial() -> None:
    with pytest.raises(ValueError, match="no room before a trial of 2"):
        propose(staged(trial=up), horizon=2)


def test_the_rough_model_predicts_what_the_objective_reads() -> None:
    class Elsewhere(QuadraticCost):
        reads = frozenset({"latent"})

    with pytest.raises(KeyError, match="latent"):
        StagedPlans(MODEL, SEARCH, Elsewhere(0.0), rough_std=STD, std=STD)
