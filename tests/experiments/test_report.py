"""The report is one file that needs no other."""

from __future__ import annotations

import base64
import copy
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dexworld.experiments import report as reporting
from dexworld.experiments.filming import write_video
from dexworld.experiments.report import (
    markdown_table,
    relative_progress,
    table_rows,
    write_report,
)

FIGURES = {
    "episodes": 4,
    "success_rate": 0.75,
    "success_interval": [0.3006, 0.9544],
    "success_rate_at_end": 0.5,
    "success_interval_at_end": [0.15, 0.85],
    "mean_steps_to_success": 12.25,
    "mean_max_reward": 0.8125,
    "plan_latency_s": {"p50": 0.1234, "p95": 0.25},
    "model_evaluations": 4000,
}
FLOOR = {
    **FIGURES,
    "success_rate": 0.0,
    "success_interval": [0.0, 0.49],
    "mean_steps_to_success": None,
    "plan_latency_s": {},
    "model_evaluations": 0,
}
METRICS: dict[str, Any] = {
    **FIGURES,
    "name": "mine <&>",
    "env": "dexworld/PushT-v0",
    "agent": "CEM",
    "success_rule": "coverage > 0.95",
    "parallel": 1,
    "floors": {"noop": FLOOR, "random": {**FLOOR, "success_rate": 0.25}},
    "ceiling": {"who": "simulator as its own model", "same_as_run": False, **FIGURES},
    "prediction_error": {
        "keypoints": {
            "steps": [0, 5, 10],
            "median": [0.0, 1.0, 4.0],
            "p90": [0.5, 2.0, None],
            "static": [0.0, 3.0, 8.0],
            "episodes": [4, 4, 2],
            "plans": {"steps": [0, 5], "median": [0.0, 1.5], "p90": [0.0, 2.5]},
        }
    },
    "diagnosis": ["27 points are the model's <&>.", "The objective saw them all."],
    "provenance": {"seed": 0},
}
# As they are read back: None stands for a cost that was not finite.
EPISODES: list[dict[str, Any]] = [
    {
        "seed": 1,
        "steps_to_success": 12,
        "pairs": [[1.0, 1.5], [None, 2.0]],
        "searches": [[4.0, 2.0], [3.0]],
    },
    {"seed": 2, "steps_to_success": None, "pairs": [], "searches": [[None, 1.0]]},
]


class Links(HTMLParser):
    """Collects what a page would load or link to, and checks that tags are closed."""

    def __init__(self) -> None:
        super().__init__()
        self.urls: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.urls += [
            value or "" for name, value in attributes if name in {"src", "href", "poster"}
        ]
        if tag not in {"meta", "img", "br", "link"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path: Path) -> str:
    write_video(tmp_path / "videos" / "1.mp4", [np.zeros((16, 16, 3), np.uint8)] * 2)
    report = tmp_path / "report.html"
    write_report(report, METRICS, EPISODES, tmp_path / "videos", "seed: 0 # <yaml>", "run 'a b'")
    assert not list(tmp_path.glob("*.part"))
    return report.read_text(encoding="utf-8")


def test_it_is_one_self_contained_file(page) -> None:
    links = Links()
    links.feed(page)
    assert links.urls and all(url.startswith("data:") for url in links.urls)
    assert not re.search(r"https?://|@import|url\(", page)
    assert links.open == [], "tags are left open"


def test_it_holds_table_video_charts_and_command(page, tmp_path) -> None:
    assert "3 of 4 episodes reached the goal; the better of the floors reached it in 25 %" in page
    for text in ("75 % [30, 95]", "50 % [15, 85]", "12.2", "0.812", "0.123 / 0.250", "1000"):
        assert f"<td>{text}</td>" in page, text
    for who in ("CEM", "simulator as its own model", "doing nothing", "random actions"):
        assert f"<td>{who}</td>" in page
    video = base64.b64encode((tmp_path / "videos" / "1.mp4").read_bytes()).decode()
    assert f"data:video/mp4;base64,{video}" in page and page.count("<video") == 1
    assert "goal reached after 12 steps" in page
    assert page.count("data:image/png;base64,") == 3
    assert "over 2 plans" in page and "Mean absolute gap 0.5." in page
    assert "between predicted and real keypoints" in page and "first belief of 4 episodes" in page
    assert (
        page.count("<li>") == 2 and "<li>27 points are the model&#39;s &lt;&amp;&gt;.</li>" in page
    )
    assert "run &#39;a b&#39;" in page and "seed: 0 # &lt;yaml&gt;" in page
    assert "mine &lt;&amp;&gt;" in page and "coverage &gt; 0.95" in page


