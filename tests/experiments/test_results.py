"""A results folder is valid at every moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dexworld.experiments.results import ResultsFolder, finite

CONFIG = "seed: 0\nname: mine\n"
RESOLVED = "output: here\n" + CONFIG


@pytest.fixture
def folder(tmp_path: Path) -> ResultsFolder:
    made = ResultsFolder(tmp_path / "new" / "results", RESOLVED, CONFIG, "refuse")
    made.append({"seed": 1, "cost": 0.1})
    made.append({"seed": 2, "cost": None})
    return made


def test_episodes_are_read_back(folder) -> None:
    again = ResultsFolder(folder.path, RESOLVED, CONFIG, "resume")
    assert again.episodes() == [{"seed": 1, "cost": 0.1}, {"seed": 2, "cost": None}]
    assert (folder.path / "config.yaml").read_text() == RESOLVED


@pytest.mark.parametrize("cut", [1, 5, 18])
def test_a_line_that_was_cut_off_is_dropped(folder, cut) -> None:
    file = folder.path / "episodes.jsonl"
    file.write_text(file.read_text()[:-cut])
    again = ResultsFolder(folder.path, RESOLVED, CONFIG, "resume")
    kept = again.episodes()
    # A line that only lacks its end is whole.
    assert [episode["seed"] for episode in kept] == ([1, 2] if cut == 1 else [1])
    again.append({"seed": 3})
    assert [episode["seed"] for episode in again.episodes()] == [e["seed"] for e in kept] + [3]


def test_results_are_not_written_over(folder) -> None:
    with pytest.raises(FileExistsError, match=r"holds results.*existing=resume.*overwrite"):
        ResultsFolder(folder.path, RESOLVED, CONFIG, "refuse")


def test_results_of_another_configuration_are_not_mixed_in(folder) -> None:
    with pytest.raises(ValueError, match=r"with other settings \(seed: 0 then, 1 now\)\. Choose"):
        ResultsFolder(folder.path, RESOLVED, "seed: 1\nname: mine\n", "resume")
    assert (folder.path / "decisive.yaml").read_text() == CONFIG


def test_results_of_other_code_are_not_mixed_in(tmp_path) -> None:
    settings = "planner: {samples: 8}\n"
    then, now = (f"{settings}code: {{dexworld: {code}, numpy: null}}\n" for code in ("aa", "bb"))
    ResultsFolder(tmp_path, RESOLVED, then, "refuse").append({"seed": 1})
    said = r"was evaluated by other code, it changed since \(code.dexworld: aa then, bb now\)\."
    with pytest.raises(ValueError, match=said):
        ResultsFolder(tmp_path, RESOLVED, now, "resume")
    # Results from before the code was part of what decides.
    (tmp_path / "decisive.yaml").write_text(settings)
    with pytest.raises(ValueError, match="None then, bb now"):
        ResultsFolder(tmp_path, RESOLVED, now, "resume")
    with pytest.raises(ValueError, match=r"other settings .*planner.samples: 8 then, 9 now"):
        ResultsFolder(tmp_path, RESOLVED, now.replace("8", "9"), "resume")


def test_overwriting_removes_all_that_was_written(folder) -> None:
    mine = folder.path / "notes.txt"
    mine.write_text("not a result")
    for name in ("metrics.json", "report.html"):
        (folder.path / name).write_text("old")
    for name in ("videos", "tensorboard"):
        (folder.path / name).mkdir()
    ResultsFolder(folder.path, RESOLVED, "seed: 1\n", "overwrite")
    left = sorted(path.name for path in folder.path.iterdir())
    assert left == ["config.yaml", "decisive.yaml", "episodes.jsonl", "notes.txt"]
    assert not folder.episodes()


def test_an_empty_evaluation_is_not_in_the_way(tmp_path) -> None:
    ResultsFolder(tmp_path, RESOLVED, CONFIG, "refuse")
    ResultsFolder(tmp_path, RESOLVED, "seed: 1\n", "refuse")
    assert (tmp_path / "decisive.yaml").read_text() == "seed: 1\n"


def test_a_choice_that_does_not_exist(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"existing='keep': choose one of \['refuse', 'resume'"):
        ResultsFolder(tmp_path, RESOLVED, CONFIG, "keep")


def test_metrics_are_plain_json(folder) -> None:
    folder.write_metrics({"rate": 0.5, "worst": float("-inf"), "pairs": [(1.0, float("nan"))]})
    text = (folder.path / "metrics.json").read_text()
    assert json.loads(text) == {"rate": 0.5, "worst": None, "pairs": [[1.0, None]]}
    assert not list(folder.path.glob("*.part"))


def test_finite_keeps_what_json_knows() -> None:
    assert finite({"a": (1, "x", None, True, 2.5), "b": {"c": float("inf")}}) == {
        "a": [1, "x", None, True, 2.5],
        "b": {"c": None},
    }
