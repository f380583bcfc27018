"""Tables of trained agents."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from dexworld.experiments import agent_tables as command
from dexworld.experiments.agent_tables import agent_tables


def write(
    folder: Path, seed: int, rate: float, judged: float | None = None, **changes: Any
) -> Path:
    returns = {"real_return": 2.0 + seed, "imagined_return": 3.0 + seed, "exploitation_gap": 1.0}
    returns["exploitation_gap_error"] = 0.3 + 0.1 * seed
    curve = {f"model/{name}": value for name, value in returns.items()}
    curve |= {"model/imagined_success_rate": 0.5, "model/real_steps": 480_000.0}
    metrics = {
        "algorithm": "PPO",
        "trained_in": "push_t_state",
        "rounds": 1,
        "imagined_decisions": 96_000,
        "episodes": 50,
        "success_rate": rate,
        "stage": "tune",
        "seed": seed,
        "real_steps": 480_000,
        "seconds": 60.0 * (1 + seed),
        **returns,
        "evaluations": [
            {"steps": steps, "eval/success_rate": rate * steps / 200, **curve}
            for steps in (100, 200)
        ],
        **changes,
    }
    folder.mkdir()
    (folder / "metrics.json").write_text(json.dumps(metrics))
    if judged is not None:
        (folder / "plan").mkdir()
        plan = {"episodes": 100, "success_rate": judged, "stage": "evaluate"}
        (folder / "plan" / "metrics.json").write_text(json.dumps(plan))
    return folder


def test_seeds_of_a_kind_are_put_together(tmp_path: Path) -> None:
    folders = [
        write(tmp_path / "a", 0, 0.4, 0.5),
        write(tmp_path / "b", 1, 0.6, 0.7),
        write(tmp_path / "c", 0, 0.2, trained_in="simulator", real_steps=None, rounds=3),
    ]
    tables = agent_tables(folders)
    learned, simulated = tables["trained agents"]
    assert learned["agent"] == "PPO in push_t_state, 96k"
    assert simulated["agent"] == "PPO in the simulator, 3 rounds, 96k"
    # 120 of 200 episodes of dexworld-plan; those of the training where there are none.
    assert learned["success"] == "60% [53%, 67%]" and learned["by seed"] == "50%, 70%"
    assert simulated["success"] == "20% [11%, 33%]" and simulated["seeds"] == "0"
    assert learned["real return"] == "2.50" and learned["seconds"] == 90.0
    assert learned["gap"] == "1.00 ± 0.25", "half of sqrt(0.3^2 + 0.4^2)"
    assert simulated["real steps"] != simulated["real steps"], "not known"
    curve = tables["PPO in push_t_state, 96k: curve"]
    assert [row["imagined decisions"] for row in curve] == [100, 200]
    assert [row["success"] for row in curve] == ["25%", "50%"]
    assert curve[1]["lowest, highest"] == "40%, 60%" and curve[1]["imagined return"] == "3.50"
    assert curve[1]["gap"] == "1.00 ± 0.25"


def test_of_older_trainings_the_gap_has_no_error(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", 0, 0.4), write(tmp_path / "b", 1, 0.4)]
    metrics = json.loads((folders[1] / "metrics.json").read_text())
    del metrics["exploitation_gap_error"]
    metrics["evaluations"][0]["model/exploitation_gap_error"] = None
    (folders[1] / "metrics.json").write_text(json.dumps(metrics))
    tables = agent_tables(folders)
    assert tables["trained agents"][0]["gap"] == "1.00"
    gaps = [row["gap"] for row in tables["PPO in push_t_state, 96k: curve"]]
    assert gaps == ["1.00", "1.00 ± 0.25"]


def test_planners_and_floors_stand_beside_them(tmp_path: Path) -> None:
    folders = [write(tmp_path / "a", 0, 0.4, 0.5)]
    for name, rate in (("whole", 0.9), ("half", 0.8)):
        floors = {"noop": {"episodes": 200, "success_rate": 0.0}}
        floors["random"] = {"episodes": 200, "success_rate": 0.01}
        planned = {"agent": "ICEM in push_t_state", "episodes": 200, "success_rate": rate}
        (tmp_path / name).mkdir()
        text = json.dumps({**planned, "stage": "evaluate", "floors": floors})
        (tmp_path / name / "metrics.json").write_text(text)
        folders.append(tmp_path / name)
    rows = agent_tables(folders)["trained agents"]
    assert [row["agent"] for row in rows] == [
        "PPO in push_t_state, 96k",
        "ICEM in push_t_state, whole",
        "noop, 200 episodes (evaluate)",
        "random, 200 episodes (evaluate)",
        "ICEM in push_t_state, half",
    ]
    assert rows[1]["success"] == "90% [85%, 93%]" and rows[2]["success"] == "0% [0%, 2%]"
    assert rows[1]["gap"] == rows[1]["real return"] == "-"
    assert len({tuple(row) for row in rows}) == 1, "the same columns"


def test_what_cannot_be_put_together(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least one folder"):
        agent_tables([])
    with pytest.raises(FileNotFoundError, match=r"has dexworld-train-agent, .* finished\?"):
        agent_tables([tmp_path])
    other = [{"steps": 5, "eval/success_rate": 0.0}]
    folders = [write(tmp_path / "a", 0, 0.4), write(tmp_path / "b", 1, 0.4, evaluations=other)]
    with pytest.raises(ValueError, match=r"evaluated after .*\(5,\).* decisions"):
        agent_tables(folders)


def test_it_is_written_as_markdown(tmp_path: Path, monkeypatch, capsys) -> None:
    folder = write(tmp_path / "a", 0, 0.4, 0.5)
    monkeypatch.setattr(sys, "argv", ["agent_tables", str(folder)])
    command.main()
    told = capsys.readouterr().out
    assert told.startswith(
        "Success on: evaluate. Intervals, and the standard error of the gap, take"
    )
    assert "| PPO in push_t_state, 96k | 0 |" in told and "± 0.30 |" in told
    monkeypatch.setattr(sys, "argv", ["agent_tables", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit):
        command.main()
    assert "holds no metrics.json" in capsys.readouterr().err
