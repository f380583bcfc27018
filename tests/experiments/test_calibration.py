"""Predicted and real cost are of the same moment."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from dexworld.agents.planning import PlanningAgent
from dexworld.experiments.calibration import Calibration, gap
from dexworld.experiments.config import EnvConfig, make_env, make_model, make_planning_agent
from dexworld.experiments.evaluation import run_episodes
from dexworld.experiments.last_observation import LastObservation
from dexworld.planners import CEM
from dexworld.planners.linear_quadratic import LinearModel, QuadraticCost

SPACE = Box(-1.0, 1.0, (1,), np.float64)


class Line(gym.Env[Any, Any]):
    """`x' = x + 0.2 u + drift`, towards x = 1."""

    action_space = SPACE
    drift = 0.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.x, self.left = np.array([float(seed or 0) / 10]), 6
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        self.left -= 1
        self.x = self.x + 0.2 * np.float64(action) + self.drift
        return self.observe(), 0.0, False, self.left == 0, {}

    def observe(self) -> dict[str, np.ndarray]:
        return {"state": self.x.copy(), "goal_state": np.ones(1)}


class Drifting(Line):
    """A world that the model does not know."""

    drift = -0.1


def calibrated(env: type[Line], execute: int, judged: bool = True) -> Calibration:
    one = torch.eye(1, dtype=torch.float64)
    planner = CEM(3, samples=16, iterations=2, elites=3, kept=1)
    model = LinearModel(one, 0.2 * one, SPACE)
    agent = PlanningAgent(model, planner, QuadraticCost(), execute=execute)
    observer = Calibration(agent.objective, execute, judged)
    list(run_episodes(agent, env, [1, 2], 2, [observer]))
    return observer


@pytest.mark.parametrize(("execute", "plans"), [(1, 6), (2, 3), (3, 2)])
def test_a_model_without_error_has_no_gap(execute, plans) -> None:
    observer = calibrated(Line, execute)
    assert set(observer.pairs) == {1, 2}
    for seed in (1, 2):
        assert len(observer.pairs[seed]) == plans - 1
        assert [len(search) for search in observer.searches[seed]] == [2] * plans
        for predicted, real in observer.pairs[seed]:
            assert predicted == pytest.approx(real, abs=1e-7)
    assert observer.pairs[1] != observer.pairs[2]


def test_beliefs_that_do_not_tell_the_cost_are_not_compared() -> None:
    observer = calibrated(Line, 1, judged=False)
    assert observer.pairs == {1: [], 2: []}
    assert [len(search) for search in observer.searches[1]] == [2] * 6


def test_a_wrong_model_has_the_gap_that_it_has() -> None:
    observer = calibrated(Drifting, 1)
    for predicted, real in observer.pairs[1]:
        # Before the goal: the squared distance after a step that fell short by 0.1.
        assert np.sqrt(real) == pytest.approx(np.sqrt(predicted) + 0.1, abs=0.01) or real < 0.1
    assert gap(observer.pairs[1])["mean_absolute_gap"] > 0.01


@pytest.mark.parametrize("sees", ["keypoints", "pixels"])
def test_a_learned_model_is_held_to_what_it_sees(tiny, untrained, sees) -> None:
    arguments = {"pixels_size": 32, "goal_in_pixels": False}
    env = EnvConfig("dexworld/PushTGoal-v0", arguments, 10)
    config = tiny(model=untrained(sees), env=env)
    agent = make_planning_agent(config, make_model(config))
    observer = Calibration(agent.objective, agent.execute)

    seen: list[Any] = []

    class Seen:
        """Keeps what is observed."""

        def begin(self, seed: int, env: Any) -> None:
            seen[:] = [env.observed]

        def stepped(self, seed: int, env: Any) -> None:
            seen.append(env.observed)

        def planned(self, *given: Any) -> None: ...

        def end(self, result: Any) -> None: ...

    make = make_env(config, agent.observes)
    list(run_episodes(agent, lambda: LastObservation(make()), [3], 1, [observer, Seen()]))
    ((predicted, real),) = observer.pairs[3]  # two plans of five steps
    batch = {key: value[None] for key, value in seen[5].items()}
    model = agent.base_model
    now = {key: value[:, None, None] for key, value in model.encode(batch).items()}
    goal = model.encode({key: batch[f"goal_{key}"] for key in model.observes})
    cost = agent.objective.cost(now, torch.zeros(1, 1, 1, 2), {}, goal)
    assert real == pytest.approx(float(cost), rel=1e-5)
    assert abs(predicted - real) > 1.0, "it has learned nothing"


def test_the_gap() -> None:
    assert gap([]) == {}
    assert gap([(1.0, None)]) == {}
    assert gap([(1.0, 2.0), (3.0, 2.0), (None, 1.0), (5.0, 5.0)]) == pytest.approx(
        {
            "mean_predicted_cost": 3.0,
            "mean_real_cost": 3.0,
            "mean_absolute_gap": 2 / 3,
            "correlation": np.sqrt(3) / 2,
        }
    )
    assert gap([(1.0, 2.0), (1.0, 3.0)])["correlation"] is None
