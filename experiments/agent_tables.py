"""Tables of trained agents: what each kind is worth over its seeds, and how it came there.

    python -m dexworld.experiments.agent_tables outputs/agents/*

Each folder is one that `dexworld-train-agent` wrote. Where it holds `plan/metrics.json`, the
evaluation of its policy by `dexworld-plan output=<folder>/plan`, success is that one's; otherwise it
is that of the training's own last evaluation.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dexworld.experiments.benchmark_tables import Row, Tables, markdown
from dexworld.experiments.command_line import USER_ERRORS, fail
from dexworld.experiments.statistics import wilson_interval

METRICS, EVALUATED = "metrics.json", "plan"
SIMULATOR = "simulator"
"""What an agent was trained in that was trained in no learned model."""

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""What was measured, by kind of agent, one for each seed."""


def agent_tables(folders: Sequence[Path]) -> Tables:
    """Return the table of all kinds of agents, and a curve of each.

    Raises:
        FileNotFoundError: a folder holds no finished training.
        ValueError: there are no folders, or two seeds of a kind were evaluated at other times.
    """
    if not folders:
        raise ValueError("name at least one folder of dexworld-train-agent.")
    kinds: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    for folder in folders:
        measured = _measured(folder)
        kinds[_kind(measured)].append(measured)
    tables: Tables = {"trained agents": [_row(kind, runs) for kind, runs in kinds.items()]}
    return tables | {f"{kind}: curve": _curve(kind, runs) for kind, runs in kinds.items()}


def _measured(folder: Path) -> dict[str, Any]:
    """Return what was measured of a training, and as `judged` what counts."""
    file = folder / METRICS
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no {METRICS}: has dexworld-train-agent finished?")
    trained: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    judged = folder / EVALUATED / METRICS
    source = json.loads(judged.read_text(encoding="utf-8")) if judged.exists() else trained
    told = ("episodes", "success_rate", "stage")
    return {**trained, "judged": {name: source[name] for name in told}}


def _kind(measured: Mapping[str, Any]) -> str:
    """Return what the trainings share that differ in the seed."""
    place = measured["trained_in"]
    where = "in the simulator" if place == SIMULATOR else f"in {place}"
    rounds = f", {measured['rounds']} rounds" if measured["rounds"] > 1 else ""
    return f"{measured['algorithm']} {where}{rounds}, {_count(measured['imagined_decisions'])}"


def _count(decisions: int) -> str:
    return f"{decisions / 1e6:.3g}M" if decisions >= 1e6 else f"{decisions / 1e3:.3g}k"


def _row(kind: str, runs: Sequence[Mapping[str, Any]]) -> Row:
    rates = [run["judged"]["success_rate"] for run in runs]
    counts = [run["judged"]["episodes"] for run in runs]
    reached = sum(round(rate * count) for rate, count in zip(rates, counts, strict=True))
    low, high = wilson_interval(reached, sum(counts))
    return {
        "agent": kind,
        "seeds": ", ".join(str(run["seed"]) for run in runs),
        "real steps": _mean(runs, "real_steps"),
        "success": f"{reached / sum(counts):.0%} [{low:.0%}, {high:.0%}]",
        "by seed": ", ".join(f"{rate:.0%}" for rate in rates),
        "real return": _mean(runs, "real_return"),
        "imagined return": _mean(runs, "imagined_return"),
        "gap": _mean(runs, "exploitation_gap"),
        "seconds": _mean(runs, "seconds"),
    }


def _mean(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    values = [run[name] for run in runs]
    return float("nan") if None in values else float(statistics.fmean(values))


def _curve(kind: str, runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return means over seeds at every evaluation on the way."""
    times = [tuple(each["steps"] for each in run["evaluations"]) for run in runs]
    if len(set(times)) > 1:
        raise ValueError(
            f"{kind}: the seeds were evaluated after {' and '.join(map(str, set(times)))} decisions; "
            "give folders of one setting."
        )
    rows: list[Row] = []
    for moment in zip(*(run["evaluations"] for run in runs), strict=True):
        rates = [each["eval/success_rate"] for each in moment]
        rows.append(
            {
                "imagined decisions": int(moment[0]["steps"]),
                "real steps": _mean([{"": each.get("model/real_steps")} for each in moment], ""),
                "success": f"{statistics.fmean(rates):.0%}",
                "lowest, highest": f"{min(rates):.0%}, {max(rates):.0%}",
                "imagined success": f"{_mean(moment, 'model/imagined_success_rate'):.0%}",
                "real return": _mean(moment, "model/real_return"),
                "imagined return": _mean(moment, "model/imagined_return"),
                "gap": _mean(moment, "model/exploitation_gap"),
            }
        )
    return rows


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dexworld.experiments.agent_tables",
        description="Write tables of trained agents as Markdown; seeds of a kind are put together.",
    )
    parser.add_argument("folders", nargs="+", type=Path, help="of dexworld-train-agent")
    folders = parser.parse_args().folders
    try:
        stages = {_measured(folder)["judged"]["stage"] for folder in folders}
        sys.stdout.write(markdown(agent_tables(folders), f"Success on: {', '.join(stages)}."))
    except USER_ERRORS as error:
        fail(error)


if __name__ == "__main__":
    main()
