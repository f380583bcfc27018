"""A toy to collect from, in a module that worker processes can import by name."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

# A toy that several test modules share, by its name: tests are no package.
_spec = importlib.util.spec_from_file_location("reaching", Path(__file__).with_name("reaching.py"))
assert _spec is not None and _spec.loader is not None
sys.modules[_spec.name] = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(sys.modules[_spec.name])

TOY = '''
"""A point that is moved about; episodes differ in length, and some fail."""

import os
import signal
from dataclasses import dataclass

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete

from dexworld.agents.base import RandomAgent
from dexworld.agents.episodes import EpisodeRunner

PICTURE = Box(0, 255, (16, 16, 3), np.uint8)


class Point(gym.Env):
    metadata = {"render_modes": [], "render_fps": 5}

    def __init__(self, fails=None, dies=None):
        self.fails, self.dies = fails, dies
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = Dict(
            {
                "place": Box(-99.0, 99.0, (2,), np.float32),
                "grid": Box(-99.0, 99.0, (2, 2), np.float32),
                "exact": Box(-99.0, 99.0, (1,), np.float64),
                "count": Discrete(100),
                "pixels": PICTURE,
                "pixels_side": PICTURE,
                "hold_action": self.action_space,
            }
        )

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.seed, self.time = seed, 0
        self.place = self.np_random.uniform(-1.0, 1.0, 2)
        self.kept = np.zeros((16, 16, 3), np.uint8)
        return self._observe(), {}

    def step(self, action):
        if self.time == 2 and self.seed == self.fails:
            raise ZeroDivisionError("the point is at its limit")
        if self.time == 2 and self.seed == self.dies:
            os.kill(os.getpid(), signal.SIGKILL)
        self.time += 1
        self.place = self.place + 0.1 * np.float64(action)
        last = self.time == 3 + self.seed % 3
        info = {"is_success": last and self.seed % 2 == 0}
        return self._observe(), float(self.place[0]), last, False, info

    def _observe(self):
        self.kept[:] = self.time  # the same array every time
        return {
            "place": self.place.astype(np.float32),
            "grid": np.outer(self.place, [1.0, 2.0]).astype(np.float32),
            "exact": self.place[:1],
            "count": np.int64(self.time),
            "pixels": self.kept,
            "pixels_side": 255 - self.kept,
            "hold_action": np.zeros(2, np.float32),
        }


@dataclass(frozen=True)
class PlayPoint:
    fails: int | None = None
    dies: int | None = None
    images: str = "png"

    def __call__(self):
        make = lambda: Point(self.fails, self.dies)
        return EpisodeRunner(RandomAgent(make().action_space, 2), make, self.images, 5.0)
'''


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """Return a module that worker processes can import too."""
    (tmp_path / "toy_of_collection.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield importlib.import_module("toy_of_collection")
    del sys.modules["toy_of_collection"]
