"""Plans that an inverse model proposes to a search: what they are, and what they are good for."""

from __future__ import annotations

from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.agents.proposals import InverseProposer, Proposer
from dexworld.envs.goal_observation import GoalObservation
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.planners import ICEM, KeypointDistance, WarmStart
from dexworld.planners.linear_quadratic import LinearModel
from dexworld.world_models.actions import Chain, Chunks, Increments, Interpolate
from dexworld.world_models.base import COMMAND, Mapped, State
from dexworld.world_models.inverse import InverseModel
from dexworld.world_models.latent import LATENT, PAST, LatentWorldModel

STEPS, INCREMENT, ROWS, HORIZON = 5, 0.3125, 3, 6


@pytest.fixture(scope="module")
def inverse() -> InverseModel:
    return InverseModel.from_pretrained("push_t_inverse")


def mapped(model, chunk: int) -> Mapped:
    space = Box(-1.0, 1.0, (2,), np.float32)
    maps = [Increments(space, INCREMENT), Interpolate(space, STEPS), Chunks(space, chunk)]
    return Mapped(model, Chain(maps))


@pytest.fixture(scope="module")
def learned() -> Mapped:
    return mapped(LatentWorldModel.from_pretrained("push_t_state"), STEPS)


def problem(model: Mapped, observation: tuple[str, ...]) -> tuple[State, State]:
    """Return where pushes of 25 steps begin, and where they shall lead."""
    envs = [
        GoalObservation(
            gym.make("dexworld/PushTGoal-v0", physics="mujoco", observation=observation)
        )
        for _ in range(ROWS)
    ]
    seen = [env.reset(seed=seed)[0] for seed, env in enumerate(envs)]
    batch = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
    goal = {key.removeprefix("goal_"): batch[key] for key in batch if key.startswith("goal_")}
    return model.encode(batch), model.encode(goal)


@pytest.fixture(scope="module")
def pushes(learned) -> tuple[State, State]:
    return problem(learned, ("proprio", "keypoints"))


def propose(proposer, pushes, seeds=(0, 1, 2), left=None) -> Tensor:
    found = proposer.propose(*pushes, left, horizon=HORIZON, seeds=torch.tensor(seeds))
    return found.actions


def proposer_of(model, inverse, **changes) -> InverseProposer:
    return InverseProposer(model, inverse, **({"steps": STEPS, "increment": INCREMENT} | changes))


def test_the_first_plan_is_what_the_inverse_model_says(learned, inverse, pushes) -> None:
    proposer = proposer_of(learned, inverse, plans=7)
    assert isinstance(proposer, Proposer) and proposer.evaluations == 7
    found = propose(proposer, pushes)
    assert found.shape == (ROWS, 7, HORIZON, 2) and (found.abs() <= 1).all()
    state, goal = pushes
    for time, decision in enumerate(found[:, 0].unbind(1)):
        left = torch.full((ROWS,), inverse.config.longest - STEPS * time)
        told = inverse.act(state[LATENT], goal[LATENT], left.clamp(min=STEPS), state[PAST])
        expected = ((told[:, STEPS - 1] - state[COMMAND]) / INCREMENT).clamp(-1, 1)
        torch.testing.assert_close(decision, expected, atol=1e-4, rtol=0)
        state = learned.step(state, decision)


def test_the_plans_differ_in_when_they_are_there_and_then_by_noise(learned, inverse, pushes):
    quiet = propose(proposer_of(learned, inverse, plans=7, noise=0.0), pushes)
    loud = propose(proposer_of(learned, inverse, plans=7), pushes)
    times = len(range(inverse.config.longest, STEPS, -STEPS))
    assert times == 5 and torch.equal(quiet[:, :times], loud[:, :times])
    torch.testing.assert_close(quiet[:, 5], quiet[:, 0], atol=1e-3, rtol=0)
    assert (loud[:, 5] - loud[:, 0]).abs().mean() > 0.1
    for first in range(times):
        for second in range(first):
            assert not torch.equal(quiet[:, first], quiet[:, second])


