"""A policy that is asked about what a model believes: what it sees, and what it cannot."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from reaching import SPACE, Seeker, anywhere, imagined, point

from dexworld.agents.decider import Decider
from dexworld.agents.policy import Policy
from dexworld.planners.recorder import Recorder
from dexworld.world_models.actions import Hold
from dexworld.world_models.base import Mapped


def beliefs(count: int = 3):
    drawn, model = anywhere(count, np.random.default_rng(0)), point()
    return model.encode(drawn), model.encode({"state": drawn["goal_state"]})


def test_it_sees_what_the_imagined_environment_showed() -> None:
    env, seeker = imagined(4), Seeker()
    shown, _ = env.reset(seed=1)
    assert isinstance(seeker, Policy)
    Decider(env.model, seeker)(env.state, env.goal)
    assert set(seeker.shown[0]) == set(shown) == set(env.single_observation_space)
    for key, value in shown.items():
        np.testing.assert_array_equal(seeker.shown[0][key], value)
        assert seeker.shown[0][key].dtype == value.dtype


def test_decisions_are_of_the_model() -> None:
    state, goal = beliefs()
    decided = Decider(point(), Seeker())(state, goal)
    assert decided.dtype == state["state"].dtype
    assert decided.shape == (3, 2) and (decided.abs() <= 1).all()


@pytest.mark.parametrize("key", ["state", "goal_state"])
def test_a_policy_of_other_observations(key) -> None:
    state, goal = beliefs()
    wide = Box(-1.0, 1.0, (3,), np.float32)
    plane = Box(-1.0, 1.0, (2,), np.float32)
    other = Seeker(Dict({"state": plane, "goal_state": plane, key: wide}))
    with pytest.raises(ValueError, match=rf"observes {key} of shape \(3,\), and .* is \(2,\)"):
        Decider(point(), other)(state, goal)


def test_a_policy_of_what_the_model_does_not_tell() -> None:
    state, goal = beliefs()
    latent = Seeker(Dict({"latent": Box(-1.0, 1.0, (2,), np.float32)}))
    with pytest.raises(KeyError, match=r"\['latent'\], and states of LinearModel have no 'latent'"):
        Decider(point(), latent)(state, goal)
    pixels = Seeker(Dict({"pixels": Box(0, 255, (8, 8, 3), np.uint8)}))
    with pytest.raises(KeyError, match="no 'latent'"):
        Decider(point(), pixels)(state, goal)


def test_a_policy_of_other_decisions_or_arrays() -> None:
    with pytest.raises(ValueError, match="give the action map that it was trained with"):
        Decider(point(), Seeker(action_space=Box(-2.0, 2.0, (2,), np.float32)))
    with pytest.raises(TypeError, match="act with it by agent=sb3"):
        Decider(point(), Seeker(Box(-1.0, 1.0, (4,), np.float32)))
    Decider(Mapped(point(), Hold(SPACE, 3)), Seeker())


def test_goals_that_are_missing() -> None:
    state, _ = beliefs()
    with pytest.raises(KeyError, match=r"trained with goals \(goal_state\), and none is observed"):
        Decider(point(), Seeker())(state, {})


def test_decisions_that_are_seen_from_a_body_are_turned_with_it() -> None:
    policy = Seeker()
    policy.decision_frame = "body"
    state, goal = beliefs(2)
    # A body that points along x, and one that points along y.
    points = torch.tensor([[[0.0, 0.0], [1.0, 0.0]], [[0.0, 0.0], [0.0, 1.0]]])
    plain = Decider(point(), Seeker())(state, goal)
    found = Decider(point(), policy)({**state, "body": points}, goal)
    inside = plain / plain.norm(dim=1, keepdim=True).clamp(min=1.0)
    torch.testing.assert_close(found[0], inside[0])
    torch.testing.assert_close(found[1], torch.stack([-inside[1, 1], inside[1, 0]]))
    with pytest.raises(KeyError, match=r"decides as seen from 'body', .* have no 'body'"):
        Decider(point(), policy)(state, goal)


def test_frames_are_decoded() -> None:
    class Draws(type(point())):
        def pictures(self, latent: torch.Tensor) -> torch.Tensor:
            return (10 * latent[:, :1]).byte()[:, None, None].expand(-1, 4, 5, 3)

    class Looks(Seeker):
        def predict(self, observation, state=None, episode_start=None, deterministic=False):
            self.shown.append(observation)
            return np.zeros((len(observation["pixels"]), 2), np.float32), None

    model = Recorder(Mapped(Draws(torch.eye(2), torch.eye(2), SPACE), Hold(SPACE, 2)))
    # stable-baselines3 puts the channels first in the spaces of policies that it trains.
    for shape in ((4, 5, 3), (3, 4, 5)):
        policy = Looks(Dict({"pixels": Box(0, 255, shape, np.uint8)}))
        Decider(model, policy)({"latent": torch.tensor([[3.0], [7.0]])}, {})
        frames = policy.shown[0]["pixels"]
        assert frames.dtype == np.uint8 and frames.shape == (2, *shape)
        rows, columns = (1, 2) if shape[-1] == 3 else (2, 3)
        assert frames.max(axis=(rows, columns))[:, 0].tolist() == [30, 70]
    upside_down = Looks(Dict({"pixels": Box(0, 255, (4, 3, 5), np.uint8)}))
    with pytest.raises(ValueError, match=r"pixels of shape \(4, 3, 5\), and .* is \(4, 5, 3\)"):
        Decider(model, upside_down)({"latent": torch.tensor([[3.0]])}, {})


class Dice(Seeker):
    """A policy that draws its decisions, and tells how often it was asked."""

    def predict(self, observation, state=None, episode_start=None, deterministic=False):
        self.shown.append(observation)
        shape = (len(observation["state"]), 2)
        return (torch.zeros(shape) if deterministic else torch.rand(shape)).numpy(), None


def test_what_a_policy_draws_depends_on_the_seeds_of_its_problem_alone() -> None:
    state, goal = beliefs(4)
    decider = Decider(point(), Dice())
    before = torch.get_rng_state()
    drawn = decider(state, goal, [3, 4])
    assert torch.equal(torch.get_rng_state(), before), "nobody else's numbers are drawn"
    assert len(drawn.unique()) == 8
    other = decider(state, goal, [5, 4])
    assert torch.equal(drawn[2:], other[2:]) and not (drawn[:2] == other[:2]).any()
    one = decider({k: v[2:] for k, v in state.items()}, {k: v[2:] for k, v in goal.items()}, [4])
    assert torch.equal(one, drawn[2:])
    assert (decider(state, goal) == 0).all()
