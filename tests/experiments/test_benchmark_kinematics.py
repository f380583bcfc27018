"""The chain is measured against loops over MuJoCo that give the same keypoints and gradients."""

from __future__ import annotations

import pytest

from dexworld.experiments.benchmark_kinematics import kinematics_speed, require_franka


def test_the_tables_have_a_row_for_every_way_and_all_agree() -> None:
    keypoints, gradients = kinematics_speed(samples=64, rounds=1).values()
    chain = ["Kinematics, float32", "Kinematics, float64"]
    loop = "mj_kinematics loop"
    assert [row["way"] for row in keypoints] == [loop, "a fresh MjData for each sample", *chain]
    assert [row["way"] for row in gradients] == [f"{loop}, mj_jac", *chain]
    for rows, unit in ((keypoints, "m"), (gradients, "m/rad")):
        assert rows[0]["ratio"] == 1.0
        for row in rows:
            exact = not str(row["way"]).endswith("float32")
            limit = 1e-12 if exact else {"m": 1e-6, "m/rad": 1e-4}[unit]
            assert float(row[f"largest_difference_{unit}"]) < limit, row
            assert float(row["samples_per_s"]) > 0


def test_without_the_arm_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    require_franka()
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"dexworld\[robosuite\]"):
        require_franka()
