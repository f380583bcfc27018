"""Imports the public PushT demonstrations of humans into a LeRobot dataset.

They are a Zarr store, `pusht_cchi_v7_replay.zarr` (github.com/real-stanford/diffusion_policy):
206 episodes, 10 steps per second, in the pixels of the 512 x 512 board. Row t is the observation
before action t; the observation after the last action was not recorded.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .lerobot import DatasetWriter, Feature
from .writer import Frames

if TYPE_CHECKING:
    import zarr

FPS = 10
TASK = "Push the T onto its target."
_ROWS = {"img": (96, 96, 3), "state": (5,), "action": (2,), "keypoint": (None, 2)}
"""Arrays under `data` and the shape of a row of each; None is any number."""
_ENDS = "meta/episode_ends"


def import_demonstrations(
    source: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    *,
    pictures: str = "image",
    existing: str = "error",
) -> int:
    """Write the demonstrations as a LeRobot dataset v3.0.

    Its features are `observation.images.top` (96 x 96), `observation.state` (pusher x and y, block
    x and y in pixels, angle of the block in radians), `observation.keypoints` and `action` (target
    of the pusher in pixels).

    Args:
        source: the Zarr store, a folder or a `.zip` of it.
        folder: the dataset to write.
        pictures: `image` or `video`.
        existing: as of `DatasetWriter`; `append` adds the episodes to those that are there.

    Returns:
        how many episodes were written.

    Raises:
        FileNotFoundError: there is no such store.
        ImportError: the extra `zarr` is not installed.
        ValueError: the store has another layout.
    """
    store = _open(Path(source))
    arrays, ends = _checked(Path(source), store)
    features = {
        "observation.images.top": Feature(pictures, arrays["img"].shape[1:]),
        "observation.state": Feature(
            "float32", (5,), ("pusher_x", "pusher_y", "block_x", "block_y", "block_angle")
        ),
        "observation.keypoints": Feature("float32", arrays["keypoint"].shape[1:]),
        "action": Feature("float32", (2,), ("target_x", "target_y")),
    }
    info = {"source": Path(source).name, "layout": "pusht_cchi_v7_replay.zarr"}
    with DatasetWriter(
        folder, features, FPS, robot_type="push_t", info=info, existing=existing
    ) as writer:
        for first, last in zip([0, *ends[:-1]], ends, strict=True):
            frames: dict[str, Frames] = {
                "observation.images.top": _pictures(Path(source), arrays["img"][first:last]),
                "observation.state": np.asarray(arrays["state"][first:last], np.float32),
                "observation.keypoints": np.asarray(arrays["keypoint"][first:last], np.float32),
                "action": np.asarray(arrays["action"][first:last], np.float32),
            }
            writer.add_episode(frames, task=TASK)
    return len(ends)


def _open(source: Path) -> zarr.Group:
    try:
        import zarr
    except ImportError as error:
        raise ImportError('the demonstrations need zarr: pip install "dexworld[zarr]".') from error
    if not source.exists():
        raise FileNotFoundError(
            f"{source} is not there: download and unpack pusht_cchi_v7_replay.zarr, and give its "
            "path."
        )
    try:
        if source.is_dir():
            return zarr.open_group(str(source), mode="r")
        return zarr.open_group(zarr.storage.ZipStore(source, mode="r"), mode="r")
    except (OSError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{source} is not a Zarr store ({error}).") from error


def _checked(source: Path, store: zarr.Group) -> tuple[Mapping[str, Any], list[int]]:
    """Return the arrays, and the row after the last one of every episode."""
    missing = [name for name in (*(f"data/{key}" for key in _ROWS), _ENDS) if name not in store]
    if missing:
        raise ValueError(
            f"{source} lacks {', '.join(missing)}: it is not laid out like "
            "pusht_cchi_v7_replay.zarr."
        )
    arrays: dict[str, Any] = {key: store[f"data/{key}"] for key in _ROWS}
    ends = np.asarray(store[_ENDS])
    for key, shape in _ROWS.items():
        row = arrays[key].shape[1:]
        if len(row) != len(shape) or any(
            w not in (None, r) for w, r in zip(shape, row, strict=True)
        ):
            raise ValueError(f"{source}: the rows of data/{key} are {row}, and should be {shape}.")
    rows = {key: array.shape[0] for key, array in arrays.items()}
    if (
        not len(ends)
        or (np.diff(ends, prepend=0) < 1).any()
        or set(rows.values()) != {int(ends[-1])}
    ):
        raise ValueError(
            f"{source}: {_ENDS} does not divide the rows into episodes ({len(ends)} episodes, last "
            f"end {ends[-1] if len(ends) else None}, rows {rows}): the store is incomplete."
        )
    return arrays, [int(end) for end in ends]


def _pictures(source: Path, values: NDArray[Any]) -> NDArray[np.uint8]:
    """Return pictures as uint8; the public store keeps the levels 0 to 255 as floats."""
    if values.min() < 0 or values.max() > 255:
        raise ValueError(f"{source}: data/img is outside of 0 to 255.")
    rounded: NDArray[np.uint8] = np.rint(values).astype(np.uint8)
    return rounded
