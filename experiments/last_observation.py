"""What an environment showed last, for those who watch it and do not step it."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
from numpy.typing import NDArray


class LastObservation(gym.Wrapper[Any, Any, Any, Any]):
    """Keeps the last observation of an environment with a `Dict` of them."""

    observed: dict[str, NDArray[Any]]
    """What `reset` or `step` returned last."""

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """Start an episode."""
        self.observed, info = self.env.reset(seed=seed, options=options)
        return self.observed, info

    def step(self, action: Any) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """Step."""
        self.observed, reward, terminated, truncated, info = self.env.step(action)
        return self.observed, reward, terminated, truncated, info
