"""The card of a dataset: what it is, how it was made, and a picture of where it has been."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dexworld.agents.episodes import ACTION, SUCCESS
from dexworld.agents.self_play import SelfPlaySettings
from dexworld.experiments.explorers import explorer_settings
from dexworld.experiments.trajectories import COLLECTION
from dexworld.world_models.data.lerobot import Dataset

CARD, PICTURE = "README.md", "coverage.png"
ROWS = (
    "An episode of T actions has T + 1 rows. Row t holds the observation before action t, the "
    "action, and under `next.` what came of it; the last row holds the last observation, and "
    "repeats the rest."
)
_STILL = 2e-4  # of the workspace's width: an object that moved less in a step stood still
_NEAR = 0.07  # of the workspace's width: from the lines between points of the object


@dataclass(frozen=True)
class Coverage:
    """What a dataset has seen of a workspace; all steps of all episodes."""

    middle: NDArray[np.float64]
    """Middle of the object's points before each step, as a share of the workspace, `(N, D)`."""
    agent: NDArray[np.float64]
    """The agent likewise, `(N, D)`."""
    angle: NDArray[np.float64]
    """Direction from the last but one to the last point of the object, `(N,)` [rad]."""
    moved: NDArray[np.bool_]
    """Whether the step moved the object, `(N,)`."""
    near: NDArray[np.bool_]
    """Whether the agent was near the object, `(N,)`."""

    def figures(self) -> dict[str, float]:
        """Return the shares that the card tells."""
        cells, _ = np.histogramdd(self.middle[:, :2], bins=8, range=[(0.0, 1.0)] * 2)
        return {
            "object moves": float(self.moved.mean()),
            "agent near object": float(self.near.mean()),
            "object in cells of an 8 x 8 grid": float((cells > 0).mean()),
        }


def coverage(dataset: Dataset, play: SelfPlaySettings) -> Coverage | None:
    """Return what a dataset has seen, or None where it holds no such observations."""
    keys = [f"observation.{play.object_key}", f"observation.{play.agent_key}"]
    if not set(keys) <= set(dataset.features):
        return None
    low, high = np.array(play.low, np.float64), np.array(play.high, np.float64)
    size, points_size = len(low), dataset.features[keys[0]].shape[0]
    if size < 2 or dataset.features[keys[1]].shape != (size,) or points_size % size:
        return None
    columns = dataset.columns(keys)
    agent = columns[keys[1]].astype(np.float64)
    points = columns[keys[0]].reshape(len(agent), -1, size).astype(np.float64)
    if points.shape[1] < 2:
        return None
    last = np.cumsum(dataset.episodes["length"]) - 1
    before = np.delete(np.arange(len(agent)), last)  # rows that an action follows
    width = float((high - low).mean())
    moved = np.abs(points[before + 1] - points[before]).max((1, 2)) > _STILL * width
    ahead = points[before, -1] - points[before, -2]
    return Coverage(
        middle=(points[before].mean(1) - low) / (high - low),
        agent=(agent[before] - low) / (high - low),
        angle=np.arctan2(ahead[:, 1], ahead[:, 0]) % (2 * np.pi),
        moved=moved,
        near=_distance(agent[before], points[before]) < _NEAR * width,
    )


