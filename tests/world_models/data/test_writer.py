import contextlib
import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest

from dexworld.world_models.data import writer as writer_module
from dexworld.world_models.data.lerobot import (
    Dataset,
    DatasetWriter,
    Feature,
    encode_mp4,
    encode_png,
    recover,
)


@pytest.mark.parametrize("pictures", [None, "image", "video"])
def test_what_is_written_is_read(tmp_path, toy, pictures):
    toy.write(tmp_path / "set", 10, pictures)
    toy.assert_intact(Dataset(tmp_path / "set"), 10)
    assert not (tmp_path / "set" / ".pending").exists()


@pytest.mark.parametrize("pictures", [None, "image", "video"])
def test_appending_goes_on(tmp_path, toy, pictures):
    toy.write(tmp_path, 5, pictures, info={"env": "first", "kept": 1})
    toy.write(tmp_path, 6, pictures, first=5, existing="append", info={"env": "second"})
    dataset = Dataset(tmp_path)
    toy.assert_intact(dataset, 11)
    assert dataset.info["dexworld"] == {"env": "second", "kept": 1}
    np.testing.assert_array_equal(dataset.episodes["seed"], 1000 + np.arange(11))
    index = dataset.columns(["index"])["index"]
    np.testing.assert_array_equal(index, np.arange(dataset.frames))
    actions = np.concatenate([toy.episode(number, False)["action"] for number in range(11)])
    statistics = dataset.statistics["action"]
    np.testing.assert_allclose(statistics["mean"], actions.mean(0, dtype=float))
    np.testing.assert_allclose(statistics["std"], actions.std(0, dtype=float))
    assert statistics["count"] == [len(actions)]


def test_encoded_pictures_are_taken_as_they_are(tmp_path, toy):
    frames = toy.episode(3)
    for pictures, encode in (("image", encode_png), ("video", lambda p: encode_mp4(p, toy.fps))):
        features = toy.features(pictures)
        folders = {}
        for name, given in (("raw", frames[toy.image]), ("encoded", encode(frames[toy.image]))):
            folder = folders[name] = tmp_path / pictures / name
            with DatasetWriter(folder, features, toy.fps, robot_type="toy") as writer:
                writer.add_episode({**frames, toy.image: given}, task="push")
        raw, encoded = (Dataset(folder) for folder in folders.values())
        np.testing.assert_array_equal(raw.episode(0)[toy.image], encoded.episode(0)[toy.image])
        if pictures == "image":
            assert raw.fingerprint() == encoded.fingerprint()
        for name, value in raw.statistics[toy.image].items():
            np.testing.assert_allclose(value, encoded.statistics[toy.image][name], atol=0.1)


def test_there_is_never_a_second_writer(tmp_path, toy):
    program = (
        "import sys, time\n"
        "from dexworld.world_models.data.lerobot import DatasetWriter, Feature\n"
        "w = DatasetWriter(sys.argv[1], {'action': Feature('float32', (2,))}, 10, robot_type='toy')\n"
        "print('open', flush=True); time.sleep(60)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "set")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None and other.stdout.readline() == "open\n"
        for existing in ("append", "overwrite"):
            with pytest.raises(BlockingIOError, match="another process is writing"):
                DatasetWriter(
                    tmp_path / "set",
                    {"action": Feature("float32", (2,))},
                    10,
                    robot_type="toy",
                    existing=existing,
                )
        other.kill()
    assert recover(tmp_path / "set") == 0
    assert len(Dataset(tmp_path / "set")) == 0


def test_an_existing_dataset_is_kept_unless_told(tmp_path, toy):
    toy.write(tmp_path, 3)
    with pytest.raises(FileExistsError, match="existing='append' or 'overwrite'"):
        toy.write(tmp_path, 3)
    (tmp_path / "notes.txt").write_text("mine")
    toy.write(tmp_path, 2, existing="overwrite")
    toy.assert_intact(Dataset(tmp_path), 2)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_with_other_data_is_left_alone(tmp_path, toy):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mine.csv").write_text("1,2")
    for existing in ("error", "append", "overwrite"):
        with pytest.raises(FileExistsError, match=r"data/mine\.csv and no meta/info\.json"):
            toy.write(tmp_path, 1, existing=existing)
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["data", "mine.csv"]


def test_appending_to_another_dataset_names_the_difference(tmp_path, toy):
    toy.write(tmp_path, 2)
    features = toy.features(None)
    cases = [
        ({}, 20, "toy", "it has 10 frames per second, not 20"),
        ({}, 10, "arm", "its robot_type is 'toy', not 'arm'"),
        ({"velocity": Feature("float32", (3,))}, 10, "toy", "it lacks the feature 'velocity'"),
        ({"action": Feature("float32", (3,))}, 10, "toy", r"'action' is float32 \(2,\), not float"),
        ({"scene": Feature("float32", (1,))}, 10, "toy", "'scene' is int64"),
    ]
    for changed, fps, robot_type, message in cases:
        with pytest.raises(ValueError, match=message):
            DatasetWriter(
                tmp_path, {**features, **changed}, fps, robot_type=robot_type, existing="append"
            )
    del features["scene"]
    with pytest.raises(ValueError, match="it has the feature 'scene', which is not given"):
        DatasetWriter(tmp_path, features, 10, robot_type="toy", existing="append")
    toy.assert_intact(Dataset(tmp_path), 2)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("action", np.zeros((5, 3), np.float32), r"'action' has the shape \(5, 3\)"),
        ("action", np.zeros((4, 2), np.float32), "as many frames as each other"),
        ("action", np.full((5, 2), np.nan), "'action' is not finite in frame 0"),
        ("scene", np.zeros(5), "'scene' is float64, and the dataset holds int64"),
        ("observation.images.top", np.zeros((5, 32, 32, 3), np.float32), "is float32"),
        ("observation.images.top", np.zeros((5, 16, 32, 3), np.uint8), "has the shape"),
        ("observation.images.top", [b"no"] * 5, "frame 0 is not a PNG file"),
        (
            "observation.images.top",
            encode_png(np.zeros((5, 16, 32, 3), np.uint8)),
            "frame 0 is a PNG of 16x32",
        ),
    ],
)
def test_frames_that_do_not_fit_are_refused(tmp_path, toy, key, value, message):
    with DatasetWriter(tmp_path, toy.features("image"), 10, robot_type="toy") as writer:
        with pytest.raises(ValueError, match=message):
            writer.add_episode({**toy.episode(0), key: value}, task="push")
        with pytest.raises(ValueError, match="the features of an episode are"):
            writer.add_episode({key: toy.episode(0)[key]}, task="push")
        writer.add_episode(toy.episode(0), task="push")
    toy.assert_intact(Dataset(tmp_path), 1)


