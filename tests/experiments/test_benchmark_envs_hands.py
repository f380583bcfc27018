"""The speed of Franka and Allegro is measured against ways that do the same work."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dexworld.envs.counter.simulation import SUBSTEPS
from dexworld.envs.rollout import Rollout
from dexworld.experiments.benchmark_envs_hands import (
    LIFT,
    NO_SENSORS,
    _controls,
    _without_sensors,
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


def test_without_sensors_it_goes_the_same_way() -> None:
    model, physics = _worlds(2)["counter"]
    controls, blind = _controls(model, physics), _without_sensors(model)
    seen, unseen = (Rollout(each, 1)(physics, controls, SUBSTEPS) for each in (model, blind))
    np.testing.assert_array_equal(seen.physics, unseen.physics)
    assert np.any(seen.sensors) and not np.any(unseen.sensors)


def test_the_physics_table_has_a_row_for_every_way() -> None:
    rows = counter_physics(candidates=1, rounds=1, seconds=0.05)
    assert {row["world"] for row in rows} == {"Franka + Allegro", "counter", LIFT}
    speeds = {(row["world"], str(row["way"])): row for row in rows}
    for world in ("Franka + Allegro", "counter"):
        assert speeds[world, "Python mj_step loop"]["ratio"] == 1.0
    blind = [key for key in speeds if key[1].endswith(NO_SENSORS)]
    assert {world for world, _ in blind} == {"counter"} and len(blind) == 2
    for (world, _), row in speeds.items():
        if world != LIFT:
            assert float(row["physics_steps_per_s"]) > 0


@pytest.mark.slow
def test_the_table_of_frames_compares_with_robosuite_where_it_runs() -> None:
    rows = counter_frames(seconds=0.1, rounds=1)
    names = ["drawn", "drawn by 4 samples", "drawn by 4 samples, mesh arm", "drawn in env.step"]
    assert [row["frames"] for row in rows] == names
    for row in rows:
        ours, theirs, ratio = (float(row[key]) for key in ("dexworld", LIFT, "ratio"))
        assert ours > 0
        assert math.isnan(ratio) or ratio == pytest.approx(ours / theirs)
