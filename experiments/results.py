"""The folder of an evaluation: written episode by episode, so that an interrupted one goes on."""

from __future__ import annotations

import json
import math
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

EXISTING = ("refuse", "resume", "overwrite")


class ResultsFolder:
    """Where an evaluation leaves `config.yaml`, `episodes.jsonl`, `metrics.json` and the rest.

    Args:
        path: the folder.
        config: the resolved configuration, YAML.
        decisive: what decides what an episode is, YAML: a part of the settings, and under `code`
            the versions that ran; episodes of another one are never mixed in.
        existing: what to do with results that are there: `refuse`, `resume` or `overwrite`.

    Raises:
        ValueError: an unknown `existing`, or resuming with other decisive settings, or by other code.
        FileExistsError: there are results, and `existing` is `refuse`.
    """

    def __init__(self, path: Path, config: str, decisive: str, existing: str) -> None:
        if existing not in EXISTING:
            raise ValueError(f"existing={existing!r}: choose one of {list(EXISTING)}.")
        self.path = path
        self._episodes = path / "episodes.jsonl"
        self._decisive = path / "decisive.yaml"
        if self.episodes():
            self._treat_existing(decisive, existing)
        path.mkdir(parents=True, exist_ok=True)
        # A line that was cut off must not be continued by the next one.
        _write(self._episodes, "".join(json.dumps(line) + "\n" for line in self.episodes()))
        _write(self._decisive, decisive)
        _write(path / "config.yaml", config)

    def _treat_existing(self, decisive: str, existing: str) -> None:
        if existing == "refuse":
            raise FileExistsError(
                f"{self.path} holds results. Choose another output, or existing=resume to "
                "evaluate what is missing, or existing=overwrite."
            )
        if existing == "overwrite":
            for name in ("videos", "tensorboard"):
                shutil.rmtree(self.path / name, ignore_errors=True)
            for name in ("episodes.jsonl", "metrics.json", "report.html", "table.md"):
                (self.path / name).unlink(missing_ok=True)
            return
        before, now = (_flat(yaml) for yaml in (self._decisive.read_text("utf-8"), decisive))
        changes = [
            f"{name}: {before.get(name)} then, {now.get(name)} now"
            for name in sorted(before.keys() | now.keys())
            if before.get(name) != now.get(name)
        ]
        if changes:
            code_only = all(change.startswith("code.") for change in changes)
            what = "by other code, it changed since" if code_only else "with other settings"
            raise ValueError(
                f"{self.path} was evaluated {what} ({'; '.join(changes)}). "
                "Choose another output, or existing=overwrite."
            )

    def episodes(self) -> list[dict[str, Any]]:
        """Return the finished episodes; a line that was cut off by a crash is dropped."""
        if not self._episodes.exists():
            return []
        whole = []
        for line in self._episodes.read_text(encoding="utf-8").splitlines():
            try:
                whole.append(json.loads(line))
            except json.JSONDecodeError:
                break
        return whole

    def append(self, episode: Mapping[str, Any]) -> None:
        """Add a finished episode, on the disk before this returns."""
        with self._episodes.open("a", encoding="utf-8") as file:
            file.write(json.dumps(episode) + "\n")
            file.flush()
            os.fsync(file.fileno())

    def write_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Write `metrics.json`."""
        _write(self.path / "metrics.json", json.dumps(finite(metrics), indent=2) + "\n")

    def write_table(self, table: str) -> None:
        """Write `table.md`."""
        _write(self.path / "table.md", table)


def finite(value: Any) -> Any:
    """Return `value` with None in place of numbers that JSON does not know."""
    if isinstance(value, Mapping):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _flat(yaml: str) -> dict[str, Any]:
    """Return the leaves of a YAML document by their dotted paths."""
    leaves: dict[str, Any] = {}

    def visit(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping) and value:
            for key, each in value.items():
                visit(f"{prefix}.{key}" if prefix else str(key), each)
        else:
            leaves[prefix] = value

    visit("", OmegaConf.to_container(OmegaConf.create(yaml)))
    return leaves


def _write(path: Path, text: str) -> None:
    """Write a file that is either the old one or the whole new one."""
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)
