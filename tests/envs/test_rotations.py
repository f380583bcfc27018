import math

import mujoco
import numpy as np
import pytest

from dexworld.envs.rotations import IDENTITY, about, angle_between, inverse, product, turned, unit

RNG = np.random.default_rng(0)
FIRST, SECOND = unit(RNG.normal(size=(2, 7, 4)))
VECTORS = RNG.normal(size=(7, 3))


def test_products_are_those_of_mujoco():
    for row in range(7):
        expected = np.empty(4)
        mujoco.mju_mulQuat(expected, SECOND[row], FIRST[row])
        np.testing.assert_allclose(product(SECOND, FIRST)[row], expected, atol=1e-15)


def test_turned_vectors_are_those_of_mujoco():
    for row in range(7):
        expected = np.empty(3)
        mujoco.mju_rotVecQuat(expected, VECTORS[row], FIRST[row])
        np.testing.assert_allclose(turned(FIRST, VECTORS)[row], expected, atol=1e-15)
    np.testing.assert_allclose(turned(FIRST[0], VECTORS)[0], turned(FIRST, VECTORS)[0])


def test_turns_about_an_axis_are_right_handed():
    x, y, z = np.eye(3)
    np.testing.assert_allclose(turned(about(z, math.pi / 2), x), y, atol=1e-15)
    many = about(np.stack([x, y]), np.array([0.3, -0.4]))
    assert many.shape == (2, 4)
    np.testing.assert_allclose(many[1], [math.cos(0.2), 0.0, -math.sin(0.2), 0.0])


def test_the_inverse_turns_back():
    back = turned(inverse(FIRST), turned(FIRST, VECTORS))
    np.testing.assert_allclose(back, VECTORS, atol=1e-14)


@pytest.mark.parametrize("angle", [0.0, 1e-9, 0.4, math.pi / 2, math.pi])
def test_the_angle_between_orientations(angle):
    other = product(about(np.array([0.6, 0.0, 0.8]), angle), FIRST)
    np.testing.assert_allclose(angle_between(FIRST, other), angle, rtol=1e-6, atol=1e-15)
    np.testing.assert_allclose(angle_between(FIRST, -other), angle, rtol=1e-6, atol=1e-15)
    assert angle_between(IDENTITY, IDENTITY).shape == ()
