import json
import shutil

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature


@pytest.fixture
def folder(tmp_path, toy):
    toy.write(tmp_path / "set", 10, "image")
    return tmp_path / "set"


def edit_info(folder, **changes):
    path = folder / "meta" / "info.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_all_shards_are_read(folder, toy):
    """Readers that stop at the first shard of meta/episodes silently lose episodes."""
    assert len(list((folder / "meta" / "episodes").rglob("*.parquet"))) == 3
    dataset = Dataset(folder, fps=10)
    assert (len(dataset), dataset.fps) == (10, 10.0)
    assert sum(len(frames["action"]) for frames in dataset) == dataset.frames
    episodes = dataset.episodes
    assert episodes["task"].tolist() == ["push", "pull"] * 5
    assert dataset.tasks == ["push", "pull"]
    assert episodes["seed"].tolist() == list(range(1000, 1010))
    np.testing.assert_array_equal(
        episodes["dataset_to_index"] - episodes["dataset_from_index"], episodes["length"]
    )


def test_only_the_keys_asked_for_are_read(folder, toy):
    dataset = Dataset(folder)
    frames = dataset.episode(5, ["action", "observation.keypoints"])
    assert list(frames) == ["action", "observation.keypoints"]
    np.testing.assert_array_equal(frames["action"], toy.episode(5)["action"])
    columns = dataset.columns(["observation.keypoints", "next.success", "episode_index"])
    expected = [toy.episode(index) for index in range(10)]
    for key in ("observation.keypoints", "next.success"):
        together = np.concatenate([frames[key] for frames in expected])
        np.testing.assert_array_equal(columns[key], together)
    lengths = dataset.episodes["length"]
    np.testing.assert_array_equal(columns["episode_index"], np.repeat(np.arange(10), lengths))
    assert toy.image not in dataset.columns()


@pytest.mark.parametrize("pictures", ["image", "video"])
def test_only_the_frames_asked_for_are_read(tmp_path, toy, pictures):
    toy.write(tmp_path, 6, pictures)
    dataset = Dataset(tmp_path)
    for steps in ([0, 4, 9], [3], range(2, 10, 2)):
        chosen, whole = dataset.episode(5, steps=steps), dataset.episode(5)
        for key, values in whole.items():
            np.testing.assert_array_equal(chosen[key], values[list(steps)])
    for wrong in ([0, 10], [-1], []):
        with pytest.raises(IndexError, match="episode 5 has frames 0 to 9"):
            dataset.episode(5, steps=wrong)


def test_what_is_not_there_is_named(folder, tmp_path):
    dataset = Dataset(folder)
    for read in (dataset.episode, lambda _, keys: dataset.columns(keys)):
        with pytest.raises(KeyError, match=r"no 'velocity'; it has .*observation\.state"):
            read(0, ["velocity"])
    with pytest.raises(ValueError, match="are pictures"):
        dataset.columns(["observation.images.top"])
    for index in (-1, 10):
        with pytest.raises(IndexError, match="episodes 0 to 9"):
            dataset.episode(index)
    for missing in (tmp_path, tmp_path / "nowhere", folder / "meta" / "info.json"):
        with pytest.raises(FileNotFoundError, match=r"not a LeRobot dataset: it has no meta/info"):
            Dataset(missing)


def test_wrong_rates_and_versions_are_refused(folder):
    with pytest.raises(ValueError, match="10 frames per second, and 20 are expected"):
        Dataset(folder, fps=20)
    edit_info(folder, codebase_version="v2.1")
    with pytest.raises(ValueError, match=r"LeRobot dataset v2\.1, and only v3\.0"):
        Dataset(folder)
    (folder / "meta" / "info.json").write_text("{")
    with pytest.raises(ValueError, match="is damaged"):
        Dataset(folder)


def test_missing_shards_are_named(folder):
    data = folder / "data" / "chunk-000" / "file-001.parquet"
    kept = data.read_bytes()
    data.unlink()
    with pytest.raises(ValueError, match=r"data/chunk-000/file-001\.parquet is missing"):
        Dataset(folder)
    data.write_bytes(kept)
    (folder / "meta" / "episodes" / "chunk-000" / "file-001.parquet").unlink()
    with pytest.raises(ValueError, match=r"lacks 4 of the 10 episodes .* from episode 4 on"):
        Dataset(folder)
    shutil.rmtree(folder / "meta" / "episodes")
    with pytest.raises(ValueError, match=r"holds no episodes, and .* counts 10"):
        Dataset(folder)


