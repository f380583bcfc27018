"""What a column of a dataset holds: type, shape and names, and its form in Arrow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from .images import check_png
from .videos import codec, count_frames, size_of

IMAGE, VIDEO = "image", "video"
NUMBERS = ("float32", "float64", "int64", "bool")
"""Types of the columns that are not pictures."""


@dataclass(frozen=True)
class Feature:
    """One column of a dataset, with a value for every frame.

    Pictures are RGB, `(height, width, 3)`, uint8.
    """

    dtype: str
    """`float32`, `float64`, `int64`, `bool`, `image` (PNG in parquet) or `video` (mp4)."""
    shape: tuple[int, ...]
    """Of one frame; `(1,)` for a number."""
    names: tuple[str, ...] | None = None
    """What the entries of a vector are."""

    @property
    def pictures(self) -> bool:
        """Whether it holds pictures."""
        return self.dtype in (IMAGE, VIDEO)

    def check(self, key: str) -> None:
        """Raise `ValueError` if it cannot be written under the name `key`."""
        if not key or "/" in key or key in INDICES:
            raise ValueError(
                f"no feature can be called {key!r}: no '/', and not {', '.join(INDICES)}, "
                "which the writer adds."
            )
        if self.dtype not in (*NUMBERS, IMAGE, VIDEO):
            allowed = ", ".join((*NUMBERS, IMAGE, VIDEO))
            raise ValueError(f"feature {key!r} has the type {self.dtype!r}; there are {allowed}.")
        if not self.shape or min(self.shape) < 1:
            raise ValueError(f"feature {key!r} has the shape {self.shape}; a number has (1,).")
        if self.pictures and (len(self.shape) != 3 or self.shape[2] != 3):
            raise ValueError(f"feature {key!r}: pictures are (height, width, 3), not {self.shape}.")
        if self.dtype == VIDEO and (self.shape[0] % 2 or self.shape[1] % 2):
            raise ValueError(
                f"feature {key!r}: height and width of a video are even, not {self.shape[:2]}; "
                "store it as 'image'."
            )
        if self.names is not None and len(self.names) != self._named:
            raise ValueError(
                f"feature {key!r} has {len(self.names)} names for its shape {self.shape}."
            )

    @property
    def _named(self) -> int:
        return 3 if self.pictures else self.shape[0]

    def to_info(self, fps: float) -> dict[str, Any]:
        """Return its entry in `meta/info.json`."""
        names = list(self.names) if self.names is not None else None
        if self.pictures and names is None:
            names = ["height", "width", "channels"]
        entry: dict[str, Any] = {"dtype": self.dtype, "shape": list(self.shape), "names": names}
        if self.dtype == VIDEO:
            height, width, channels = self.shape
            entry["info"] = {
                "video.height": height,
                "video.width": width,
                "video.channels": channels,
                "video.codec": codec(),
                "video.pix_fmt": "yuv420p",
                "video.fps": fps,
                "video.is_depth_map": False,
                "has_audio": False,
            }
        return entry

    @classmethod
    def from_info(cls, entry: Mapping[str, Any]) -> Feature:
        """Return the feature that an entry of `meta/info.json` describes."""
        names = entry.get("names")
        # Some datasets nest their names ({"motors": [...]}); those say nothing that is used here.
        flat = isinstance(names, list) and all(isinstance(name, str) for name in names)
        shape = tuple(int(size) for size in entry["shape"])
        return cls(str(entry["dtype"]), shape, tuple(names) if flat and names else None)

    def arrow_type(self) -> pa.DataType:
        """Return the type of its column in parquet."""
        if self.pictures:
            return pa.struct({"bytes": pa.binary(), "path": pa.string()})
        value = pa.from_numpy_dtype(np.dtype(self.dtype))
        if self.shape == (1,):
            return value
        if len(self.shape) == 1:
            return pa.list_(value, self.shape[0])
        for _ in self.shape:
            value = pa.list_(value)
        return value

    def hugging_face(self) -> dict[str, Any]:
        """Return its type as the `datasets` library writes it into the schema of a file."""
        if self.pictures:
            return {"_type": "Image"}
        value = {"dtype": self.dtype, "_type": "Value"}
        if self.shape == (1,):
            return value
        if len(self.shape) == 1:
            return {"feature": value, "length": self.shape[0], "_type": "Sequence"}
        return {"shape": list(self.shape), "dtype": self.dtype, "_type": f"Array{len(self.shape)}D"}

    def to_arrow(self, values: NDArray[Any] | list[bytes]) -> pa.Array:
        """Return frames, `(T, *shape)` or PNG files, as a column."""
        if isinstance(values, list):
            paths = pa.array([f"frame-{index:06d}.png" for index in range(len(values))])
            return pa.StructArray.from_arrays(
                [pa.array(values, pa.binary()), paths], ["bytes", "path"]
            )
        flat = pa.array(values.reshape(-1))
        if self.shape == (1,):
            return flat
        if len(self.shape) == 1:
            return pa.FixedSizeListArray.from_arrays(flat, self.shape[0])
        for size in reversed(self.shape):
            offsets = pa.array(np.arange(0, len(flat) + 1, size, dtype=np.int32))
            flat = pa.ListArray.from_arrays(offsets, flat)
        return flat

    def to_numpy(self, column: pa.ChunkedArray) -> NDArray[Any]:
        """Return a column of numbers or strings as frames, `(T, *shape)`; a number is `(T,)`."""
        flat = flattened(column)
        if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
            return np.array(flat.to_pylist(), dtype=np.str_)
        values = flat.to_numpy(zero_copy_only=False)
        shape = () if self.shape == (1,) else self.shape
        return np.asarray(values).reshape(len(column), *shape)


def flattened(column: pa.ChunkedArray) -> pa.Array:
    """Return the values of a column of lists, of lists of lists, ..., one after another."""
    values = column.combine_chunks()
    while True:
        kind = values.type
        if isinstance(values, pa.ExtensionArray):
            values = values.storage
        elif any(is_kind(kind) for is_kind in _LISTS):
            values = values.flatten()
        else:
            return values


_LISTS = (pa.types.is_list, pa.types.is_fixed_size_list, pa.types.is_large_list)

INDICES: dict[str, Feature] = {
    "timestamp": Feature("float32", (1,)),
    "frame_index": Feature("int64", (1,)),
    "episode_index": Feature("int64", (1,)),
    "index": Feature("int64", (1,)),
    "task_index": Feature("int64", (1,)),
}
"""Columns of every dataset; the writer fills them."""


def checked_columns(
    features: Mapping[str, Feature], frames: Mapping[str, Any]
) -> tuple[dict[str, Any], int]:
    """Return the frames of an episode in the types and shapes of its features, and their number.

    Args:
        features: what there should be.
        frames: `(T, *shape)` for each; of an image also PNG files, of a video also an mp4 file.

    Raises:
        ValueError: the frames do not fit, or numbers are not finite.
    """
    if set(frames) != set(features):
        raise ValueError(f"the features of an episode are {list(features)}, not {list(frames)}.")
    columns, lengths = {}, {}
    for key, feature in features.items():
        column = columns[key] = _column(key, feature, frames[key])
        lengths[key] = count_frames(column) if isinstance(column, bytes) else len(column)
        if isinstance(column, list):
            check_png(key, column, feature.shape)
        if isinstance(column, bytes) and size_of(column) != feature.shape[:2]:
            raise ValueError(
                f"{key!r} is a video of {size_of(column)}, and the dataset has {feature.shape[:2]}."
            )
    if min(lengths.values()) < 1 or len(set(lengths.values())) > 1:
        raise ValueError(
            "the features of an episode have as many frames as each other, at least one; these "
            f"have {lengths}."
        )
    return columns, next(iter(lengths.values()))


def _column(key: str, feature: Feature, values: Any) -> NDArray[Any] | list[bytes] | bytes:
    """Return the given frames of one feature in its type and shape."""
    if feature.dtype == VIDEO and isinstance(values, bytes):
        return values
    if feature.dtype == IMAGE and isinstance(values, list | tuple):
        if not all(isinstance(value, bytes) for value in values):
            raise ValueError(f"{key!r}: a list of pictures holds PNG files as bytes.")
        return list(values)
    array = np.asarray(values)
    if feature.shape == (1,) and array.ndim == 1:
        array = array[:, None]
    if array.ndim == 0 or array.shape[1:] != feature.shape:
        raise ValueError(
            f"{key!r} has the shape {array.shape}, and needs (frames, *{feature.shape})."
        )
    kind = np.dtype(np.uint8 if feature.pictures else feature.dtype)
    fits = array.dtype == kind if feature.pictures else np.can_cast(array.dtype, kind, "same_kind")
    if not fits:
        raise ValueError(f"{key!r} is {array.dtype}, and the dataset holds {kind}.")
    array = np.ascontiguousarray(array, kind)
    if kind.kind == "f" and not np.isfinite(array).all():
        frame = int(np.argwhere(~np.isfinite(array))[0, 0])
        raise ValueError(f"{key!r} is not finite in frame {frame} of the episode.")
    return array
