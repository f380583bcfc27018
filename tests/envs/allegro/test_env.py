"""The task: actions, observations, goals, success and drops."""

from __future__ import annotations

import math
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dexworld.envs.allegro.env import AllegroReorientEnv
from dexworld.envs.allegro.simulation import POSE, N
from dexworld.envs.rotations import about, angle_between, product

ID = "dexworld/AllegroReorient-v0"
SEEN = ("state", "proprio", "keypoints", "fingertips", "object", "contact", "scene", "physics")


@pytest.fixture
def env() -> AllegroReorientEnv:
    return AllegroReorientEnv(observation=SEEN)


def wiggle(env: AllegroReorientEnv, steps: int) -> list[Any]:
    """Move the fingers against the cube; return all exact states."""
    rng, states = np.random.default_rng(0), []
    action = env.hold_action()
    for _ in range(steps):
        action = np.clip(action + rng.normal(0, 0.1, N), -1, 1).astype(np.float32)
        env.step(action)
        states.append(env.get_state())
    return states


def test_actions_are_targets_over_the_ranges_of_the_joints(env):
    raw = AllegroReorientEnv(action="joints")
    low, high = env.simulation.low, env.simulation.high
    np.testing.assert_allclose(env.raw_action(-np.ones(N)), low)
    np.testing.assert_allclose(env.raw_action(np.ones(N)), high)
    np.testing.assert_allclose(raw.action_space.low, low, atol=1e-6)
    np.testing.assert_allclose(raw.action_space.high, high, atol=1e-6)
    some = np.random.default_rng(0).uniform(-1, 1, (3, N))
    np.testing.assert_allclose(env.normalised_action(env.raw_action(some)), some, atol=1e-14)
    np.testing.assert_array_equal(raw.normalised_action(raw.raw_action(some)), some)


def test_the_same_motion_by_either_kind_of_action(env):
    raw = AllegroReorientEnv(action="joints")
    for each in (env, raw):
        each.reset(seed=2)
    action = np.full(N, 0.25)
    env.step(action)
    raw.step(env.raw_action(action))
    np.testing.assert_array_equal(env.get_state(), raw.get_state())


def test_joints_go_where_they_are_told(env):
    env.reset(seed=0)
    target = env.hold_action()
    target[0] = 0.9  # the index finger swings aside, away from the cube
    for _ in range(10):
        observation, *_ = env.step(target)
    expected = env.raw_action(target.astype(float))[0]
    assert observation["proprio"][0] == pytest.approx(expected, abs=0.03)


def test_holding_still_changes_nothing(env):
    observation, info = env.reset(seed=0)
    for _ in range(20):
        later, *_, now = env.step(env.hold_action())
    np.testing.assert_allclose(later["state"][:23], observation["state"][:23], atol=0.01)
    assert now["rotation_error"] == pytest.approx(info["rotation_error"], abs=0.01)
    assert not now["is_success"] and now["rotation_error"] > 0.4


def test_fifty_steps_from_a_saved_state_are_bit_identical(env):
    env.reset(seed=3)
    wiggle(env, 5)
    saved = env.get_state()
    first = wiggle(env, 50)
    env.reset(seed=4)
    env.set_state(saved)
    np.testing.assert_array_equal(wiggle(env, 50), first)
    moved = np.ptp([state[17:20] for state in first], axis=0).max()
    assert moved > 1e-4, "nothing touched the cube"


def test_observations_agree_with_each_other(env):
    env.reset(seed=1)
    wiggle(env, 3)
    observation, *_ = env.step(env.hold_action())
    state = observation["state"]
    np.testing.assert_array_equal(observation["proprio"], state[:N])
    np.testing.assert_allclose(observation["keypoints"].mean(axis=0), state[POSE][:3], atol=1e-6)
    np.testing.assert_allclose(env.task_state, state, atol=1e-6)
    np.testing.assert_array_equal(observation["physics"], env.get_state())
    assert observation["scene"] == 0
    np.testing.assert_array_equal(observation["object"], state[POSE])
    assert all(observation[key].dtype == np.float32 for key in SEEN[:6])


