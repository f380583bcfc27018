"""Any Gymnasium environment with get_state and set_state, as a world model."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete

from dexworld.envs.gymnasium_model import ExactState, GymnasiumModel
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.world_models.base import Observation, WorldModel
from dexworld.world_models.conformance import WorldModelConformance


class Walk(gym.Env[Any, Any]):
    """A point that walks in the plane until it leaves the unit disc."""

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observation_space = Box(-9.0, 9.0, (2,), np.float32)
    speed = 0.1

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-0.3, 0.3, 2)
        return self.observe(), {}

    def step(self, action: Any) -> Any:
        assert not self.left, "stepped after the episode's end"
        assert action.dtype == np.float32
        self.state = self.state + self.speed * np.asarray(action, np.float64)
        return self.observe(), -float(np.abs(self.state).sum()), self.left, False, {}

    @property
    def left(self) -> bool:
        return bool(np.hypot(*self.state) > 1.0)

    def observe(self) -> Any:
        return self.state.astype(np.float32)

    def get_state(self) -> Any:
        return self.state.copy()

    def set_state(self, state: Any) -> None:
        self.state = np.array(state)


class WalkSeen(Walk):
    """The same, with a `Dict` observation, part of which is no `Box`."""

    observation_space = Dict({"place": Box(-9.0, 9.0, (2,), np.float32), "side": Discrete(2)})

    def observe(self) -> Any:
        return {"place": self.state.astype(np.float32), "side": int(self.state[0] > 0)}


def batch_of(env: gym.Env[Any, Any], batch: int) -> dict[str, Any]:
    seen = [env.reset(seed=seed)[0] for seed in range(batch)]
    return {key: np.stack([each[key] for each in seen]) for key in seen[0]}


class TestBox(WorldModelConformance):
    def make_model(self) -> WorldModel:
        return GymnasiumModel(Walk)

    def make_observation(self, batch: int) -> Observation:
        return batch_of(ExactState(Walk()), batch)


class TestDict(WorldModelConformance):
    def make_model(self) -> WorldModel:
        return GymnasiumModel(WalkSeen)

    def make_observation(self, batch: int) -> Observation:
        return batch_of(ExactState(WalkSeen()), batch)


class TestEndingEpisodes(TestBox):
    """Some candidates leave the disc on the way."""

    horizon = 40

    def make_model(self) -> WorldModel:
        class Fast(Walk):
            speed = 0.5

        return GymnasiumModel(Fast)


def test_it_predicts_what_the_environment_does() -> None:
    env = ExactState(WalkSeen())
    model = GymnasiumModel(WalkSeen)
    assert model.predicts == {"place", "reward"}
    observation, _ = env.reset(seed=5)
    actions = torch.rand((1, 1, 6, 2), generator=torch.Generator().manual_seed(0)) * 2 - 1
    state = model.encode({key: np.asarray(value)[None] for key, value in observation.items()})
    predicted = model.rollout(state, actions)
    for time, action in enumerate(actions[0, 0]):
        observation, reward, *_ = env.step(action.numpy())
        state = model.step(state, action[None])
        assert predicted["reward"][0, 0, time] == reward
        np.testing.assert_array_equal(predicted["place"][0, 0, time], observation["place"])
        np.testing.assert_array_equal(state["physics"][0], observation["physics"])


def test_after_the_end_nothing_moves_and_nothing_is_earned() -> None:
    model = GymnasiumModel(Walk)
    state = model.encode({"physics": np.array([[0.95, 0.0]])})
    predicted = model.rollout(state, torch.tensor([1.0, 0.0]).expand(1, 1, 4, 2))
    torch.testing.assert_close(
        predicted["observation"][0, 0, :, 0], torch.full((4,), 1.05).double()
    )
    assert predicted["reward"][0, 0].tolist() == pytest.approx([-1.05, 0.0, 0.0, 0.0])
    ended = model.step(state, torch.tensor([[1.0, 0.0]]))
    assert ended["done"].tolist() == [True]
    again = model.step(ended, torch.tensor([[-1.0, 0.0]]))
    assert torch.equal(again["physics"], ended["physics"])
    assert again["reward"].tolist() == [0.0]


def test_it_agrees_with_the_simulator_model_bit_for_bit() -> None:
    def make() -> gym.Env[Any, Any]:
        return gym.make(
            "dexworld.envs:dexworld/PushT-v0",
            observation=["state", "physics"],
            terminate_on_success=False,
        )

    env = make()
    seen = [env.reset(seed=seed)[0] for seed in range(2)]
    observation = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
    slow, fast = GymnasiumModel(make), SimulatorModel("dexworld/PushT-v0", threads=1)
    states = [model.encode(observation) for model in (slow, fast)]
    actions = torch.rand((2, 2, 3, 2), generator=torch.Generator().manual_seed(0)) * 2 - 1
    slowly = slow.rollout(states[0], actions)
    quickly = fast.rollout(states[1], actions)
    torch.testing.assert_close(slowly["reward"], quickly["reward"], rtol=0, atol=1e-9)
    torch.testing.assert_close(
        slowly["state"][..., :4], quickly["state"][..., :4], rtol=0, atol=1e-4
    )
    after = [
        model.step(state, actions[:, 0, 0])
        for model, state in zip((slow, fast), states, strict=True)
    ]
    assert torch.equal(after[0]["physics"], after[1]["physics"])


def test_the_exact_state_joins_the_observation() -> None:
    boxed, keyed = ExactState(Walk()), ExactState(WalkSeen())
    assert isinstance(boxed.observation_space, Dict) and isinstance(keyed.observation_space, Dict)
    assert set(boxed.observation_space) == {"observation", "physics"}
    assert set(keyed.observation_space) == {"place", "side", "physics"}
    for env in (boxed, keyed):
        observation, _ = env.reset(seed=0)
        assert env.observation_space.contains(observation)
        observation, *_ = env.step(np.float32([0.1, 0.2]))
        np.testing.assert_array_equal(observation["physics"], env.unwrapped.get_state())  # type: ignore[attr-defined]


class TestCompared(TestDict):
    """Goals are told from the observed place, which is needed beside the exact state."""

    def make_model(self) -> WorldModel:
        return GymnasiumModel(WalkSeen, ["place"])


def test_what_is_compared_is_observed() -> None:
    model = GymnasiumModel(WalkSeen, ["place"])
    assert model.observes == {"physics", "place"}
    with pytest.raises(KeyError, match=r"lacks \['place'\]"):
        model.encode({"physics": np.zeros((1, 2))})
    with pytest.raises(KeyError, match=r"no arrays \['side'\]; it observes \['place'\]"):
        GymnasiumModel(WalkSeen, ["side"])


def test_an_environment_that_cannot_be_restored() -> None:
    make = lambda: gym.make("Pendulum-v1")
    for adapt in (lambda: ExactState(make()), lambda: GymnasiumModel(make)):
        with pytest.raises(TypeError, match=r"PendulumEnv lacks get_state and set_state.*add"):
            adapt()


def test_actions_that_cannot_be_planned() -> None:
    class Choice(Walk):
        action_space = Discrete(3)  # type: ignore[assignment]

    with pytest.raises(TypeError, match=r"flat Box of actions.*Discrete"):
        GymnasiumModel(Choice)


def test_a_state_from_another_environment() -> None:
    with pytest.raises(
        ValueError, match=r"has shape \(1, 3\).*Walk.*\(B, 2\).*another environment"
    ):
        GymnasiumModel(Walk).encode({"physics": np.zeros((1, 3))})


def test_a_state_that_is_not_finite() -> None:
    with pytest.raises(ValueError, match="'physics' has NaN"):
        GymnasiumModel(Walk).encode({"physics": np.array([[0.0, np.nan]])})


def test_an_observation_without_the_exact_state() -> None:
    with pytest.raises(KeyError, match=r"lacks \['physics'\]"):
        GymnasiumModel(Walk).encode({"observation": np.zeros((1, 2))})


def test_a_prediction_that_does_not_exist() -> None:
    model = GymnasiumModel(Walk)
    state = model.encode({"physics": np.zeros((1, 2))})
    with pytest.raises(KeyError, match=r"\['wish'\] cannot be predicted; choose among.*'reward'"):
        model.rollout(state, torch.zeros(1, 1, 2, 2), ["wish"])


def test_variants_of_a_world_are_not_told_apart_by_exact_states() -> None:
    def make() -> gym.Env[Any, Any]:
        env = gym.make("dexworld/AllegroReorient-v0", mass=(0.05, 0.1), scenes=2)
        return ExactState(env)

    with pytest.raises(TypeError, match=r"in which variant of its world.*SimulatorModel"):
        GymnasiumModel(make)
