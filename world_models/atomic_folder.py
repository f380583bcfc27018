"""Folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

UNFINISHED, REMOVED = ".unfinished", ".removed"


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Give a folder to write into, which becomes `path` once everything in it is on the disk.

    A process that is killed leaves at most a hidden folder beside it, which the next one to write
    the same `path`, or `remove_leftovers`, removes. `path` itself must not exist.
    """
    unfinished = path.with_name(f".{path.name}{UNFINISHED}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    try:
        yield unfinished
        for file in [*unfinished.iterdir(), unfinished]:
            flush(file)
        unfinished.rename(path)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    flush(path.parent)


def remove_folder(path: Path) -> None:
    """Remove a folder such that, whenever this is interrupted, it is there whole or not at all."""
    removed = path.with_name(f".{path.name}{REMOVED}")
    shutil.rmtree(removed, ignore_errors=True)
    path.rename(removed)
    shutil.rmtree(removed)


def remove_leftovers(parent: Path) -> None:
    """Remove what interrupted processes left in a folder."""
    for path in parent.glob(".*"):
        if path.name.endswith((UNFINISHED, REMOVED)):
            shutil.rmtree(path)


def flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
