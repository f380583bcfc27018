"""The speed of imagination, measured on a few copies."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra

from dexworld.experiments.benchmark_imagination import (
    DECISION,
    _imagination,
    _pool,
    _simulated,
    imagination_speed,
    require_stable_baselines,
    training_speed,
)


@pytest.mark.slow
def test_steps_are_compared_by_the_control_steps_in_them() -> None:
    threads = torch.get_num_threads()
    rows = imagination_speed(seconds=0.05, copies=(2, 4, 8), processes=2, threads=1)
    assert [row["copies"] for row in rows] == [1, 2, 4, 2, 4, 8]
    assert rows[0]["faster_than_first"] == 1.0
    for row, steps in zip(rows, (1, 1, *[DECISION] * 4), strict=True):
        assert row["control_steps_per_s"] == steps * float(row["steps_per_s"]) > 0
    assert torch.get_num_threads() == threads


@pytest.mark.slow
def test_ppo_is_timed_in_the_simulator_and_in_models() -> None:
    pytest.importorskip("stable_baselines3")
    GlobalHydra.instance().clear()
    overrides = ["copies=16", "algorithm.arguments.batch_size=40"]
    rows = training_speed(seconds=0.05, copies=8, threads=1, overrides=overrides)
    assert [row["copies"] for row in rows][1:] == [8, 8, 16]
    assert all(float(row["steps_per_s"]) > 0 for row in rows)
    assert rows[-1]["who"] == "dexworld-train-agent agent_recipe=push_t_goal_ppo"
    # Five control steps in each.
    assert rows[-1]["control_steps_per_s"] == 5 * float(rows[-1]["steps_per_s"])


def test_simulated_and_imagined_episodes_begin_at_the_same_places() -> None:
    pool = _pool(3)
    begun, _ = _simulated(pool, 0).reset(seed=0)
    assert any(np.allclose(begun["keypoints"], each, atol=1e-3) for each in pool["keypoints"])
    for simulator in (True, False):
        env = _imagination(simulator, pool, 5)
        observation, _ = env.reset(seed=0)
        for place, goal in zip(
            observation["keypoints"], observation["goal_keypoints"], strict=True
        ):
            row = int(np.abs(pool["keypoints"] - place).sum((1, 2)).argmin())
            np.testing.assert_allclose(place, pool["keypoints"][row], atol=0.1)
            np.testing.assert_allclose(goal, pool["goal_keypoints"][row], atol=0.1)
        _, rewards, *_ = env.step(np.zeros((5, 2), np.float32))
        assert (rewards < 0).all()


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "stable_baselines3", None)
    with pytest.raises(ImportError, match=r"pip install 'dexworld\[sb3\]'"):
        require_stable_baselines()
