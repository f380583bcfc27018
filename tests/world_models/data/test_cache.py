import os
import subprocess
import sys

import numpy as np
import pytest

from dexworld.world_models.data.cache import Cache, Transform
from dexworld.world_models.data.lerobot import Dataset

KEYS = ["observation.images.top", "observation.state", "action", "next.reward", "scene"]


@pytest.fixture
def folder(tmp_path, toy):
    toy.write(tmp_path / "set", 6, "image")
    return tmp_path / "set"


def mean_colour(scale: float = 1.0, fingerprint: str = "mean 1") -> Transform:
    return Transform(
        "observation.images.top", lambda frames: scale * frames.mean((1, 2)), fingerprint
    )


def test_it_holds_what_the_dataset_holds(folder, toy):
    done = []
    cache = Cache.open(folder, KEYS, progress=lambda now, total: done.append((now, total)))
    assert done == [(now, 30) for now in range(1, 31)]
    expected = [toy.episode(index) for index in range(6)]
    assert (cache.episodes, cache.frames) == (6, sum(len(each["action"]) for each in expected))
    for key in KEYS:
        array = cache.arrays[key]
        assert isinstance(array, np.memmap)
        assert not array.flags.writeable
        together = np.concatenate([each[key] for each in expected])
        np.testing.assert_array_equal(array, together.astype(array.dtype))
    kinds = [str(cache.arrays[key].dtype) for key in KEYS]
    assert kinds == ["uint8", "float32", "float32", "float32", "int64"]
    for episode, (start, length) in enumerate(zip(cache.starts, cache.lengths, strict=True)):
        assert (cache.episode_index[start : start + length] == episode).all()
    again: list[int] = []
    Cache.open(Dataset(folder), KEYS, progress=lambda now, _: again.append(now))
    assert not again
    Cache.open(folder, [*KEYS, "next.success"], progress=lambda now, _: again.append(now))
    assert again == [1, 2, 3, 4, 5, 6]


def test_a_cache_of_other_data_is_refused_and_rebuilt_when_told(folder, tmp_path, toy):
    place = tmp_path / "cache"
    Cache.open(folder, ["action"], place)
    toy.write(tmp_path / "other", 7, "image")
    remedy = (
        r"was built from other data .* rebuild=True \(on the command line data.rebuild_cache=true"
    )
    with pytest.raises(ValueError, match=remedy):
        Cache.open(tmp_path / "other", ["action"], place)
    assert Cache.open(tmp_path / "other", ["action"], place, rebuild=True).episodes == 7
    with pytest.raises(ValueError, match="was built from other data"):
        Cache.open(folder, ["action"], place)


def test_features_may_be_computed_anew_and_another_dataset_is_refused_all_the_same(
    folder, tmp_path, toy
):
    place, colour = tmp_path / "cache", {"colour": mean_colour()}
    Cache.open(folder, [], place, transforms=colour)
    toy.write(tmp_path / "other", 7, "image")
    with pytest.raises(ValueError, match="was built from other data"):
        Cache.open(tmp_path / "other", [], place, transforms=colour, recompute=True)
    assert Cache.open(folder, ["action"], place, transforms=colour).episodes == 6


def test_a_cache_of_the_dataset_before_it_grew_is_refused(folder, toy):
    cache = Cache.open(folder, ["action"])
    toy.write(folder, 2, "image", first=6, existing="append")
    with pytest.raises(ValueError, match="was built from other data"):
        Cache.open(folder, ["action"])
    assert Cache.open(folder, ["action"], rebuild=True).episodes == 8
    assert len(cache.arrays["action"]) == cache.frames  # whoever has it open keeps it
    toy.write(folder, 1, "image", existing="overwrite")
    assert Cache.open(folder, ["action"]).episodes == 1


def test_features_of_an_encoder_are_computed_once(folder):
    calls = []
    transform = Transform(
        "observation.images.top",
        lambda frames: calls.append(len(frames)) or frames.mean((1, 2)),
        "mean 1",
    )
    cache = Cache.open(folder, ["action"], transforms={"colour": transform})
    assert len(calls) == 6
    assert cache.arrays["colour"].shape == (cache.frames, 3)
    assert cache.arrays["colour"].dtype == np.float16
    Cache.open(folder, ["action"], transforms={"colour": transform})
    assert len(calls) == 6
    other = {"colour": mean_colour(2.0, "mean 2")}
    with pytest.raises(ValueError, match=r"'colour' in the cache .* by another transform"):
        Cache.open(folder, [], transforms=other)
    doubled = Cache.open(folder, [], transforms=other, rebuild=True).arrays["colour"]
    np.testing.assert_allclose(doubled, 2.0 * cache.arrays["colour"], rtol=2e-3)
    third = {"colour": mean_colour(3.0, "mean 3")}
    tripled = Cache.open(folder, [], transforms=third, recompute=True).arrays["colour"]
    np.testing.assert_allclose(tripled, 3.0 * cache.arrays["colour"], rtol=2e-3)
    with pytest.raises(ValueError, match="cannot be called as features"):
        Cache.open(folder, [], transforms={"action": mean_colour()})
    short = Transform("action", lambda frames: frames[1:], "short")
    with pytest.raises(ValueError, match="'short' gave 4 rows for 5 frames"):
        Cache.open(folder, [], transforms={"short": short})


def test_what_is_not_there_is_named(folder, tmp_path, toy):
    with pytest.raises(KeyError, match=r"no 'velocity'; it has .*action"):
        Cache.open(folder, ["velocity"])
    toy.write(tmp_path / "empty", 0)
    with pytest.raises(ValueError, match="holds no episodes"):
        Cache.open(tmp_path / "empty", ["action"])


@pytest.mark.parametrize("damage", ["cut", "index", "missing"])
def test_a_damaged_cache_is_named(folder, damage):
    place = Cache.open(folder, ["action"]).folder
    if damage == "missing":
        (place / "action.npy").unlink()
    else:
        path = place / ("action.npy" if damage == "cut" else "cache.json")
        path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(ValueError, match=r"is damaged .*: delete the folder"):
        Cache.open(folder, ["action"])


def test_a_build_that_is_killed_leaves_nothing_that_looks_finished(folder, toy):
    program = (
        "import os, signal, sys\n"
        "from dexworld.world_models.data.cache import Cache\n"
        "def progress(now, total):\n"
        "    if now == 9: os.kill(os.getpid(), signal.SIGKILL)\n"
        "Cache.open(sys.argv[1], ['action', 'observation.state'], progress=progress)\n"
    )
    killed = subprocess.run([sys.executable, "-c", program, os.fspath(folder)], check=False)
    assert killed.returncode == -9
    done = []
    cache = Cache.open(
        folder, ["action", "observation.state"], progress=lambda now, total: done.append(now)
    )
    assert len(done) == 6  # the actions were complete
    expected = np.concatenate([toy.episode(index)["observation.state"] for index in range(6)])
    np.testing.assert_array_equal(cache.arrays["observation.state"], expected)
    assert {path.suffix for path in cache.folder.iterdir()} == {".npy", ".json"}
