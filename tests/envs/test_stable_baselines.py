"""stable-baselines3 trains, unmodified, in what a model imagines."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode
from torch import Tensor

from dexworld.envs.imagination import ImaginationVectorEnv
from dexworld.envs.stable_baselines import ImaginationVecEnv
from dexworld.world_models.base import Observation, State

pytest.importorskip("stable_baselines3")

GAMMA = 0.9


class Line:
    """A point on a line that actions move, with a reward of 1 each step or less further from 0."""

    action_space = Box(-1.0, 1.0, (1,), np.float32)
    observes = frozenset({"place"})
    predicts = frozenset({"latent", "reward"})
    differentiable = True
    device = torch.device("cpu")

    def __init__(self, slope: float = 0.0) -> None:
        self.slope = slope

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Tensor | None = None,
        episode_start: Tensor | None = None,
    ) -> State:
        return self._state(torch.as_tensor(observation["place"]).float())

    def step(self, state: State, actions: Tensor) -> State:
        return self._state(state["latent"] + 0.5 * actions)

    def rollout(self, state: State, actions: Tensor, keys: Any = None) -> dict[str, Tensor]:
        found = self._state(state["latent"][:, None, None] + 0.5 * actions.cumsum(2))
        return {key: found[key] for key in keys or self.predicts}

    def _state(self, place: Tensor) -> State:
        return {"latent": place, "reward": 1.0 - self.slope * place[..., 0].abs()}


def starts(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"place": rng.uniform(-2.0, 2.0, (count, 1)).astype(np.float32)}


def make(copies: int = 4, horizon: int = 5, slope: float = 0.0, **settings: Any) -> Any:
    env = ImaginationVectorEnv(Line(slope), copies, starts, horizon=horizon, **settings)
    return ImaginationVecEnv(env)


def returns(value: float, **settings: Any) -> np.ndarray:
    """Return those of PPO's rollouts, `(12, copies)`, where its critic says `value` everywhere."""
    from stable_baselines3 import PPO

    ppo = PPO(
        "MultiInputPolicy",
        make(**settings),
        n_steps=12,
        batch_size=48,
        n_epochs=1,
        gamma=GAMMA,
        gae_lambda=1.0,
        learning_rate=0.0,
        device="cpu",
        seed=0,
    )
    torch.nn.init.zeros_(ppo.policy.value_net.weight)
    torch.nn.init.constant_(ppo.policy.value_net.bias, value)
    found: list[np.ndarray] = []
    get = ppo.rollout_buffer.get

    def keep(*arguments: Any) -> Any:
        found.append(ppo.rollout_buffer.returns.copy())
        return get(*arguments)

    ppo.rollout_buffer.get = keep  # type: ignore[method-assign]
    ppo.learn(48)
    return found[0]


def test_a_truncated_episode_is_worth_what_would_follow() -> None:
    """A reward of 1 for ever is worth 1 / (1 - gamma), wherever imagination is cut."""
    value = 1.0 / (1.0 - GAMMA)
    np.testing.assert_allclose(returns(value), value, rtol=1e-5)


def test_an_episode_that_terminates_is_worth_no_more() -> None:
    always = {"success": lambda state, goal: torch.ones(len(state["latent"]), dtype=torch.bool)}
    np.testing.assert_allclose(returns(10.0, **always), 1.0)


def test_success_in_the_last_step_is_the_end_and_not_a_cut() -> None:
    env = make(2, 1, success=lambda state, goal: state["latent"][:, 0] > 0)
    env.reset()
    env.env.state["latent"][:] = torch.tensor([[1.0], [-1.0]])
    *_, ended, infos = env.step(np.zeros((2, 1)))
    assert ended.all()
    assert [info["TimeLimit.truncated"] for info in infos] == [False, True]
    assert [info["is_success"] for info in infos] == [True, False]


