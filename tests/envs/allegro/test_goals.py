import math

import numpy as np
import pytest

from dexworld.envs.allegro.goals import OrientationRule, Turn
from dexworld.envs.allegro.scene import ACROSS, FINGERS, NORMAL
from dexworld.envs.rotations import angle_between, inverse, product, unit

START = unit(np.array([0.3, -0.4, 0.5, 0.6]))


def turns(turn: Turn, count: int = 200) -> np.ndarray:
    """Return the rotation vectors from the start to goals."""
    rng = np.random.default_rng(0)
    relative = np.array([product(turn.goal(rng, START), inverse(START)) for _ in range(count)])
    relative *= np.sign(relative[:, :1])
    angles = 2 * np.arccos(np.clip(relative[:, 0], -1, 1))
    return angles[:, None] * relative[:, 1:] / np.sin(angles / 2)[:, None]


def test_goals_are_turned_about_the_normal_of_the_palm_either_way():
    drawn = turns(Turn())
    along = drawn @ NORMAL
    np.testing.assert_allclose(drawn, along[:, None] * NORMAL, atol=1e-9)
    degrees = np.degrees(along)
    assert 45.0 <= abs(degrees).min() < 47.0 and 88.0 < abs(degrees).max() <= 90.0
    assert 80 < (degrees > 0).sum() < 120


@pytest.mark.parametrize(("axis", "direction"), [("fingers", FINGERS), ("across", ACROSS)])
def test_other_axes(axis, direction):
    drawn = turns(Turn((30.0, 60.0), axis, "right"), 20)
    along = drawn @ direction
    np.testing.assert_allclose(drawn, along[:, None] * direction, atol=1e-9)
    assert (along < 0).all()


def test_any_axis():
    drawn = turns(Turn((90.0, 90.0), "any", "left"))
    np.testing.assert_allclose(np.linalg.norm(drawn, axis=1), math.pi / 2)
    assert abs(drawn.mean(axis=0)).max() < 0.25
    assert np.linalg.eigvalsh(np.cov(drawn.T)).min() > 0.5


def test_the_angle_is_the_one_between_start_and_goal():
    goal = Turn((60.0, 60.0)).goal(np.random.default_rng(0), START)
    assert angle_between(START, goal) == pytest.approx(math.pi / 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"axis": "thumb"}, r"axis='thumb' is unknown; choose one of \['palm', "),
        ({"direction": "up"}, r"direction='up' is unknown; choose one of \['both', "),
        ({"angles": (10.0, 90.0)}, r"angles=\(10.0, 90.0\).* above the tolerance of 22.9"),
        ({"angles": (90.0, 45.0)}, r"angles=\(90.0, 45.0\)"),
        ({"angles": (45.0, 200.0)}, r"up to 180 degrees"),
        ({"angles": (45.0, float("nan"))}, r"angles=\(45.0, nan\)"),
    ],
)
def test_turns_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        Turn(**arguments)


def test_the_rule_in_words():
    assert OrientationRule().name == "rotation error < 0.4 rad for 10 steps"
