"""Shards: many finished episodes in one file of frames, one of descriptions, one a video."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from .features import IMAGE, VIDEO, Feature
from .layout import CHUNK_SIZE, DATA, EPISODES, UNFINISHED, VIDEOS, replacing, shard_path
from .pending import PendingEpisode, PendingEpisodes
from .statistics import to_lists
from .videos import count_frames, join_mp4

_NUMBERED = re.compile(r"chunk-(\d+)/file-(\d+)\.")


def write_shard(
    folder: Path,
    shard: int,
    pending: PendingEpisodes,
    episodes: Sequence[PendingEpisode],
    first_frame: int,
    features: Mapping[str, Feature],
    fps: float,
) -> None:
    """Write the files of shard number `shard`; they count once `meta/info.json` says so.

    Writing the same episodes again replaces them by the same files.

    Args:
        folder: the dataset.
        shard: its number.
        pending: where the episodes are.
        episodes: which ones, in order.
        first_frame: index in the dataset of their first frame.
        features: the columns of a frame.
        fps: frames per second.

    Raises:
        RuntimeError: a file does not hold the frames that went into it.
    """
    frames = sum(episode.length for episode in episodes)
    with replacing(folder / shard_path(DATA, shard)) as unfinished:
        _write_frames(unfinished, pending, episodes, features)
        _check_frames(unfinished, episodes, first_frame)
    videos = [key for key, feature in features.items() if feature.dtype == VIDEO]
    for key in videos:
        with replacing(folder / shard_path(VIDEOS, shard, key)) as unfinished:
            join_mp4([pending.video(each.index, key) for each in episodes], unfinished, fps)
            _expect(frames, count_frames(unfinished), unfinished)
    with replacing(folder / shard_path(EPISODES, shard)) as unfinished:
        table = _descriptions(shard, episodes, first_frame, videos, fps)
        pq.write_table(table, unfinished, write_page_checksum=True)


def remove_shards(folder: Path, first: int) -> None:
    """Remove the files of shards from number `first` on: `meta/info.json` does not count them."""
    for template in (DATA, EPISODES, VIDEOS):
        for path in (folder / Path(template).parts[0]).rglob("file-*"):
            match = _NUMBERED.search(path.as_posix())
            number = int(match[1]) * CHUNK_SIZE + int(match[2]) if match else -1
            if number >= first or path.suffix == UNFINISHED:
                path.unlink(missing_ok=True)


def schema_of(features: Mapping[str, Feature]) -> pa.Schema:
    """Return the columns of the file of frames, described as the `datasets` library does."""
    stored = {key: feature for key, feature in features.items() if feature.dtype != VIDEO}
    described = {key: feature.hugging_face() for key, feature in stored.items()}
    schema = pa.schema([(key, feature.arrow_type()) for key, feature in stored.items()])
    return schema.with_metadata({"huggingface": json.dumps({"info": {"features": described}})})


def _write_frames(
    path: Path,
    pending: PendingEpisodes,
    episodes: Sequence[PendingEpisode],
    features: Mapping[str, Feature],
) -> None:
    schema = schema_of(features)
    numbers = [key for key in schema.names if features[key].dtype != IMAGE]
    with pq.ParquetWriter(
        path,
        schema,
        compression="snappy",
        use_dictionary=numbers,
        write_statistics=numbers,
        write_page_checksum=True,
    ) as writer:
        for episode in episodes:
            # A row group for every episode, so that one is read without the others.
            table = pending.read(episode.index).replace_schema_metadata(schema.metadata)
            writer.write_table(table, row_group_size=episode.length)


def _check_frames(path: Path, episodes: Sequence[PendingEpisode], first_frame: int) -> None:
    """Read back which frame of which episode every row is."""
    lengths = [episode.length for episode in episodes]
    with pq.ParquetFile(path, page_checksum_verification=True) as file:
        table = file.read(["index", "episode_index"])
    _expect(sum(lengths), len(table), path)
    index = first_frame + np.arange(len(table))
    episode = np.repeat([episode.index for episode in episodes], lengths)
    found = (table["index"].to_numpy(), table["episode_index"].to_numpy())
    if (found[0] != index).any() or (found[1] != episode).any():
        raise RuntimeError(f"{path} does not hold the episodes in their order.")


def _expect(frames: int, found: int, path: Path) -> None:
    if found != frames:
        raise RuntimeError(f"{path} holds {found} frames of the {frames} that were written.")


def _descriptions(
    shard: int,
    episodes: Sequence[PendingEpisode],
    first_frame: int,
    videos: Sequence[str],
    fps: float,
) -> pa.Table:
    chunk, file = divmod(shard, CHUNK_SIZE)
    rows: list[dict[str, Any]] = []
    start = 0
    for episode in episodes:
        end = start + episode.length
        row: dict[str, Any] = {
            "episode_index": episode.index,
            "tasks": [episode.task],
            "length": episode.length,
            "data/chunk_index": chunk,
            "data/file_index": file,
            "dataset_from_index": first_frame + start,
            "dataset_to_index": first_frame + end,
        }
        for key in videos:
            # From the number of the frame, and not a sum of durations, which drifts.
            row[f"videos/{key}/chunk_index"] = chunk
            row[f"videos/{key}/file_index"] = file
            row[f"videos/{key}/from_timestamp"] = start / fps
            row[f"videos/{key}/to_timestamp"] = end / fps
        row |= episode.extras
        for key, statistics in to_lists(episode.statistics).items():
            row |= {f"stats/{key}/{name}": values for name, values in statistics.items()}
        row |= {"meta/episodes/chunk_index": chunk, "meta/episodes/file_index": file}
        rows.append(row)
        start = end
    return pa.table({name: [row[name] for row in rows] for name in rows[0]})
