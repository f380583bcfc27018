"""An agent that asks an inverse model: when it asks, for what, and what it remembers."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.agents.base import Agent
from dexworld.agents.inverse_model import InverseAgent, InverseState
from dexworld.world_models.configuration import from_json, to_json
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.inverse import InverseConfig, InverseModel, of_world_model
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

SPEED = 0.4


def follower(scale: float = 2.0) -> LatentWorldModel:
    """Return a model of a point that goes a part of the way to where it is told to be."""
    torch.manual_seed(0)
    return LatentWorldModel(
        LatentConfig(
            observes={"place": (2,)},
            action_low=(-1.0, -1.0),
            action_high=(1.0, 1.0),
            features=0,
            points=PointLayout((PointSet("agent", 1, "place"),), 0.0, scale),
            hold_point="agent",
            predictor=PredictorConfig(width=8, depth=1, history=3),
        )
    )


class Spy(InverseModel):
    """An inverse model that remembers what it was asked."""

    asked: list[tuple[Tensor, ...]]

    def act(self, reading, goal, steps, past):  # type: ignore[no-untyped-def]
        self.asked.append((reading, goal, steps, past))
        return super().act(reading, goal, steps, past)


def inverse(model: LatentWorldModel, **changes: object) -> Spy:
    torch.manual_seed(1)
    given = to_json(InverseConfig("", PointLayout(), 0, (), (), width=32, depth=1, chunk=4))
    made = Spy(from_json(InverseConfig, given | of_world_model(model) | changes))
    torch.nn.init.normal_(made.network.leave.weight, std=0.3)
    made.asked = []
    return made


def agent_of(**arguments: object) -> InverseAgent:
    model = follower()
    return InverseAgent(model, inverse(model), **({"execute": 2} | arguments))


def observe(places: np.ndarray, goal: float = 1.0) -> dict[str, np.ndarray]:
    places = np.asarray(places, np.float32)
    return {"place": places, "goal_place": np.full_like(places, goal)}


def moved(places: np.ndarray, actions: np.ndarray) -> np.ndarray:
    return places + SPEED * (2.0 * actions - places)


STARTS = np.float32([[0.0, 0.5], [-1.0, 0.2], [0.7, 0.7]])


def acted(agent: InverseAgent, rows: list[int], steps: int) -> np.ndarray:
    """Return actions [steps, B, A] in the real point."""
    state, places, actions = agent.start(rows), STARTS[rows], []
    for _ in range(steps):
        action, state = agent.predict(observe(places), state)
        actions.append(action)
        places = moved(places, action)
    return np.stack(actions)


def asked(agent: InverseAgent) -> list[tuple[Tensor, ...]]:
    assert isinstance(agent.inverse_model, Spy)
    return agent.inverse_model.asked


# What it does


def test_trained_on_play_it_gets_where_it_shall() -> None:
    world = follower()
    model = inverse(world)
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for step in range(150):
        # Play: the target wanders, the point follows; readings are places over 2.
        targets = torch.randn(64, 24, 2, generator=generator).cumsum(1).mul(0.15).clamp(-1, 1)
        way = [torch.zeros(64, 2)]
        for target in targets.unbind(1):
            way.append(way[-1] + SPEED * (target - way[-1]))
        first, gap = step % 12, 1 + step % 4
        frames = torch.stack(way, 1)[:, first::gap][:, :4]
        windows = Windows(
            {LATENT: frames},
            targets[:, first : first + 3 * gap].unflatten(1, (3, gap)),
            torch.zeros(64, 3, 2),
            torch.zeros(64, 3, dtype=torch.bool),
            torch.arange(64),
        )
        optimizer.zero_grad()
        model.training_loss(windows, 0.0)[0].backward()
        optimizer.step()
    agent = InverseAgent(world, model, execute=2, reach_in=6)
    goal = np.float32([[0.4, -0.5], [0.8, 0.6], [-0.3, 0.9]])
    places, state = np.zeros((3, 2), np.float32), agent.start([0, 1, 2])
    for _ in range(12):
        actions, state = agent.predict({"place": places, "goal_place": goal}, state)
        places = moved(places, actions)
    assert np.abs(places - goal).max() < 0.25 < np.abs(goal).max(1).min()


def test_it_asks_after_as_many_steps_as_it_executes_for_what_it_sees() -> None:
    agent = agent_of(execute=3)
    assert isinstance(agent, Agent) and agent.observes == {"place", "goal_place"}
    state, places = agent.start([0, 1, 2]), STARTS
    seen, done = [], []
    for _ in range(8):
        seen.append(places)
        action, state = agent.predict(observe(places), state)
        assert action.dtype == np.float32 and action.shape == (3, 2)
        assert isinstance(state, InverseState)
        done.append(action)
        places = moved(places, action)
    asks = list(asked(agent))
    assert len(asks) == 3
    for number, (reading, goal, _, past) in enumerate(asks):
        np.testing.assert_allclose(reading, seen[3 * number] / 2.0, atol=1e-6)
        np.testing.assert_allclose(goal, np.full((3, 2), 0.5), atol=1e-6)
        # Actions that were never taken are those that hold still.
        hold = [STARTS / 2.0] * 3
        np.testing.assert_allclose(
            past.transpose(0, 1), [*hold, *done[: 3 * number]][-3:], atol=1e-6
        )
        told = agent.inverse_model.act(*asks[number])[:, : len(done[3 * number : 3 * number + 3])]
        np.testing.assert_array_equal(told.transpose(0, 1), done[3 * number : 3 * number + 3])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [50, 48, 46, 44, 42, 40]),
        ({"episode_steps": 12}, [12, 10, 8, 6, 4, 2]),
        ({"episode_steps": 9}, [9, 7, 5, 3, 2, 2]),
        ({"reach_in": 6}, [6, 4, 2, 6, 4, 2]),
        ({"reach_in": 5}, [5, 3, 2, 4, 2, 5]),
        ({"reach_in": 6, "episode_steps": 9}, [6, 4, 2, 3, 2, 2]),
        ({"reach_in": 1}, [1] * 6),
    ],
)
def test_the_time_to_the_goal_is_counted_down(settings, expected) -> None:
    agent = agent_of(**settings)
    acted(agent, [0, 1], 12)
    assert [steps.tolist() for _, _, steps, _ in asked(agent)] == [[n, n] for n in expected]


# What it remembers


def test_episodes_alone_equal_episodes_together() -> None:
    together = acted(agent_of(episode_steps=9), [0, 1, 2], 9)
    for row in range(3):
        alone = acted(agent_of(episode_steps=9), [row], 9)
        np.testing.assert_allclose(alone[:, 0], together[:, row], atol=1e-6)


def test_asking_changes_nothing() -> None:
    agent = agent_of()
    state, places = agent.start([0, 1, 2]), STARTS
    for _ in range(5):
        kept = copy.deepcopy(state)
        first, after = agent.predict(observe(places), state)
        again, same = agent.predict(observe(places), state)
        np.testing.assert_array_equal(first, again)
        for one, other in ((kept, state), (after, same)):
            for part in dataclasses.fields(InverseState):
                assert torch.equal(getattr(one, part.name), getattr(other, part.name))
        state, places = after, moved(places, first)


def test_rows_that_go_on_are_taken_along_and_others_start_over() -> None:
    agent = agent_of(episode_steps=9)
    expected = acted(agent_of(episode_steps=9), [0, 1, 2], 9)
    state, places = agent.start([0, 1, 2]), STARTS
    for step in range(9):
        if step == 3:
            rows = np.array([1, 2])
            state, places = agent.take(state, rows), places[rows]
        started = np.zeros(len(places), bool)
        if step == 6:  # the last row begins anew, with another goal
            started[-1], places = True, np.stack([places[0], STARTS[0]])
        seen = observe(places)
        seen["goal_place"][-1] = -0.5 if step >= 6 else 1.0
        actions, state = agent.predict(seen, state, started)
        np.testing.assert_allclose(actions[1 if step < 3 else 0], expected[step, 1], atol=1e-6)
        places = moved(places, actions)
    assert state.steps.tolist() == [9, 3]
    torch.testing.assert_close(state.goal[-1], torch.full((2,), -0.25))
    *_, steps, past = next(ask for ask in asked(agent)[::-1] if 9 in ask[2].tolist())
    row = steps.tolist().index(9)
    torch.testing.assert_close(past[row], (torch.from_numpy(STARTS[0]) / 2.0).expand(3, -1))


def test_it_acts_without_a_state() -> None:
    agent = agent_of()
    actions, state = agent.predict(observe(STARTS))
    np.testing.assert_array_equal(
        actions, agent.predict(observe(STARTS), agent.start([7, 8, 9]))[0]
    )
    assert state.steps.tolist() == [1, 1, 1]


# Wrong input


def test_another_world_model_is_refused() -> None:
    with pytest.raises(ValueError, match="reads the latents of another world model"):
        InverseAgent(follower(scale=3.0), inverse(follower()))


@pytest.mark.parametrize("execute", [0, 5])
def test_more_than_it_is_told_at_once_or_nothing(execute) -> None:
    with pytest.raises(ValueError, match=f"execute={execute} .*choose between 1 and 4"):
        agent_of(execute=execute)


def test_a_goal_in_no_time() -> None:
    with pytest.raises(ValueError, match="reach_in=0"):
        agent_of(reach_in=0)


def test_what_is_not_observed() -> None:
    with pytest.raises(KeyError, match=r"lacks the goal \['goal_place'\].*GoalObservation"):
        agent_of().predict({"place": STARTS})
    with pytest.raises(KeyError, match=r"lacks \['place'\]"):
        agent_of().predict({"goal_place": STARTS})


def test_other_environments_than_the_state_is_of() -> None:
    agent = agent_of()
    with pytest.raises(ValueError, match=r"3 environments.*2"):
        agent.predict(observe(STARTS), agent.start([0, 1]))
