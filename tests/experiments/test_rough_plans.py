"""Rough plans of the robot at the counter: its kinematics, and the presets that start from them."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

import dexworld.envs  # noqa: F401 - registers the environments
from dexworld.agents.staged_plans import StagedPlans
from dexworld.envs.counter.simulation import CounterSimulation
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import make_env, make_model, make_planning_agent
from dexworld.experiments.evaluation import run_episodes
from dexworld.experiments.plan import register_schemas
from dexworld.experiments.rough_plans import ARM, rough_model
from dexworld.experiments.statistics import episode_seeds

FEW = ["model.threads=1", "floors=false", "+env.kwargs.distractors=0"]


def configured(*overrides: str) -> Any:
    register_schemas()
    GlobalHydra.instance().clear()
    return compose_config("plan", [*FEW, *overrides])


def seen(task: str, seed: int = 0) -> tuple[SimulatorModel, Any, Any]:
    """Return the simulator, and start and goal of an episode as it sees them."""
    name = f"dexworld/Counter{task}-v0"
    env = gym.make(name, observation=("physics", "scene"), distractors=0)
    observation, info = env.reset(seed=seed)
    model = SimulatorModel(env, threads=1)
    start, goal = (
        model.encode({key: value[None] for key, value in each.items()})
        for each in (observation, info["goal"])
    )
    return model, start, goal


def test_kinematics_are_those_of_the_robot_at_rest() -> None:
    for task in ("Reach", "Place"):
        model, start, goal = seen(task)
        assert isinstance(model.simulation, CounterSimulation)
        rough = rough_model(model, model.simulation)
        for state in (start, goal):
            low, high = (torch.from_numpy(each) for each in (rough_low(model), rough_high(model)))
            still = (2 * (state["joints"] - low) / (high - low) - 1).float()
            state = {**state, "command": still.double()}
            found = rough.rollout(state, still[:, None, None])
            for key in ("keypoints", "joints"):
                torch.testing.assert_close(found[key][:, 0, 0], state[key], atol=1e-5, rtol=0)
            for key in ("palm", "object"):
                same = torch.sign((found[key][0, 0, 0, 3:] * state[key][0, 3:]).sum())
                expected = torch.cat([state[key][0, :3], same * state[key][0, 3:]])
                torch.testing.assert_close(found[key][0, 0, 0], expected, atol=1e-5, rtol=0)


def rough_low(model: SimulatorModel) -> np.ndarray:
    assert isinstance(model.simulation, CounterSimulation)
    return model.simulation.low


def rough_high(model: SimulatorModel) -> np.ndarray:
    assert isinstance(model.simulation, CounterSimulation)
    return model.simulation.high


def test_what_is_held_goes_with_the_hand_as_in_the_simulator() -> None:
    model, start, _ = seen("Place")
    assert isinstance(model.simulation, CounterSimulation)
    rough = rough_model(model, model.simulation)
    turn = torch.zeros(1, 1, 10, 23)
    turn[..., 0] = torch.linspace(0.01, 0.1, 10)  # joint 1, by up to 0.29 rad
    motion = start["command"][:, None, None].float() + turn
    motion = torch.cat([motion, motion[:, :, -1:].expand(-1, -1, 5, -1)], dim=2)
    found, real = (each.rollout(start, motion, ["object"])["object"] for each in (rough, model))
    travelled = torch.linalg.vector_norm(real[0, 0, -1, :3] - start["object"][0, :3])
    error = torch.linalg.vector_norm(real[0, 0, -1, :3] - found[0, 0, -1, :3])
    assert travelled > 0.1 and error < 0.02


def test_a_rough_plan_reaches_leaves_the_hand_alone_and_moves_nothing_else() -> None:
    config = configured("experiment=counter_reach_simulator")
    agent = make_planning_agent(config, make_model(config))
    assert isinstance(agent.proposer, StagedPlans)
    _, start, goal = seen("Reach")
    seeds = torch.tensor([1])
    found = agent.proposer.propose(start, goal, None, horizon=3, seeds=seeds)
    assert found is not None
    assert (found.actions[..., ARM:] == 0).all()
    end = agent.proposer.model.rollout(start, found.actions)
    distance = (end["keypoints"][0, 0, -1] - goal["keypoints"][0]).norm(dim=-1).mean()
    assert distance < 0.05
    torch.testing.assert_close(end["object"][0, 0, -1], start["object"][0])


def test_a_grasp_closes_the_hand_presses_and_tries_to_lift() -> None:
    config = configured("experiment=counter_grasp_simulator")
    agent = make_planning_agent(config, make_model(config))
    assert agent.proposer is not None
    model, start, goal = seen("Grasp")
    low, high = (torch.from_numpy(each) for each in (rough_low(model), rough_high(model)))
    found = agent.proposer.propose(start, goal, None, horizon=4, seeds=torch.tensor([1]))
    assert found is not None and found.std is not None
    plan = found.actions[0, 0].double() * config.agent.increment * (high - low) / 2
    command = low + (start["command"][0] + 1) * (high - low) / 2
    closed, wanted = (command + plan[:2].sum(0))[ARM:], goal["joints"][0, ARM:]
    pressed = torch.sign(wanted - command[ARM:]) * (closed - wanted)
    assert (plan[0, ARM:] == 0).all() and (plan[1, :ARM] == 0).all()
    assert (pressed > -1e-5).all() and pressed.max() > 0.3
    kinematics = rough_model(model, model.simulation).kinematics  # type: ignore[arg-type]
    before = goal["joints"][0].float()
    after = before + plan[2].float()
    risen = (kinematics.positions(after) - kinematics.positions(before))[-1]
    torch.testing.assert_close(risen, torch.tensor([0.0, 0.0, 0.1]), atol=2e-3, rtol=0)
    assert (plan[2, ARM:] == 0).all() and (plan[3] == 0).all()
    assert (found.std[0, :2] > 0).all() and (found.std[0, 2:] == 0).all()


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["experiment=counter_reach_simulator", "agent.increment=null"], "agent.increment"),
        (
            ["experiment=counter_reach_simulator", "agent.policy=some.zip"],
            "agent.rough and agent.policy propose plans",
        ),
        (["experiment=push_t_goal_simulator", "agent={rough: {horizon: 2}}"], "at the counter"),
    ],
)
def test_what_cannot_be_planned_roughly_is_refused(overrides: list[str], complaint: str) -> None:
    few = FEW if "counter" in overrides[0] else FEW[:2]
    register_schemas()
    GlobalHydra.instance().clear()
    config = compose_config("plan", [*few, *overrides])
    with pytest.raises((ValueError, TypeError), match=complaint):
        make_planning_agent(config, make_model(config))


@pytest.mark.slow
@pytest.mark.parametrize("task", ["reach", "grasp", "place"])
def test_a_preset_solves_an_episode(task: str) -> None:
    config = configured(f"experiment=counter_{task}_simulator")
    agent = make_planning_agent(config, make_model(config))
    seeds = episode_seeds(0, "tune", 1)
    (result,) = run_episodes(agent, make_env(config, agent.observes), seeds)
    assert result.success
    assert result.lift is (task != "reach")