def test_infos_tell_of_episodes_that_ended_and_of_nothing_else() -> None:
    env = make(3, 2)
    env.seed(5)
    first = env.reset()["latent"].copy()
    _, rewards, ended, infos = env.step(np.ones((3, 1)))
    assert rewards.dtype == np.float32 and infos == [{}, {}, {}] and not ended.any()
    observation, rewards, ended, infos = env.step(np.ones((3, 1)))
    assert ended.dtype == np.bool_ and ended.all()
    for copy, info in enumerate(infos):
        np.testing.assert_allclose(info["terminal_observation"]["latent"], first[copy] + 1.0)
        assert info["episode"]["r"] == 2.0 and info["episode"]["l"] == 2
    assert not np.allclose(observation["latent"], first + 1.0)
    env.step(np.ones((3, 1)))
    *_, infos = env.step(np.ones((3, 1)))
    assert infos[0]["episode"]["l"] == 2, "counted anew"
    env.seed(5)
    np.testing.assert_array_equal(env.reset()["latent"], first)
    assert not np.allclose(env.reset()["latent"], first), "a seed is used once"


def test_sac_knows_which_ends_are_cuts() -> None:
    from stable_baselines3 import SAC

    env = make(2, 3, success=lambda state, goal: state["latent"][:, 0] > 2.0)
    sac = SAC("MultiInputPolicy", env, learning_starts=10**6, buffer_size=200, seed=0, device="cpu")
    sac.learn(200)
    buffer: Any = sac.replay_buffer
    after = buffer.next_observations["latent"][..., 0]
    before = buffer.observations["latent"][..., 0]
    assert (np.abs(after - before) < 0.51).all(), "the next observation is never a new start's"
    np.testing.assert_array_equal(buffer.dones * (1 - buffer.timeouts), after > 2.0)
    assert buffer.timeouts.sum() > 20 and (buffer.dones - buffer.timeouts).sum() > 5


@pytest.mark.slow
def test_ppo_learns_to_stay_at_the_best_place() -> None:
    from stable_baselines3 import PPO
    from stable_baselines3.common.evaluation import evaluate_policy

    env = make(64, 8, slope=1.0)
    ppo = PPO(
        "MultiInputPolicy",
        env,
        n_steps=16,
        batch_size=256,
        gamma=0.5,
        learning_rate=3e-3,
        device="cpu",
        seed=0,
    )
    before, _ = evaluate_policy(ppo, make(32, 8, slope=1.0), 64)
    ppo.learn(40_000)
    after, _ = evaluate_policy(ppo, make(32, 8, slope=1.0), 64)
    # From 1 away on average it takes two steps; the best possible is about 6.8.
    assert before < 4.0 and after > 6.0


def test_all_copies_are_one_environment() -> None:
    env = make(3)
    assert env.get_attr("horizon") == [5, 5, 5] and env.get_attr("horizon", [0, 2]) == [5, 5]
    env.set_attr("horizon", 7)
    assert env.env.horizon == 7 and env.env_method("close") == [None] * 3
    with pytest.raises(ValueError, match=r"set_attr\('horizon'\): all copies share one"):
        env.set_attr("horizon", 8, indices=1)
    with pytest.raises(ValueError, match=r"env_method\('close'\): all copies share one"):
        env.env_method("close", indices=[0])


def test_frames_of_all_copies_are_one_picture() -> None:
    def drawn(state: State) -> Tensor:
        return torch.full((len(state["latent"]), 2, 2, 3), 7, dtype=torch.uint8)

    env = make(3, render_mode="rgb_array", pictures=drawn)
    env.reset()
    frame = env.render()
    assert frame is not None and frame.shape == (4, 4, 3) and frame.max() == 7
    assert make(3).get_images() == [None] * 3


def test_episodes_must_restart_in_the_step_that_ends_them() -> None:
    with pytest.raises(ValueError, match=r"AutoresetMode\.NEXT_STEP: make it with"):
        make(autoreset_mode=AutoresetMode.NEXT_STEP)


def test_without_stable_baselines_the_module_imports_and_names_the_extra() -> None:
    code = (
        "import sys; sys.modules['stable_baselines3'] = None\n"
        "from dexworld.envs.stable_baselines import ImaginationVecEnv\n"
        "ImaginationVecEnv(None)"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "ImportError: ImaginationVecEnv needs stable-baselines3" in done.stderr
    assert "pip install 'dexworld[sb3]'" in done.stderr
