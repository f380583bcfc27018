"""The value of what an episode that was cut off would still have earned, for all copies at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnvWrapper
else:
    try:
        from stable_baselines3.common.vec_env import VecEnvWrapper
    except ImportError:  # said by whoever makes an algorithm
        VecEnvWrapper = object

TRUNCATED, LAST = "TimeLimit.truncated", "terminal_observation"


class BatchedBootstrap(VecEnvWrapper):
    """Adds `gamma V(last observation)` to the last reward of episodes that are cut off.

    The algorithms of stable-baselines3 that have a value function do the same, one copy after the
    other; of thousands of copies with short episodes that takes longer than all the rest. What was
    added here is marked as ended, so that they do not add it again. Others, which learn from a
    replay buffer, are left alone.

    Args:
        venv: the copies.
    """

    def __init__(self, venv: Any) -> None:
        super().__init__(venv)
        self.learned: Any = None
        """The algorithm whose values are taken; nothing happens before it is set."""

    def reset(self) -> Any:
        """Begin new episodes."""
        return self.venv.reset()

    def step_wait(self) -> Any:
        """Step, and add what episodes that were cut off are worth."""
        observations, rewards, ended, infos = self.venv.step_wait()
        if hasattr(getattr(self.learned, "policy", None), "predict_values"):
            rows = [row for row in ended.nonzero()[0] if infos[row].get(TRUNCATED, False)]
            if rows:
                rewards = rewards.copy()
                rewards[rows] += self.learned.gamma * self._values([infos[row] for row in rows])
                for row in rows:
                    infos[row][TRUNCATED] = False
        return observations, rewards, ended, infos

    @torch.no_grad()
    def _values(self, infos: list[dict[str, Any]]) -> Any:
        last = [info[LAST] for info in infos]
        policy, together = self.learned.policy, isinstance(last[0], dict)
        seen: Any = {k: np.stack([each[k] for each in last]) for k in last[0]} if together else None
        tensors, _ = policy.obs_to_tensor(seen if together else np.stack(last))
        return policy.predict_values(tensors)[:, 0].cpu().numpy()
