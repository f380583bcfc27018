"""Tables of trained agents: what each kind is worth over its seeds, and how it came there.

    python -m dexworld.experiments.agent_tables outputs/agents/* outputs/push_t_goal_state

Each folder is one that `dexworld-train-agent` wrote, or `dexworld-plan`: a planner, and the floors of
its task, are rows beside the agents. Where a folder of an agent holds `plan/metrics.json`, the
evaluation of its policy by `dexworld-plan output=<folder>/plan`, success is that one's; otherwise it
is that of the training's own last evaluation.

Success has its interval over the episodes of all seeds together, and the gap its standard error; both
take the same episodes under several seeds of training for independent ones.
"""

from __future__ import annotations

import argparse
import json
import math
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
TRAINED = "trained_in"
"""What is measured of agents that were trained, and of no others."""
NOTHING = "-"
"""Of what there is none."""

Runs = Mapping[str, Sequence[Mapping[str, Any]]]
"""What was measured, by kind of agent, one for each seed."""


def agent_tables(folders: Sequence[Path]) -> Tables:
    """Return the table of all kinds of agents, with planners and floors, and a curve of each kind.

    Raises:
        FileNotFoundError: a folder holds no finished training or evaluation.
        ValueError: there are no folders, or two seeds of a kind were evaluated at other times.
    """
    if not folders:
        raise ValueError("name at least one folder of dexworld-train-agent.")
    kinds: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
    others: dict[str, Row] = {}
    for folder in folders:
        measured = _measured(folder)
        if TRAINED in measured:
            kinds[_kind(measured)].append(measured)
        else:
            others |= _untrained(folder.name, measured)
    rows = [_row(kind, runs) for kind, runs in kinds.items()]
    tables: Tables = {"trained agents": [*rows, *others.values()]}
    return tables | {f"{kind}: curve": _curve(kind, runs) for kind, runs in kinds.items()}


def _measured(folder: Path) -> dict[str, Any]:
    """Return what was measured of a training or a planner, and as `judged` what counts."""
    file = folder / METRICS
    if not file.exists():
        raise FileNotFoundError(
            f"{folder} holds no {METRICS}: has dexworld-train-agent, or dexworld-plan, finished?"
        )
    measured: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    judged = folder / EVALUATED / METRICS
    source = json.loads(judged.read_text(encoding="utf-8")) if judged.exists() else measured
    told = ("episodes", "success_rate", "stage")
    return {**measured, "judged": {name: source[name] for name in told}}


def _untrained(name: str, measured: Mapping[str, Any]) -> dict[str, Row]:
    """Return the rows of a planner and of the floors of its task, by what they are."""
    stage = measured["stage"]
    named = {f"{measured['agent']}, {name}": measured}
    named |= {
        f"{floor}, {figures['episodes']} episodes ({stage})": figures
        for floor, figures in measured["floors"].items()
    }
    return {who: _plain_row(who, figures) for who, figures in named.items()}


def _plain_row(who: str, figures: Mapping[str, Any]) -> Row:
    reached = round(figures["success_rate"] * figures["episodes"])
    names = ("seeds", "real steps", "success", "by seed", "real return", "imagined return", "gap")
    row: Row = {"agent": who, **dict.fromkeys(names, NOTHING), "seconds": NOTHING}
    return row | {"success": _success(reached, figures["episodes"])}


def _success(reached: int, episodes: int) -> str:
    low, high = wilson_interval(reached, episodes)
    return f"{reached / episodes:.0%} [{low:.0%}, {high:.0%}]"


def _kind(measured: Mapping[str, Any]) -> str:
    """Return what the trainings share that differ in the seed."""
    place = measured[TRAINED]
    where = "in the simulator" if place == SIMULATOR else f"in {place}"
    rounds = f", {measured['rounds']} rounds" if measured["rounds"] > 1 else ""
    return f"{measured['algorithm']} {where}{rounds}, {_count(measured['imagined_decisions'])}"


def _count(decisions: int) -> str:
    return f"{decisions / 1e6:.3g}M" if decisions >= 1e6 else f"{decisions / 1e3:.3g}k"


def _row(kind: str, runs: Sequence[Mapping[str, Any]]) -> Row:
    rates = [run["judged"]["success_rate"] for run in runs]
    counts = [run["judged"]["episodes"] for run in runs]
    reached = sum(round(rate * count) for rate, count in zip(rates, counts, strict=True))
    return {
        "agent": kind,
        "seeds": ", ".join(str(run["seed"]) for run in runs),
        "real steps": _mean(runs, "real_steps"),
        "success": _success(reached, sum(counts)),
        "by seed": ", ".join(f"{rate:.0%}" for rate in rates),
        "real return": f"{_mean(runs, 'real_return'):.2f}",
        "imagined return": f"{_mean(runs, 'imagined_return'):.2f}",
        "gap": _gap(runs),
        "seconds": _mean(runs, "seconds"),
    }


def _gap(runs: Sequence[Mapping[str, Any]], prefix: str = "") -> str:
    """Return the mean exploitation gap, and its standard error where the runs tell theirs."""
    mean = f"{_mean(runs, f'{prefix}exploitation_gap'):.2f}"
    told = [run.get(f"{prefix}exploitation_gap_error") for run in runs]
    errors = [error for error in told if error is not None and not math.isnan(error)]
    if len(errors) < len(runs):
        return mean
    return f"{mean} ± {math.hypot(*errors) / len(errors):.2f}"


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
                "real return": f"{_mean(moment, 'model/real_return'):.2f}",
                "imagined return": f"{_mean(moment, 'model/imagined_return'):.2f}",
                "gap": _gap(moment, "model/"),
            }
        )
    return rows


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dexworld.experiments.agent_tables",
        description="Write tables of trained agents as Markdown; seeds of a kind are put together.",
    )
    parser.add_argument(
        "folders", nargs="+", type=Path, help="of dexworld-train-agent, or dexworld-plan"
    )
    folders = parser.parse_args().folders
    try:
        stages = {_measured(folder)["judged"]["stage"] for folder in folders}
        made = (
            f"Success on: {', '.join(sorted(stages))}. Intervals, and the standard error of the gap, "
            "take the same episodes under several seeds for independent ones."
        )
        sys.stdout.write(markdown(agent_tables(folders), made))
    except USER_ERRORS as error:
        fail(error)


if __name__ == "__main__":
    main()
