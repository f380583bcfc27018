"""Rows are shown under their own columns, or not at all."""

from __future__ import annotations

import io
import math

import pytest
from rich.console import Console

from dexworld.experiments.benchmark_tables import Row, markdown, table

ROWS: list[Row] = [
    {"who": "mine", "steps_per_s": 12345.678, "ratio": 0.123456, "episodes": 7},
    {"who": "theirs", "steps_per_s": 1.0, "ratio": math.nan, "episodes": 1000},
]


def test_a_table_shows_every_row() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(table("speeds", ROWS))
    text = console.export_text()
    for part in ("speeds", "steps per s", "mine", "12,346", "0.1235", "theirs", "nan", "1000"):
        assert part in text


def test_markdown_holds_every_row_under_what_made_it() -> None:
    text = markdown({"speeds": ROWS, "again": ROWS[:1]}, "`command`, today.")
    assert (
        text
        == """\
`command`, today.

### speeds

| who | steps per s | ratio | episodes |
|---|---:|---:|---:|
| mine | 12,346 | 0.1235 | 7 |
| theirs | 1 | nan | 1000 |

### again

| who | steps per s | ratio | episodes |
|---|---:|---:|---:|
| mine | 12,346 | 0.1235 | 7 |
"""
    )


@pytest.mark.parametrize(
    "row",
    [
        {"who": "theirs", "steps_per_s": 1.0, "episodes": 3},
        {"who": "theirs", "steps_per_s": 1.0, "ratio": 1.0, "episodes": 3, "more": 0},
        {"who": "theirs", "ratio": 1.0, "steps_per_s": 1.0, "episodes": 3},
    ],
    ids=["fewer", "more", "another order"],
)
def test_rows_with_other_columns_are_refused(row: Row) -> None:
    with pytest.raises(ValueError, match="table 'speeds': a row has the columns"):
        table("speeds", [ROWS[0], row])
    with pytest.raises(ValueError, match="table 'speeds': a row has the columns"):
        markdown({"speeds": [ROWS[0], row]}, "")