@pytest.mark.parametrize("where", ["start", "middle", "end", "cut"])
def test_a_corrupt_shard_is_named(folder, where):
    """At the end stands the description of the file: seen when it opens, the rest when it is read."""
    path = folder / "data" / "chunk-000" / "file-001.parquet"
    content = bytearray(path.read_bytes())
    if where == "cut":
        content = content[: len(content) // 2]
    else:
        place = {"start": 40, "middle": len(content) // 3, "end": len(content) - 30}[where]
        content[place : place + 8] = bytes(255 - byte for byte in content[place : place + 8])
    path.write_bytes(content)

    def read_all():
        dataset = Dataset(folder)
        dataset.columns()
        return list(dataset)

    with pytest.raises(ValueError, match=r"file-001\.parquet is corrupt .*: restore it"):
        read_all()


def test_a_corrupt_video_is_named(tmp_path, toy):
    toy.write(tmp_path, 4, "video")
    path = next(tmp_path.rglob("*.mp4"))
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=r"file-000\.mp4 is corrupt"):
        Dataset(tmp_path)
    path.unlink()
    with pytest.raises(ValueError, match=r"file-000\.mp4 is missing"):
        Dataset(tmp_path)


def test_a_video_with_fewer_pictures_than_rows_is_refused(tmp_path, toy):
    toy.write(tmp_path / "long", 4, "video")
    toy.write(tmp_path / "short", 3, "video")
    video = next((tmp_path / "short").rglob("*.mp4"))
    shutil.copy(video, tmp_path / "long" / video.relative_to(tmp_path / "short"))
    with pytest.raises(ValueError, match="holds 18 pictures, and the episodes in it have 26"):
        Dataset(tmp_path / "long")


def test_episodes_that_point_to_the_wrong_shard_are_refused(folder):
    """Some writers left the first episode of a shard pointing to the shard before."""
    path = folder / "meta" / "episodes" / "chunk-000" / "file-001.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("data/file_index")
    wrong = pa.array([0, *table["data/file_index"].to_pylist()[1:]])
    pq.write_table(table.set_column(place, "data/file_index", wrong), path)
    with pytest.raises(ValueError, match="frames, and the episodes in it have"):
        Dataset(folder)


def test_rows_of_another_episode_are_never_handed_on(folder):
    """Some writers scrambled the rows; the two episodes here have changed places."""
    path = folder / "data" / "chunk-000" / "file-000.parquet"
    table = pq.read_table(path)
    pq.write_table(pa.concat_tables([table.slice(11), table.slice(0, 11)]), path)
    dataset = Dataset(folder)
    for read in (lambda: dataset.episode(0), lambda: dataset.columns(["action"])):
        with pytest.raises(ValueError, match="do not follow one another"):
            read()


def test_episodes_that_do_not_follow_one_another_are_refused(folder):
    edit_info(folder, total_frames=3)
    with pytest.raises(ValueError, match=r"counts 74 frames, and .* 3"):
        Dataset(folder)
    path = folder / "meta" / "episodes" / "chunk-000" / "file-002.parquet"
    table = pq.read_table(path)
    place = table.column_names.index("length")
    longer = pa.array([length + 1 for length in table["length"].to_pylist()])
    pq.write_table(table.set_column(place, "length", longer), path)
    with pytest.raises(ValueError, match="episode 8 does not start where"):
        Dataset(folder)


def test_rows_need_not_stand_in_a_group_for_every_episode(folder, toy):
    """Other writers put many episodes in one row group, or one in several."""
    for size in (3, 1000):
        for path in (folder / "data").rglob("*.parquet"):
            pq.write_table(pq.read_table(path), path, row_group_size=size)
        toy.assert_intact(Dataset(folder), 10)


def test_drifting_times_find_the_right_pictures(tmp_path, toy):
    """`from_timestamp` as a sum of durations drifts; the nearest frame is meant."""
    toy.write(tmp_path, 4, "video")
    path = next((tmp_path / "meta" / "episodes").rglob("*.parquet"))
    table = pq.read_table(path)
    name = f"videos/{toy.image}/from_timestamp"
    drifted = pa.array([time + 0.03 for time in table[name].to_pylist()])
    pq.write_table(table.set_column(table.column_names.index(name), name, drifted), path)
    toy.assert_intact(Dataset(tmp_path), 4)


def test_the_fingerprint_follows_the_content(folder, tmp_path, toy):
    fingerprint = Dataset(folder).fingerprint()
    copy = shutil.copytree(folder, tmp_path / "elsewhere" / "renamed")
    assert Dataset(copy).fingerprint() == fingerprint
    toy.write(tmp_path / "longer", 11, "image")
    assert Dataset(tmp_path / "longer").fingerprint() != fingerprint
    with DatasetWriter(tmp_path / "other", toy.features("image"), 10, robot_type="toy") as writer:
        for index in range(10):
            frames = toy.episode(index)
            if index == 7:
                frames["observation.state"][3, 1] += 1e-3
            writer.add_episode(frames, task="push", extras={"seed": 1000 + index})
    assert Dataset(tmp_path / "other").fingerprint() != fingerprint


def test_an_empty_dataset_can_be_opened(tmp_path):
    features = {"action": Feature("float32", (2,))}
    DatasetWriter(tmp_path, features, 10, robot_type="toy").close()
    dataset = Dataset(tmp_path)
    assert (len(dataset), dataset.frames, dataset.tasks, dataset.statistics) == (0, 0, [], {})
