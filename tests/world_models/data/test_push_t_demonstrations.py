import sys
import zipfile

import numpy as np
import pytest

from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.push_t_demonstrations import import_demonstrations

zarr = pytest.importorskip("zarr")
numcodecs = pytest.importorskip("numcodecs")

ENDS = [12, 20, 37]


def arrays():
    random = np.random.default_rng(0)
    rows = ENDS[-1]
    return {
        "img": random.integers(0, 256, (rows, 96, 96, 3)).astype(np.float32),
        "state": random.uniform(0, 512, (rows, 5)).astype(np.float32),
        "action": random.uniform(0, 512, (rows, 2)).astype(np.float32),
        "keypoint": random.uniform(0, 512, (rows, 9, 2)).astype(np.float32),
        "n_contacts": np.zeros((rows, 1), np.float32),
    }


def store(path, data, ends=ENDS, zarr_format=2):
    """Write a store as the public one is: Zarr 2, floats, compressed by Blosc."""
    root = zarr.open_group(str(path), mode="w", zarr_format=zarr_format)
    compressor = numcodecs.Blosc(cname="zstd", clevel=5) if zarr_format == 2 else "auto"
    for name, values in {
        **{f"data/{key}": data[key] for key in data},
        "meta/episode_ends": np.array(ends),
    }.items():
        array = root.create_array(
            name,
            shape=values.shape,
            dtype=values.dtype,
            chunks=(max(1, min(16, len(values))), *values.shape[1:]),
            compressors=compressor,
        )
        array[:] = values
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_every_frame_arrives(tmp_path, zarr_format):
    data = arrays()
    source = store(tmp_path / "replay.zarr", data, zarr_format=zarr_format)
    assert import_demonstrations(source, tmp_path / "set") == 3
    dataset = Dataset(tmp_path / "set", fps=10)
    assert dataset.episodes["length"].tolist() == [12, 8, 17]
    assert dataset.tasks == ["Push the T onto its target."]
    assert dataset.features["observation.keypoints"].shape == (9, 2)
    for episode, (first, last) in enumerate(zip([0, *ENDS[:-1]], ENDS, strict=True)):
        frames = dataset.episode(episode)
        for key, name in (
            ("observation.images.top", "img"),
            ("observation.state", "state"),
            ("observation.keypoints", "keypoint"),
            ("action", "action"),
        ):
            np.testing.assert_array_equal(frames[key], data[name][first:last])
        assert frames["observation.images.top"].dtype == np.uint8


def test_a_zip_and_videos(tmp_path):
    source = store(tmp_path / "replay.zarr", arrays())
    packed = tmp_path / "replay.zarr.zip"
    with zipfile.ZipFile(packed, "w") as archive:
        for path in source.rglob("*"):
            if path.is_file():
                archive.write(path, path.relative_to(source))
    assert import_demonstrations(packed, tmp_path / "set", pictures="video") == 3
    assert Dataset(tmp_path / "set").episode(2)["observation.images.top"].shape == (17, 96, 96, 3)


def test_another_layout_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match="download and unpack"):
        import_demonstrations(tmp_path / "nowhere.zarr", tmp_path / "set")
    (tmp_path / "text.zip").write_text("no")
    (tmp_path / "empty").mkdir()
    for other in (tmp_path / "text.zip", tmp_path / "empty"):
        with pytest.raises((ValueError, OSError), match="is not a Zarr store"):
            import_demonstrations(other, tmp_path / "set")
    data = arrays()
    cases = [
        ({key: data[key] for key in data if key != "keypoint"}, ENDS, "lacks data/keypoint"),
        ({**data, "state": data["state"][:, :4]}, ENDS, r"rows of data/state are \(4,\)"),
        (data, [12, 20, 36], "does not divide the rows"),
        (data, [12, 12, 37], "does not divide the rows"),
        ({**data, "img": data["img"] * 2}, ENDS, "data/img is outside of 0 to 255"),
    ]
    for number, (changed, ends, message) in enumerate(cases):
        source = store(tmp_path / f"{number}.zarr", changed, ends)
        with pytest.raises(ValueError, match=message):
            import_demonstrations(source, tmp_path / f"set{number}")


def test_without_zarr_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r'pip install "dexworld\[zarr\]"'):
        import_demonstrations(tmp_path, tmp_path / "set")
