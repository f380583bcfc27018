"""Reads LeRobot datasets v3.0: all shards, each episode exactly its own frames."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .description import read_info
from .episodes import numpy_columns, read_episodes, read_tasks, reading
from .features import IMAGE, VIDEO, Feature, flattened
from .frame_files import FrameFiles
from .images import decode_png
from .layout import PENDING, STATISTICS
from .statistics import Statistics, from_lists

_log = logging.getLogger(__name__)
_SAMPLED_BLOCKS, _BLOCK = 16, 4096


class Dataset:
    """A LeRobot dataset v3.0 on disk, opened for reading.

    What is read is what `meta/info.json` counts when it is opened: the finished episodes of a
    writer that is running, or was killed, follow once they are in a shard (`recover`).
    """

    def __init__(self, folder: str | os.PathLike[str], *, fps: float | None = None) -> None:
        """Open a dataset and check that its shards are there and follow one another.

        Args:
            folder: the dataset.
            fps: what its frames per second must be; None takes any.

        Raises:
            FileNotFoundError: the folder is not a dataset.
            ValueError: a shard is missing, corrupt or inconsistent, or the dataset is of another
                version, or of another fps.
        """
        self.folder = Path(folder)
        self.info = read_info(self.folder)
        self.fps = float(self.info["fps"])
        if fps is not None and fps != self.fps:
            raise ValueError(
                f"{folder} has {self.info['fps']} frames per second, and {fps:g} are expected: "
                "collect the dataset at that rate, or expect what it has."
            )
        self.features = {
            key: Feature.from_info(entry) for key, entry in self.info["features"].items()
        }
        self.table = read_episodes(self.folder, self.info)
        """The rows of `meta/episodes`, all columns."""
        self.episodes = numpy_columns(self.table)
        """By column, one entry an episode: `episode_index`, `task`, `length`,
        `dataset_from_index`, `dataset_to_index`, and what the writer added (a seed, success)."""
        self._files = FrameFiles(self.folder, self.info, self.table)
        self._files.check([key for key, each in self.features.items() if each.dtype == VIDEO])
        waiting = len(list((self.folder / PENDING).glob("*.arrow")))
        if waiting:
            _log.info("%s: %d finished episodes are in no shard yet.", folder, waiting)

    def __len__(self) -> int:
        """Return the number of episodes."""
        return len(self.table)

    def __iter__(self) -> Iterator[dict[str, NDArray[Any]]]:
        """Iterate over the episodes in order, with all keys."""
        return (self.episode(index) for index in range(len(self)))

    @property
    def frames(self) -> int:
        """Frames of all episodes."""
        return int(self.info["total_frames"])

    @cached_property
    def tasks(self) -> list[str]:
        """The tasks by `task_index`."""
        return read_tasks(self.folder)

    @cached_property
    def statistics(self) -> Statistics:
        """`min`, `max`, `mean`, `std` and `count` of every feature, over all frames."""
        path = self.folder / STATISTICS
        if not path.exists():
            return {}
        return from_lists(json.loads(path.read_text(encoding="utf-8")))

    def episode(
        self, index: int, keys: Sequence[str] | None = None, steps: Sequence[int] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return the frames of an episode by key, `(T, *shape)`; a number is `(T,)`.

        Pictures are decoded, uint8 RGB `(T, height, width, 3)`.

        Args:
            index: which episode.
            keys: which features; None takes all.
            steps: which of its frames, ascending; None takes all.

        Raises:
            IndexError: there is no such episode or frame.
            KeyError: there is no such feature.
            ValueError: a shard is corrupt, or does not hold the frames of this episode.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"{self.folder} has episodes 0 to {len(self) - 1}, not {index}.")
        length = int(self.episodes["length"][index])
        if steps is not None and (not len(steps) or min(steps) < 0 or max(steps) >= length):
            raise IndexError(f"episode {index} has frames 0 to {length - 1}, not {list(steps)}.")
        keys = list(self.features) if keys is None else list(keys)
        self._check_keys(keys)
        stored = [key for key in keys if self.features[key].dtype != VIDEO]
        table = self._files.rows(index, stored)
        if steps is not None:
            table = table.take(pa.array(steps, pa.int64()))
        frames: dict[str, NDArray[Any]] = {}
        for key in keys:
            feature = self.features[key]
            if feature.dtype == VIDEO:
                frames[key] = self._files.pictures(index, key, self.fps, steps)
            elif feature.dtype == IMAGE:
                files = table[key].combine_chunks().field("bytes").to_pylist()
                with reading(self._files.data_file(index)):
                    frames[key] = decode_png(files)
            else:
                frames[key] = feature.to_numpy(table[key])
        return frames

    def columns(self, keys: Sequence[str] | None = None) -> dict[str, NDArray[Any]]:
        """Return features of all frames of the dataset, in order, `(F, *shape)`.

        Args:
            keys: which features, no pictures; None takes all but pictures.

        Raises:
            KeyError: there is no such feature.
            ValueError: pictures are asked for, or a shard is corrupt.
        """
        numbers = [key for key, feature in self.features.items() if not feature.pictures]
        keys = numbers if keys is None else list(keys)
        self._check_keys(keys)
        pictures = [key for key in keys if key not in numbers]
        if pictures:
            raise ValueError(f"{pictures} are pictures: read them with `episode`, or cache them.")
        table = self._files.columns(keys)
        return {key: self.features[key].to_numpy(table[key]) for key in keys}

    def fingerprint(self) -> str:
        """Return a string that changes with the content, and not with name, place or date.

        It is taken from the description of the features, from all rows of `meta/episodes` with
        the statistics of every episode, and from size, end and samples of each file of frames.
        """
        digest = hashlib.sha256()
        described = ("codebase_version", "fps", "features", "total_episodes", "total_frames")
        content = {name: self.info[name] for name in described}
        digest.update(json.dumps(content, sort_keys=True).encode())
        for name in sorted(self.table.column_names):
            digest.update(name.encode())
            digest.update(_content(self.table[name]))
        for path in self._files.paths():
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
                digest.update(str(size).encode())
                for start in np.linspace(0, max(size - _BLOCK, 0), _SAMPLED_BLOCKS).astype(int):
                    file.seek(start)
                    digest.update(file.read(_BLOCK))
        return digest.hexdigest()

    def _check_keys(self, keys: Sequence[str]) -> None:
        unknown = [key for key in keys if key not in self.features]
        if unknown:
            raise KeyError(
                f"{self.folder} has no {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(self.features)}."
            )


def _content(column: pa.ChunkedArray) -> bytes:
    """Return the values of a column as bytes, whatever its chunks."""
    values = flattened(column)
    if pa.types.is_string(values.type):
        return json.dumps(values.to_pylist()).encode()
    return np.asarray(values.to_numpy(zero_copy_only=False)).tobytes()
