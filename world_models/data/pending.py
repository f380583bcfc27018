"""Finished episodes that wait, each in its own small file, until they become a shard."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from .layout import PENDING, UNFINISHED, replacing
from .statistics import Statistics, from_lists, to_lists

_DESCRIPTION = b"dexworld"
_NUMBERED = re.compile(r"episode-(\d+)\.")


@dataclass(frozen=True)
class PendingEpisode:
    """What `meta/episodes` will say about an episode."""

    index: int
    length: int
    size: int
    """Bytes of its frames and videos."""
    task: str
    extras: dict[str, Any]
    statistics: Statistics


class PendingEpisodes:
    """The folder `.pending` of a dataset.

    An episode is there if its Arrow file is: the videos are written before it, and the file
    appears in one step. Everything else is left over from a writer that was killed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder / PENDING

    def add(
        self,
        index: int,
        table: pa.Table,
        videos: Mapping[str, bytes],
        *,
        task: str,
        extras: Mapping[str, Any],
        statistics: Statistics,
    ) -> PendingEpisode:
        """Store an episode; it is safe when this returns."""
        for key, video in videos.items():
            with replacing(self.video(index, key)) as unfinished:
                unfinished.write_bytes(video)
        size = table.nbytes + sum(len(video) for video in videos.values())
        description = {
            "task": task,
            "size": size,
            "extras": extras,
            "statistics": to_lists(statistics),
        }
        schema = table.schema.with_metadata({_DESCRIPTION: json.dumps(description)})
        with (
            replacing(self._frames(index)) as unfinished,
            pa.OSFile(str(unfinished), "wb") as file,
            pa.ipc.new_file(file, schema) as writer,
        ):
            writer.write_table(table)
        return PendingEpisode(index, len(table), size, task, dict(extras), statistics)

    def read(self, index: int) -> pa.Table:
        """Return the frames of an episode."""
        with pa.memory_map(str(self._frames(index))) as file, pa.ipc.open_file(file) as reader:
            return reader.read_all()

    def video(self, index: int, key: str) -> Path:
        """Return where the video of an episode is."""
        return self.folder / f"episode-{index:06d}.{key}.mp4"

    def all_from(self, first: int) -> list[PendingEpisode]:
        """Return the episodes from `first` on, in order.

        Raises:
            ValueError: one between others is missing.
        """
        indices = sorted(
            index for path in self.folder.glob("*.arrow") if (index := _number(path)) >= first
        )
        expected = list(range(first, first + len(indices)))
        if indices != expected:
            missing = min(set(expected) - set(indices))
            raise ValueError(
                f"{self._frames(missing)} is missing, and later episodes are there: restore it, "
                f"or delete the files in {self.folder} to lose the episodes from {missing} on."
            )
        return [self._described(index) for index in indices]

    def remove(self, first: int, last: int) -> None:
        """Remove what is left of the episodes `first` to `last`, exclusive."""
        for path in self.folder.glob("episode-*"):
            if first <= _number(path) < last:
                path.unlink(missing_ok=True)

    def remove_others(self, kept: int) -> None:
        """Remove the remains of unfinished episodes, keeping the first `kept` of the dataset."""
        for path in self.folder.glob("episode-*"):
            if _number(path) >= kept or path.suffix == UNFINISHED:
                path.unlink(missing_ok=True)

    def remove_folder(self) -> None:
        """Remove the folder if nothing is in it."""
        with suppress(OSError):
            self.folder.rmdir()

    def _frames(self, index: int) -> Path:
        return self.folder / f"episode-{index:06d}.arrow"

    def _described(self, index: int) -> PendingEpisode:
        table = self.read(index)
        description = json.loads(table.schema.metadata[_DESCRIPTION])
        return PendingEpisode(
            index,
            len(table),
            description["size"],
            description["task"],
            description["extras"],
            from_lists(description["statistics"]),
        )


def _number(path: Path) -> int:
    match = _NUMBERED.match(path.name)
    return int(match[1]) if match else -1
