"""Writes LeRobot datasets v3.0 that survive being killed at any moment."""

from __future__ import annotations

import math
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .description import Description, read_info
from .episodes import (
    checked_extras,
    extra_types,
    read_episodes,
    read_tasks,
    statistics_of,
    write_tasks,
)
from .features import INDICES, VIDEO, Feature, checked_columns
from .images import decode_png, encode_png
from .layout import (
    CACHE,
    CHUNK_SIZE,
    DATA_MEGABYTES,
    INFO,
    PENDING,
    STATISTICS,
    TASKS,
    UNFINISHED,
    VIDEO_MEGABYTES,
    locked,
    write_json,
)
from .pending import PendingEpisode, PendingEpisodes
from .shards import remove_shards, schema_of, write_shard
from .statistics import Statistics, chosen_pictures, of_numbers, of_pictures, to_lists, together
from .videos import count_frames, encode_mp4, read_mp4

Frames = NDArray[Any] | Sequence[bytes] | bytes
"""One feature of an episode: `(T, *shape)`, PNG files, or for a video an mp4 file."""


@dataclass(frozen=True)
class _Shards:
    """What the shards hold together, as `meta/info.json` says."""

    count: int = 0
    episodes: int = 0
    frames: int = 0
    statistics: Statistics | None = None


