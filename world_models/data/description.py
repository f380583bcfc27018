"""The description of a dataset, `meta/info.json`: read, made and compared."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .features import VIDEO, Feature
from .layout import (
    CHUNK_SIZE,
    DATA,
    DATA_MEGABYTES,
    INFO,
    VERSION,
    VIDEO_MEGABYTES,
    VIDEOS,
)

OWN_INFO = "dexworld"
"""Entry of `meta/info.json` that holds what this package adds."""


@dataclass(frozen=True)
class Description:
    """What a writer says about its dataset."""

    features: Mapping[str, Feature]
    fps: float
    robot_type: str
    own: Mapping[str, Any] = field(default_factory=dict)
    """Goes under `dexworld`."""

    def __post_init__(self) -> None:
        """Raise `ValueError` if `own` is not JSON."""
        try:
            json.dumps(dict(self.own), allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"info={self.own!r} cannot be written as JSON: {error}.") from error

    def info(self, episodes: int, frames: int, tasks: int) -> dict[str, Any]:
        """Return the content of `meta/info.json`."""
        videos = any(feature.dtype == VIDEO for feature in self.features.values())
        return {
            "codebase_version": VERSION,
            "robot_type": self.robot_type,
            "total_episodes": episodes,
            "total_frames": frames,
            "total_tasks": tasks,
            "chunks_size": CHUNK_SIZE,
            "data_files_size_in_mb": DATA_MEGABYTES,
            "video_files_size_in_mb": VIDEO_MEGABYTES,
            "fps": self.fps,
            "splits": {"train": f"0:{episodes}"},
            "data_path": DATA,
            "video_path": VIDEOS if videos else None,
            "features": self._entries(),
            OWN_INFO: dict(self.own),
        }

    def added_to(self, info: Mapping[str, Any]) -> Description:
        """Return this description with what `info` says under `dexworld` and this does not."""
        return replace(self, own={**info[OWN_INFO], **self.own})

    def differences(self, info: Mapping[str, Any]) -> list[str]:
        """Return why episodes described by this cannot be added to the dataset of `info`."""
        if OWN_INFO not in info:
            return ["it was written by other software"]
        found = []
        if info["fps"] != self.fps:
            found.append(f"it has {info['fps']} frames per second, not {self.fps}")
        if info["robot_type"] != self.robot_type:
            found.append(f"its robot_type is {info['robot_type']!r}, not {self.robot_type!r}")
        there = {key: _shown(entry) for key, entry in info["features"].items()}
        here = {key: _shown(entry) for key, entry in self._entries().items()}
        for key in {**there, **here}:
            if key not in here:
                found.append(f"it has the feature {key!r}, which is not given")
            elif key not in there:
                found.append(f"it lacks the feature {key!r}")
            elif there[key] != here[key]:
                found.append(f"its feature {key!r} is {there[key]}, not {here[key]}")
        return found

    def _entries(self) -> dict[str, Any]:
        return {key: feature.to_info(self.fps) for key, feature in self.features.items()}


def read_info(folder: Path) -> dict[str, Any]:
    """Return `meta/info.json`.

    Raises:
        FileNotFoundError: the folder is not a dataset.
        ValueError: it is of another version, or its description is damaged.
    """
    path = folder / INFO
    try:
        info = json.loads(path.read_text(encoding="utf-8"))
        version = info["codebase_version"]
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(
            f"{folder} is not a LeRobot dataset: it has no {INFO}. Give the folder that does."
        ) from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is damaged ({error}): restore it from a copy.") from error
    if version != VERSION:
        raise ValueError(
            f"{folder} is a LeRobot dataset {version}, and only {VERSION} is read: convert it with "
            "the lerobot library."
        )
    return dict(info)


def _shown(entry: Mapping[str, Any]) -> str:
    return f"{entry['dtype']} {tuple(entry['shape'])} {entry.get('names') or ''}".strip()
