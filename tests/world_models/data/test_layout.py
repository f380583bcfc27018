"""The layout of LeRobot v3.0, field by field, as a reader of other software expects it."""

import io
import json

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

INDICES = ["timestamp", "frame_index", "episode_index", "index", "task_index"]


@pytest.fixture(params=["image", "video"])
def written(request, tmp_path, toy):
    toy.write(tmp_path, 10, request.param)
    return tmp_path, request.param


def names(folder, pattern):
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


def test_the_files(written, toy):
    folder, pictures = written
    shards = [f"chunk-000/file-00{number}" for number in range(3)]
    assert names(folder, "data/**/*.*") == [f"data/{shard}.parquet" for shard in shards]
    episodes = [f"meta/episodes/{shard}.parquet" for shard in shards]
    others = ["meta/info.json", "meta/stats.json", "meta/tasks.parquet"]
    assert names(folder, "meta/**/*.*") == sorted(episodes + others)
    videos = [f"videos/{toy.image}/{shard}.mp4" for shard in shards]
    assert names(folder, "videos/**/*.mp4") == (videos if pictures == "video" else [])


def test_the_thousandth_file_starts_a_new_chunk():
    from dexworld.world_models.data.layout import DATA, shard_path

    assert shard_path(DATA, 999) == "data/chunk-000/file-999.parquet"
    assert shard_path(DATA, 1000) == "data/chunk-001/file-000.parquet"


