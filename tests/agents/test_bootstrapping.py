"""What episodes that were cut off are worth: the same as stable-baselines3 adds, for all at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from reaching import HORIZON, worlds
from stable_baselines3 import PPO, SAC

from dexworld.agents.bootstrapping import BatchedBootstrap

ARGUMENTS = {"n_steps": 2 * HORIZON, "batch_size": 64, "n_epochs": 1, "seed": 3, "device": "cpu"}


def rollout(together: bool) -> tuple[PPO, int]:
    """Return an algorithm after one rollout, and how often it asked for the value of one state."""
    env = worlds(16)
    copies = BatchedBootstrap(env) if together else env
    learned = PPO("MultiInputPolicy", copies, **ARGUMENTS)
    if together:
        copies.learned = learned
    asked, predict_values = [], learned.policy.predict_values

    def counted(observations):
        asked.append(len(observations["state"]))
        return predict_values(observations)

    learned.policy.predict_values = counted
    learned.learn(16 * 2 * HORIZON)
    return learned, asked.count(1)


def test_it_is_what_the_library_adds() -> None:
    alone, one_by_one = rollout(together=False)
    both, singly = rollout(together=True)
    assert one_by_one > 10 and singly < one_by_one / 5
    for name in ("rewards", "returns", "advantages", "values"):
        found, expected = (getattr(each.rollout_buffer, name) for each in (both, alone))
        np.testing.assert_allclose(found, expected, atol=1e-5)
    weights = [torch.cat([p.flatten() for p in each.policy.parameters()]) for each in (both, alone)]
    torch.testing.assert_close(weights[0], weights[1], atol=1e-4, rtol=0)


def test_episodes_that_end_are_worth_nothing_more() -> None:
    copies = BatchedBootstrap(worlds(16))
    learned = PPO("MultiInputPolicy", copies, **ARGUMENTS)
    plain = worlds(16)
    for env in (copies, plain):
        env.seed(0)
        env.reset()
    copies.learned, cut, ended = learned, 0, 0
    rng = np.random.default_rng(0)
    for _ in range(3 * HORIZON):
        actions = rng.uniform(-1, 1, (16, 2)).astype(np.float32)
        (_, rewards, dones, infos), (_, plain_rewards, _, plain_infos) = (
            env.step(actions) for env in (copies, plain)
        )
        for row in range(16):
            truncated = plain_infos[row].get("TimeLimit.truncated", False)
            if truncated:
                last = learned.policy.obs_to_tensor(plain_infos[row]["terminal_observation"])[0]
                value = learned.policy.predict_values(last).item()
                expected = plain_rewards[row] + learned.gamma * value
                assert rewards[row] == pytest.approx(expected, abs=1e-5)
                assert infos[row]["TimeLimit.truncated"] is False
                cut += 1
            else:
                assert rewards[row] == plain_rewards[row]
                ended += bool(dones[row])
    assert cut > 10 and ended > 0


def test_those_who_replay_are_left_alone() -> None:
    copies = BatchedBootstrap(worlds(4))
    copies.learned = SAC("MultiInputPolicy", copies, buffer_size=100, seed=0)
    copies.reset()
    for _ in range(HORIZON):
        _, _, dones, infos = copies.step(np.zeros((4, 2), np.float32))
    assert dones.any() and all(info["TimeLimit.truncated"] for info in np.array(infos)[dones])
