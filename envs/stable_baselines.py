"""Imagined environments as stable-baselines3 takes them: its `VecEnv` is not Gymnasium's."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from .imagination import ImaginationVectorEnv
from .imagined_view import Arrays

_INSTALLED = True
if TYPE_CHECKING:
    from stable_baselines3.common.vec_env import VecEnv
else:
    try:
        from stable_baselines3.common.vec_env import VecEnv
    except ImportError:  # said when one is made, so that every module imports without extras
        VecEnv, _INSTALLED = object, False

Infos = list[dict[str, Any]]


class ImaginationVecEnv(VecEnv):
    """An `ImaginationVectorEnv` for stable-baselines3.

    A copy whose episode ends begins the next one in the same step; its info holds
    `terminal_observation`, and `TimeLimit.truncated`, which tells the algorithm to add the value of
    that observation; and as `Monitor` does `episode`, with return, length and time. All other infos
    are empty: an algorithm reads none of them, and thousands take their time.

    Args:
        env: what is imagined; episodes must restart in the step that ends them.

    Raises:
        ImportError: stable-baselines3 is not installed.
        ValueError: another mode of `env`.
    """

    def __init__(self, env: ImaginationVectorEnv) -> None:
        if not _INSTALLED:
            raise ImportError(
                "ImaginationVecEnv needs stable-baselines3: pip install 'dexworld[sb3]'."
            )
        if env.autoreset_mode is not AutoresetMode.SAME_STEP:
            raise ValueError(
                f"stable-baselines3 wants episodes to restart in the step that ends them, and "
                f"{env} has {env.autoreset_mode}: make it with AutoresetMode.SAME_STEP."
            )
        self.env = env
        super().__init__(env.num_envs, env.single_observation_space, env.single_action_space)
        self._actions: NDArray[Any] | None = None
        self._returns = np.zeros(env.num_envs)
        self._lengths = np.zeros(env.num_envs, np.int64)
        self._began = time.perf_counter()

    def reset(self) -> Arrays:
        """Begin new episodes in all copies."""
        observation, _ = self.env.reset(seed=self._seeds[0], options=self._options[0] or None)
        self._reset_seeds()
        self._reset_options()
        self._returns[:], self._lengths[:] = 0.0, 0
        return observation

    def step_async(self, actions: NDArray[Any]) -> None:
        """Take the actions `(num_envs, A)`; `step_wait` carries them out."""
        self._actions = actions

    def step_wait(self) -> tuple[Arrays, NDArray[np.float32], NDArray[np.bool_], Infos]:
        """Return observations, rewards, which episodes have ended, and infos."""
        assert self._actions is not None
        observation, rewards, terminated, truncated, info = self.env.step(self._actions)
        self._returns += rewards
        self._lengths += 1
        ended = terminated | truncated
        infos: Infos = [{} for _ in range(self.num_envs)]
        rows = ended.nonzero()[0]
        if len(rows):
            self._end(rows, infos, truncated & ~terminated, info)
        return observation, rewards.astype(np.float32), ended, infos

    def _end(
        self,
        rows: NDArray[np.int64],
        infos: Infos,
        cut: NDArray[np.bool_],
        info: dict[str, Any],
    ) -> None:
        """Write the infos of episodes that have ended."""
        final = {k: v for k, v in info["final_info"].items() if not k.startswith("_")}
        elapsed = round(time.perf_counter() - self._began, 6)
        for row in rows.tolist():
            infos[row] = {
                **{key: values[row].item() for key, values in final.items()},
                "terminal_observation": info["final_obs"][row],
                "TimeLimit.truncated": bool(cut[row]),
                "episode": {
                    "r": float(self._returns[row]),
                    "l": int(self._lengths[row]),
                    "t": elapsed,
                },
            }
        self._returns[rows], self._lengths[rows] = 0.0, 0

    def close(self) -> None:
        """Close what is imagined."""
        self.env.close()

    def get_images(self) -> Sequence[NDArray[np.uint8] | None]:
        """Return a frame of every copy."""
        frames = None if self.env.render_mode is None else self.env.render()
        return [None] * self.num_envs if frames is None else frames

    # All copies are one: what is asked of one of them is asked of all.

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return an attribute of `env`, for each of the copies asked for."""
        return [getattr(self.env, attr_name)] * self._count(indices)

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of `env`, which is that of all copies."""
        self._require_all(indices, f"set_attr({attr_name!r})")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *method_args: Any, indices: Any = None, **method_kwargs: Any
    ) -> list[Any]:
        """Call a method of `env` once; what it returns, for each of the copies."""
        self._require_all(indices, f"env_method({method_name!r})")
        returned = getattr(self.env, method_name)(*method_args, **method_kwargs)
        return [returned] * self.num_envs

    def env_is_wrapped(self, wrapper_class: type[Any], indices: Any = None) -> list[bool]:
        """Return whether infos are as those of the wrapper: so they are of `Monitor`."""
        from stable_baselines3.common.monitor import Monitor

        return [wrapper_class is Monitor] * self._count(indices)

    def _count(self, indices: Any) -> int:
        return len(list(self._get_indices(indices)))

    def _require_all(self, indices: Any, what: str) -> None:
        if self._count(indices) != self.num_envs:
            raise ValueError(f"{what}: all copies share one environment; leave indices out.")