def test_without_videos_plans_or_floors_it_says_less(tmp_path) -> None:
    metrics = {**METRICS, **FLOOR, "floors": {}, "ceiling": {}}
    metrics |= {"prediction_error": {}, "diagnosis": []}
    episodes = [{"seed": 1, "steps_to_success": None, "pairs": [], "searches": []}]
    write_report(tmp_path / "r.html", metrics, episodes, tmp_path / "videos", "", "")
    page = (tmp_path / "r.html").read_text()
    assert "<video" not in page and "<img" not in page and "failures come from" not in page
    assert "0 of 4 episodes reached the goal." in page
    assert page.count("<tr") == 2


def test_the_ceiling_is_not_shown_twice() -> None:
    metrics = copy.deepcopy(METRICS)
    assert len(table_rows(metrics)) == 4
    metrics["ceiling"]["same_as_run"] = True
    rows = table_rows(metrics)
    assert [row["who"] for row in rows] == ["CEM", "doing nothing", "random actions"]
    assert [row["main"] for row in rows] == [True, False, False]
    assert rows[1]["steps"] == "-" == rows[1]["latency"]


def test_the_latency_says_how_it_was_measured(tmp_path) -> None:
    for parallel, text in ((1, "one environment at a time"), (8, "for up to 8 environments at")):
        metrics = {**METRICS, "parallel": parallel}
        write_report(tmp_path / "r.html", metrics, EPISODES, tmp_path, "", "")
        assert text in (tmp_path / "r.html").read_text()


def test_the_note_says_which_rows_are_paired() -> None:
    metrics = copy.deepcopy(METRICS) | {"seed": 0, "stage": "evaluate", "diagnosis": []}
    metrics["provenance"]["git_commit"] = None
    for same, paired in ((True, "All rows share"), (False, "The run and the floors share")):
        metrics["ceiling"]["same_episodes"] = same
        table = markdown_table(metrics, "dexworld-plan")
        assert table.splitlines()[-1].startswith(paired)
        assert "commit unknown" in table
    # Results that were written before the distinction was made.
    del metrics["ceiling"]["same_episodes"]
    assert "The run and the floors share" in markdown_table(metrics, "")
    assert "All rows share" in markdown_table(metrics | {"ceiling": {}}, "")


def test_the_page_says_which_rows_are_paired(tmp_path) -> None:
    write_report(tmp_path / "r.html", METRICS, EPISODES, tmp_path, "", "")
    page = (tmp_path / "r.html").read_text()
    assert "ceiling shares their seeds, but not their physics" in page
    assert "All rows share" not in page


def test_progress_is_told_for_costs_of_any_sign() -> None:
    searches = [[4.0, 2.0, 1.0], [-1.0, -4.0], [1.0, -1.0], [0.0, -3.0], [0.0, 0.0, 0.0]]
    expected = [[0, -0.5, -0.75], [0, -0.75, -0.75], [0, -2, -2], [0, -1, -1], [0, 0, 0]]
    np.testing.assert_allclose(relative_progress(searches), expected)
    scaled = [[1e-20 * cost for cost in search] for search in searches]
    np.testing.assert_allclose(relative_progress(scaled), expected)


def test_the_line_of_a_perfect_model_spans_all_costs(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(reporting, "_chart", lambda figure, *_: drawn.append(figure) or {})
    episodes = [{"pairs": [[-5.0, -4.0], [-3.0, -7.0]], "searches": []}]
    reporting._charts(episodes)
    _, line = drawn[0].axes[0].lines
    assert list(line.get_xdata()) == list(line.get_ydata()) == [-7.0, -3.0]


def test_the_correlation_of_costs_is_told() -> None:
    for real, text in (([1.0, 2.0, 3.5], "correlation 0.993."), ([1.0, 1.0, 1.0], "gap 1.")):
        pairs = [[float(i + 1), each] for i, each in enumerate(real)]
        (chart,) = reporting._charts([{"pairs": pairs, "searches": []}])
        assert chart["caption"].endswith(text)


def test_the_error_over_the_horizon_is_drawn(monkeypatch) -> None:
    drawn = []
    monkeypatch.setattr(reporting, "_chart", lambda figure, *_: drawn.append(figure) or {})
    reporting._error_charts(METRICS["prediction_error"])
    whole, plans, still = drawn[0].axes[0].lines
    for line, steps, values in (
        (whole, [0, 5, 10], [0, 1, 4]),
        (plans, [0, 5], [0, 1.5]),
        (still, [0, 5, 10], [0, 3, 8]),
    ):
        assert list(line.get_xdata()) == steps and list(line.get_ydata()) == values


def test_the_sentences_stand_under_the_markdown_table() -> None:
    metrics = copy.deepcopy(METRICS) | {"seed": 0, "stage": "evaluate"}
    metrics["provenance"]["git_commit"] = None
    *_, note, blank, first, last = markdown_table(metrics, "dexworld-plan").splitlines()
    assert note.startswith("The run and the floors share") and blank == ""
    assert [first, last] == [f"- {sentence}" for sentence in METRICS["diagnosis"]]
