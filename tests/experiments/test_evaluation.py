"""Episodes that depend on their seed alone, and what is counted in them."""

from __future__ import annotations

from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from dexworld.agents.base import RandomAgent, ReplayAgent
from dexworld.agents.planning import PlanningAgent
from dexworld.experiments.evaluation import EpisodeResult, run_episodes, summarise
from dexworld.planners import CEM
from dexworld.planners.linear_quadratic import LinearModel, QuadraticCost

SPACE = Box(-1.0, 1.0, (2,), np.float64)


class Point(gym.Env[Any, Any]):
    """`x' = x + 0.2 u`, success near the goal; episodes last 6 to 11 steps, as the seed says."""

    action_space = SPACE
    observation_space = Dict({"state": Box(-9.0, 9.0, (2,)), "goal_state": Box(-9.0, 9.0, (2,))})
    closed = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.x, self.goal = self.np_random.uniform(-1, 1, (2, 2))
        self.left = int(self.np_random.integers(6, 12))
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        assert self.left > 0, "stepped after the episode's end"
        self.left -= 1
        self.x = self.x + 0.2 * np.asarray(action, np.float64)
        distance = float(np.abs(self.x - self.goal).max())
        ended = self.left == 0
        info = {"is_success": distance < 0.1}
        return self.observe(), -distance, ended and distance < 1, ended, info

    def observe(self) -> dict[str, np.ndarray]:
        return {"state": self.x.copy(), "goal_state": self.goal.copy()}

    def close(self) -> None:
        Point.closed += 1


class Tape(gym.Env[Any, Any]):
    """Plays success and reward of each step back, for episode `seed`."""

    action_space = Box(-1.0, 1.0, (1,), np.float32)
    successes = ("0010", "0001", "0000", "1111")
    rewards = ((1, 5, 2, 0), (0, 0, 0, 3), (-2, -1, -3, -4), (1, 1, 1, 1))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        assert seed is not None
        self.tape, self.time = seed, 0
        return {"x": np.zeros(1)}, {}

    def step(self, action: Any) -> Any:
        self.time += 1
        success = self.successes[self.tape][self.time - 1] == "1"
        reward = self.rewards[self.tape][self.time - 1]
        return {"x": np.zeros(1)}, reward, False, self.time == 4, {"is_success": success}


def planning_agent() -> PlanningAgent:
    eye = torch.eye(2, dtype=torch.float64)
    model = LinearModel(eye, 0.2 * eye, SPACE)
    planner = CEM(4, samples=16, iterations=2, elites=3, kept=1)
    return PlanningAgent(model, planner, QuadraticCost(0.01), execute=2)


def what_happened(results: list[EpisodeResult]) -> list[dict[str, Any]]:
    """Return all but the wall time, by seed."""
    in_order = sorted(results, key=lambda result: result.seed)
    counted = ("plan_seconds", "plan_cpu_seconds")
    return [{**asdict(r), **{name: len(getattr(r, name)) for name in counted}} for r in in_order]


def test_an_episode_does_not_depend_on_how_many_run_beside_it() -> None:
    seeds = [11, 12, 13, 14, 15]
    alone = what_happened(list(run_episodes(planning_agent(), Point, seeds)))
    assert [each["seed"] for each in alone] == seeds
    assert len({each["steps"] for each in alone}) > 1, "all episodes are equally long"
    assert any(each["success"] for each in alone)
    for parallel in (2, 3, 9):
        together = run_episodes(planning_agent(), Point, seeds, parallel)
        assert what_happened(list(together)) == alone
    backwards = run_episodes(planning_agent(), Point, seeds[::-1], 2)
    assert what_happened(list(backwards)) == alone


def test_an_episode_is_told_of_when_it_ends() -> None:
    class Watched(Point):
        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            running.append(self)
            return super().reset(seed=seed)

    running: list[Watched] = []
    seeds = [11, 12, 13, 14, 15]
    results = run_episodes(planning_agent(), Watched, seeds, 5)
    first = next(results)
    assert any(each.left > 0 for each in running), "all episodes were waited for"
    others = list(results)
    assert sorted([first.seed, *(other.seed for other in others)]) == seeds
    steps = [first.steps, *(other.steps for other in others)]
    assert steps == sorted(steps) and steps[0] < steps[-1]


def test_an_environment_that_tells_of_no_success() -> None:
    class Silent(Tape):
        def step(self, action: Any) -> Any:
            return (*super().step(action)[:4], {})

    agent = ReplayAgent({0: np.zeros((1, 1), np.float32)})
    (result,) = run_episodes(agent, Silent, [0])
    assert result.success is None and result.success_at_end is None
    assert result.episode_return == 8
    assert summarise([result])["success_rate"] == 0.0


