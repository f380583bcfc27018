"""What the cameras show is counted; the command prints it."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from dexworld.envs.counter.env import CounterEnv
from dexworld.experiments import visibility
from dexworld.experiments.statistics import episode_seeds


def test_the_object_at_the_palm_is_large_in_the_palms_camera() -> None:
    start, goal = visibility.visibility("grasp", [1], "wrist")
    assert (start["moment"], goal["moment"]) == ("start", "goal")
    assert start["object not seen"] == goal["object not seen"] == "0%"
    assert goal["object, median px"] > start["object, median px"] > 1000


def test_what_is_not_in_the_picture_is_counted_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    env = CounterEnv(task="grasp")
    env.reset(seed=1)
    gone = env.goal_physics.copy()
    env.close()
    monkeypatch.setattr(CounterEnv, "get_state", lambda self: _without_things(self, gone))
    start, _ = visibility.visibility("grasp", [1])
    assert start["object not seen"] == start["fewer than 50 px"] == "100%"
    assert start["hand not seen"] == "0%"


def _without_things(env: CounterEnv, physics: np.ndarray) -> np.ndarray:
    states = env.simulation.task_state(physics[None])
    states[:, 46 : 46 + 42].reshape(-1, 7)[:, 2] = 40.0
    return env.simulation.physics(states)[0]


def test_no_episodes_are_an_error() -> None:
    with pytest.raises(ValueError, match=r"seeds=\[\]: give at least one episode"):
        visibility.visibility("reach", [])


def test_the_command_prints_a_table(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen = []
    monkeypatch.setattr(
        visibility,
        "visibility",
        lambda task, seeds, camera: seen.append((task, seeds)) or [{"task": task}],
    )
    monkeypatch.setattr(sys, "argv", ["visibility", "--episodes", "2"])
    visibility.main()
    assert capsys.readouterr().out.startswith("`python -m dexworld.experiments.visibility --epi")
    assert seen[-1] == ("place", episode_seeds(0, "evaluate", 2)) and len(seen) == 6
