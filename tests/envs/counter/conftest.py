"""Environments that several tests look at, made once; who changes one resets it first."""

from __future__ import annotations

from collections.abc import Iterator

import gymnasium as gym
import pytest

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.counter.env import CounterEnv
from dexworld.envs.counter.script import Script


def make(task: str, **arguments) -> CounterEnv:
    env = gym.make(f"dexworld/Counter{task.capitalize()}-v0", **arguments).unwrapped
    assert isinstance(env, CounterEnv)
    return env


@pytest.fixture(scope="session")
def make_env():
    return make


@pytest.fixture(scope="session")
def script() -> Script:
    return Script()


@pytest.fixture(scope="module", params=["reach", "grasp", "place"])
def env(request) -> Iterator[CounterEnv]:
    """Each of the tasks, in a variant that differs from the others'."""
    made = make(
        request.param,
        observation=("state", "physics", "scene"),
        terminate_on_success=False,
        distractors=1,
    )
    yield made
    made.close()