def test_what_is_held_at_the_end_is_lifted_where_that_can_be_tried() -> None:
    class Holding(Tape):
        def lift(self) -> Any:
            assert self.time == 4, "tried before the end"
            return SimpleNamespace(holds=self.tape != 1)

    agent = ReplayAgent({seed: np.zeros((1, 1), np.float32) for seed in range(4)})
    results = list(run_episodes(agent, Holding, range(4), 3))
    assert [r.lift for r in sorted(results, key=lambda r: r.seed)] == [True, False, True, True]
    row = summarise(results)
    assert row["lift_rate"] == 0.75 and row["lift_interval"] == row["success_interval"]
    (blind,) = run_episodes(agent, Tape, [0])
    assert blind.lift is None and "lift_rate" not in summarise([blind])


def test_success_may_be_told_at_the_end_only() -> None:
    class Late(Tape):
        def step(self, action: Any) -> Any:
            *rest, ended, info = super().step(action)
            return *rest, ended, info if ended else {}

    agent = ReplayAgent({seed: np.zeros((1, 1), np.float32) for seed in range(4)})
    results = list(run_episodes(agent, Late, range(4)))
    assert [r.success for r in results] == [False, True, False, True]
    assert [r.steps_to_success for r in results] == [None, 4, None, 4]


def test_the_figures_do_not_depend_on_the_order_of_the_episodes() -> None:
    results = [
        EpisodeResult(seed, False, False, None, 1, value, value)
        for seed, value in enumerate((1e16, 1.0, -1e16, 0.1, 0.2, 0.3))
    ]
    assert summarise(results) == summarise(results[::-1]) == summarise(results[3:] + results[:3])


def test_success_at_any_time_and_at_the_end() -> None:
    agent = ReplayAgent({seed: np.zeros((1, 1), np.float32) for seed in range(4)})
    results = list(run_episodes(agent, Tape, range(4), 3))
    assert [r.success for r in results] == [True, True, False, True]
    assert [r.success_at_end for r in results] == [False, True, False, True]
    assert [r.steps_to_success for r in results] == [3, 4, None, 1]
    assert [r.steps for r in results] == [4, 4, 4, 4]
    assert [r.max_reward for r in results] == [5, 3, -1, 1]
    assert [r.episode_return for r in results] == [8, 3, -10, 4]
    row = summarise(results)
    assert row["success_rate"] == 0.75 and row["success_rate_at_end"] == 0.5
    assert row["mean_steps_to_success"] == pytest.approx(8 / 3)
    assert row["mean_max_reward"] == 2.0 and row["mean_return"] == 1.25
    assert row["plan_latency_s"] == {} and row["plans"] == 0 and row["model_evaluations"] == 0
    low, high = row["success_interval"]
    assert 0.3 < low < 0.75 < high < 0.96


def test_plans_are_counted_for_the_episode_they_were_made_for() -> None:
    results = list(run_episodes(planning_agent(), Point, [11, 12, 13], 2))
    for result in results:
        plans = (result.steps + 1) // 2
        assert len(result.plan_seconds) == plans
        # 16 samples in each of 2 iterations; a kept elite is not rolled out again.
        assert result.model_evaluations == plans * planning_evaluations()
        assert all(seconds > 0 for seconds in result.plan_seconds)


def planning_evaluations() -> int:
    agent = planning_agent()
    observation = {key: value[None] for key, value in Point().reset(seed=0)[0].items()}
    _, state = agent.predict(observation)
    return state.fresh[0].plan.search.evaluations


class Log:
    """An observer that writes down what it sees."""

    def __init__(self) -> None:
        self.seen: dict[int, list[str]] = {}

    def begin(self, seed, env) -> None:
        assert env.unwrapped.left > 0
        self.seen[seed] = ["begin"]

    def planned(self, seed, belief, goal, plan, row) -> None:
        assert len(belief["state"]) == len(goal["state"]) == 1
        # The row of the plan is that of the belief: it is what its prediction starts from.
        first = belief["state"][0] + 0.2 * plan.actions[row, 0]
        torch.testing.assert_close(plan.predictions["state"][row, 0], first)
        self.seen[seed].append("planned")

    def stepped(self, seed, env) -> None:
        self.seen[seed].append("stepped")

    def end(self, result) -> None:
        self.seen[result.seed].append(f"end {result.steps}")


def test_observers_see_every_episode_from_its_beginning_to_its_end() -> None:
    log = Log()
    results = list(run_episodes(planning_agent(), Point, [11, 12, 13], 2, [log]))
    for result in results:
        expected = ["begin"]
        for step in range(result.steps):
            expected += ["stepped"] if step % 2 else ["planned", "stepped"]
        assert log.seen[result.seed] == [*expected, f"end {result.steps}"]


def test_environments_are_closed_whatever_happens() -> None:
    Point.closed = 0
    list(run_episodes(RandomAgent(SPACE), Point, [1, 2, 3], 2))
    assert Point.closed == 2
    running = run_episodes(RandomAgent(SPACE), Point, [1, 2, 3], 1)
    next(running)
    running.close()
    assert Point.closed == 3


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="parallel=0: run at least one"):
        list(run_episodes(RandomAgent(SPACE), Point, [1], 0))
    with pytest.raises(ValueError, match="no episodes to summarise"):
        summarise([])
