import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dexworld.world_models.data.statistics import (
    chosen_pictures,
    from_lists,
    of_numbers,
    of_pictures,
    to_lists,
    together,
)


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.integers(0, 100))
def test_parts_together_are_the_whole(lengths, seed):
    values = 5 + np.random.default_rng(seed).normal(size=(sum(lengths), 2, 3))
    parts = np.split(values, np.cumsum(lengths)[:-1])
    found = together([{"key": of_numbers(part)} for part in parts])["key"]
    for name, expected in of_numbers(values).items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-9)


def test_pictures_are_measured_by_colour():
    frames = np.random.default_rng(0).integers(3, 200, (4, 9, 7, 3), np.uint8)
    found = of_pictures(frames)
    scaled = frames / 255
    for name, expected in (
        ("min", scaled.min((0, 1, 2))),
        ("max", scaled.max((0, 1, 2))),
        ("mean", scaled.mean((0, 1, 2))),
        ("std", scaled.std((0, 1, 2))),
    ):
        assert found[name].shape == (3, 1, 1)
        np.testing.assert_allclose(found[name].ravel(), expected, rtol=1e-9)
    assert found["count"].tolist() == [4]


def test_few_pictures_of_an_episode_are_measured():
    assert chosen_pictures(3) == [0, 1, 2]
    assert chosen_pictures(1) == [0]
    chosen = chosen_pictures(100)
    assert len(chosen) == len(set(chosen)) == 8
    assert (chosen[0], chosen[-1]) == (0, 99)


def test_lists_give_back_the_same():
    statistics = {"key": of_numbers(np.arange(6.0).reshape(3, 2))}
    back = from_lists(to_lists(statistics))
    for name, value in statistics["key"].items():
        np.testing.assert_array_equal(back["key"][name], value)
