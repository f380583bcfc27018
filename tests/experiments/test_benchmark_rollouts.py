"""The speed of rollouts is measured against a loop that does the same."""

from __future__ import annotations

import numpy as np

from dexworld.envs.push_t.twin import PushTTwin
from dexworld.envs.rollout import Rollout
from dexworld.experiments.benchmark_rollouts import _loop, rollout_speed


def test_the_table_has_a_row_for_every_way() -> None:
    rows = rollout_speed(candidates=4, horizon=2, rounds=1)
    ways = [row["way"] for row in rows]
    assert ways == ["Python mj_step loop", "rollout, 1 thread", "rollout, 2 threads"]
    assert rows[0]["ratio"] == 1.0
    for row in rows:
        speed, loop = float(row["physics_steps_per_s"]), float(rows[0]["physics_steps_per_s"])
        assert speed > 0
        np.testing.assert_allclose(row["ratio"], speed / loop)


def test_both_sides_do_the_same_work() -> None:
    twin = PushTTwin()
    physics = twin.physics(np.array([[200.0, 180.0, 200.0, 200.0, 0.3]]))
    controls = twin.controls(np.full((1, 3, 2), 230.0), physics)
    _loop(twin, physics, controls)
    expected = Rollout(twin.model, 1).advance(physics, controls)
    np.testing.assert_array_equal(twin.get_state(), expected[0])
