"""The tables beside the frames: `meta/episodes`, one row for every episode, and `meta/tasks`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from .features import Feature, flattened
from .layout import INFO, TASKS, replacing
from .statistics import Statistics, merged

OWN_COLUMNS = ("episode_index", "tasks", "length", "dataset_from_index", "dataset_to_index")
_PREFIXES = ("data/", "videos/", "meta/", "stats/")
EXTRA_TYPES: dict[type, pa.DataType] = {
    bool: pa.bool_(),
    int: pa.int64(),
    float: pa.float64(),
    str: pa.string(),
}
"""Types of the further columns that a writer may add to every episode."""


def is_extra(column: str) -> bool:
    """Return whether a column of the episodes was added by whoever wrote the dataset."""
    return column not in OWN_COLUMNS and not column.startswith(_PREFIXES)


def read_episodes(folder: Path, info: Mapping[str, Any]) -> pa.Table:
    """Return the episodes that `info` counts, from all shards, in order.

    Rows beyond `total_episodes` belong to a shard whose writer has not finished it.

    Raises:
        ValueError: a shard is missing or damaged, or episodes do not follow one another.
    """
    total = int(info["total_episodes"])
    root = folder / "meta" / "episodes"
    tables = [read_parquet(path) for path in sorted(root.glob("*/*.parquet"))]
    if not tables:
        if total:
            raise ValueError(f"{root} holds no episodes, and {INFO} counts {total}: restore it.")
        return pa.table({name: pa.array([], pa.int64()) for name in OWN_COLUMNS})
    table = pa.concat_tables(tables, promote_options="default").sort_by("episode_index")
    index = table["episode_index"].to_numpy()
    table = table.filter(pa.array(index < total))
    _check(root, table, total, int(info["total_frames"]))
    return table


def _check(root: Path, table: pa.Table, total: int, frames: int) -> None:
    index = table["episode_index"].to_numpy()
    missing = np.setdiff1d(np.arange(total), index)
    if len(missing):
        raise ValueError(
            f"{root} lacks {len(missing)} of the {total} episodes that {INFO} counts, from "
            f"episode {missing[0]} on: a shard is missing. Restore it, or collect again."
        )
    if len(index) != total:
        raise ValueError(f"{root} lists some of the {total} episodes twice: remove stale shards.")
    first, last = table["dataset_from_index"].to_numpy(), table["dataset_to_index"].to_numpy()
    length = table["length"].to_numpy()
    ends = np.cumsum(length)
    wrong = (last != ends) | (first != ends - length) | (length < 1)
    if wrong.any():
        raise ValueError(
            f"{root}: episode {int(np.argmax(wrong))} does not start where the one before it ends; "
            "the dataset was written wrongly."
        )
    if total and ends[-1] != frames:
        raise ValueError(f"{root} counts {ends[-1]} frames, and {INFO} {frames}: restore it.")


def read_parquet(path: Path) -> pa.Table:
    """Return a parquet file, its checksums verified.

    Raises:
        ValueError: it is missing or damaged.
    """
    with reading(path), pq.ParquetFile(path, page_checksum_verification=True) as file:
        return file.read()


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what a damaged or missing file raises into an error that names it and the remedy."""
    try:
        yield
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing: restore it from a copy of the dataset.") from error
    except (pa.ArrowException, av.FFmpegError, OSError, ValueError) as error:
        raise ValueError(
            f"{path} is corrupt ({str(error).splitlines()[0]}): restore it from a copy of the "
            "dataset, or collect the dataset again."
        ) from error


def numpy_columns(table: pa.Table) -> dict[str, NDArray[Any]]:
    """Return what users ask about episodes: indices, lengths, task, and the added columns."""
    columns: dict[str, NDArray[Any]] = {}
    for name in ("episode_index", "length", "dataset_from_index", "dataset_to_index"):
        columns[name] = table[name].to_numpy()
    columns["task"] = np.array(
        [" / ".join(tasks or ()) for tasks in table["tasks"].to_pylist()], np.str_
    )
    for name in table.column_names:
        if not is_extra(name):
            continue
        if pa.types.is_string(table[name].type):
            columns[name] = np.array(table[name].to_pylist(), np.str_)
        else:
            columns[name] = table[name].to_numpy()
    return columns


def checked_extras(
    extras: Mapping[str, Any], types: dict[str, type] | None
) -> tuple[dict[str, Any], dict[str, type]]:
    """Return the added columns of an episode as Python values, and their types.

    Args:
        extras: what was given.
        types: what the episodes before have; None if this is the first.

    Raises:
        ValueError: a value or a name cannot be stored, or the columns are others than before.
    """
    plain = {
        name: value.item() if isinstance(value, np.generic) else value
        for name, value in extras.items()
    }
    found = {name: type(value) for name, value in plain.items()}
    for name, kind in found.items():
        if kind not in EXTRA_TYPES or not is_extra(name):
            raise ValueError(
                f"extras[{name!r}] = {plain[name]!r}: an extra is a bool, int, float or str, and "
                "its name is none that LeRobot uses."
            )
    types = found if types is None else types
    for name, value in plain.items():
        if found[name] is int and types.get(name) is float:
            plain[name], found[name] = float(value), float
    if found != types:
        shown = {name: kind.__name__ for name, kind in types.items()}
        raise ValueError(f"the extras of every episode are {shown}, not {dict(extras)}.")
    return {name: plain[name] for name in types}, types


def extra_types(table: pa.Table) -> dict[str, type]:
    """Return the Python types of the added columns."""
    types = {arrow: python for python, arrow in EXTRA_TYPES.items()}
    return {field.name: types[field.type] for field in table.schema if is_extra(field.name)}


def statistics_of(table: pa.Table, features: Mapping[str, Feature]) -> Statistics:
    """Return the statistics of all episodes together."""
    found: Statistics = {}
    for key, feature in features.items():
        shape = (3, 1, 1) if feature.pictures else feature.shape
        stacked = {}
        for name in ("min", "max", "mean", "std", "count"):
            values = flattened(table[f"stats/{key}/{name}"]).to_numpy()
            stacked[name] = values.reshape(len(table), *((1,) if name == "count" else shape))
        found[key] = merged(stacked)
    return found


def read_tasks(folder: Path) -> list[str]:
    """Return the tasks in the order of their indices; an empty list if none was written yet."""
    path = folder / TASKS
    if not path.exists():
        return []
    table = read_parquet(path)
    # The name of a task is the index of a pandas table, and not always a named one.
    name = next(column for column in table.column_names if column != "task_index")
    pairs = zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True)
    return [task for _, task in sorted(pairs)]


def write_tasks(folder: Path, tasks: Sequence[str]) -> None:
    """Write the tasks as pandas would write a table `task_index` with the index `task`."""
    described = [
        _pandas_column("task_index", "int64", "int64"),
        _pandas_column("task", "unicode", "object"),
    ]
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [
            {
                "name": None,
                "field_name": None,
                "pandas_type": "unicode",
                "numpy_type": "object",
                "metadata": {"encoding": "UTF-8"},
            }
        ],
        "columns": described,
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table(
        {
            "task_index": pa.array(range(len(tasks)), pa.int64()),
            "task": pa.array(tasks, pa.string()),
        }
    ).replace_schema_metadata({"pandas": json.dumps(pandas)})
    with replacing(folder / TASKS) as unfinished:
        pq.write_table(table, unfinished)


def _pandas_column(name: str, pandas_type: str, numpy_type: str) -> dict[str, Any]:
    return {
        "name": name,
        "field_name": name,
        "pandas_type": pandas_type,
        "numpy_type": numpy_type,
        "metadata": None,
    }
