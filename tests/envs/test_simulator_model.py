"""A simulator as a world model: exact, whichever environment it is the model of."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch

from dexworld.envs.simulator_model import SimulatorModel
from dexworld.planners.candidates import Candidates
from dexworld.planners.objectives import LatentDistance, NegativeReward
from dexworld.world_models.base import Observation, WorldModel
from dexworld.world_models.conformance import WorldModelConformance

GOAL = "dexworld/PushTGoal-v0"
FIXED = "dexworld/PushT-v0"
CUBE = "dexworld/AllegroReorient-v0"
TOUCHING = [200.0, 180.0, 200.0, 200.0, 0.3]


def make(env_id: str = FIXED, **arguments: Any) -> gym.Env[Any, Any]:
    given = {"observation": ["physics", "state"], "terminate_on_success": False}
    return gym.make(env_id, **{**given, **arguments})


def observed(env: gym.Env[Any, Any], batch: int, steps: int = 3) -> dict[str, np.ndarray]:
    """Return observations along an episode that begins with a push of the block."""
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0, options={"state": TOUCHING})
    seen = []
    for _ in range(batch):
        for _ in range(steps):
            action = np.float32(rng.uniform([-0.2, 0.0], [0.0, 0.2]))
            observation, *_ = env.step(action)
        seen.append(observation)
    return {key: np.stack([each[key] for each in seen]) for key in seen[0]}


class TestPhysics(WorldModelConformance):
    def make_model(self) -> WorldModel:
        return SimulatorModel(FIXED, threads=2)

    def make_observation(self, batch: int) -> Observation:
        return observed(make(), batch)


class TestTaskState(TestPhysics):
    def make_model(self) -> WorldModel:
        return SimulatorModel(FIXED, source="state", threads=1)


class TestPinch(WorldModelConformance):
    @pytest.fixture(autouse=True)
    def _toy(self, pinch_env) -> None:
        self.toy = pinch_env

    def make_model(self) -> WorldModel:
        return SimulatorModel(self.toy(), threads=2)

    def make_observation(self, batch: int) -> Observation:
        env, rng = self.toy(), np.random.default_rng(0)
        env.reset(seed=0)
        seen = [
            env.step(np.float32(rng.uniform([0.5, -1.0], [1.0, -0.5])))[0] for _ in range(batch)
        ]
        return {key: np.stack([each[key] for each in seen]) for key in seen[0]}


CUBES = {"mass": (0.02, 0.3), "size": (0.05, 0.06), "scenes": 4}


def in_scenes(*scenes: int) -> dict[str, np.ndarray]:
    """Return observations of a hand that moves, each in a variant of the world."""
    env = gym.make(CUBE, observation=["physics", "scene", "state"], **CUBES)
    rng, seen = np.random.default_rng(0), []
    for scene in scenes:
        env.reset(seed=scene, options={"scene": scene})
        hold = env.unwrapped.hold_action()
        for _ in range(4):
            observation, *_ = env.step(np.clip(hold + rng.normal(0, 0.2, 16), -1, 1))
        seen.append(observation)
    return {key: np.stack([each[key] for each in seen]) for key in seen[0]}


class TestVariants(WorldModelConformance):
    def make_model(self) -> WorldModel:
        return SimulatorModel(CUBE, threads=1, **CUBES)

    def make_observation(self, batch: int) -> Observation:
        return in_scenes(*range(batch))


class TestVariantsFromTaskStates(TestVariants):
    def make_model(self) -> WorldModel:
        return SimulatorModel(CUBE, source="state", threads=1, **CUBES)


def test_each_problem_is_in_its_own_variant() -> None:
    seen = in_scenes(1, 3)
    model = SimulatorModel(CUBE, threads=1, **CUBES)
    assert model.observes == {"physics", "scene"}
    state = model.encode(seen)
    actions = state["command"].float()[:, None].repeat(1, 6, 1)
    actions = (actions + 0.3 * torch.randn(actions.shape, generator=torch.manual_seed(0))).clamp(
        -1, 1
    )
    predicted = model.rollout(state, actions[:, None], ["state"])["state"][:, 0].numpy()
    env = gym.make(CUBE, observation=["physics", "scene"], **CUBES)
    for row, scene in enumerate((1, 3)):
        env.reset(seed=0, options={"scene": scene})
        env.unwrapped.set_state(seen["physics"][row])
        for time, action in enumerate(actions[row]):
            observation, *_ = env.step(action.numpy())
            np.testing.assert_allclose(predicted[row, time], env.unwrapped.task_state, atol=1e-12)
    last = state
    for action in actions.unbind(1):
        last = model.step(last, action)
    np.testing.assert_array_equal(last["physics"][1].numpy(), observation["physics"])
    assert last["scene"].tolist() == [[1], [3]]
    elsewhere = model.encode({**seen, "scene": seen["scene"][::-1]})
    swapped = model.rollout(elsewhere, actions[:, None], ["state"])["state"][:, 0].numpy()
    assert not np.array_equal(predicted, swapped)


def test_scenes_that_there_are_not() -> None:
    seen = in_scenes(0)
    model = SimulatorModel(CUBE, threads=1, **CUBES)
    with pytest.raises(KeyError, match=r"lacks \['scene'\]"):
        model.encode({"physics": seen["physics"]})
    with pytest.raises(ValueError, match=r"scene=9: AllegroSimulation has the scenes 0 to 3"):
        model.encode({**seen, "scene": np.array([[9]])})
    with pytest.raises(
        ValueError, match=r"'scene' has shape \(1,\); a batch of scenes has \(B, 1\)"
    ):
        model.encode({**seen, "scene": np.array([1])})


@pytest.mark.parametrize("toy", [False, True])
def test_an_executed_episode_equals_the_rollout(toy, pinch_env) -> None:
    env = pinch_env() if toy else make(GOAL)
    model = SimulatorModel(pinch_env() if toy else GOAL, threads=1)
    observation, _ = env.reset(seed=3)
    actions = torch.rand((1, 1, 12, 2), generator=torch.Generator().manual_seed(0)) * 1.2 - 0.6
    state = model.encode({"physics": observation["physics"][None]})
    predicted = model.rollout(state, actions, ["state"])["state"][0, 0].numpy()
    for time, action in enumerate(actions[0, 0]):
        observation, *_ = env.step(action.numpy())
        state = model.step(state, action[None])
        np.testing.assert_array_equal(state["physics"][0].numpy(), observation["physics"])
        # Features come from sensors, whose units are converted back: exact to rounding.
        task_state = env.unwrapped.task_state
        np.testing.assert_allclose(predicted[time], task_state, rtol=1e-12, atol=1e-12)
    exact = model.encode({"physics": observation["physics"][None]})
    np.testing.assert_array_equal(exact["state"][0].numpy(), predicted[-1])


@pytest.mark.parametrize("toy", [False, True])
def test_predicted_rewards_are_those_of_the_environment(toy, pinch_env) -> None:
    env = pinch_env() if toy else make()
    model = SimulatorModel(pinch_env() if toy else FIXED, threads=1)
    near = {} if toy else {"options": {"state": [330.0, 256.0, 250.0, 262.0, 0.7]}}
    observation, _ = env.reset(seed=3, **near)
    actions = torch.rand((1, 1, 10, 2), generator=torch.Generator().manual_seed(0)) * 2 - 1
    state = model.encode({"physics": observation["physics"][None]})
    predicted = model.rollout(state, actions, ["reward"])["reward"][0, 0].tolist()
    rewards = [float(env.step(action.numpy())[1]) for action in actions[0, 0]]
    assert len(set(rewards)) > 3 and max(rewards) > 0
    assert predicted == pytest.approx(rewards, abs=1e-9)


def test_a_reward_that_depends_on_the_goal_of_the_episode_is_not_predicted() -> None:
    assert "reward" in SimulatorModel(FIXED).predicts
    assert SimulatorModel(GOAL).predicts == {"state", "pose", "agent", "keypoints"}


def test_a_belief_from_the_task_state_is_at_rest_where_nothing_else_is_known() -> None:
    seen = observed(make(), 2)
    model = SimulatorModel(FIXED, source="state")
    state = model.encode({"state": seen["state"]})
    np.testing.assert_allclose(state["state"], seen["state"], atol=1e-4)
    np.testing.assert_allclose(state["agent"][:, 0], seen["state"][:, :2], atol=1e-4)
    hold = state["command"]
    np.testing.assert_allclose(hold, seen["state"][:, :2] / 256 - 1, atol=1e-6)
    kept = model.rollout(state, hold.float()[:, None, None], ["state"])["state"][:, 0, 0]
    np.testing.assert_allclose(kept, seen["state"], atol=1.0)


@pytest.mark.parametrize("physics", ["mujoco", "pymunk"])
def test_a_belief_carried_along_knows_velocities(physics) -> None:
    env = make(physics=physics)
    model = SimulatorModel(FIXED, source="state", threads=1)
    observation, _ = env.reset(options={"state": [100.0, 100.0, 400.0, 400.0, 0.0]})
    belief = model.encode({"state": observation["state"][None]})
    moves = torch.tensor([[0.5, -0.2], [0.6, 0.1], [0.2, 0.3]])
    for move in moves:
        observation, *_ = env.step(move.numpy())
    now = {"state": observation["state"][None]}
    carried = model.encode(now, belief, moves[None])
    forgetful = model.encode(now)
    np.testing.assert_allclose(carried["state"], forgetful["state"], atol=1e-6)
    np.testing.assert_allclose(carried["command"][0], moves[-1], atol=1e-6)
    observation, *_ = env.step(moves[-1].numpy())
    error = {
        name: np.abs(model.step(state, moves[-1:])["state"][0].numpy() - observation["state"]).max()
        for name, state in (("carried", carried), ("forgetful", forgetful))
    }
    assert error["carried"] < 0.1 and error["forgetful"] > 5.0, error


def test_only_rows_that_start_an_episode_forget() -> None:
    seen = observed(make(), 2)
    model = SimulatorModel(FIXED, source="state", threads=1)
    before = model.encode({"state": seen["state"]})
    actions = torch.full((2, 3, 2), 0.9)
    carried = model.encode(seen, before, actions)["physics"]
    fresh = model.encode(seen)["physics"]
    assert not torch.equal(carried[0], fresh[0])
    mixed = model.encode(seen, before, actions, torch.tensor([True, False]))["physics"]
    assert torch.equal(mixed, torch.stack([fresh[0], carried[1]]))


def test_the_twin_can_be_the_model_of_pymunk() -> None:
    env = make(physics="pymunk")
    observation, _ = env.reset(options={"state": TOUCHING})
    model = SimulatorModel(FIXED, source="state", physics="mujoco")
    actions = torch.rand((1, 1, 5, 2), generator=torch.Generator().manual_seed(1)) * 0.3 - 0.2
    state = model.encode({"state": observation["state"][None]})
    predicted = model.rollout(state, actions, ["state"])["state"][0, 0]
    for action in actions[0, 0]:
        observation, *_ = env.step(action.numpy())
    assert np.abs(observation["state"][2:4] - TOUCHING[2:4]).max() > 5.0, "nothing was pushed"
    np.testing.assert_allclose(predicted[-1], observation["state"], atol=2.0)


def test_a_source_that_does_not_exist() -> None:
    with pytest.raises(ValueError, match=r"source='pixels': choose one of \['physics', 'state'\]"):
        SimulatorModel(FIXED, source="pixels")


def test_physics_that_is_not_mujoco() -> None:
    with pytest.raises(TypeError, match=r"does not run on MuJoCo.*MuJoCo twin.*GymnasiumModel"):
        SimulatorModel(FIXED, physics="pymunk")
    with pytest.raises(TypeError, match="does not run on MuJoCo"):
        SimulatorModel("Pendulum-v1")


def test_an_observation_without_what_the_model_observes() -> None:
    with pytest.raises(KeyError, match=r"lacks \['physics'\].*it has \['state'\].*observation="):
        SimulatorModel(FIXED).encode({"state": np.zeros((1, 5))})


def test_a_belief_does_not_change_with_the_arrays_it_came_from() -> None:
    seen = observed(make(), 1)
    belief = SimulatorModel(FIXED).encode(seen)["physics"]
    before = belief.clone()
    seen["physics"][:] = 0.0
    assert torch.equal(belief, before)


@pytest.mark.parametrize("source", ["physics", "state"])
def test_a_state_from_another_environment(source, pinch_env) -> None:
    env = pinch_env()
    observation, _ = env.reset(seed=0)
    foreign = np.concatenate([observation[source], observation[source]])[None]
    with pytest.raises(ValueError, match="another environment"):
        SimulatorModel(FIXED, source=source).encode({source: foreign})


def test_a_state_without_a_batch() -> None:
    observation, _ = make().reset(seed=0)
    for source in ("physics", "state"):
        with pytest.raises(ValueError, match=r"has shape .*a batch of those of PushTEnv has"):
            SimulatorModel(FIXED, source=source).encode(observation)


@pytest.mark.parametrize("source", ["physics", "state"])
def test_an_observation_that_is_not_finite(source) -> None:
    seen = observed(make(), 1)
    seen[source][0, 1] = np.nan
    with pytest.raises(ValueError, match=f"observation '{source}' has NaN"):
        SimulatorModel(FIXED, source=source).encode(seen)


def test_a_prediction_that_does_not_exist() -> None:
    model = SimulatorModel(GOAL)
    state = model.encode(observed(make(), 1))
    with pytest.raises(KeyError, match=r"\['reward'\] cannot be predicted; choose among.*'pose'"):
        model.rollout(state, torch.zeros(1, 1, 2, 2), ["reward", "pose"])


def test_actions_of_another_shape() -> None:
    model = SimulatorModel(FIXED)
    state = model.encode(observed(make(), 1))
    with pytest.raises(ValueError, match=r"\(1, 1, 2, 3\); the last dimension must be.*\(2,\)"):
        model.rollout(state, torch.zeros(1, 1, 2, 3))


def test_a_state_of_another_model(pinch_env) -> None:
    model, toy = SimulatorModel(FIXED, threads=1), SimulatorModel(pinch_env(), threads=1)
    observation, _ = pinch_env().reset(seed=0)
    foreign = toy.encode({"physics": observation["physics"][None]})
    size = model.simulation.state_size
    with pytest.raises(ValueError, match=rf"state\['physics'\] has shape.*\(B, {size}\).*another"):
        model.rollout(foreign, torch.zeros(1, 1, 2, 2))
    with pytest.raises(ValueError, match="Was it encoded by another model"):
        model.step(foreign, torch.zeros(1, 2))
    with pytest.raises(KeyError, match=r"lacks \['physics'\].*SimulatorModel.*\['latent'\]"):
        model.step({"latent": torch.zeros(1, 3)}, torch.zeros(1, 2))


def test_executed_actions_of_another_shape() -> None:
    seen = observed(make(), 2)
    model = SimulatorModel(FIXED, source="state", threads=1)
    belief = model.encode(seen)
    with pytest.raises(ValueError, match="are for 1 problems"):
        model.encode(seen, belief, torch.zeros(1, 3, 2))


@pytest.mark.parametrize("key", ["reward", "state", "agent"])
def test_a_plan_that_is_not_finite_never_wins(key) -> None:
    """The rows that a broken one shares a batch with are planned as ever."""
    model = SimulatorModel(FIXED, threads=1)
    state = model.encode(observed(make(), 2))
    objective = NegativeReward() if key == "reward" else LatentDistance(key)
    candidates = Candidates(model, objective, state, state, horizon=3)
    actions = torch.rand((2, 5, 3, 2), generator=torch.Generator().manual_seed(0)) * 2 - 1
    healthy = candidates.evaluate(actions)
    actions[0, 3, 0, 1] = torch.nan
    costs = Candidates(model, objective, state, state, horizon=3).evaluate(actions)
    assert costs[0, 3] == torch.inf
    costs[0, 3] = healthy[0, 3]
    assert torch.equal(costs, healthy)


def test_only_the_features_that_are_asked_for_are_computed(monkeypatch) -> None:
    model = SimulatorModel(FIXED, threads=1)
    state = model.encode(observed(make(), 1))
    asked, features = [], model.simulation.features
    monkeypatch.setattr(
        model.simulation, "features", lambda s, keys: asked.append(set(keys)) or features(s, keys)
    )
    for keys in (["agent"], ["reward"], ["reward", "state"], [], None):
        model.rollout(state, torch.zeros(1, 1, 2, 2), keys)
    everything = {"state", "pose", "agent", "keypoints"}
    assert asked == [{"agent"}, {"pose"}, {"pose", "state"}, set(), everything]


def test_closing_ends_the_threads() -> None:
    model = SimulatorModel(FIXED, threads=2)
    state = model.encode(observed(make(), 1))
    model.close()
    with pytest.raises(RuntimeError):
        model.rollout(state, torch.zeros(1, 1, 2, 2))
