"""Finds the frames of an episode in the shards that hold many of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .episodes import reading
from .videos import announced_frames, read_mp4

_OPEN_FILES = 16
_CHECKED = ["index", "episode_index"]
"""Read with everything: rows of another episode are never handed on."""


class FrameFiles:
    """The files of frames and the videos of a dataset."""

    def __init__(self, folder: Path, info: Mapping[str, Any], episodes: pa.Table) -> None:
        self.folder = folder
        self._info = info
        self._episodes = episodes
        self._first: NDArray[np.int64] = episodes["dataset_from_index"].to_numpy()
        self._length: NDArray[np.int64] = episodes["length"].to_numpy()
        self._columns: dict[str, NDArray[Any]] = {}
        self._ends: dict[Path, NDArray[np.int64]] = {}
        self._opened: dict[Path, pq.ParquetFile] = {}
        self._files = self._grouped("data")

    def check(self, videos: Sequence[str]) -> None:
        """Raise `ValueError` unless every shard is there and holds as many frames as it should."""
        for path, episodes in self._files.items():
            frames = int(self._length[episodes].sum())
            with reading(path):
                found = self._parquet(path).metadata.num_rows
            if found != frames:
                raise ValueError(
                    f"{path} holds {found} frames, and the episodes in it have {frames}: restore "
                    "it from a copy of the dataset, or collect the dataset again."
                )
        for key in videos:
            for path, episodes in self._grouped(f"videos/{key}", key).items():
                frames = int(self._length[episodes].sum())
                with reading(path):
                    found = announced_frames(path)
                if 0 < found < frames:
                    raise ValueError(
                        f"{path} holds {found} pictures, and the episodes in it have {frames}: "
                        "restore it from a copy of the dataset, or collect the dataset again."
                    )

    def paths(self) -> Iterator[Path]:
        """Return all files of frames and videos, in the order of their episodes."""
        keys = [key for key, entry in self._info["features"].items() if entry["dtype"] == "video"]
        yield from self._files
        for key in keys:
            yield from self._grouped(f"videos/{key}", key)

    def data_file(self, episode: int) -> Path:
        """Return the file that holds the rows of an episode."""
        return self._path("data", episode)

    def rows(self, episode: int, keys: Sequence[str]) -> pa.Table:
        """Return columns of the frames of an episode.

        Raises:
            ValueError: the file is corrupt, or its rows are not those of the episode.
        """
        path = self.data_file(episode)
        length = int(self._length[episode])
        start = int(self._first[episode] - self._first[self._files[path][0]])
        with reading(path):
            file = self._parquet(path)
            ends = self._group_ends(path, file)
            first, last = np.searchsorted(ends, [start, start + length - 1], side="right")
            table = file.read_row_groups(range(first, last + 1), [*keys, *_CHECKED])
        table = table.slice(start - (int(ends[first - 1]) if first else 0), length)
        self._check_rows(path, table, int(self._first[episode]))
        if (table["episode_index"].to_numpy() != episode).any():
            raise ValueError(f"{path} has other rows where those of episode {episode} should be.")
        return table

    def columns(self, keys: Sequence[str]) -> pa.Table:
        """Return columns of all frames, in order.

        Raises:
            ValueError: a file is corrupt, or its rows are out of order.
        """
        tables = []
        for path, episodes in self._files.items():
            with reading(path):
                table = self._parquet(path).read([*keys, *_CHECKED])
            self._check_rows(path, table, int(self._first[episodes[0]]))
            tables.append(table.select(list(keys)))
        return pa.concat_tables(tables)

    def pictures(
        self, episode: int, key: str, fps: float, steps: Sequence[int] | None = None
    ) -> NDArray[np.uint8]:
        """Return pictures of an episode from its video: of some steps, ascending, or all.

        Raises:
            ValueError: the video is corrupt or too short.
        """
        path = self._path(f"videos/{key}", episode, key)
        start = self._column(f"videos/{key}/from_timestamp")[episode]
        first = round(float(start) * fps)  # the nearest frame: sums of durations drift
        with reading(path):
            wanted = range(int(self._length[episode])) if steps is None else steps
            return read_mp4(path, [first + step for step in wanted], fps)

    def _check_rows(self, path: Path, table: pa.Table, first: int) -> None:
        if (table["index"].to_numpy() != np.arange(first, first + len(table))).any():
            raise ValueError(
                f"{path}: its rows do not follow one another from frame {first} on; the dataset "
                "was written wrongly."
            )

    def _parquet(self, path: Path) -> pq.ParquetFile:
        if path not in self._opened:
            if len(self._opened) >= _OPEN_FILES:
                self._opened.pop(next(iter(self._opened))).close()
            self._opened[path] = pq.ParquetFile(
                path, memory_map=True, page_checksum_verification=True
            )
        return self._opened[path]

    def _group_ends(self, path: Path, file: pq.ParquetFile) -> NDArray[np.int64]:
        """Return the row after the last one of every row group."""
        if path not in self._ends:
            groups = range(file.num_row_groups)
            rows = [file.metadata.row_group(group).num_rows for group in groups]
            self._ends[path] = np.cumsum(rows)
        return self._ends[path]

    def _grouped(self, columns: str, video_key: str = "") -> dict[Path, NDArray[np.intp]]:
        """Return the episodes of each file, files and episodes in order."""
        paths = [self._path(columns, episode, video_key) for episode in range(len(self._length))]
        groups: dict[Path, list[int]] = {}
        for episode, path in enumerate(paths):
            groups.setdefault(path, []).append(episode)
        return {path: np.array(episodes) for path, episodes in groups.items()}

    def _path(self, columns: str, episode: int, video_key: str = "") -> Path:
        template = str(self._info["video_path" if video_key else "data_path"])
        chunk, file = self._column(f"{columns}/chunk_index"), self._column(f"{columns}/file_index")
        return self.folder / template.format(
            chunk_index=int(chunk[episode]), file_index=int(file[episode]), video_key=video_key
        )

    def _column(self, name: str) -> NDArray[Any]:
        if name not in self._columns:
            self._columns[name] = self._episodes[name].to_numpy()
        return self._columns[name]
