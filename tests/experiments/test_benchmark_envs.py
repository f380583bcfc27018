import numpy as np
import pytest

from dexworld.experiments.benchmark_envs import push_t_speed, twin_error


def test_the_table_of_errors_has_a_row_per_set_and_unit():
    rows = twin_error()
    assert [(row["set"], row["unit"]) for row in rows] == [
        (name, unit) for name in ("all", "no wall", "wall") for unit in ("px", "deg")
    ]
    episodes = {row["set"]: row["episodes"] for row in rows}
    assert episodes["no wall"] + episodes["wall"] == episodes["all"] == 200
    free = next(row for row in rows if (row["set"], row["unit"]) == ("no wall", "px"))
    assert free["p90_25"] < 2.0
    assert all(np.isfinite(v) for row in rows for v in row.values() if isinstance(v, float))


@pytest.mark.slow
def test_push_t_is_timed_beside_the_public_environment():
    for row in push_t_speed(seconds=0.2, rounds=1):
        assert row["dexworld"] > 0 and row["gym-pusht"] > 0
        assert row["ratio"] == pytest.approx(row["dexworld"] / row["gym-pusht"])
