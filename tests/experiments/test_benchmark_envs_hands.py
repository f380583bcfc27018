"""The speed of Franka and Allegro is measured against ways that do the same work."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dexworld.envs.counter.simulation import SUBSTEPS
from dexworld.envs.rollout import Rollout
from dexworld.experiments.benchmark_envs_hands import (
    LIFT,
    _controls,
    _worlds,
    counter_frames,
    counter_physics,
    loop,
)


def test_loop_and_rollout_go_the_same_way() -> None:
    for model, physics in _worlds(2).values():
        controls = _controls(model, physics)
        rolled = Rollout(model, 1)(physics, controls, SUBSTEPS).physics
        stepped = loop(model, physics, controls)
        np.testing.assert_array_equal(rolled[..., 1 : 1 + stepped.shape[2]], stepped)
        assert np.abs(np.diff(stepped[:, :, :7], axis=1)).max() > 0.01


def test_the_physics_table_has_a_row_for_every_way() -> None:
    rows = counter_physics(candidates=1, rounds=1, seconds=0.05)
    assert {row["world"] for row in rows} == {"Franka + Allegro", "counter", LIFT}
    speeds = {(row["world"], str(row["way"])): row for row in rows}
    for world in ("Franka + Allegro", "counter"):
        assert speeds[world, "Python mj_step loop"]["ratio"] == 1.0
    for (world, _), row in speeds.items():
        if world != LIFT:
            assert float(row["physics_steps_per_s"]) > 0


@pytest.mark.slow
def test_the_table_of_frames_compares_with_robosuite_where_it_runs() -> None:
    rows = counter_frames(seconds=0.1, rounds=1)
    assert [row["frames"] for row in rows] == ["drawn", "drawn in env.step"]
    for row in rows:
        ours, theirs, ratio = (float(row[key]) for key in ("dexworld", LIFT, "ratio"))
        assert ours > 0
        assert math.isnan(ratio) or ratio == pytest.approx(ours / theirs)
