import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.goal_observation import GoalObservation


def test_the_goal_is_observed_at_every_step():
    env = GoalObservation(gym.make("dexworld/PushTGoal-v0", observation=("state", "pixels")))
    observation, info = env.reset(seed=0)
    for _ in range(3):
        assert set(observation) == {"state", "pixels", "goal_state", "goal_pixels"}
        assert np.array_equal(observation["goal_state"], info["goal"]["state"])
        assert np.array_equal(observation["goal_pixels"], info["goal"]["pixels"])
        assert env.observation_space.contains(observation)
        observation, *_ = env.step(env.action_space.sample())
    again, _ = env.reset(seed=1)
    assert not np.array_equal(again["goal_state"], info["goal"]["state"])


@pytest.mark.filterwarnings("ignore:.*different from the unwrapped")  # it is: it is wrapped
def test_gymnasium_has_nothing_to_say():
    check_env(GoalObservation(gym.make("dexworld/PushT-v0").unwrapped), skip_render_check=True)


def test_other_environments_are_refused():
    with pytest.raises(TypeError, match="Dict"):
        GoalObservation(gym.make("CartPole-v1"))


class Goalless(gym.Env):
    observation_space = gym.spaces.Dict({"x": gym.spaces.Discrete(2)})
    action_space = gym.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        return {"x": 0}, {}


def test_an_environment_without_goals_is_an_error():
    with pytest.raises(KeyError, match="no goal"):
        GoalObservation(Goalless()).reset()
