"""One imagined copy as a plain environment, for whatever takes no vector."""

from __future__ import annotations

from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from .imagination import ImaginationVectorEnv
from .imagined_view import Arrays


class ImaginationEnv(gym.Env[Arrays, NDArray[Any]]):
    """The single copy of an `ImaginationVectorEnv(..., num_envs=1)` as a Gymnasium environment.

    Raises:
        ValueError: there are several copies, or they reset themselves.
    """

    metadata: ClassVar[dict[str, Any]] = ImaginationVectorEnv.metadata  # type: ignore[misc]

    def __init__(self, env: ImaginationVectorEnv) -> None:
        if env.num_envs != 1 or env.autoreset_mode is not AutoresetMode.DISABLED:
            raise ValueError(
                f"ImaginationEnv({env}, {env.autoreset_mode}): it takes one copy that does not "
                "reset itself; make it with num_envs=1 and autoreset_mode=AutoresetMode.DISABLED."
            )
        self.vector_env = env
        self.observation_space = env.single_observation_space
        self.action_space = env.single_action_space
        self.render_mode = env.render_mode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin an episode; `options` are those of the vector environment."""
        super().reset(seed=seed)
        observation, _ = self.vector_env.reset(seed=seed, options=options)
        self._np_random = self.vector_env.np_random
        return _first(observation), {}

    def step(self, action: NDArray[Any]) -> tuple[Arrays, float, bool, bool, dict[str, Any]]:
        """Imagine one action further."""
        observation, rewards, terminated, truncated, info = self.vector_env.step(
            np.asarray(action)[None]
        )
        return (
            _first(observation),
            float(rewards[0]),
            bool(terminated[0]),
            bool(truncated[0]),
            {key: values[0].item() for key, values in info.items()},
        )

    def render(self) -> NDArray[np.uint8] | None:
        """Return the frame."""
        frames = self.vector_env.render()
        return None if frames is None else frames[0]


def _first(observation: Arrays) -> Arrays:
    return {key: values[0] for key, values in observation.items()}
