import pickle

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.envs.registration import registry
from gymnasium.utils.env_checker import check_env

import dexworld.envs  # noqa: F401 - registers the ids

IDS = sorted(name for name in registry if name.startswith("dexworld/"))


def episode(env: gym.Env, seed: int, steps: int = 20) -> list:
    """Reset, act at random, and return all that was seen."""
    observation, info = env.reset(seed=seed)
    env.action_space.seed(seed)
    seen = [observation, info["goal"]]
    for _ in range(steps):
        observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
        seen += [observation, reward, terminated, truncated]
    return seen


def same(first: object, second: object) -> bool:
    if isinstance(first, dict):
        return first.keys() == second.keys() and all(same(first[k], second[k]) for k in first)
    return np.array_equal(first, second)


def test_the_ids():
    push_t = {"dexworld/PushT-v0", "dexworld/PushTGoal-v0", "dexworld/PushTMulti-v0"}
    counter = {f"dexworld/Counter{task}-v0" for task in ("Reach", "Grasp", "Place")}
    assert push_t | counter | {"dexworld/AllegroReorient-v0"} <= set(IDS)


@pytest.mark.parametrize("name", IDS)
def test_gymnasium_has_nothing_to_say(name):
    check_env(gym.make(name, render_mode="rgb_array").unwrapped)


@pytest.mark.parametrize("name", IDS)
def test_it_makes_through_the_module_prefix(name):
    assert gym.make(f"dexworld.envs:{name}").spec.id == name


@pytest.mark.parametrize("name", IDS)
def test_a_seed_fixes_everything(name):
    first, second = episode(gym.make(name), 5), episode(gym.make(name), 5)
    assert all(same(a, b) for a, b in zip(first, second, strict=True))
    other = episode(gym.make(name), 6)
    assert not all(same(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.parametrize("name", IDS)
def test_the_global_generator_is_left_alone(name):
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the point of this test
    episode(gym.make(name), 0)
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.parametrize("name", IDS)
def test_a_pickled_environment_goes_on_alike(name):
    env = gym.make(name)
    episode(env, 1, steps=5)
    copy = pickle.loads(pickle.dumps(env))
    action = np.full(env.action_space.shape, 0.3, np.float32)
    assert same(env.step(action)[0], copy.step(action)[0])
    assert all(same(a, b) for a, b in zip(episode(env, 2), episode(copy, 2), strict=True))


HANDS_TOUCH = ("Allegro", "CounterGrasp", "CounterPlace")
"""Tasks in which a hand touches something after some steps of the script, or of waiting."""


@pytest.mark.parametrize("name", IDS)
def test_a_restored_state_goes_on_alike_for_fifty_steps(name):
    touching = any(part in name for part in HANDS_TOUCH)
    env = gym.make(name, **({"observation": "contact"} if touching else {})).unwrapped
    env.reset(seed=4)
    script = getattr(env, "solution", None)
    script = env.hold_action()[None] if script is None else script
    for action in script[:16].astype(np.float32):
        observation = env.step(action)[0]
    assert not touching or observation["contact"][-1] > 0
    env.action_space.seed(0)
    saved, actions = env.get_state(), [env.action_space.sample() for _ in range(50)]
    runs = []
    for _ in range(2):
        env.set_state(saved)
        states = [saved]
        for action in actions:
            env.step(action)
            states.append(env.get_state())
        runs.append(np.array(states))
    assert np.array_equal(*runs) and not np.array_equal(saved, runs[0][-1])


@pytest.mark.parametrize("name", IDS)
def test_success_and_goal_are_always_told(name):
    env = gym.make(name)
    observation, info = env.reset(seed=0)
    assert info["is_success"] is False
    assert info["goal"].keys() == observation.keys()
    assert env.observation_space.contains(info["goal"])
    assert isinstance(env.step(env.action_space.sample())[4]["is_success"], bool)


@pytest.mark.parametrize("name", IDS)
@pytest.mark.slow
def test_many_run_in_processes_of_their_own(name):
    vector = gym.make_vec(f"dexworld.envs:{name}", num_envs=2, vectorization_mode="async")
    try:
        observation, _ = vector.reset(seed=[3, 4])
        expected = [gym.make(name).reset(seed=seed)[0] for seed in (3, 4)]
        for key, values in observation.items():
            assert np.array_equal(values, np.stack([single[key] for single in expected]))
        vector.step(np.zeros(vector.action_space.shape, np.float32))
    finally:
        vector.close()


def test_a_misspelt_id_is_answered_with_the_nearest():
    with pytest.raises(gym.error.NameNotFound, match="Did you mean: `PushTGoal`"):
        gym.make("dexworld/PushTGaol-v0")
