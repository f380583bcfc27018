"""Where PushT episodes start: the two reset distributions of the literature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import numpy as np

from ..mujoco_env import FloatArray


def gym_pusht_starts(rng: np.random.Generator, seed: int | None) -> Iterator[FloatArray]:
    """Yield task states as gym-pusht draws them: whole pixels, `angle ~ U(-pi, pi)`.

    The agent is anywhere in [50, 450)^2 and the block in [100, 400)^2.
    """
    while True:
        positions = [rng.integers(50, 450), rng.integers(50, 450)]
        positions += [rng.integers(100, 400), rng.integers(100, 400)]
        yield np.array([*positions, rng.uniform(-np.pi, np.pi)], np.float64)


def diffusion_policy_starts(rng: np.random.Generator, seed: int | None) -> Iterator[FloatArray]:
    """Yield task states as Diffusion Policy draws them: `angle = 2 pi z - pi`, `z ~ N(0, 1)`.

    Its evaluation seeds are 100000 and on, for numpy's `RandomState`. Without a seed, one is drawn
    from `rng`.
    """
    legacy = np.random.RandomState(int(rng.integers(2**31)) if seed is None else seed)
    while True:
        positions = [legacy.randint(50, 450), legacy.randint(50, 450)]
        positions += [legacy.randint(100, 400), legacy.randint(100, 400)]
        yield np.array([*positions, legacy.randn() * 2.0 * math.pi - math.pi], np.float64)


START_STATES: dict[str, Callable[[np.random.Generator, int | None], Iterator[FloatArray]]] = {
    "gym_pusht": gym_pusht_starts,
    "diffusion_policy": diffusion_policy_starts,
}
"""Reset distributions by name."""
