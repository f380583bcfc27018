"""Where the files of a LeRobot dataset v3.0 stand, and how a file is replaced in one step."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

VERSION = "v3.0"
"""The layout that is written and read: `codebase_version` in `meta/info.json`."""

INFO = "meta/info.json"
STATISTICS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
_SHARD = "chunk-{chunk_index:03d}/file-{file_index:03d}"
EPISODES = f"meta/episodes/{_SHARD}.parquet"
DATA = f"data/{_SHARD}.parquet"
VIDEOS = f"videos/{{video_key}}/{_SHARD}.mp4"

CHUNK_SIZE = 1000
"""Files in one chunk folder."""
DATA_MEGABYTES, VIDEO_MEGABYTES = 100, 200
"""A shard is closed when its data or one of its videos would grow beyond this."""

PENDING = ".pending"
"""Folder of finished episodes that are not in a shard yet."""
CACHE = ".training_cache"
"""Folder of training caches that were built from the dataset."""
UNFINISHED = ".part"
"""Suffix of a file that is still being written; no reader looks at it."""


def shard_path(template: str, shard: int, video_key: str = "") -> str:
    """Return the path of a numbered shard inside the dataset."""
    chunk, file = divmod(shard, CHUNK_SIZE)
    return template.format(chunk_index=chunk, file_index=file, video_key=video_key)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a path to write to, which then becomes `path` in one step.

    Whoever opens `path` sees the old file, the new one, or none, but never a part of one; a
    process that is killed in between leaves a file that ends in `.part`. The content reaches the
    disk before the name does, so a loss of power leaves no empty file either.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + UNFINISHED)
    yield unfinished
    _synchronise(unfinished)
    os.replace(unfinished, path)


def _synchronise(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_json(content: Any, path: Path) -> None:
    """Replace `path` by `content` as JSON, where NaN and infinity are not allowed."""
    with replacing(path) as unfinished:
        text = json.dumps(content, indent=4, allow_nan=False, ensure_ascii=False)
        unfinished.write_text(text + "\n", encoding="utf-8")


@contextmanager
def locked(path: Path, busy: str | None = None) -> Iterator[None]:
    """Hold the lock file `path`; the operating system frees it when the process dies.

    Args:
        path: the lock file, made where it is missing and removed at the end.
        busy: what `BlockingIOError` says if another process holds it; None waits instead.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = _lock(path, busy)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)


def _lock(path: Path, busy: str | None) -> int:
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            # A record lock, unlike flock, is not handed on to the worker processes of a fork.
            fcntl.lockf(descriptor, fcntl.LOCK_EX | (fcntl.LOCK_NB if busy else 0))
            if _is_open(path, descriptor):
                return descriptor
        except BlockingIOError:
            os.close(descriptor)
            raise BlockingIOError(busy) from None
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the holder before us removed the file between open and lock


def _is_open(path: Path, descriptor: int) -> bool:
    """Return whether `path` is still the file that `descriptor` has open."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False
