import numpy as np
import pytest

from dexworld.envs.counter.textures import SIZE, TEXTURES, texture


@pytest.mark.parametrize("name", sorted(TEXTURES))
def test_a_texture_has_structure_and_repeats_without_a_seam(name):
    image = texture(name).astype(float)
    assert image.shape == (SIZE, SIZE, 3)
    assert image.std() > 1.0
    for axis in (0, 1):
        steps = np.abs(np.diff(image, axis=axis)).mean(axis=(1 - axis, 2))
        seam = np.abs(np.take(image, 0, axis) - np.take(image, -1, axis)).mean()
        assert seam <= steps.max() + 5.0  # tiles end in joints


def test_it_is_the_same_every_time_whatever_the_global_generator():
    name = "marble"
    first = texture(name).copy()
    texture.cache_clear()
    np.random.seed(1)  # noqa: NPY002 - the point of this test
    assert np.array_equal(texture(name), first)


def test_a_texture_that_does_not_exist():
    with pytest.raises(ValueError, match=r"texture='velvet': those there are.*marble"):
        texture("velvet")
