"""What an environment showed and paid last, for those who watch it and do not step it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from numpy.typing import NDArray


class LastObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the last observation and reward of an environment with a `Dict` of observations."""

    observed: dict[str, NDArray[Any]]
    """What `reset` or `step` returned last."""
    reward: float
    """What the last `step` was paid."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode."""
        self.observed, info = self.env.reset(seed=seed, options=options)
        return self.observed, info

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """Step."""
        self.observed, reward, terminated, truncated, info = self.env.step(action)
        self.reward = float(reward)
        return self.observed, reward, terminated, truncated, info
