"""One self-contained HTML file: what happened, in pictures and in an honest table."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from numpy.typing import NDArray

from dexworld.experiments.calibration import finite_pairs, gap

HEADS = {
    "who": "who",
    "episodes": "episodes",
    "success": "any time",
    "at_end": "at the end",
    "steps": "steps",
    "reward": "max reward",
    "latency": "s/plan p50 / p95",
    "evaluations": "candidates/episode",
}
"""The columns of a table, for terminals and documents."""
FLOOR_NAMES = {"noop": "doing nothing", "random": "random actions"}


def write_report(
    path: Path,
    metrics: Mapping[str, Any],
    episodes: Sequence[Mapping[str, Any]],
    videos: Path,
    config: str,
    command: str,
) -> None:
    """Write the report of one evaluation.

    Args:
        path: the file to write.
        metrics: what `metrics.json` holds.
        episodes: the lines of `episodes.jsonl`: results, `searches`, `pairs` and `errors`.
        videos: folder of the films, `<seed>.mp4`.
        config: the resolved configuration, YAML.
        command: what reproduces the evaluation.
    """
    template = Environment(
        loader=PackageLoader("dexworld.experiments"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        undefined=StrictUndefined,
        trim_blocks=True,
    ).get_template("report.html.j2")
    page = template.render(
        name=metrics["name"],
        env=metrics["env"],
        date=date.today().isoformat(),
        verdict=_verdict(metrics),
        success_rule=metrics["success_rule"],
        rows=table_rows(metrics),
        pairing_note=pairing_note(metrics),
        latency_note=_latency_note(metrics),
        diagnosis=metrics.get("diagnosis", []),
        videos=_films(videos, episodes),
        charts=[*_charts(episodes), *_error_charts(metrics.get("prediction_error", {}))],
        command=command,
        config=config,
        provenance=json.dumps(metrics["provenance"], indent=2),
    )
    unfinished = path.with_suffix(".part")
    unfinished.write_text(page, encoding="utf-8")
    unfinished.replace(path)


def table_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return the rows of the table, formatted: the run, its ceiling and its floors."""
    rows = [_row(metrics["agent"], metrics, main=True)]
    ceiling = metrics.get("ceiling")
    if ceiling and not ceiling.get("same_as_run"):
        rows.append(_row(ceiling["who"], ceiling))
    for name, floor in metrics.get("floors", {}).items():
        rows.append(_row(FLOOR_NAMES.get(name, name), floor))
    return rows


def markdown_table(metrics: Mapping[str, Any], command: str) -> str:
    """Return the table as Markdown, under the command that made it."""
    commit = metrics["provenance"]["git_commit"] or "unknown"
    made = f"`{command}`, {date.today().isoformat()}, commit {commit}"
    episodes = f"seed {metrics['seed']}, stage {metrics['stage']}"
    lines = [
        f"{made}; {episodes}; success: {metrics['success_rule']}.",
        "",
        " | ".join(["", *HEADS.values(), ""]).strip(),
        "|".join(["", *("---" for _ in HEADS), ""]),
    ]
    for row in table_rows(metrics):
        lines.append(" | ".join(["", *(str(row[key]) for key in HEADS), ""]).strip())
    lines += ["", pairing_note(metrics)]
    said = [f"- {sentence}" for sentence in metrics.get("diagnosis", [])]
    return "\n".join([*lines, *([""] if said else []), *said]) + "\n"


def pairing_note(metrics: Mapping[str, Any]) -> str:
    """Return which rows of the table can be compared episode by episode."""
    ceiling = metrics.get("ceiling")
    if not ceiling or ceiling.get("same_episodes", ceiling["same_as_run"]):
        return "All rows share the same episodes, so they can be compared in pairs."
    return (
        "The run and the floors share the same episodes, so they can be compared in pairs. The "
        "ceiling shares their seeds, but not their physics, and so not their episodes."
    )


def _row(who: str, figures: Mapping[str, Any], main: bool = False) -> dict[str, Any]:
    latency = figures["plan_latency_s"]
    steps = figures["mean_steps_to_success"]
    return {
        "who": who,
        "main": main,
        "episodes": figures["episodes"],
        "success": _rate(figures["success_rate"], figures["success_interval"]),
        "at_end": _rate(figures["success_rate_at_end"], figures["success_interval_at_end"]),
        "steps": "-" if steps is None else f"{steps:.1f}",
        "reward": f"{figures['mean_max_reward']:.3f}",
        "latency": f"{latency['p50']:.3f} / {latency['p95']:.3f}" if latency else "-",
        "evaluations": f"{figures['model_evaluations'] / figures['episodes']:.0f}",
    }


