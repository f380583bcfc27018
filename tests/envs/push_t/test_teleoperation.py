import os

import gymnasium as gym
import numpy as np
import pytest

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.push_t.teleoperation import (
    Teleoperation,
    load_demonstration,
    save_demonstration,
)
from dexworld.envs.push_t.window import Pointer

RIGHT = np.array([60.0, 0.0])


class Script:
    """A screen whose pointer follows a list; the last entry is repeated."""

    def __init__(self, pointers):
        self.pointers, self.frames = list(pointers), []

    def show(self, frame):
        self.frames.append(frame)
        return self.pointers.pop(0) if len(self.pointers) > 1 else self.pointers[0]


def make(steps=20, **arguments):
    env = gym.make("dexworld/PushT-v0", render_mode="rgb_array", render_size=96, **arguments)
    return gym.wrappers.TimeLimit(env.unwrapped, steps)


def pointer(task_state, right=0.0, **what):
    return Pointer((task_state[0] + right) / 512, task_state[1] / 512, **what)


@pytest.fixture
def start():
    env = make()
    env.reset(seed=4)
    return env.unwrapped.task_state


def test_the_pusher_waits_for_the_pointer_and_then_follows(start):
    away, near, right = Pointer(0.0, 0.0), pointer(start), pointer(start, 60.0)
    screen = Script([away, away, near, right])
    demonstration = Teleoperation(make(), screen).episode(seed=4)
    assert demonstration.commands.shape == (20, 2)
    assert demonstration.task_states.shape == (21, 5)
    assert np.allclose(demonstration.commands[0], start[:2], atol=1e-3)
    assert np.allclose(demonstration.commands[1:], start[:2] + RIGHT, atol=1e-3)
    assert np.allclose(demonstration.task_states[-1, :2], start[:2] + RIGHT, atol=1.0)
    assert len(screen.frames) == 22
    assert not demonstration.success


def test_a_demonstration_plays_back_exactly(start):
    demonstration = Teleoperation(make(), Script([pointer(start, 20.0)])).episode(seed=4)
    env = make(action="pixels")
    env.reset(seed=4)
    for command, expected in zip(demonstration.commands, demonstration.states[1:], strict=True):
        env.step(command)
        assert np.array_equal(env.unwrapped.get_state(), expected)


def test_keys_end_repeat_and_quit(start):
    here, moved = pointer(start), pointer(start, 10.0)
    ended = Teleoperation(make(), Script([here, moved, pointer(start, key="n")]))
    assert len(ended.episode(seed=4).commands) == 2
    again = Teleoperation(make(steps=3), Script([here, moved, pointer(start, key="r"), here]))
    assert np.allclose(again.episode(seed=4).commands, start[:2], atol=1e-3)
    for last in (pointer(start, key="q"), pointer(start, closed=True)):
        assert Teleoperation(make(), Script([here, last])).episode(seed=4) is None


def test_success_ends_an_episode(start):
    env = make()
    at_goal = np.array([100.0, 100.0, 256.0, 256.0, np.pi / 4])
    reset = env.reset
    env.reset = lambda seed: reset(seed=seed, options={"state": at_goal})
    demonstration = Teleoperation(env, Script([pointer(at_goal)])).episode(seed=0)
    assert demonstration.success
    assert len(demonstration.commands) == 1
    assert demonstration.rewards.tolist() == [1.0]


def test_files_are_appended_and_read_back(tmp_path, start):
    demonstration = Teleoperation(make(), Script([pointer(start)])).episode(seed=4)
    settings = {"id": "dexworld/PushT-v0", "physics": "mujoco"}
    paths = [save_demonstration(demonstration, tmp_path / "d", settings) for _ in range(3)]
    assert [path.name for path in paths] == [f"episode_{i:06d}.npz" for i in range(3)]
    paths[1].unlink()
    assert save_demonstration(demonstration, tmp_path / "d", settings).name == "episode_000003.npz"
    read, made_with = load_demonstration(paths[0])
    assert made_with == settings
    assert (read.seed, read.success) == (4, False)
    for name in ("states", "task_states", "commands", "rewards", "goal"):
        assert np.array_equal(getattr(read, name), getattr(demonstration, name))


def test_a_crash_while_writing_leaves_no_episode(tmp_path, start, monkeypatch):
    demonstration = Teleoperation(make(), Script([pointer(start)])).episode(seed=4)

    def crash(descriptor):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", crash)
    with pytest.raises(OSError, match="disk full"):
        save_demonstration(demonstration, tmp_path, {})
    assert not list(tmp_path.glob("episode_*"))


def test_other_environments_are_refused():
    with pytest.raises(TypeError, match="PushT"):
        Teleoperation(gym.make("CartPole-v1"), Script([]))
    with pytest.raises(ValueError, match="rgb_array"):
        Teleoperation(gym.make("dexworld/PushT-v0"), Script([]))
