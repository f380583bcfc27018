"""The receding-horizon loop: when it plans, from what, and what it executes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.vec_env import DummyVecEnv
from torch import Tensor

from dexworld.agents.planning import PlanningAgent, PlanningState
from dexworld.envs.goal_observation import GoalObservation
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.planners import CEM, ICEM, MPPI, KeypointDistance, NegativeReward, Plan, WarmStart
from dexworld.planners.linear_quadratic import LinearModel, QuadraticCost
from dexworld.world_models.actions import Hold, Interpolate
from dexworld.world_models.base import State

SPACE = Box(-1.0, 1.0, (2,), np.float64)
SPEED = 0.2


class Watched(LinearModel):
    """A point `x' = x + 0.2 u`, which remembers what it was asked to encode."""

    def __init__(self) -> None:
        eye = torch.eye(2, dtype=torch.float64)
        super().__init__(eye, SPEED * eye, SPACE)
        self.encoded: list[tuple[Any, State | None, Tensor | None]] = []

    def encode(self, observation, previous=None, actions=None, episode_start=None) -> State:  # type: ignore[no-untyped-def]
        self.encoded.append((observation["state"], previous, actions))
        return super().encode(observation)


@dataclass(frozen=True)
class Spy(CEM):
    """A CEM that remembers with what it was called."""

    calls: list[dict[str, Any]] = field(default_factory=list)

    def plan(self, model, objective, state, goal, **arguments) -> Plan:  # type: ignore[no-untyped-def]
        plan = super().plan(model, objective, state, goal, **arguments)
        self.calls.append({**arguments, "plan": plan, "state": state, "goal": goal})
        return plan


def spy(horizon: int = 4) -> Spy:
    return Spy(horizon=horizon, samples=24, iterations=3, elites=4)


def agent_of(planner: Any = None, **arguments: Any) -> PlanningAgent:
    return PlanningAgent(Watched(), planner or spy(), QuadraticCost(0.01), **arguments)


def observe(*places: float, goal: float = 1.0) -> dict[str, np.ndarray]:
    at = np.repeat(np.float64(places)[:, None], 2, axis=1)
    return {"state": at, "goal_state": np.full_like(at, goal)}


def act(agent: PlanningAgent, steps: int, seeds: list[int]) -> tuple[np.ndarray, list[list[int]]]:
    """Return the actions [steps, B, A] in the real point, and the rows planned at each step."""
    state, planned, actions = agent.start(seeds), [], []
    x = np.linspace(-0.5, 0.5, len(seeds))[:, None].repeat(2, axis=1)
    for _ in range(steps):
        observation = {"state": x, "goal_state": np.ones_like(x)}
        action, state = agent.predict(observation, state)
        planned.append(sorted(int(row) for made in state.fresh for row in made.rows))
        actions.append(action)
        x = x + SPEED * action
    return np.stack(actions), planned


# When it plans, and what it executes


def test_it_gets_where_it_shall() -> None:
    agent = agent_of()
    x, state = np.zeros((2, 2)), None
    for _ in range(12):
        action, state = agent.predict(
            {"state": x, "goal_state": np.float64([[1, -1], [0, 1]])}, state
        )
        assert action.dtype == np.float32 and action.shape == (2, 2)
        x = x + SPEED * action
    np.testing.assert_allclose(x, [[1, -1], [0, 1]], atol=0.2)


@pytest.mark.parametrize("execute", [1, 3])
def test_a_plan_is_executed_before_the_next_one_is_made(execute) -> None:
    planner = spy()
    actions, planned = act(agent_of(planner, execute=execute), 6, [0, 1])
    assert planned == [[0, 1] if step % execute == 0 else [] for step in range(6)]
    for step in range(6):
        plan = planner.calls[step // execute]["plan"]
        np.testing.assert_array_equal(
            actions[step], plan.actions[:, step % execute].numpy().astype(np.float32)
        )


@pytest.mark.parametrize("interpolate", [False, True])
def test_a_decision_is_as_many_actions_as_its_map_says(interpolate) -> None:
    class Commanded(Watched):
        def encode(self, *arguments, **named) -> State:  # type: ignore[no-untyped-def]
            state = super().encode(*arguments, **named)
            return {**state, "command": torch.full((1, 2), 0.5, dtype=torch.float64)}

    planner, kind = spy(), Interpolate if interpolate else Hold
    agent = PlanningAgent(
        Commanded(), planner, QuadraticCost(), action_map=kind(SPACE, 2), execute=2
    )
    actions, planned = act(agent, 8, [0])
    assert planned == [[0], [], [], [], [0], [], [], []]
    decisions = planner.calls[0]["plan"].actions[0, :2].numpy()
    expected = decisions.repeat(2, axis=0)
    if interpolate:
        expected = [
            (0.5 + decisions[0]) / 2,
            decisions[0],
            (decisions[0] + decisions[1]) / 2,
            decisions[1],
        ]
    np.testing.assert_allclose(actions[:4, 0], expected, atol=1e-6)


def test_only_rows_that_need_a_plan_are_planned() -> None:
    agent = agent_of(execute=3)
    state = agent.start([0, 1, 2])
    seen = []
    for restart in ([], [], [1], [], [0, 2], []):
        started = np.isin(np.arange(3), restart)
        _, state = agent.predict(observe(0.0, 0.1, 0.2), state, started)
        seen.append(sorted(int(row) for made in state.fresh for row in made.rows))
    #       all, none, 1 restarts, 0 and 2 are due, 0 and 2 restart, 1 is due
    assert seen == [[0, 1, 2], [], [1], [0, 2], [0, 2], [1]]
    assert state.steps.tolist() == [2, 4, 2]


# From what it plans


def test_the_goal_is_encoded_once_an_episode() -> None:
    agent = agent_of(execute=2)
    model: Any = agent.base_model
    state = agent.start([0, 1])
    for step in range(6):
        # A goal that moves within the episode is not looked at.
        _, state = agent.predict(observe(0.0, 0.1, goal=1.0 + step), state)
    goals = [seen for seen, _, _ in model.encoded if (seen >= 1.0).all()]
    assert len(goals) == 1
    _, state = agent.predict(observe(0.0, 0.1, goal=9.0), state, np.array([True, False]))
    np.testing.assert_array_equal(state.goal["state"], [[9.0, 9.0], [1.0, 1.0]])


def test_the_belief_is_carried_with_the_decisions_since() -> None:
    agent = agent_of(execute=2)
    model: Any = agent.base_model
    actions, _ = act(agent, 4, [0, 1])
    (_, first, nothing), _, (_, before, since) = model.encoded
    assert first is None and nothing is None
    np.testing.assert_array_equal(before["state"], [[-0.5, -0.5], [0.5, 0.5]])
    np.testing.assert_allclose(since, actions[:2].swapaxes(0, 1), atol=1e-6)


def test_a_plan_starts_from_what_is_left_of_the_last_one() -> None:
    planner = spy()
    act(agent_of(planner, execute=2), 4, [0])
    assert planner.calls[0]["warm_start"] is None
    plan, warm_start = planner.calls[0]["plan"], planner.calls[1]["warm_start"]
    rest = plan.actions[:, [2, 3, 3, 3]]
    torch.testing.assert_close(warm_start.actions[:, 0], rest, rtol=0, atol=0)


@dataclass
class Reference:
    """Proposes a motion at the start of an episode, and then what is left of the last plan."""

    asked: list[dict[str, Any]] = field(default_factory=list)
    evaluations: int = 3

    def propose(self, state, goal, left, *, horizon, seeds):  # type: ignore[no-untyped-def]
        told = {"goal": goal, "left": left, "horizon": horizon, "seeds": seeds.tolist()}
        self.asked.append({"rows": len(state["state"]), **told})
        if left is not None:
            return left
        return WarmStart(torch.full((len(seeds), 1, 4, 2), 0.25, dtype=torch.float64))


def test_searches_start_from_what_is_proposed() -> None:
    planner, reference = spy(), Reference()
    agent = agent_of(planner, proposer=reference)
    state = agent.start([0, 1])
    for started in ([False, False], [False, False], [True, False]):
        _, state = agent.predict(observe(0.1, 0.2), state, np.array(started))
    first, second, third, again = reference.asked
    assert [each["rows"] for each in reference.asked] == [2, 2, 1, 1]
    assert [each["left"] is None for each in reference.asked] == [True, False, True, False]
    assert (first["goal"]["state"] == 1.0).all()
    assert len({*first["seeds"], *second["seeds"], *third["seeds"], *again["seeds"]}) == 6
    assert [call["seeds"].tolist() for call in planner.calls] == [
        each["seeds"] for each in reference.asked
    ]
    assert (planner.calls[0]["warm_start"].actions == 0.25).all()
    assert planner.calls[1]["warm_start"] is second["left"]


def test_candidates_of_proposals_are_counted() -> None:
    counts = []
    for proposer in (None, Reference()):
        agent = agent_of(spy(), proposer=proposer)
        _, state = agent.predict(observe(0.1), agent.start([0]))
        counts.append(state.fresh[0].plan.search)
    plain, guided = counts
    assert guided.evaluations == plain.evaluations + 3
    assert guided.evaluations_at == tuple(count + 3 for count in plain.evaluations_at)


def test_no_plan_looks_beyond_the_end_of_the_episode() -> None:
    planner = spy()
    act(agent_of(planner, episode_steps=6), 8, [0])
    assert [call["horizon"] for call in planner.calls] == [4, 4, 4, 3, 2, 1, 1, 1]
    planner = spy()
    action_map = Hold(SPACE, 3)
    act(agent_of(planner, episode_steps=10, execute=2, action_map=action_map), 12, [0])
    # 10 actions are 4 decisions of 3; 6 later, 2 are left.
    assert [call["horizon"] for call in planner.calls] == [4, 2]
    planner = spy()
    act(agent_of(planner), 6, [0])
    assert {call["horizon"] for call in planner.calls} == {4}


def test_a_plan_that_is_shorter_than_what_is_executed_holds_its_end() -> None:
    planner = spy()
    actions, planned = act(agent_of(planner, episode_steps=4, execute=3), 6, [0])
    assert planned == [[0], [], [], [0], [], []]
    assert planner.calls[1]["horizon"] == 1
    assert (actions[3:] == actions[3]).all()


def test_rows_that_look_differently_far_are_planned_apart() -> None:
    planner = spy()
    agent = agent_of(planner, episode_steps=3)
    state = agent.start([0, 1])
    _, state = agent.predict(observe(0.0, 0.1), state)
    _, state = agent.predict(observe(0.0, 0.1), state, np.array([True, False]))
    assert sorted((call["horizon"], len(call["state"]["state"])) for call in planner.calls) == [
        (2, 1),
        (3, 1),
        (3, 2),
    ]


def test_the_time_for_a_plan_is_passed_on() -> None:
    planner = spy()
    act(agent_of(planner, budget_s=0.0), 2, [0])
    assert [call["plan"].search.best_cost.shape[0] for call in planner.calls] == [1, 1]


# Rows do not influence each other


@pytest.mark.parametrize(
    "planner",
    [
        CEM(4, samples=24, iterations=3, elites=4),
        ICEM(4, samples=24, iterations=3, elites=4),
        MPPI(4, samples=24, iterations=3),
    ],
)
def test_episodes_planned_alone_equal_episodes_planned_together(planner) -> None:
    agent = agent_of(planner, execute=2, episode_steps=9)
    together = run(agent, [5, 6, 7], [-0.5, 0.0, 0.5])
    for row in range(3):
        alone = run(agent, [5 + row], [[-0.5, 0.0, 0.5][row]])
        np.testing.assert_array_equal(alone[:, 0], together[:, row])
    assert not np.array_equal(run(agent, [8], [0.0]), run(agent, [9], [0.0]))


def run(agent: PlanningAgent, seeds: list[int], places: list[float]) -> np.ndarray:
    state, x, actions = agent.start(seeds), observe(*places)["state"], []
    for _ in range(9):
        action, state = agent.predict({"state": x, "goal_state": np.ones_like(x)}, state)
        actions.append(action)
        x = x + SPEED * action
    return np.stack(actions)


def test_an_episode_goes_on_alike_after_others_have_ended_or_started_over() -> None:
    agent = agent_of(execute=2)
    expected = run(agent, [6], [0.0])[:, 0]
    state, x = agent.start([5, 6, 7]), observe(-0.5, 0.0, 0.5)["state"]
    for time in range(9):
        if time == 3:
            rows = np.array([1, 2])
            state, x = agent.take(state, rows), x[rows]
        started = np.zeros(len(x), bool)
        started[-1] = time == 6
        action, state = agent.predict({"state": x, "goal_state": np.ones_like(x)}, state, started)
        np.testing.assert_array_equal(action[0 if time >= 3 else 1], expected[time])
        x = x + SPEED * action


def test_a_started_over_episode_has_a_stream_of_its_own() -> None:
    agent = agent_of(spy(), seed=10)
    _, state = agent.predict(observe(0.0, 0.0))
    assert state.seeds.tolist() == [10, 11]
    _, state = agent.predict(observe(0.0, 0.0), state, np.array([True, False]))
    _, state = agent.predict(observe(0.0, 0.0), state, np.array([True, True]))
    assert state.seeds.tolist() == [14, 13]
    assert state.steps.tolist() == [1, 1] and state.plans.tolist() == [1, 1]


def test_a_state_is_not_changed_by_predicting_from_it() -> None:
    agent = agent_of(execute=2)
    _, first = agent.predict(observe(0.0, 0.3), agent.start([0, 1]))
    kept = [first.cursor.clone(), first.queue.clone(), first.belief["state"].clone()]
    once, _ = agent.predict(observe(0.1, 0.2), first)
    again, _ = agent.predict(observe(0.1, 0.2), first)
    np.testing.assert_array_equal(once, again)
    for before, now in zip(kept, [first.cursor, first.queue, first.belief["state"]], strict=True):
        assert torch.equal(before, now)


def test_taken_rows_hold_everything_but_the_news() -> None:
    agent = agent_of()
    _, state = agent.predict(observe(0.0, 0.3, 0.5), agent.start([0, 1, 2]))
    part = agent.take(state, np.array([2, 0]))
    assert isinstance(part, PlanningState) and part.fresh == ()
    assert part.seeds.tolist() == [2, 0]
    assert part.belief["state"][:, 0].tolist() == [0.5, 0.0]
    assert torch.equal(part.warm_start.actions, state.warm_start.actions[[2, 0]])
    empty = agent.take(agent.start([0, 1]), np.array([1]))
    assert empty.seeds.tolist() == [1] and empty.queue is None


# In PushT


def push_t(env_id: str = "dexworld/PushTGoal-v0") -> gym.Env[Any, Any]:
    env = gym.make(env_id, observation="physics", max_episode_steps=10)
    return GoalObservation(env)


def push_t_agent(planner: Any = None, **arguments: Any) -> PlanningAgent:
    model = SimulatorModel("dexworld/PushTGoal-v0", threads=1)
    planner = planner or CEM(horizon=4, samples=24, iterations=3, elites=6)
    objective = KeypointDistance(running=1.0) + KeypointDistance("agent", 0.25, running=1.0)
    return PlanningAgent(
        model, planner, objective, action_map=Interpolate(model.action_space, 5), **arguments
    )


def test_stable_baselines_evaluates_it_as_a_policy() -> None:
    agent = push_t_agent(episode_steps=10)
    envs = DummyVecEnv([push_t, push_t])
    envs.seed(0)
    rewards, lengths = evaluate_policy(
        agent, envs, n_eval_episodes=4, return_episode_rewards=True, warn=False
    )
    assert len(rewards) == 4 and max(lengths) <= 10
    envs.seed(0)
    again, _ = evaluate_policy(
        agent, envs, n_eval_episodes=4, return_episode_rewards=True, warn=False
    )
    assert again == rewards


def test_in_the_simulator_an_episode_is_the_same_alone_and_among_others() -> None:
    agent = push_t_agent(episode_steps=10)
    seeds = [3, 4]
    together = episodes(agent, seeds)
    for row, seed in enumerate(seeds):
        np.testing.assert_array_equal(episodes(agent, [seed])[:, 0], together[:, row])


def episodes(agent: PlanningAgent, seeds: list[int]) -> np.ndarray:
    envs, state, states = [push_t() for _ in seeds], agent.start(seeds), []
    seen = [env.reset(seed=seed)[0] for env, seed in zip(envs, seeds, strict=True)]
    for _ in range(9):
        stacked = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
        actions, state = agent.predict(stacked, state)
        seen = [env.step(action)[0] for env, action in zip(envs, actions, strict=True)]
        states.append(np.stack([each["physics"] for each in seen]))
    return np.stack(states)


def test_what_comes_is_what_was_planned() -> None:
    agent = push_t_agent(execute=2)
    env = push_t()
    observation, _ = env.reset(seed=1)
    state = agent.start([1])
    for _ in range(10):
        actions, state = agent.predict(batch(observation), state)
        made = state.fresh or made
        observation, *_ = env.step(actions[0])
    predicted = made[0].plan.predictions["keypoints"][:, 1]
    reached = agent.model.encode(batch(observation))["keypoints"]
    # Actions go to the environment as float32.
    torch.testing.assert_close(reached, predicted, rtol=0, atol=1e-3)


def batch(observation: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value[None] for key, value in observation.items()}


# Wrong input


@pytest.mark.parametrize("execute", [0, 5])
def test_executing_more_than_there_is_or_nothing(execute) -> None:
    with pytest.raises(ValueError, match=f"execute={execute} .*choose between 1 and 4"):
        agent_of(execute=execute)


def test_an_objective_that_reads_what_the_model_does_not_predict() -> None:
    with pytest.raises(KeyError, match=r"reads \['reward'\].*it predicts \['state'\]"):
        PlanningAgent(Watched(), spy(), NegativeReward())


def test_an_observation_without_goal() -> None:
    with pytest.raises(KeyError, match=r"lacks the goal \['goal_state'\].*GoalObservation"):
        agent_of().predict({"state": np.zeros((1, 2))})
    observation, _ = gym.make("dexworld/PushTGoal-v0", observation="physics").reset(seed=0)
    with pytest.raises(KeyError, match=r"lacks the goal \['goal_physics'\].*compares 'keypoints'"):
        push_t_agent().predict(batch(observation))


def test_an_observation_with_a_part_of_the_goal() -> None:
    class Both(Watched):
        observes = frozenset({"state", "more"})

    agent = PlanningAgent(Both(), spy(), QuadraticCost())
    with pytest.raises(KeyError, match=r"lacks the goal \['goal_more'\]"):
        agent.predict({**observe(0.0), "more": np.zeros((1, 1))})


def test_an_objective_without_a_goal_needs_none() -> None:
    agent = PlanningAgent(Watched(), spy(), Effort())
    observation = {"state": np.zeros((2, 2))}
    state = agent.start([0, 1])
    for started in ([False, False], [True, False], [False, True]):
        actions, state = agent.predict(observation, state, np.array(started))
        assert state.goal == {}
    np.testing.assert_allclose(actions, 0.0, atol=0.3)


class Effort:
    """Do as little as possible."""

    reads: frozenset[str] = frozenset()

    def cost(self, predictions, actions, state, goal) -> Tensor:  # type: ignore[no-untyped-def]
        return actions.square().sum(dim=(2, 3))


def test_an_observation_without_what_the_model_observes() -> None:
    agent = agent_of()
    assert agent.observes == {"state", "goal_state"}
    with pytest.raises(KeyError, match=r"lacks \['physics'\], which SimulatorModel observes"):
        push_t_agent().predict(observe(0.0))


def test_an_observation_of_other_environments_than_the_state() -> None:
    agent = agent_of()
    _, state = agent.predict(observe(0.0, 0.1))
    with pytest.raises(ValueError, match=r"3 environments.*2"):
        agent.predict(observe(0.0, 0.1, 0.2), state)
