import numpy as np
import pytest

from dexworld.envs.push_t.env import PushTEnv

STATE = [120.0, 130.0, 250.0, 240.0, 0.4]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"physics": "bullet"}, "physics='bullet'.*mujoco.*pymunk"),
        ({"observation": "pixel"}, "observation='pixel'.*pixels"),
        ({"action": "pixel"}, "normalized"),
        ({"goal": "far"}, "trajectory"),
        ({"goal_offset": 0}, "goal_offset"),
        ({"reset_mode": "old"}, "legacy"),
        ({"reset_distribution": "uniform"}, "diffusion_policy"),
        ({"render_mode": "ansi"}, "rgb_array"),
        ({"disturbance": "BgColor"}, "BgColor-0"),
        ({"pixels_size": 0, "observation": "pixels"}, "8 px"),
    ],
)
def test_arguments_that_are_none_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PushTEnv(**arguments)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"states": STATE}, "states"),
        ({"state": STATE[:4]}, "five finite numbers"),
        ({"state": [*STATE[:4], np.nan]}, "five finite numbers"),
        ({"goal": [2000.0, *STATE[1:]]}, "512 px"),
        ({"goal": STATE}, r"fixed goal.*goal='random'.*PushTMulti"),
    ],
)
def test_options_that_are_none_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        PushTEnv().reset(options=options)