def test_the_goal_is_the_start_with_the_cube_turned(env):
    for seed in range(5):
        observation, info = env.reset(seed=seed)
        goal, state = info["goal"], observation["state"]
        poses = [each[POSE].astype(float) for each in (state, goal["state"])]
        error = angle_between(poses[0][3:], poses[1][3:])
        assert math.radians(45) - 1e-3 < error < math.radians(90) + 1e-3
        assert info["rotation_error"] == pytest.approx(error, abs=1e-5)
        np.testing.assert_array_equal(goal["state"][: N + 3], state[: N + 3])
        np.testing.assert_array_equal(goal["fingertips"], observation["fingertips"])
        assert not goal["state"][23:].any()
        centre = goal["keypoints"].mean(axis=0)
        np.testing.assert_allclose(centre, state[POSE][:3], atol=1e-6)
        assert abs(goal["keypoints"] - observation["keypoints"]).max() > 0.01


def place(env: AllegroReorientEnv, turn: float, height: float = 0.0) -> np.ndarray:
    """Return the start of an episode with the cube turned, and lifted or sunk."""
    env.reset(seed=0)
    state = env.task_state
    state[POSE][3:] = product(about(np.array([0.0, 0.0, 1.0]), turn), state[POSE][3:])
    state[N + 2] += height
    return state


def test_success_is_being_there_for_ten_steps():
    env = AllegroReorientEnv()
    state = place(env, 0.0)
    goal = product(about(np.array([0.0, 0.0, 1.0]), 0.3), state[POSE][3:])
    _, info = env.reset(options={"state": state, "goal": goal})
    assert info["rotation_error"] == pytest.approx(0.3) and not info["is_success"]
    ends = [env.step(env.hold_action())[2:] for _ in range(10)]
    assert [info["is_success"] for *_, info in ends] == [False] * 9 + [True]
    assert [terminated for terminated, *_ in ends] == [False] * 9 + [True]
    # A moment elsewhere starts the count again.
    env.reset(options={"state": state, "goal": goal})
    for _ in range(9):
        env.step(env.hold_action())
    env.set_state(env.get_state())
    assert not env.step(env.hold_action())[4]["is_success"]


def test_success_need_not_end_the_episode():
    env = AllegroReorientEnv(terminate_on_success=False)
    state = place(env, 0.0)
    env.reset(options={"state": state, "goal": state[POSE][3:]})
    for _ in range(12):
        _, reward, terminated, _, info = env.step(env.hold_action())
    assert info["is_success"] and not terminated
    assert reward == info["reward_rotation"] == pytest.approx(1.0, abs=0.02)


def test_a_dropped_cube_ends_the_episode():
    env = AllegroReorientEnv(terminate_on_success=False)
    env.reset(seed=0)
    aside = env.task_state
    aside[N : N + 2] += (0.3, 0.3)
    _, info = env.reset(options={"state": aside})
    assert not info["is_dropped"]
    ends = []
    while not any(ends) and len(ends) < 10:
        _, _, terminated, _, info = env.step(env.hold_action())
        assert terminated == info["is_dropped"]
        ends.append(terminated)
    assert 2 <= len(ends) <= 5 and info["position_error"] > 0.04


def test_a_given_state_is_started_from_as_it_is(env):
    state = place(env, 0.7, height=0.002)
    observation, _ = env.reset(options={"state": state})
    np.testing.assert_allclose(observation["state"], state, atol=1e-6)


def test_variants_are_drawn_by_the_seed():
    env = AllegroReorientEnv(observation="scene", mass=(0.05, 0.15), size=(0.05, 0.06), scenes=8)
    scenes = [int(env.reset(seed=seed)[0]["scene"][0]) for seed in range(12)]
    assert len(set(scenes)) > 3
    observation, info = env.reset(seed=5)
    assert observation["scene"] == scenes[5] == info["goal"]["scene"]
    assert env.simulation.cube == env.simulation.cubes[scenes[5]]
    assert env.reset(seed=5, options={"scene": 2})[0]["scene"] == 2


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(15), r"shape \(15,\); AllegroReorientEnv takes \(16,\) in \[-1, 1\]"),
        (np.full(N, np.nan), "is not finite"),
    ],
)
def test_actions_that_cannot_be(env, action, message):
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step(action)


def test_a_task_state_of_another_shape(env):
    with pytest.raises(ValueError, match=r"shape \(3,\).*AllegroSimulation have shape \(45,\)"):
        env.simulation.set_task_state(np.zeros(3))


def test_rendering_without_a_mode(env):
    with pytest.warns(UserWarning, match="without a render_mode"):
        assert env.render() is None


def test_every_key_is_inside_its_space_wherever_the_cube_is():
    env = gym.make(ID, observation=SEEN[:6], max_episode_steps=400).unwrapped
    env.reset(seed=0)
    far = env.task_state
    far[-6:] = 1e4
    far[N : N + 3] = 1e3
    observation, _ = env.reset(options={"state": far})
    assert env.observation_space.contains(observation)
