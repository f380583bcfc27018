"""`dexworld-benchmark` prints and writes tables that are measured in one run."""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import mujoco
import pytest

from dexworld.experiments import benchmark
from dexworld.experiments.benchmark import BENCHMARKS, Benchmark
from dexworld.experiments.benchmark_tables import Row, Tables

ROWS: list[Row] = [
    {"who": "mine", "steps_per_s": 12345.678, "ratio": 0.123456},
    {"who": "theirs", "steps_per_s": 1.0, "ratio": math.nan},
]


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    def main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "argv", ["dexworld-benchmark", *arguments])
        status = 0
        try:
            benchmark.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        finally:
            mujoco.set_mju_user_warning(None)
        return status, *capsys.readouterr()

    return main


@pytest.fixture
def asked(monkeypatch) -> list[str]:
    """Replace every measurement by two rows; collects the names of those that are made."""
    names: list[str] = []

    def replaced(name: str) -> Callable[[argparse.Namespace], Tables]:
        return lambda arguments: names.append(name) or {f"{name} table": ROWS}

    for name, each in list(BENCHMARKS.items()):
        monkeypatch.setitem(BENCHMARKS, name, replace(each, measure=replaced(name)))
    return names


def test_the_named_tables_are_measured_printed_and_written(run, asked, tmp_path) -> None:
    status, printed, error = run("envs", "--seconds", "0.5", "--output", "new/tables.json")
    assert (status, error) == (0, "")
    assert "theirs" in printed and asked == ["envs"]
    record = json.loads((tmp_path / "new" / "tables.json").read_text())
    assert record["tables"] == {"envs table": [ROWS[0], {**ROWS[1], "ratio": None}]}
    assert record["provenance"]["packages"]["mujoco"]
    assert record["command"] == "dexworld-benchmark envs --seconds 0.5 --output new/tables.json"


def test_markdown_stands_under_the_command_that_made_it(run, asked, tmp_path) -> None:
    assert run("twin", "envs", "--output", "x.md")[0] == 0
    text = (tmp_path / "x.md").read_text()
    made = f"`dexworld-benchmark twin envs --output x.md`, {date.today().isoformat()}, commit "
    assert text.startswith(made)
    assert re.search(r"commit (?!None)\S+, Linux", text.splitlines()[0])
    assert text.index("### twin table") < text.index("### envs table")
    assert "| mine | 12,346 | 0.1235 |" in text


def test_all_tables_where_none_is_named(run, asked) -> None:
    status, _, error = run()
    assert (status, error) == (0, "")
    usual = ["planners", "envs", "twin", "data", "imagination", "kinematics"]
    assert asked == usual, "learning takes an hour"


def test_what_is_unavailable_is_skipped_unless_it_is_named(run, asked, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    status, printed, error = run("--golden", "nowhere.npz")
    assert status == 0 and asked == ["planners", "imagination", "kinematics"]
    assert "planners table" in printed
    envs, twin, data = error.splitlines()
    assert data.startswith("skipping data: the comparison needs gym-pusht")
    assert envs == 'skipping envs: the comparison needs gym-pusht: pip install "dexworld[dev]".'
    assert twin.startswith("skipping twin: nowhere.npz is not there: give the golden")
    asked.clear()
    for name, said in (("envs", "the comparison needs gym-pusht"), ("twin", "nowhere.npz is not")):
        status, printed, error = run("planners", name, "--golden", "nowhere.npz")
        assert (status, printed) == (2, "")
        assert error.startswith(f"error: {said}") and error.count("\n") == 1
    assert asked == [], "something was measured before what was missing was told"


BAD = {
    "a table": (["planer"], "there is no table 'planer'. Did you mean 'planners'?"),
    "no time": (["--seconds", "0"], "--seconds 0.0: measure for a positive time."),
    "less than no time": (["--seconds", "-1"], "--seconds -1.0: measure"),
    "endless time": (["--seconds", "inf"], "--seconds inf: measure"),
    "no number": (["--seconds", "nan"], "--seconds nan: measure"),
    "no seeds": (["--seeds", "0"], "--seeds 0: take at least one."),
    "no problems": (["--problems", "0"], "--problems 0: take at least one."),
    "a format": (["--output", "x.csv"], "end its name in .md (Markdown) or .json."),
    "an output below a file": (["--output", "a_file/x.md"], "a_file"),
    "an output that is a folder": (["--output", "folder.md"], "no file can be written there."),
    "trajectories": (["twin", "--golden", "a_file"], "a_file does not hold golden trajectories"),
    "other trajectories": (["twin", "--golden", "x.npz"], "x.npz does not hold golden"),
}


@pytest.mark.parametrize(("arguments", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_sentence_before_anything_is_measured(
    arguments, said, run, asked, tmp_path
) -> None:
    (tmp_path / "a_file").write_text("text")
    (tmp_path / "folder.md").mkdir()
    (tmp_path / "x.npz").write_bytes(b"PK\x03\x04 broken")
    status, printed, error = run(*arguments)
    assert (status, printed, asked) == (2, "", [])
    assert error.startswith("error: ") and error.count("\n") == 1, error
    assert said in error


@pytest.mark.parametrize(
    ("raised", "status", "said"),
    [
        (ValueError("it broke"), 2, "error: it broke\n"),
        (ImportError("it is missing"), 2, "error: it is missing\n"),
        (KeyboardInterrupt(), 130, "\ninterrupted; the finished tables are in x.json.\n"),
    ],
)
def test_what_was_measured_before_an_error_is_kept(
    run, asked, monkeypatch, tmp_path, raised, status, said
) -> None:
    def fails(arguments: argparse.Namespace) -> Tables:
        raise raised

    monkeypatch.setitem(BENCHMARKS, "twin", Benchmark(fails))
    ended, _, error = run("envs", "twin", "planners", "--output", "x.json")
    assert (ended, error) == (status, said)
    assert set(json.loads((tmp_path / "x.json").read_text())["tables"]) == {"envs table"}
    assert [Path(each).name for each in tmp_path.iterdir()] == ["x.json"]


def test_help_says_what_is_measured(run) -> None:
    status, printed, _ = run("--help")
    assert status == 0
    for part in ("planners", "envs", "twin", "gym-pusht", "--output", "Markdown"):
        assert part in printed