class DatasetWriter:
    """Writes episodes into a LeRobot dataset v3.0; a context manager.

    An episode is safe when `add_episode` returns: a process killed at any moment loses at most
    the one it is adding. Finished episodes wait as small files in `.pending`; every
    `episodes_per_file` of them become a shard, and then `meta/info.json` counts them. Readers see
    what it counts, so never a part of a shard. After a crash `existing="append"` goes on where it
    stopped, and `recover` only finishes what is there.

    What an episode costs does not depend on how many there are. Only one process at a time can
    write a dataset.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        features: Mapping[str, Feature],
        fps: float,
        *,
        robot_type: str,
        info: Mapping[str, Any] = {},
        existing: str = "error",
        episodes_per_file: int = 100,
    ) -> None:
        """Create the dataset, or open it.

        Args:
            folder: where the dataset is, or is to be.
            features: the columns of a frame; `timestamp`, `frame_index`, `episode_index`, `index`
                and `task_index` are added.
            fps: frames per second.
            robot_type: what acts, for `meta/info.json`.
            info: further entries of `meta/info.json`, under `dexworld`; added to what is there.
            existing: what to do with a dataset that is there: `error`, `append` or `overwrite`.
            episodes_per_file: episodes in a shard, unless its files grow too large before.

        Raises:
            BlockingIOError: another process is writing this dataset.
            FileExistsError: there is a dataset already, or something else.
            ValueError: a feature cannot be stored, or the dataset there is another one.
        """
        if existing not in ("error", "append", "overwrite"):
            raise ValueError(f"existing={existing!r}: choose 'error', 'append' or 'overwrite'.")
        if not 0 < fps < math.inf:
            raise ValueError(f"fps is {fps}: it must be a positive number.")
        if episodes_per_file < 1:
            raise ValueError(f"episodes_per_file is {episodes_per_file}: it must be at least 1.")
        if not features:
            raise ValueError("a dataset needs at least one feature.")
        for key, feature in features.items():
            feature.check(key)
        self.folder = Path(folder)
        self.fps = int(fps) if float(fps).is_integer() else float(fps)
        self.features = {**features, **INDICES}
        self._given = dict(features)
        self._schema = schema_of(self.features)
        self._description = Description(self.features, self.fps, robot_type, info)
        self._episodes_per_file = episodes_per_file
        self._files = PendingEpisodes(self.folder)
        self._shards = _Shards()
        self._pending: list[PendingEpisode] = []
        self._tasks: list[str] = []
        self._extras: dict[str, type] | None = None
        self._closed = False
        busy = f"another process is writing {self.folder}: wait for it, or take another folder."
        with ExitStack() as stack:
            stack.callback(self._files.remove_folder)
            stack.enter_context(locked(self.folder / PENDING / "lock", busy))
            self._open(existing)
            self._held = stack.pop_all()

    @property
    def episodes(self) -> int:
        """Complete episodes on disk."""
        return self._shards.episodes + len(self._pending)

    @property
    def frames(self) -> int:
        """Frames of the complete episodes on disk."""
        return self._shards.frames + sum(episode.length for episode in self._pending)

    def __enter__(self) -> DatasetWriter:  # noqa: PYI034 - a checked annotation, in the tests
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def add_episode(
        self,
        frames: Mapping[str, Frames],
        *,
        task: str,
        extras: Mapping[str, Any] = {},
    ) -> int:
        """Append an episode; it is on disk when this returns.

        Args:
            frames: every feature, `(T, *shape)`. Pictures may be PNG files already (`encode_png`),
                a video an mp4 file (`encode_mp4`): workers encode in parallel.
            task: what the episode is about, in words.
            extras: further columns of `meta/episodes`: booleans, numbers or strings, the same
                ones in every episode.

        Returns:
            the index of the episode.

        Raises:
            ValueError: the frames or the extras do not fit the dataset.
        """
        if self._closed:
            raise ValueError(f"the writer of {self.folder} is closed: open it with 'append'.")
        columns, length = checked_columns(self._given, frames)
        extras, self._extras = checked_extras(extras, self._extras)
        index = self.episodes
        columns |= self._indices(index, length, task)
        statistics = {key: self._statistics(key, column) for key, column in columns.items()}
        videos, arrays = {}, {}
        for key, feature in self.features.items():
            column = columns[key]
            if feature.dtype == VIDEO:
                videos[key] = column if isinstance(column, bytes) else encode_mp4(column, self.fps)
            elif feature.pictures and not isinstance(column, list):
                arrays[key] = feature.to_arrow(encode_png(column))
            else:
                arrays[key] = feature.to_arrow(column)
        table = pa.table(arrays, schema=self._schema)
        episode = self._files.add(
            index, table, videos, task=task, extras=extras, statistics=statistics
        )
        self._pending.append(episode)
        if self._full():
            self._close_shard()
        return index

    def close(self) -> None:
        """Put what is pending into a shard, and let others write."""
        if self._closed:
            return
        self._closed = True
        with self._held:
            self._close_shard()
            self._files.remove_others(0)  # of an episode that was interrupted

    def _open(self, existing: str) -> None:
        there = (self.folder / INFO).exists()
        if not there:
            self._require_free()
        elif existing == "error":
            raise FileExistsError(
                f"{self.folder} holds a dataset already: choose existing='append' or 'overwrite', "
                "or another folder."
            )
        if there and existing == "append":
            self._resume()
        else:
            if there:
                self._clear()
            self._write_info(self._shards)

    def _require_free(self) -> None:
        """Raise unless nothing stands where the files of the dataset will."""
        for name in ("data", "meta", "videos"):
            for path in (self.folder / name).rglob("*"):
                if path.is_file() and path.suffix != UNFINISHED:
                    raise FileExistsError(
                        f"{self.folder} holds {path.relative_to(self.folder)} and no {INFO}: it is "
                        "not a dataset. Take another folder."
                    )

    def _clear(self) -> None:
        """Remove the dataset that is there; what else is in its folder stays."""
        self._files.remove(0, sys.maxsize)
        for name in ("data", "videos", CACHE, "meta/episodes"):
            if (self.folder / name).exists():
                shutil.rmtree(self.folder / name)
        # The description last: a process killed before leaves what can still be overwritten.
        for name in (TASKS, STATISTICS, INFO):
            (self.folder / name).unlink(missing_ok=True)

    def _resume(self) -> None:
        info = read_info(self.folder)
        differences = self._description.differences(info)
        if differences:
            raise ValueError(
                f"{self.folder} cannot be appended to: {'; '.join(differences)}. Choose what it "
                "has, existing='overwrite', or another folder."
            )
        self._description = self._description.added_to(info)
        table = read_episodes(self.folder, info)
        count = 0
        if len(table):
            last = table.slice(len(table) - 1)
            chunk, file = (
                last[f"meta/episodes/{name}_index"][0].as_py() for name in ("chunk", "file")
            )
            count = chunk * CHUNK_SIZE + file + 1
            self._extras = extra_types(table)
        statistics = statistics_of(table, self.features) if len(table) else None
        self._shards = _Shards(count, len(table), int(info["total_frames"]), statistics)
        self._tasks = read_tasks(self.folder)
        remove_shards(self.folder, count)
        self._files.remove(0, len(table))
        self._pending = self._files.all_from(len(table))
        self._files.remove_others(self.episodes)
        for episode in self._pending:
            self._task_index(episode.task)
            self._extras = {name: type(value) for name, value in episode.extras.items()}
        if self._full():  # killed between the last episode of a shard and the shard
            self._close_shard()

    def _indices(self, episode: int, length: int, task: str) -> dict[str, NDArray[Any]]:
        frame = np.arange(length)
        return {
            "timestamp": (frame / self.fps).astype(np.float32),
            "frame_index": frame,
            "episode_index": np.full(length, episode),
            "index": self.frames + frame,
            "task_index": np.full(length, self._task_index(task)),
        }

    def _task_index(self, task: str) -> int:
        if task not in self._tasks:
            self._tasks.append(task)
        return self._tasks.index(task)

    def _statistics(self, key: str, column: Any) -> dict[str, NDArray[Any]]:
        if not self.features[key].pictures:
            return of_numbers(column)
        if isinstance(column, bytes):
            chosen = chosen_pictures(count_frames(column))
            return of_pictures(read_mp4(column, chosen, self.fps))
        pictures = [column[index] for index in chosen_pictures(len(column))]
        return of_pictures(decode_png(pictures) if isinstance(column, list) else np.stack(pictures))

    def _full(self) -> bool:
        videos = any(feature.dtype == VIDEO for feature in self.features.values())
        limit = min(DATA_MEGABYTES, VIDEO_MEGABYTES) if videos else DATA_MEGABYTES
        size = sum(episode.size for episode in self._pending)
        return len(self._pending) >= self._episodes_per_file or size >= limit * 2**20

    def _close_shard(self) -> None:
        """Move the pending episodes into a shard; a second try after a failure does the same."""
        shards, pending = self._shards, list(self._pending)
        if not pending:
            return
        write_shard(
            self.folder, shards.count, self._files, pending, shards.frames, self.features, self.fps
        )
        known = [] if shards.statistics is None else [shards.statistics]
        statistics = together([*known, *(episode.statistics for episode in pending)])
        added = _Shards(shards.count + 1, self.episodes, self.frames, statistics)
        write_tasks(self.folder, self._tasks)
        write_json(to_lists(statistics), self.folder / STATISTICS)
        self._write_info(added)
        self._shards, self._pending = added, []
        self._files.remove(shards.episodes, added.episodes)

    def _write_info(self, shards: _Shards) -> None:
        """Replace `meta/info.json`: the moment from which readers see a shard."""
        counts = (shards.episodes, shards.frames, len(self._tasks))
        write_json(self._description.info(*counts), self.folder / INFO)


def recover(folder: str | os.PathLike[str]) -> int:
    """Finish a dataset whose writer was killed: its complete episodes become readable.

    Returns:
        how many episodes the dataset holds.

    Raises:
        BlockingIOError: its writer is alive.
        FileNotFoundError, ValueError: there is no dataset, or it is damaged.
    """
    info = read_info(Path(folder))
    features = {
        key: Feature.from_info(entry)
        for key, entry in info["features"].items()
        if key not in INDICES
    }
    with DatasetWriter(
        folder, features, info["fps"], robot_type=info["robot_type"], existing="append"
    ) as writer:
        return writer.episodes