def _rate(rate: float, interval: Sequence[float]) -> str:
    return f"{100 * rate:.0f} % [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def _verdict(metrics: Mapping[str, Any]) -> str:
    successes = round(metrics["success_rate"] * metrics["episodes"])
    text = f"{successes} of {metrics['episodes']} episodes reached the goal"
    floors = metrics.get("floors", {})
    if floors:
        best = max(100 * floor["success_rate"] for floor in floors.values())
        text += f"; the better of the floors reached it in {best:.0f} % of the same episodes"
    return text + "."


def _latency_note(metrics: Mapping[str, Any]) -> str:
    parallel = metrics["parallel"]
    if parallel == 1:
        return "Seconds per plan are wall time, planning for one environment at a time."
    return (
        f"Seconds per plan are the wall time of planning for up to {parallel} environments at "
        "once, divided by their number."
    )


def _films(folder: Path, episodes: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    films = []
    for episode in episodes:
        path = folder / f"{episode['seed']}.mp4"
        if path.exists():
            reached = episode["steps_to_success"]
            outcome = f"goal reached after {reached} steps" if reached else "goal not reached"
            data = base64.b64encode(path.read_bytes()).decode()
            films.append({"seed": episode["seed"], "outcome": outcome, "data": data})
    return films


def _charts(episodes: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    charts = []
    pairs = [pair for episode in episodes for pair in episode["pairs"]]
    # None stands for a cost that was not finite.
    searches = [s for episode in episodes for s in episode["searches"] if None not in s]
    if searches:
        progress = relative_progress(searches)
        figure, axes = _axes("iteration", "change of the best cost / its largest size")
        low, middle, high = np.percentile(progress, [10, 50, 90], axis=0)
        steps = np.arange(1, progress.shape[1] + 1)
        axes.fill_between(steps, low, high, alpha=0.25, label="10 to 90 % of plans")
        axes.plot(steps, middle, label="median")
        axes.legend()
        caption = (
            f"How far the search lowers the cost, over {len(searches)} plans; a positive cost "
            "that falls to zero has changed by -1."
        )
        charts.append(_chart(figure, "search", caption))
    both = finite_pairs(pairs)
    if len(both):
        predicted, real = both.T
        figure, axes = _axes("cost that the plan predicted", "cost that came")
        axes.plot(predicted, real, ".", alpha=0.5)
        ends = [float(both.min()), float(both.max())]
        axes.plot(ends, ends, linewidth=0.8, color="grey")
        found = gap(pairs)
        correlation = found["correlation"]
        caption = (
            "Cost at the moment of the next plan, predicted and real; on the line the model is "
            f"right. Mean absolute gap {found['mean_absolute_gap']:.3g}"
            + ("." if correlation is None else f", correlation {correlation:.3f}.")
        )
        charts.append(_chart(figure, "calibration", caption))
    return charts


def _error_charts(errors: Mapping[str, Any]) -> list[dict[str, str]]:
    """Return a chart of the error over the horizon for each prediction."""
    charts = []
    for key, found in errors.items():
        figure, axes = _axes("environment steps since the model looked", f"distance of {key}")
        steps, plans = found["steps"], found["plans"]
        middle, high, still, near = (
            np.array(values, np.float64)  # None, which stands for infinity, becomes NaN
            for values in (found["median"], found["p90"], found["static"], plans["median"])
        )
        axes.fill_between(steps, middle, high, alpha=0.25, label="up to the 90th percentile")
        axes.plot(steps, middle, label="whole episode, median")
        axes.plot(plans["steps"], near, ".-", label="between plans, median")
        axes.plot(steps, still, "--", color="grey", label="if nothing moved, median")
        axes.legend()
        caption = (
            f"Distance between predicted and real {key} under the actions that were executed, in "
            f"the unit of the observation: from the first belief of {found['episodes'][0]} episodes "
            "on without another look, and from each plan to the next."
        )
        charts.append(_chart(figure, f"prediction error of {key}", caption))
    return charts


def relative_progress(searches: Sequence[Sequence[float]]) -> NDArray[np.float64]:
    """Return `(c_i - c_0) / max_j |c_j|` of the best costs of searches, `(searches, iterations)`.

    It says how far a search comes whatever the sign of the cost: it falls from 0, to -1 at most
    where the sign stays, to -2 where it changes. A search that ends early keeps its last value.
    """
    longest = max(len(search) for search in searches)
    costs = np.array([[*s, *[s[-1]] * (longest - len(s))] for s in searches], np.float64)
    size = np.abs(costs).max(axis=1, keepdims=True)
    change: NDArray[np.float64] = (costs - costs[:, :1]) / np.where(size > 0, size, 1.0)
    return change


def _axes(x_label: str, y_label: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure  # slow to import, and needed at the end

    figure = Figure(figsize=(5.2, 3.4), layout="constrained")
    axes = figure.subplots()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.grid(alpha=0.3)
    return figure, axes


def _chart(figure: Any, title: str, caption: str) -> dict[str, str]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    data = base64.b64encode(buffer.getvalue()).decode()
    return {"title": title, "caption": caption, "data": data}