def test_problems_have_streams_of_their_own(learned, inverse, pushes) -> None:
    proposer = proposer_of(learned, inverse, plans=6)
    every, other = propose(proposer, pushes), propose(proposer, pushes, (0, 8, 9))
    assert torch.equal(every, propose(proposer, pushes))
    assert torch.equal(every[0], other[0]) and not torch.equal(every[1], other[1])


def test_they_stand_beside_what_is_left_of_the_last_plan(learned, inverse, pushes) -> None:
    left = WarmStart(torch.full((ROWS, 1, 4, 2), 0.25))
    found = propose(proposer_of(learned, inverse, plans=2), pushes, left=left)
    assert found.shape == (ROWS, 3, HORIZON, 2) and (found[:, 0] == 0.25).all()


@pytest.mark.parametrize("dynamics", ["learned", "simulator"])
def test_they_push_the_body_where_it_shall_be(dynamics, learned, inverse) -> None:
    """In any model of the points: most of them end nearer than where they began, random ones do not."""
    if dynamics == "learned":
        model, observation = learned, ("proprio", "keypoints")
    else:
        env = SimulatorModel("dexworld/PushTGoal-v0", physics="mujoco")
        model, observation = mapped(env, 1), ("physics",)
    state, goal = problem(model, observation)
    given = proposer_of(model, inverse, plans=16)
    plans = propose(given, (state, goal)).to(torch.from_numpy(model.action_space.low))
    random = 2 * torch.rand(plans.shape, generator=torch.Generator().manual_seed(0)) - 1

    def away(points: Tensor) -> Tensor:
        return torch.linalg.vector_norm(points - goal["keypoints"][:, None], dim=-1).mean(-1)

    began = away(state["keypoints"][:, None])
    ends = away(model.rollout(state, plans, ["keypoints"])["keypoints"][:, :, -1])
    others = away(model.rollout(state, random.to(plans), ["keypoints"])["keypoints"][:, :, -1])
    assert (ends.amin(1) < 0.5 * began[:, 0]).all()
    assert ends.amin(1).mean() < 0.6 * others.amin(1).mean()


def test_a_search_that_begins_with_them_needs_fewer_candidates(learned, inverse, pushes) -> None:
    objective, seeds = KeypointDistance(), torch.arange(ROWS)
    start = proposer_of(learned, inverse).propose(*pushes, None, horizon=HORIZON, seeds=seeds)
    guided = ICEM(horizon=HORIZON, samples=24, iterations=2, elites=4)
    plain = ICEM(horizon=HORIZON, samples=48, iterations=6, elites=4)
    found = guided.plan(learned, objective, *pushes, warm_start=start, seeds=seeds)
    alone = plain.plan(learned, objective, *pushes, seeds=seeds)
    assert found.search.evaluations + 16 < alone.search.evaluations / 2
    assert found.cost.mean() < alone.cost.mean()


def test_what_cannot_be_proposed(learned, inverse) -> None:
    with pytest.raises(ValueError, match=r"plans=0, noise=0\.3: at least one plan"):
        proposer_of(learned, inverse, plans=0)
    with pytest.raises(ValueError, match=r"plans=16, noise=-0\.1"):
        proposer_of(learned, inverse, noise=-0.1)
    for steps in (0, 11):
        with pytest.raises(
            ValueError, match=rf"lasts {steps} steps, and the inverse model gives 10"
        ):
            proposer_of(learned, inverse, steps=steps)
    of_latents = InverseModel(replace(inverse.config, features=3))
    with pytest.raises(ValueError, match=r"reads 3 learned features.*recipe=push_t_state"):
        proposer_of(learned, of_latents)
    space = Box(-1.0, 1.0, (2,), np.float32)
    elsewhere = LinearModel(torch.eye(2), torch.eye(2), space)
    with pytest.raises(KeyError, match=r"InverseProposer reads \['agent', 'keypoints'\]"):
        proposer_of(elsewhere, inverse)


def test_it_proposes_decisions_of_its_own_environment(learned, inverse) -> None:
    class Wide(Mapped):
        action_space = Box(-1.0, 1.0, (3,), np.float32)

    with pytest.raises(ValueError, match=r"gives 2 numbers: give one of the same environment"):
        proposer_of(Wide(learned.model, learned.action_map), inverse)
