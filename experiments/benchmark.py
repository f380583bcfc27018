"""`dexworld-benchmark`: tables of accuracy, search and speed, each measured in one run."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table

from dexworld.experiments.command_line import fail, nearest, provenance

Row = dict[str, str | int | float]
Tables = dict[str, list[Row]]


def _twin(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_envs import GOLDEN, twin_error

    golden = Path(arguments.golden or GOLDEN)
    if not golden.exists():
        fail(f"{golden} is not there: give the golden trajectories by --golden, or use a checkout.")
    return {"error of the twin against pymunk": twin_error(golden)}


def _envs(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_envs import push_t_speed
    from dexworld.experiments.benchmark_rollouts import rollout_speed

    return {
        "PushT against gym-pusht, one core": push_t_speed(arguments.seconds),
        "rollouts of PushT against a Python loop": rollout_speed(),
    }


def _planners(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_planners import linear_quadratic_table
    from dexworld.experiments.benchmark_push_t import push_t_planners

    return {
        "bounded linear-quadratic problem": linear_quadratic_table(seeds=arguments.seeds),
        "PushT, first plan towards a goal 25 steps ahead": push_t_planners(arguments.problems),
    }


TABLES: dict[str, Callable[[argparse.Namespace], Tables]] = {
    "planners": _planners,
    "envs": _envs,
    "twin": _twin,
}


def run(names: Sequence[str], arguments: argparse.Namespace, console: Console) -> Tables:
    """Measure the named tables, print them, and return them."""
    tables: Tables = {}
    for name in names:
        with console.status(f"measuring {name}"):
            measured = TABLES[name](arguments)
        for title, rows in measured.items():
            console.print(table(title, rows))
        tables |= measured
    return tables


def table(title: str, rows: Sequence[Row]) -> Table:
    """Return a table of rows that share their keys."""
    drawn = Table(title=title, title_justify="left")
    for key, value in rows[0].items():
        drawn.add_column(
            key.replace("_", " "), justify="left" if isinstance(value, str) else "right"
        )
    for row in rows:
        drawn.add_row(*(_shown(value) for value in row.values()))
    return drawn


def _shown(value: str | float) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="dexworld-benchmark",
        description="Measure tables; what they compare is measured in one run on this machine.",
        epilog="twin: error of the MuJoCo PushT against pymunk after 1, 5, 10, 25 steps. "
        "envs: steps/s and frames/s against gym-pusht, rollouts against a Python loop. "
        "planners: final cost against evaluations and time, on a bounded linear-quadratic "
        "problem and on PushT.",
    )
    parser.add_argument(
        "tables", nargs="*", metavar="TABLE", help=f"{', '.join(TABLES)}; all where none is named"
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each speed")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of the search")
    parser.add_argument("--problems", type=int, default=8, help="PushT goals to plan for")
    parser.add_argument("--golden", help="trajectories of the public PushT (.npz)")
    parser.add_argument("--output", help="write the tables to this JSON file too")
    arguments = parser.parse_args()
    unknown = [name for name in arguments.tables if name not in TABLES]
    if unknown:
        fail(f"there is no table {unknown[0]!r}. {nearest(unknown[0], TABLES)}")
    torch.set_num_threads(1)
    tables = run(arguments.tables or list(TABLES), arguments, Console(file=sys.stdout))
    if arguments.output:
        record = {"tables": tables, "provenance": provenance(seed=0)}
        Path(arguments.output).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
