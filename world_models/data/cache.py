"""A training cache: the columns of a dataset as arrays that are mapped into memory."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .layout import CACHE, locked, replacing, write_json
from .reader import Dataset

_log = logging.getLogger(__name__)
_INDEX = "cache.json"
_REMEDY = (
    "rebuild it with rebuild=True (on the command line data.rebuild_cache=true), or choose another "
    "folder for the cache."
)

Progress = Callable[[int, int], None]
"""Called with the episodes that are done and the episodes that there are."""


@dataclass(frozen=True)
class Transform:
    """Features that are computed once from a key of the dataset: of a frozen encoder, say."""

    source: str
    """The key it is computed from."""
    compute: Callable[[NDArray[Any]], NDArray[Any]]
    """From the frames of an episode, `(T, ...)`, to features `(T, ...)`."""
    fingerprint: str
    """Changes whenever `compute` would give something else: weights, sizes, version."""
    dtype: str = "float16"
    """What the features are stored as."""


@dataclass(frozen=True)
class Cache:
    """Arrays over all frames of a dataset, `(F, ...)`, episodes one after another.

    Pictures are uint8 `(F, height, width, 3)`, numbers float32 or what they are if not floating.
    Reading is by fancy indexing; the operating system keeps in memory what is read often.
    """

    folder: Path
    dataset: Dataset
    arrays: dict[str, NDArray[Any]]
    """By key of the dataset or name of a transform; mapped, read-only."""
    starts: NDArray[np.int64] = field(repr=False)
    """Index of the first frame of every episode, `(E,)`."""
    lengths: NDArray[np.int64] = field(repr=False)
    """Frames of every episode, `(E,)`."""
    episode_index: NDArray[np.int64] = field(repr=False)
    """Episode of every frame, `(F,)`."""

    @classmethod
    def open(
        cls,
        dataset: Dataset | str | os.PathLike[str],
        keys: Sequence[str],
        folder: str | os.PathLike[str] | None = None,
        *,
        transforms: Mapping[str, Transform] | None = None,
        rebuild: bool = False,
        recompute: bool = False,
        progress: Progress | None = None,
    ) -> Cache:
        """Open the cache of a dataset; build what is not in it yet.

        An array appears when it is complete: a build that is killed goes on with the next one.
        Processes that open the same cache at once wait for the one that builds.

        Args:
            dataset: the dataset, or its folder.
            keys: what to cache.
            folder: where the cache is; None takes a hidden folder inside the dataset.
            transforms: further arrays by name, computed from keys.
            rebuild: replaces a cache of another dataset, or of another transform.
            recompute: replaces features of another transform, but nothing of another dataset.
            progress: told after every episode of every array.

        Raises:
            KeyError: the dataset has no such key.
            ValueError: the cache is of another dataset or transform, or damaged.
        """
        if not isinstance(dataset, Dataset):
            dataset = Dataset(dataset)
        if not len(dataset):
            raise ValueError(f"{dataset.folder} holds no episodes: collect some first.")
        transforms = dict(transforms or {})
        clash = sorted(set(transforms) & set(dataset.features))
        if clash:
            raise ValueError(f"transforms cannot be called as features of the dataset: {clash}.")
        sources = [*keys, *(each.source for each in transforms.values())]
        unknown = sorted(set(sources) - set(dataset.features))
        if unknown:
            raise KeyError(
                f"{dataset.folder} has no {', '.join(map(repr, unknown))}; "
                f"it has {', '.join(dataset.features)}."
            )
        place = dataset.folder / CACHE if folder is None else Path(folder)
        wanted: dict[str, Transform | None] = {**dict.fromkeys(keys), **transforms}
        with locked(place / "lock"):
            index = _index_of(place, dataset, rebuild)
            _forget_others(place, index, wanted, rebuild or recompute)
            _build(place, dataset, index, wanted, progress)
        arrays = {name: _mapped(place, name, dataset.frames) for name in wanted}
        lengths = dataset.episodes["length"]
        return cls(
            place,
            dataset,
            arrays,
            starts=dataset.episodes["dataset_from_index"],
            lengths=lengths,
            episode_index=np.repeat(np.arange(len(lengths)), lengths),
        )

    @property
    def frames(self) -> int:
        """Frames of all episodes."""
        return self.dataset.frames

    @property
    def episodes(self) -> int:
        """Number of episodes."""
        return len(self.lengths)


def _index_of(place: Path, dataset: Dataset, rebuild: bool) -> dict[str, Any]:
    """Return what the cache says it holds; an empty one where it is new, or built anew."""
    fingerprint = dataset.fingerprint()
    index = _read_index(place)
    if index is not None and index["dataset"] != fingerprint:
        if not rebuild:
            raise ValueError(
                f"the cache {place} was built from other data than {dataset.folder} holds now "
                f"(fingerprint {index['dataset'][:12]}, and {fingerprint[:12]}): {_REMEDY}"
            )
        index = None
    if index is None:
        index = {"dataset": fingerprint, "arrays": {}}
        write_json(index, place / _INDEX)  # before the arrays: those that are there are not valid
        for path in place.glob("*.npy"):
            path.unlink()
    return index


def _forget_others(
    place: Path, index: dict[str, Any], wanted: Mapping[str, Transform | None], recompute: bool
) -> None:
    """Strike out what another transform has computed under a name that is wanted."""
    built = index["arrays"]
    for name in set(wanted) & set(built):
        described = _described(wanted[name])
        if built[name] == described:
            continue
        if not recompute:
            raise ValueError(
                f"{name!r} in the cache {place} was computed by another transform "
                f"({built[name]}, and now {described}): {_REMEDY}"
            )
        del built[name]
        write_json(index, place / _INDEX)


def _build(
    place: Path,
    dataset: Dataset,
    index: dict[str, Any],
    wanted: Mapping[str, Transform | None],
    progress: Progress | None,
) -> None:
    """Build what is missing."""
    built = index["arrays"]
    missing = [name for name in wanted if name not in built]
    for number, name in enumerate(missing):
        _log.info("building %s", place / f"{name}.npy")
        done = number * len(dataset)
        _fill(place, dataset, name, wanted[name], progress, done, len(missing) * len(dataset))
        built[name] = _described(wanted[name])
        write_json(index, place / _INDEX)


def _fill(
    place: Path,
    dataset: Dataset,
    name: str,
    transform: Transform | None,
    progress: Progress | None,
    done: int,
    total: int,
) -> None:
    """Write one array, which appears under its name when it is complete."""
    key = transform.source if transform else name
    with replacing(place / f"{name}.npy") as unfinished:
        array: NDArray[Any] | None = None
        for episode, start in enumerate(dataset.episodes["dataset_from_index"]):
            frames = dataset.episode(episode, [key])[key]
            if transform is not None:
                values = np.asarray(transform.compute(frames)).astype(transform.dtype)
            else:
                values = frames.astype(np.float32) if frames.dtype.kind == "f" else frames
            if len(values) != len(frames):
                raise ValueError(
                    f"the transform {name!r} gave {len(values)} rows for {len(frames)} frames."
                )
            if array is None:
                shape = (dataset.frames, *values.shape[1:])
                array = np.lib.format.open_memmap(  # type: ignore[no-untyped-call]
                    unfinished, "w+", values.dtype, shape
                )
            array[start : start + len(values)] = values
            if progress is not None:
                progress(done + episode + 1, total)
        assert isinstance(array, np.memmap)
        array.flush()


def _mapped(place: Path, name: str, frames: int) -> NDArray[Any]:
    path = place / f"{name}.npy"
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete the folder {place}, and the cache is built again."
        ) from error
    if len(array) != frames:
        raise ValueError(
            f"{path} holds {len(array)} frames, and the dataset {frames}: delete the folder "
            f"{place}, and the cache is built again."
        )
    return array


def _read_index(place: Path) -> dict[str, Any] | None:
    path = place / _INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        return {"dataset": str(index["dataset"]), "arrays": dict(index["arrays"])}
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is damaged ({error}): delete the folder {place}, and the cache is built again."
        ) from error


def _described(transform: Transform | None) -> dict[str, str] | None:
    if transform is None:
        return None
    return {
        "source": transform.source,
        "fingerprint": transform.fingerprint,
        "dtype": transform.dtype,
    }
