"""A progress bar of episodes, where somebody can see it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from dexworld.experiments.evaluation import EpisodeResult


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
