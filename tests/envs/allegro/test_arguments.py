import numpy as np
import pytest

from dexworld.envs.allegro.arguments import checked_options, cube_variants
from dexworld.envs.allegro.env import AllegroReorientEnv
from dexworld.envs.allegro.scene import Cube

QUATERNION = [0.5, 0.5, -0.5, 0.5]


def test_numbers_make_one_cube():
    given = {"mass": 0.1, "friction": 0.9, "size": 0.05}
    assert cube_variants(64, **given) == (Cube(0.1, 0.9, 0.05),)
    assert cube_variants(64, **{**given, "size": [0.05, 0.05]}) == (Cube(0.1, 0.9, 0.05),)


def test_ranges_make_variants_that_do_not_depend_on_how_many_there_are():
    given = {"mass": (0.05, 0.15), "friction": [0.6, 1.2], "size": 0.06}
    cubes = cube_variants(20, **given)
    assert len(set(cubes)) == 20 and cubes[:5] == cube_variants(5, **given)
    masses = [cube.mass for cube in cubes]
    assert 0.05 <= min(masses) < 0.07 and 0.13 < max(masses) <= 0.15
    assert {cube.size for cube in cubes} == {0.06}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"observation": "pixels"}, r"observation='pixels'.*pixels_above"),
        ({"action": "torques"}, r"action='torques' is unknown.*'joints'"),
        ({"axis": "thumb"}, "axis='thumb'"),
        ({"direction": "up"}, "direction='up'"),
        ({"angles": [10.0, 20.0]}, "above the tolerance"),
        ({"mass": 0.0}, r"mass=0.0: give a number.*between 0.001 and 1"),
        ({"mass": (0.2, 0.1)}, r"mass=\(0.2, 0.1\)"),
        ({"size": (0.05, 0.06, 0.07)}, "size="),
        ({"friction": (0.5, float("nan"))}, "friction="),
        ({"scenes": 0}, "scenes=0"),
        ({"joint_noise": -1.0}, "joints=-1.0"),
        ({"render_mode": "human"}, "render_mode='human'.*rgb_array"),
        ({"pixels_size": 8}, r"pixels_size=8, render_size=480: frames have at least 16 px"),
        ({"render_size": 0}, "render_size=0"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with pytest.raises(ValueError, match=message):
        AllegroReorientEnv(**arguments)


def test_options():
    state = [*np.zeros(19), *QUATERNION, *np.zeros(22)]
    given = checked_options({"state": state, "goal": QUATERNION, "scene": np.int64(3)})
    assert given["state"].tolist() == state and given["goal"].tolist() == QUATERNION
    assert given["scene"] == 3
    assert checked_options(None) == {}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stat": 0}, r"the reset option='stat' is unknown; choose one of \['state', "),
        ({"state": QUATERNION}, "give 45 finite numbers, joints, the cube's position"),
        ({"state": np.zeros(45)}, r"options\['state'\] has the quaternion.* of length 0"),
        ({"goal": [1.0, 0.0, 0.0]}, "give 4 finite numbers, a unit quaternion"),
        ({"goal": [1.0, 0.0, 0.0, np.nan]}, "give 4 finite numbers"),
        ({"goal": [1.0, 0.0, 0.0, 1.0]}, "of length 1.41421; give one of length 1"),
        ({"scene": 1.5}, r"options\['scene'\]=1.5: give a whole number"),
    ],
)
def test_options_that_cannot_be(options, message):
    with pytest.raises(ValueError, match=message):
        checked_options(options)


def test_a_scene_that_there_is_not():
    env = AllegroReorientEnv(mass=(0.05, 0.1), scenes=4)
    with pytest.raises(ValueError, match=r"scene=4: AllegroSimulation has the scenes 0 to 3"):
        env.reset(options={"scene": 4})
