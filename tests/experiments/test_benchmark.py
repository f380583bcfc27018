"""`dexworld-benchmark` prints and writes tables that are measured in one run."""

from __future__ import annotations

import argparse
import io
import json
import sys

import pytest
from rich.console import Console

from dexworld.experiments import benchmark

ROWS: list[benchmark.Row] = [
    {"who": "mine", "steps_per_s": 12345.678, "ratio": 0.123456, "episodes": 7},
    {"who": "theirs", "steps_per_s": 1.0, "ratio": 1.0, "episodes": 1000},
]


@pytest.fixture
def run(monkeypatch, capsys):
    def main(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setenv("COLUMNS", "160")
        monkeypatch.setattr(sys, "argv", ["dexworld-benchmark", *arguments])
        status = 0
        try:
            benchmark.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        return status, *capsys.readouterr()

    return main


def test_a_table_shows_every_row() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(benchmark.table("speeds", ROWS))
    text = console.export_text()
    for part in ("speeds", "steps per s", "mine", "12,346", "0.1235", "theirs", "1000"):
        assert part in text


def test_the_named_tables_are_measured_printed_and_written(run, monkeypatch, tmp_path) -> None:
    asked: list[argparse.Namespace] = []

    def measured(arguments: argparse.Namespace) -> benchmark.Tables:
        asked.append(arguments)
        return {"speeds": ROWS}

    monkeypatch.setitem(benchmark.TABLES, "envs", measured)
    output = tmp_path / "tables.json"
    status, printed, error = run("envs", "--seconds", "0.5", "--output", str(output))
    assert (status, error) == (0, "")
    assert "theirs" in printed
    assert len(asked) == 1 and asked[0].seconds == 0.5
    record = json.loads(output.read_text())
    assert record["tables"] == {"speeds": ROWS}
    assert record["provenance"]["packages"]["mujoco"]


def test_all_tables_where_none_is_named(run, monkeypatch) -> None:
    asked = []
    for name in list(benchmark.TABLES):
        measure = lambda _, name=name: asked.append(name) or {name: ROWS}
        monkeypatch.setitem(benchmark.TABLES, name, measure)
    assert run()[0] == 0
    assert asked == ["planners", "envs", "twin"]


def test_a_table_that_does_not_exist(run) -> None:
    status, _, error = run("planer")
    assert status == 2
    assert "there is no table 'planer'. Did you mean 'planners'?" in error


def test_trajectories_that_are_not_there(run) -> None:
    status, _, error = run("twin", "--golden", "/nowhere.npz")
    assert status == 2
    assert error.startswith("error: /nowhere.npz is not there") and error.count("\n") == 1


def test_help_says_what_is_measured(run) -> None:
    status, printed, _ = run("--help")
    assert status == 0
    for part in ("planners", "envs", "twin", "gym-pusht", "--output"):
        assert part in printed
