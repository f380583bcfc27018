"""Where command lines write for people, and a progress bar where somebody can see it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dexworld.experiments.evaluation import EpisodeResult

WIDTH = 160
"""Columns of the tables in a file or a pipe, which do not say how wide they are."""


def console_of_errors() -> Console:
    """Return the console on standard error; `COLUMNS` says how wide it is if no terminal does."""
    console = Console(stderr=True)
    if console.is_terminal or "COLUMNS" in os.environ:
        return console
    return Console(stderr=True, width=WIDTH)


def tracked(
    results: Iterable[EpisodeResult], total: int, title: str, console: Console
) -> Iterator[EpisodeResult]:
    """Yield the results, with a progress bar where somebody can see it."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TextColumn("{task.fields[successes]} reached the goal"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task(title, total=total, successes=0)
        successes = 0
        for result in results:
            successes += bool(result.success)
            progress.update(task, advance=1, successes=successes)
            yield result