def test_info(written, toy):
    folder, pictures = written
    info = json.loads((folder / "meta" / "info.json").read_text())
    features = info.pop("features")
    assert info.pop("dexworld") == {}
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "toy",
        "total_episodes": 10,
        "total_frames": 74,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 10,
        "splits": {"train": "0:10"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": (
            "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
            if pictures == "video"
            else None
        ),
    }
    assert isinstance(info["fps"], int)
    assert list(features) == [toy.image, *list(toy.features(None)), *INDICES]
    assert features["observation.state"] == {
        "dtype": "float32",
        "shape": [3],
        "names": ["x", "y", "angle"],
    }
    assert features["next.success"] == {"dtype": "bool", "shape": [1], "names": None}
    assert features["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    for key in INDICES[1:]:
        assert features[key] == {"dtype": "int64", "shape": [1], "names": None}
    picture = features[toy.image]
    assert picture["dtype"] == pictures
    assert picture["shape"] == [32, 32, 3]
    assert picture["names"] == ["height", "width", "channels"]
    if pictures == "video":
        assert picture["info"] == {
            "video.height": 32,
            "video.width": 32,
            "video.channels": 3,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.fps": 10,
            "video.is_depth_map": False,
            "has_audio": False,
        }


def test_the_frames(written, toy):
    folder, pictures = written
    tables = [pq.read_table(path) for path in sorted((folder / "data").rglob("*.parquet"))]
    assert [len(table) for table in tables] == [26, 35, 13]
    schema = tables[0].schema
    types = {
        "observation.state": pa.list_(pa.float32(), 3),
        "action": pa.list_(pa.float32(), 2),
        "observation.keypoints": pa.list_(pa.list_(pa.float32())),
        "next.reward": pa.float64(),
        "next.success": pa.bool_(),
        "timestamp": pa.float32(),
        **dict.fromkeys(["scene", *INDICES[1:]], pa.int64()),
    }
    if pictures == "image":
        types[toy.image] = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    assert set(schema.names) == set(types)
    for name, kind in types.items():
        assert schema.field(name).type == kind, name
    described = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
    assert set(described) == set(types)
    value = {"dtype": "float32", "_type": "Value"}
    assert described["action"] == {"feature": value, "length": 2, "_type": "Sequence"}
    assert described["timestamp"] == value
    assert described["observation.keypoints"] == {
        "shape": [4, 2],
        "dtype": "float32",
        "_type": "Array2D",
    }
    if pictures == "image":
        assert described[toy.image] == {"_type": "Image"}
        picture = tables[0][toy.image][0].as_py()
        assert picture["bytes"].startswith(b"\x89PNG")
        assert picture["path"] == "frame-000000.png"
    table = pa.concat_tables(tables)
    np.testing.assert_array_equal(table["index"], np.arange(74))
    lengths = 5 + np.arange(10) % 7
    np.testing.assert_array_equal(table["episode_index"], np.repeat(np.arange(10), lengths))
    frame = np.concatenate([np.arange(length) for length in lengths])
    np.testing.assert_array_equal(table["frame_index"], frame)
    np.testing.assert_array_equal(table["timestamp"], (frame / 10).astype(np.float32))
    np.testing.assert_array_equal(table["task_index"], np.repeat(np.arange(10) % 2, lengths))


def test_a_row_group_holds_an_episode(written):
    folder, _ = written
    metadata = pq.read_metadata(folder / "data" / "chunk-000" / "file-000.parquet")
    groups = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
    assert groups == [5, 6, 7, 8]


def test_the_episodes(written, toy):
    folder, pictures = written
    paths = sorted((folder / "meta" / "episodes").rglob("*.parquet"))
    table = pa.concat_tables([pq.read_table(path) for path in paths])
    rows = table.to_pylist()
    start = start_in_file = 0
    for index, row in enumerate(rows):
        length = 5 + index % 7
        if index % 4 == 0:
            start_in_file = 0
        assert row["episode_index"] == index
        assert row["tasks"] == [("push", "pull")[index % 2]]
        assert row["length"] == length
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (start, start + length)
        for prefix in ("data", "meta/episodes"):
            assert row[f"{prefix}/chunk_index"] == 0
            assert row[f"{prefix}/file_index"] == index // 4
        if pictures == "video":
            prefix = f"videos/{toy.image}"
            assert (row[f"{prefix}/chunk_index"], row[f"{prefix}/file_index"]) == (0, index // 4)
            assert row[f"{prefix}/from_timestamp"] == start_in_file / 10
            assert row[f"{prefix}/to_timestamp"] == (start_in_file + length) / 10
        assert row["seed"] == 1000 + index
        actions = toy.episode(index)["action"].astype(float)
        assert row["stats/action/min"] == actions.min(0).tolist()
        assert row["stats/action/max"] == actions.max(0).tolist()
        np.testing.assert_allclose(row["stats/action/mean"], actions.mean(0))
        np.testing.assert_allclose(row["stats/action/std"], actions.std(0))
        assert row["stats/action/count"] == [length]
        assert np.shape(row[f"stats/{toy.image}/mean"]) == (3, 1, 1)
        start += length
        start_in_file += length
    for key in INDICES:
        assert f"stats/{key}/mean" in table.column_names


def test_the_tasks_are_a_pandas_table(written):
    folder, _ = written
    table = pq.read_table(folder / "meta" / "tasks.parquet")
    assert table.column_names == ["task_index", "task"]
    assert table["task_index"].to_pylist() == [0, 1]
    assert table["task"].to_pylist() == ["push", "pull"]
    described = json.loads(table.schema.metadata[b"pandas"])
    assert described["index_columns"] == ["task"]
    assert [column["name"] for column in described["columns"]] == ["task_index", "task"]


def test_the_statistics(written, toy):
    folder, _ = written
    statistics = json.loads((folder / "meta" / "stats.json").read_text())
    assert set(statistics) == {toy.image, *toy.features(None), *INDICES}
    for key, values in statistics.items():
        assert set(values) == {"min", "max", "mean", "std", "count"}, key
        assert np.shape(values["count"]) == (1,)
    for name in ("min", "max", "mean", "std"):
        assert np.shape(statistics[toy.image][name]) == (3, 1, 1)
        assert np.shape(statistics["observation.keypoints"][name]) == (4, 2)
        assert np.shape(statistics["next.reward"][name]) == (1,)
    assert 0 <= statistics[toy.image]["min"][0][0][0] <= statistics[toy.image]["max"][0][0][0] <= 1
    index = statistics["index"]
    assert (index["min"], index["max"], index["mean"], index["count"]) == ([0], [73], [36.5], [74])


def test_every_picture_of_a_video_stands_at_its_time(tmp_path, toy):
    toy.write(tmp_path, 10, "video")
    path = tmp_path / "videos" / toy.image / "chunk-000" / "file-001.mp4"
    rows = pq.read_metadata(tmp_path / "data" / "chunk-000" / "file-001.parquet").num_rows
    with av.open(io.BytesIO(path.read_bytes())) as container:
        stream = container.streams.video[0]
        assert stream.average_rate == 10
        assert stream.codec_context.pix_fmt == "yuv420p"
        frames = list(container.decode(stream))
    assert [frame.time for frame in frames] == [number / 10 for number in range(rows)]
    keyframes = [number for number, frame in enumerate(frames) if frame.key_frame]
    assert max(np.diff(keyframes)) <= 2
