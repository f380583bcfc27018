"""Episodes as the rows of a dataset."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, MultiBinary, Text

from dexworld.agents.base import RandomAgent
from dexworld.agents.episodes import (
    ACTION,
    DONE,
    REWARD,
    SUCCESS,
    Episode,
    EpisodeRunner,
    features_of,
)
from dexworld.agents.exploration import NoisyReplay, Trajectory
from dexworld.world_models.data.lerobot import Feature, decode_png

SEEDS = [6, 7, 8, 9]


def equal(one: Episode, other: Episode) -> None:
    assert one.seed == other.seed and set(one.frames) == set(other.frames)
    for key, column in one.frames.items():
        if isinstance(column, np.ndarray):
            assert column.dtype == other.frames[key].dtype
        np.testing.assert_array_equal(column, other.frames[key])


def test_columns_of_an_environment(toy: Any) -> None:
    features = features_of(toy.Point(), "png")
    assert features == {
        "observation.place": Feature("float32", (2,), ("place_0", "place_1")),
        "observation.grid": Feature(
            "float32", (4,), ("grid_0_0", "grid_0_1", "grid_1_0", "grid_1_1")
        ),
        "observation.exact": Feature("float64", (1,), ("exact_0",)),
        "observation.count": Feature("int64", (1,), ("count",)),
        "observation.images.top": Feature("image", (16, 16, 3)),
        "observation.images.side": Feature("image", (16, 16, 3)),
        ACTION: Feature("float32", (2,), ("action_0", "action_1")),
        REWARD: Feature("float32", (1,)),
        SUCCESS: Feature("bool", (1,)),
        DONE: Feature("bool", (1,)),
    }
    assert features_of(toy.Point(), "video")["observation.images.top"].dtype == "video"
    assert not any(feature.pictures for feature in features_of(toy.Point(), "none").values())


def test_a_row_holds_what_was_seen_before_the_action_and_what_came_of_it(toy: Any) -> None:
    env, runner = toy.Point(), toy.PlayPoint()()
    (episode,) = runner.run([8])
    observation, _ = env.reset(seed=8)
    frames = episode.frames
    assert episode.steps == 5 and episode.success and len(frames[ACTION]) == 6
    images = decode_png(frames["observation.images.top"])
    for time in range(5):
        np.testing.assert_array_equal(frames["observation.place"][time], observation["place"])
        np.testing.assert_array_equal(
            frames["observation.grid"][time], observation["grid"].flatten()
        )
        assert frames["observation.exact"][time] == observation["exact"]
        assert frames["observation.count"][time] == time == images[time, 0, 0, 0]
        observation, reward, terminated, _, info = env.step(frames[ACTION][time])
        assert frames[REWARD][time] == np.float32(reward)
        assert frames[SUCCESS][time] == info["is_success"] and frames[DONE][time] == terminated
    assert frames["observation.count"][5] == 5 == images[5, 0, 0, 0]
    for key in (ACTION, REWARD, SUCCESS, DONE):
        np.testing.assert_array_equal(frames[key][5], frames[key][4])
    for key, feature in runner.features.items():
        if not feature.pictures:
            assert frames[key].shape == (6, *feature.shape)
            assert frames[key].dtype == feature.dtype


def test_episodes_side_by_side_are_the_same_as_alone(toy: Any) -> None:
    runner = toy.PlayPoint()()
    together = runner.run(SEEDS)
    assert [episode.seed for episode in together] == SEEDS
    assert [episode.steps for episode in together] == [3, 4, 5, 3], "of different lengths"
    assert [episode.success for episode in together] == [True, False, True, False]
    for episode, again in zip(together, runner.run(SEEDS), strict=True):
        equal(episode, again)
    for seed, episode in zip(SEEDS, together, strict=True):
        equal(episode, toy.PlayPoint()().run([seed])[0])


def test_an_episode_can_begin_where_its_explorer_says(toy: Any) -> None:
    actions = np.full((2, 2), 0.5, np.float32)
    agent = NoisyReplay(toy.Point().action_space, [Trajectory(actions, {"seed": 8})], scale=0.0)
    (replayed,) = EpisodeRunner(agent, toy.Point).run([123])
    (begun,) = toy.PlayPoint(images="none")().run([8])
    assert replayed.seed == 123
    for key in ("observation.place", "observation.exact"):
        np.testing.assert_array_equal(replayed.frames[key][0], begun.frames[key][0])


def test_an_environment_that_fails_names_the_seed(toy: Any) -> None:
    runner = toy.PlayPoint(fails=8)()
    with pytest.raises(
        RuntimeError, match="episode of seed 8 failed: ZeroDivisionError: the point is at"
    ):
        runner.run(SEEDS)
    assert len(runner.run([6, 7])) == 2


def test_an_agent_that_fails_names_the_seeds(toy: Any) -> None:
    class Broken(RandomAgent):
        def predict(self, *given: Any, **named: Any) -> Any:
            raise FloatingPointError("no idea")

    runner = EpisodeRunner(Broken(toy.Point().action_space), toy.Point)
    with pytest.raises(RuntimeError, match=r"episode of seeds \[6, 7\] failed: Floating.*no idea"):
        runner.run([6, 7])


def test_an_agent_that_needs_what_is_not_there(toy: Any) -> None:
    class Seeing(RandomAgent):
        observes = frozenset({"state"})

    with pytest.raises(KeyError, match=r"the agent observes \['state'\], the environment gives"):
        EpisodeRunner(Seeing(toy.Point().action_space), toy.Point)


def test_what_cannot_be_recorded(toy: Any) -> None:
    with pytest.raises(ValueError, match="images='jpg': choose one of"):
        features_of(toy.Point(), "jpg")
    with pytest.raises(TypeError, match="only episodes of Dict observations"):
        features_of(gym.make("CartPole-v1"), "none")
    odd = toy.Point()
    odd.observation_space = Dict({"name": Text(5)})
    with pytest.raises(TypeError, match=r"name: observations of Text.* are no arrays"):
        features_of(odd, "none")
    odd.observation_space = Dict({"flags": MultiBinary(3), "on": Box(0, 1, (), np.bool_)})
    features = features_of(odd, "none")
    assert features["observation.flags"].dtype == "int64"
    assert features["observation.on"] == Feature("bool", (1,), ("on",))