def test_videos_that_do_not_fit_are_refused(tmp_path, toy):
    with DatasetWriter(tmp_path, toy.features("video"), 10, robot_type="toy") as writer:
        for video, message in (
            (b"not a video", "not a readable video"),
            (encode_mp4(np.zeros((5, 16, 32, 3), np.uint8), 10), r"a video of \(16, 32\)"),
            (encode_mp4(np.zeros((4, 32, 32, 3), np.uint8), 10), "as many frames"),
        ):
            with pytest.raises(ValueError, match=message):
                writer.add_episode({**toy.episode(0), toy.image: video}, task="push")


def test_extras_are_the_same_in_every_episode(tmp_path, toy):
    def extras(**values):
        writer.add_episode(toy.episode(0, False), task="push", extras=values)

    with DatasetWriter(tmp_path, toy.features(None), 10, robot_type="toy") as writer:
        with pytest.raises(ValueError, match=r"extras\['list'\]"):
            extras(list=[1])
        with pytest.raises(ValueError, match="none that LeRobot uses"):
            extras(length=3)
        extras(seed=np.int64(3), coverage=0.5, note="good", done=np.bool_(True))
        extras(done=False, note="bad", coverage=1, seed=4)
        with pytest.raises(ValueError, match="the extras of every episode are"):
            extras(seed=3)
    with DatasetWriter(
        tmp_path, toy.features(None), 10, robot_type="toy", existing="append"
    ) as writer:
        with pytest.raises(ValueError, match="'seed': 'int', 'coverage': 'float'"):
            extras(seed="three", coverage=1.0, note="", done=False)
        extras(seed=5, coverage=0.25, note="", done=False)
    episodes = Dataset(tmp_path).episodes
    assert episodes["seed"].tolist() == [3, 4, 5]
    assert episodes["coverage"].tolist() == [0.5, 1.0, 0.25]
    assert episodes["note"].tolist() == ["good", "bad", ""]
    assert episodes["done"].tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("feature", "message"),
    [
        (Feature("float16", (1,)), "there are float32"),
        (Feature("float32", ()), r"a number has \(1,\)"),
        (Feature("image", (3, 32, 32)), "pictures are"),
        (Feature("video", (31, 32, 3)), "even"),
        (Feature("float32", (2,), ("x",)), "1 names for its shape"),
    ],
)
def test_features_that_cannot_be_stored_are_refused(tmp_path, feature, message):
    with pytest.raises(ValueError, match=message):
        DatasetWriter(tmp_path / "set", {"key": feature}, 10, robot_type="toy")
    assert not (tmp_path / "set").exists()


def test_arguments_that_make_no_dataset_are_refused(tmp_path, toy):
    features = toy.features(None)
    for arguments, message in (
        ({"existing": "delete"}, "existing='delete': choose"),
        ({"episodes_per_file": 0}, "episodes_per_file is 0"),
        ({"fps": 0.0}, "fps is 0.0"),
        ({"features": {}}, "at least one feature"),
        ({"features": {"index": Feature("int64", (1,))}}, "can be called 'index'"),
        ({"info": {"env": object()}}, "cannot be written as JSON"),
    ):
        given = {"features": features, "fps": 10, "robot_type": "toy", **arguments}
        with pytest.raises(ValueError, match=message):
            DatasetWriter(tmp_path / "set", **given)