def _distance(agent: NDArray[np.float64], points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far positions `(N, D)` are from the lines between points `(N, K, D)`."""
    nearest = np.full(len(agent), np.inf)
    for one in range(points.shape[1]):
        for other in range(one):
            line = points[:, one] - points[:, other]
            way = agent - points[:, other]
            length = np.maximum((line * line).sum(1), 1e-12)
            along = np.clip((way * line).sum(1) / length, 0.0, 1.0)
            away = way - along[:, None] * line
            nearest = np.minimum(nearest, np.sqrt((away * away).sum(1)))
    return nearest


def draw(seen: Coverage, path: Path) -> None:
    """Draw where object and agent have been, and which way the object pointed."""
    from matplotlib.figure import Figure  # slow to import, and needed at the end

    figure = Figure(figsize=(11.0, 3.4), layout="constrained")
    for place, positions, title in ((131, seen.middle, "object"), (132, seen.agent, "agent")):
        axes = figure.add_subplot(place)
        counts, *_ = np.histogram2d(
            positions[:, 0], positions[:, 1], bins=32, range=[(0, 1), (0, 1)]
        )
        shown = axes.imshow(
            100 * counts.T / max(len(positions), 1), extent=(0.0, 1.0, 1.0, 0.0), cmap="viridis"
        )
        figure.colorbar(shown, ax=axes, label="% of steps", shrink=0.8)
        axes.set_title(f"where the {title} is")
    axes = figure.add_subplot(133, projection="polar")
    bins = np.linspace(0.0, 2 * np.pi, 25)
    counts, _ = np.histogram(seen.angle, bins)
    axes.bar(bins[:-1], 100 * counts / max(len(seen.angle), 1), width=bins[1], align="edge")
    axes.set_title("% of steps by the object's angle")
    unfinished = path.with_name(path.name + ".part")
    figure.savefig(unfinished, format="png", dpi=80, metadata={"Software": None})
    unfinished.replace(path)


def write_card(folder: Path, command: str) -> dict[str, Any]:
    """Write `README.md` and, where positions are known, `coverage.png`; return the figures.

    Args:
        folder: a finished dataset of `dexworld-collect`.
        command: what collected it.
    """
    dataset = Dataset(folder)
    play = _play(dataset.info["dexworld"][COLLECTION])
    seen = None if play is None else coverage(dataset, play)
    success = dataset.columns([SUCCESS])[SUCCESS]
    starts = np.asarray(dataset.episodes["dataset_from_index"])
    lengths = np.asarray(dataset.episodes["length"])
    steps = int(lengths.sum()) - len(lengths)
    figures: dict[str, Any] = {
        "episodes": len(lengths),
        "steps": steps,
        "seconds": steps / dataset.fps,
        "episodes with success": float(np.logical_or.reduceat(success, starts).mean()),
    }
    if seen is not None:
        figures |= seen.figures()
        draw(seen, folder / PICTURE)
    text = _card(dataset, command, figures, seen is not None)
    unfinished = folder / f"{CARD}.part"
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(folder / CARD)
    return figures


def _play(made: Mapping[str, Any]) -> SelfPlaySettings | None:
    """Return where object and agent are observed: as self-play was told, or in PushT."""
    explorer = dict(made["explorer"])
    if explorer.pop("name") == "self_play":
        settings: SelfPlaySettings = explorer_settings(SelfPlaySettings, explorer)
        return settings
    return SelfPlaySettings() if "/PushT" in made["env"]["id"] else None


def _card(dataset: Dataset, command: str, figures: Mapping[str, Any], drawn: bool) -> str:
    own = dataset.info["dexworld"]
    made, provenance = own[COLLECTION], own["provenance"]
    env, explorer = made["env"], dict(made["explorer"])
    name = explorer.pop("name")
    packages = ", ".join(f"{k} {v}" for k, v in provenance["packages"].items() if v)
    lines = [
        "---",
        "task_categories: [robotics]",
        "tags: [LeRobot, dexworld]",
        "---",
        "",
        f"# {name} in {env['id']}",
        "",
        f"Made by `dexworld-collect`; a LeRobot dataset {dataset.info['codebase_version']}.",
        "",
        "| what | |",
        "|---|---|",
        *(f"| {key} | {shown(key, value)} |" for key, value in figures.items()),
        "",
    ]
    if drawn:
        lines += [f"![where object and agent have been]({PICTURE})", ""]
    lines += [
        "## How",
        "",
        "```",
        command,
        "```",
        "",
        "| setting | |",
        "|---|---|",
        f"| environment | `{env['id']}`, {env['steps']} steps an episode, at {dataset.fps:g} Hz |",
        f"| its arguments | `{json.dumps(env['kwargs'])}` |",
        f"| explorer | `{name}` `{json.dumps(explorer)}` |",
        f"| seed | {made['seed']}, stage `{made['stage']}`; each episode's own in `meta/episodes` |",
        f"| code | {provenance['git_commit'] or 'no commit'}, digest {provenance['code_fingerprint']} |",
        f"| packages | python {provenance['python']}, {packages} |",
        "",
        "The same settings give the same episodes, on any number of workers.",
        "",
        "## Columns",
        "",
        ROWS,
        "",
        "| column | type | shape |",
        "|---|---|---|",
        *(
            f"| `{key}` | {feature.dtype} | {list(feature.shape)} |"
            for key, feature in dataset.features.items()
            if key.startswith(("observation.", "next.")) or key == ACTION
        ),
        "",
    ]
    return "\n".join(lines)


def shown(key: str, value: float) -> str:
    """Return a figure as text: counts whole, shares in percent."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:,.1f}" if key == "seconds" else f"{100 * value:.1f} %"
