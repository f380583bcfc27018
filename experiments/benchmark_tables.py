"""Measured rows as tables, in a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.table import Table

Row = dict[str, str | int | float]
"""One line of a table, by column."""
Tables = dict[str, list[Row]]
"""Rows by the title of their table."""


def table(title: str, rows: Sequence[Row]) -> Table:
    """Return a table for the terminal; raise `ValueError` unless its rows share their columns."""
    drawn = Table(title=title, title_justify="left")
    for head, right in zip(_heads(title, rows), _to_the_right(rows), strict=True):
        drawn.add_column(head, justify="right" if right else "left")
    for row in rows:
        drawn.add_row(*(_shown(value) for value in row.values()))
    return drawn


def markdown(tables: Mapping[str, Sequence[Row]], made: str) -> str:
    """Return tables as Markdown, under the line that says what made them.

    Raises:
        ValueError: the rows of a table do not share their columns.
    """
    lines = [made]
    for title, rows in tables.items():
        rules = ["---:" if right else "---" for right in _to_the_right(rows)]
        lines += ["", f"### {title}", "", _line(_heads(title, rows)), f"|{'|'.join(rules)}|"]
        lines += [_line(_shown(value) for value in row.values()) for row in rows]
    return "\n".join(lines) + "\n"


def _heads(title: str, rows: Sequence[Row]) -> list[str]:
    for row in rows:
        if list(row) != list(rows[0]):
            raise ValueError(
                f"table {title!r}: a row has the columns {list(row)}, the first {list(rows[0])}."
            )
    return [key.replace("_", " ") for key in rows[0]]


def _to_the_right(rows: Sequence[Row]) -> list[bool]:
    return [not isinstance(value, str) for value in rows[0].values()]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _shown(value: str | float) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
