from itertools import islice

import gym_pusht  # noqa: F401 - registers the public environment
import gymnasium as gym
import numpy as np
import pytest

from dexworld.envs.push_t.start_states import START_STATES


def draw(name: str, seed: int | None, count: int = 1) -> np.ndarray:
    rng = np.random.default_rng(7 if seed is None else seed)
    return np.array(list(islice(START_STATES[name](rng, seed), count)))


def test_gym_pusht_starts_are_those_of_the_public_environment():
    public = gym.make("gym_pusht/PushT-v0", obs_type="state", disable_env_checker=True)
    for seed in range(5):
        observation, _ = public.reset(seed=seed)
        start = draw("gym_pusht", seed)[0]
        assert np.array_equal(start[:2], observation[:2])
        assert start[4] % (2 * np.pi) == pytest.approx(observation[4], abs=0.2)  # then one step


def test_diffusion_policy_starts_are_its_draws():
    reference = np.random.RandomState(100000)
    for start in draw("diffusion_policy", 100000, 3):
        positions = [
            reference.randint(low, high) for low, high in ((50, 450),) * 2 + ((100, 400),) * 2
        ]
        assert start.tolist() == [*positions, reference.randn() * 2 * np.pi - np.pi]


@pytest.mark.parametrize("name", START_STATES)
def test_starts_lie_where_they_may_and_repeat(name):
    starts = draw(name, 3, 500)
    low, high = np.array([50, 50, 100, 100]), np.array([450, 450, 400, 400])
    assert (starts[:, :4] >= low).all()
    assert (starts[:, :4] < high).all()
    assert np.array_equal(starts, draw(name, 3, 500))
    assert not np.array_equal(starts, draw(name, 4, 500))


def test_without_a_seed_the_generator_decides():
    first = draw("diffusion_policy", None)
    assert np.array_equal(first, draw("diffusion_policy", None))
