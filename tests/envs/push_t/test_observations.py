import numpy as np

from dexworld.envs.push_t.env import PushTEnv
from dexworld.envs.push_t.observations import OBSERVATIONS


def test_observations_are_what_their_names_say():
    env = PushTEnv(observation=OBSERVATIONS, pixels_size=64)
    observation, info = env.reset(seed=2)
    state = env.task_state
    assert env.observation_space.contains(observation)
    assert env.observation_space.contains(info["goal"])
    assert observation["pixels"].shape == (64, 64, 3)
    assert np.allclose(observation["proprio"], state[:2])
    assert np.array_equal(observation["physics"], env.get_state())
    assert 0.0 <= observation["state"][4] < 2 * np.pi
    middle = observation["keypoints"][:2].mean(0)  # of the bar, 15 px below the frame's origin
    offset = 15.0 * np.array([-np.sin(state[4]), np.cos(state[4])])
    assert np.allclose(middle, state[2:4] + offset, atol=1e-3)


def test_frames_show_the_goal_or_not():
    shown, hidden = (
        PushTEnv(observation="pixels", goal_in_pixels=shows).reset(seed=1)[0]["pixels"]
        for shows in (True, False)
    )
    assert (shown == (144, 238, 144)).all(-1).sum() > 100
    assert (hidden == (144, 238, 144)).all(-1).sum() == 0


def test_frames_show_the_goal_of_their_own_episode():
    env = PushTEnv(goal="random", observation="pixels", render_mode="rgb_array", render_size=96)
    fresh = PushTEnv(goal="random", observation="pixels", render_mode="rgb_array", render_size=96)
    env.reset(seed=0)
    env.render()
    first, again = env.reset(seed=1)[0]["pixels"], fresh.reset(seed=1)[0]["pixels"]
    assert np.array_equal(first, again)
    assert np.array_equal(env.render(), fresh.render())
