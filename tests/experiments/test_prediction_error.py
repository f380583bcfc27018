"""The error over the horizon: none for the simulator itself, and for others what was measured."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict

from dexworld.agents.planning import PlanningAgent
from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    ModelConfig,
    PlanConfig,
    make_env,
    make_model,
    make_objective,
    make_planning_agent,
)
from dexworld.experiments.evaluation import EnvMaker, run_episodes
from dexworld.experiments.last_observation import LastObservation
from dexworld.experiments.prediction_error import PredictionError, summary, told
from dexworld.planners import CEM
from dexworld.world_models.base import GOAL_PREFIX, Mapped


class Watched(LastObservation):
    """Remembers all that an episode showed, and what was done."""

    def reset(self, **given: Any) -> Any:
        result = super().reset(**given)
        self.seen, self.done = [self.observed], []
        return result

    def step(self, action: Any) -> Any:
        result = super().step(action)
        self.seen.append(self.observed)
        self.done.append(action)
        return result


def observed(config: PlanConfig) -> tuple[dict[str, str], EnvMaker]:
    """Return what is compared with what, and a maker of environments that observe it."""
    model = make_model(config)
    truths = told(model, make_env(config, model.observes)())
    goals = {GOAL_PREFIX + key for key in model.observes}
    return truths, make_env(config, model.observes | goals | set(truths.values()))


def measured(
    config: PlanConfig, seeds: Sequence[int] = (3,), parallel: int = 1
) -> tuple[PredictionError, PlanningAgent, Watched]:
    agent = make_planning_agent(config, make_model(config))
    truths, make = observed(config)
    env = Watched(make())
    observer = PredictionError(agent, truths)
    envs = iter([env])
    list(
        run_episodes(
            agent, lambda: next(envs, None) or Watched(make()), seeds, parallel, [observer]
        )
    )
    return observer, agent, env


def test_the_simulator_predicts_itself(tiny) -> None:
    observer, _, _ = measured(tiny(), (3, 4, 5), 2)
    assert set(observer.errors) == {3, 4, 5}
    for errors in observer.errors.values():
        (found,) = errors.values()  # of its predictions, the environment observes these points
        assert found["steps"] == list(range(11))
        assert max(found["open_loop"]) < 1e-3
        assert [len(plan) for plan in found["plans"]] == [6, 6]
        assert max(map(max, found["plans"])) < 1e-3
    found = summary(list(observer.errors.values()))["keypoints"]
    assert found["static"][0] == 0 and max(found["static"]) > 5, "something moved"
    assert max(found["median"]) < 1e-3 and found["episodes"] == [3] * 11


def test_a_wrong_simulator_does_not(tiny) -> None:
    real = EnvConfig("dexworld/PushTGoal-v0", {"physics": "pymunk"}, 10)
    model = ModelConfig(source="state", kwargs={"physics": "mujoco"}, threads=1)
    observer, _, _ = measured(tiny(env=real, model=model), (3, 4, 5))
    found = summary(list(observer.errors.values()))["keypoints"]
    assert 1e-3 < max(found["p90"]) < 20


@pytest.mark.parametrize("chunk", [1, 5])
def test_a_learned_model_is_compared_step_by_step(tiny, untrained, chunk) -> None:
    config = tiny(model=untrained(chunk=chunk), agent=AgentConfig(increment=0.5))
    observer, agent, env = measured(config)
    errors = observer.errors[3]
    assert set(errors) == {"agent", "keypoints"}, "learned from proprio and keypoints"
    steps = list(range(0, 11, chunk))
    model = agent.base_model
    first = {key: value[None] for key, value in env.seen[0].items()}
    actions = torch.tensor(np.stack(env.done)).reshape(1, 1, 10 // chunk, 2 * chunk)
    way = model.rollout(model.encode(first), actions)
    for key, label in (("agent", "proprio"), ("keypoints", "keypoints")):
        found, truth = errors[key], np.stack([each[label] for each in env.seen]).reshape(11, -1, 2)
        expected = np.linalg.norm(way[key][0, 0].numpy() - truth[steps[1:]], axis=-1).mean(axis=-1)
        assert found["steps"] == steps
        assert found["open_loop"][0] < 1e-3, "it copies what it sees"
        np.testing.assert_allclose(found["open_loop"][1:], expected, rtol=2e-3)
        still = np.linalg.norm(truth[steps] - truth[0], axis=-1).mean(axis=-1)
        np.testing.assert_allclose(found["static"], still, rtol=2e-3, atol=1e-6)
        # The first plan is the beginning of the whole; the second looks anew.
        middle = 5 // chunk
        assert found["plans"][0] == found["open_loop"][: middle + 1]
        assert found["plans"][1][0] < 1e-3 and len(found["plans"][1]) == middle + 1


def test_perception_is_the_error_after_no_steps(tiny, untrained) -> None:
    env = EnvConfig("dexworld/PushTGoal-v0", {"pixels_size": 32, "goal_in_pixels": False}, 10)
    observer, agent, watched = measured(tiny(model=untrained("pixels"), env=env))
    first = {key: value[None] for key, value in watched.seen[0].items()}
    seen = agent.base_model.encode(first)["keypoints"][0].numpy()
    distance = np.linalg.norm(seen - first["keypoints"][0], axis=-1).mean()
    found = observer.errors[3]["keypoints"]
    assert found["open_loop"][0] == pytest.approx(distance, rel=2e-3) and distance > 10
    assert found["plans"][1][0] > 10


class Halves:
    """Two actions of the model are one step of the environment."""

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    steps = 1

    def to_model(self, decisions: Any, state: Any) -> Any:
        return decisions.repeat_interleave(2, dim=2)

    def to_env(self, decisions: Any, state: Any) -> Any:
        return decisions


def test_the_model_may_act_more_often_than_the_environment_steps(tiny) -> None:
    config = tiny()
    model, (truths, make) = make_model(config), observed(config)
    objective = make_objective(config.objective)
    agent = PlanningAgent(model, CEM(2, samples=4, iterations=1, elites=2, kept=1), objective)
    agent.action_map, agent.model = Halves(), Mapped(model, Halves())
    observer = PredictionError(agent, truths)
    list(run_episodes(agent, lambda: LastObservation(make()), [3], 1, [observer]))
    found = observer.errors[3]["keypoints"]
    assert found["steps"] == list(range(11)) and [len(plan) for plan in found["plans"]] == [2] * 10


def test_what_the_environment_does_not_observe_is_not_compared(tiny, untrained) -> None:
    class Blind(gym.Env[Any, Any]):
        observation_space = Dict(keypoints=Box(0, 1, (4, 2)))

    assert told(make_model(tiny(model=untrained())), Blind()) == {"keypoints": "keypoints"}


def test_the_summary() -> None:
    def episode(*errors: float | None) -> dict[str, Any]:
        steps = list(range(len(errors)))
        plans = [list(errors[:2])]
        return {"p": {"steps": steps, "open_loop": list(errors), "static": steps, "plans": plans}}

    found = summary([episode(0, 1, 2), episode(0, 3), episode(1, 2, None), episode(1, 2, None)])[
        "p"
    ]
    assert found["steps"] == [0, 1, 2] and found["episodes"] == [4, 4, 3]
    assert found["median"][1] == 2 and found["p90"][1] == 3
    assert found["median"][2] == np.inf, "two of three are lost"
    assert found["static"] == [0, 1, 2]
    assert found["plans"]["steps"] == [0, 1] and found["plans"]["p90"][1] == 3
    assert summary([{}, {}]) == {} == summary([])