class Killed(BaseException):
    """Ends a writer without any of its clean-up, as SIGKILL would."""


def added_until_killed(writer, toy):
    added = writer.episodes
    with contextlib.suppress(Killed):
        while True:
            frames = toy.episode(added, toy.image in writer.features)
            extras = {"seed": 1000 + added, "coverage": added / 7}
            writer.add_episode(frames, task="push", extras=extras)
            added += 1
    return added


@pytest.mark.slow
@pytest.mark.parametrize(("pictures", "files"), [(None, 7), ("video", 10)])
def test_killed_between_any_two_files_it_loses_at_most_the_episode_at_hand(
    tmp_path, toy, pictures, files, monkeypatch
):
    """`os.replace` makes each file count; the writer dies before, and then after, each of them."""
    real = os.replace
    for moment in range(2 * files):
        folder = tmp_path / str(moment)
        calls = 0

        def replace(source, target, moment=moment):
            nonlocal calls
            if calls == moment // 2 and moment % 2 == 0:
                raise Killed
            real(source, target)
            if calls == moment // 2 and moment % 2 == 1:
                raise Killed
            calls += 1

        toy.write(folder, 2, pictures, episodes_per_file=2)
        monkeypatch.setattr(os, "replace", replace)
        writer = DatasetWriter(
            folder,
            toy.features(pictures),
            toy.fps,
            robot_type="toy",
            existing="append",
            episodes_per_file=2,
        )
        added = added_until_killed(writer, toy)
        monkeypatch.setattr(os, "replace", real)
        seen = Dataset(folder)
        toy.assert_intact(seen, len(seen))
        assert recover(folder) >= added
        complete = Dataset(folder)
        assert added <= len(complete) <= added + 1
        toy.assert_intact(complete, len(complete))
        toy.write(folder, 1, pictures, first=len(complete), existing="append")
        toy.assert_intact(Dataset(folder), len(complete) + 1)
        names = {path.suffix for path in folder.rglob("*") if path.is_file()}
        assert names <= {".parquet", ".json", ".mp4"}


def test_what_is_pending_counts_but_is_not_read_yet(tmp_path, toy):
    writer = DatasetWriter(tmp_path, toy.features(None), 10, robot_type="toy", episodes_per_file=2)
    for index in range(5):
        assert writer.add_episode(toy.episode(index, False), task="push") == index
        assert writer.episodes == index + 1
        assert len(Dataset(tmp_path)) == 2 * ((index + 1) // 2)
    writer.close()
    toy.assert_intact(Dataset(tmp_path), 5)
    with pytest.raises(ValueError, match="is closed"):
        writer.add_episode(toy.episode(0, False), task="push")


def test_killed_before_a_full_shard_it_writes_the_shard_when_it_goes_on(tmp_path, toy, monkeypatch):
    """So the files are those of a writer that was never killed."""

    def die(self):
        raise Killed

    settings = {"robot_type": "toy", "episodes_per_file": 2}
    with monkeypatch.context() as patched, contextlib.suppress(Killed):
        patched.setattr(DatasetWriter, "_close_shard", die)
        writer = DatasetWriter(tmp_path / "killed", toy.features(None), toy.fps, **settings)
        for index in range(2):
            writer.add_episode(toy.episode(index, False), task="push")
    del writer
    for name, done, existing in (("killed", 2, "append"), ("whole", 0, "error")):
        with DatasetWriter(
            tmp_path / name, toy.features(None), toy.fps, existing=existing, **settings
        ) as writer:
            assert writer.episodes == done
            for index in range(done, 3):
                writer.add_episode(toy.episode(index, False), task="push")
    killed, whole = (Dataset(tmp_path / name) for name in ("killed", "whole"))
    toy.assert_intact(killed, 3)
    assert killed.fingerprint() == whole.fingerprint()


def test_large_episodes_close_a_shard_early(tmp_path, toy, monkeypatch):
    monkeypatch.setattr(writer_module, "DATA_MEGABYTES", 0.002)
    toy.write(tmp_path, 8, episodes_per_file=100)
    toy.assert_intact(Dataset(tmp_path), 8)
    assert len(list((tmp_path / "data").rglob("*.parquet"))) > 1


@pytest.mark.slow
def test_an_episode_costs_the_same_however_many_there_are(tmp_path, toy):
    seconds = []
    frames = toy.episode(6, False)
    with DatasetWriter(tmp_path, toy.features(None), 10, robot_type="toy") as writer:
        for _ in range(1000):
            start = time.perf_counter()
            writer.add_episode(frames, task="push")
            seconds.append(time.perf_counter() - start)
    early, late = np.median(seconds[50:250]), np.median(seconds[-200:])
    assert late < 2 * early
    assert late < 0.05
    assert len(Dataset(tmp_path)) == 1000


def test_info_is_merged_and_json(tmp_path, toy):
    toy.write(tmp_path, 1, info={"env": {"id": "PushT"}, "seed": 3})
    info = json.loads((tmp_path / "meta" / "info.json").read_text())
    assert info["dexworld"] == {"env": {"id": "PushT"}, "seed": 3}
