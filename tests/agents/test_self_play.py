"""The explorer that plays with the object: its laws, and how often it touches."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from dexworld.agents.base import Agent, RandomAgent
from dexworld.agents.self_play import SelfPlay, SelfPlaySettings

SPACE = Box(-1.0, 1.0, (2,), np.float32)
BOARD = 512.0


def scene(seed: int, rows: int) -> dict[str, np.ndarray]:
    """Return where agents and objects of four points are."""
    rng = np.random.default_rng(seed)
    middle = rng.uniform(0.0, BOARD, (rows, 1, 2))
    points = middle + rng.uniform(-60.0, 60.0, (rows, 4, 2))
    agent = rng.uniform(0.0, BOARD, (rows, 2))
    return {"keypoints": points.astype(np.float32), "proprio": agent.astype(np.float32)}


def acted(agent: SelfPlay, seeds: list[int], steps: int, rows: slice = slice(None)) -> np.ndarray:
    """Return actions [steps, B, 2] in scenes that change at random, as those of chosen rows."""
    state, actions = agent.start(seeds), []
    for step in range(steps):
        seen = {key: value[rows] for key, value in scene(step, 6).items()}
        action, state = agent.predict(seen, state)
        actions.append(action)
    return np.stack(actions)


def test_targets_stay_in_the_workspace_and_move_smoothly() -> None:
    settings = SelfPlaySettings()
    actions = acted(SelfPlay(SPACE, settings), [1, 2, 3, 4, 5, 6], 400)
    assert actions.dtype == np.float32 and actions.shape == (400, 6, 2)
    targets = (actions.astype(np.float64) + 1.0) * BOARD / 2
    # The first target may be wherever the agent is; then they keep away from the walls.
    later = targets[30:]
    margin = settings.margin * BOARD
    assert later.min() > margin - 1e-2 and later.max() < BOARD - margin + 1e-2
    moved = np.linalg.norm(np.diff(targets, axis=0), axis=-1)
    assert moved.max() < 1.2 * settings.fastest * BOARD, "legs bend, and are a little longer"
    assert 5.0 < np.median(moved) < 30.0
    assert (moved == 0).any(), "it never pauses"
    # All directions.
    turns = np.diff(targets, axis=0)[moved > 1.0]
    shares, _ = np.histogram(np.arctan2(turns[:, 1], turns[:, 0]), bins=8, range=(-np.pi, np.pi))
    assert shares.min() > 0.04 * shares.sum()


def test_a_row_depends_on_its_seed_and_its_own_observations_alone() -> None:
    agent = SelfPlay(SPACE)
    together = acted(agent, [11, 12, 13, 14, 15, 16], 60)
    alone = acted(agent, [13], 60, slice(2, 3))
    np.testing.assert_array_equal(together[:, 2], alone[:, 0])
    other = acted(agent, [99], 60, slice(2, 3))
    assert not np.array_equal(alone, other)
    np.testing.assert_array_equal(acted(SelfPlay(SPACE), [13], 60, slice(2, 3)), alone)


def test_asking_changes_nothing() -> None:
    agent = SelfPlay(SPACE)
    state = agent.start([0, 1, 2])
    for step in range(30):
        seen = scene(step, 3)
        before = [np.copy(part) for part in vars(state).values()]
        first, after = agent.predict(seen, state)
        again, same = agent.predict(seen, state)
        np.testing.assert_array_equal(first, again)
        for part, kept in zip(vars(state).values(), before, strict=True):
            np.testing.assert_array_equal(part, kept)
        for one, other in zip(vars(after).values(), vars(same).values(), strict=True):
            np.testing.assert_array_equal(one, other)
        state = after


def test_rows_that_go_on_are_taken_along() -> None:
    agent = SelfPlay(SPACE)
    expected = acted(agent, [1, 2, 3, 4, 5, 6], 20)
    state = agent.start([1, 2, 3, 4, 5, 6])
    for step in range(10):
        _, state = agent.predict(scene(step, 6), state)
    kept = np.array([1, 4])
    state = agent.take(state, kept)
    for step in range(10, 20):
        seen = {key: value[kept] for key, value in scene(step, 6).items()}
        actions, state = agent.predict(seen, state)
        np.testing.assert_array_equal(actions, expected[step, kept])


def test_a_row_that_starts_over_begins_where_the_agent_is() -> None:
    agent = SelfPlay(SPACE)
    _, state = agent.predict(scene(0, 2), agent.start([0, 1]))
    for step in range(1, 5):
        _, state = agent.predict(scene(step, 2), state)
    seen = scene(9, 2)
    actions, after = agent.predict(seen, state, np.array([True, False]))
    np.testing.assert_allclose(after.curve[0, 0], seen["proprio"][0], atol=1e-4)
    going_on, _ = agent.predict(seen, state)
    np.testing.assert_array_equal(actions[1], going_on[1])
    assert not np.array_equal(actions[0], going_on[0])


def test_an_object_near_the_border_is_pushed_back_inwards() -> None:
    settings = SelfPlaySettings(random_share=0.0, reverse_share=0.0, pause_share=0.0)
    agent = SelfPlay(SPACE, settings)
    middle = np.array([60.0, 256.0])
    points = (middle + np.array([[-30, 0], [30, 0], [0, 30], [0, -30]])).astype(np.float32)
    ways = []
    for seed in range(200):  # the agent is on the side of the border
        seen = {"keypoints": points[None], "proprio": np.float32([[20.0, 256.0]])}
        _, state = agent.predict(seen, agent.start([seed]))
        ways.append(state.curve[0, 2, 0] - state.curve[0, 0, 0])
    assert np.mean(np.array(ways) > 0) > 0.95
    ends = []
    for seed in range(200):  # the agent is on the other side, and goes round first
        seen = {"keypoints": points[None], "proprio": np.float32([[300.0, 256.0]])}
        state, steps = agent.start([seed]), 0
        while steps == 0 or state.age[0] < state.steps[0]:
            _, state = agent.predict(seen, state)
            steps += 1
        ends.append(state.curve[0, 2, 0])
    assert np.mean(np.array(ends) < 300.0) > 0.95


def test_any_workspace_of_any_dimension() -> None:
    settings = SelfPlaySettings(
        object_key="cube", agent_key="hand", low=(0.0, -1.0, 0.5), high=(1.0, 1.0, 2.5)
    )
    space = Box(np.float32([-2.0, 0.0, -1.0]), np.float32([2.0, 5.0, 1.0]))
    agent = SelfPlay(space, settings)
    assert agent.observes == {"cube", "hand"}
    rng = np.random.default_rng(0)
    state, actions = agent.start([5, 6]), []
    for _ in range(100):
        low, high = np.array(settings.low), np.array(settings.high)
        cube, hand = rng.uniform(low, high, (2, 2, 3))
        seen = {"cube": cube[:, None].astype(np.float32), "hand": hand.astype(np.float32)}
        action, state = agent.predict(seen, state)
        actions.append(action)
    assert (np.stack(actions) >= space.low).all() and (np.stack(actions) <= space.high).all()
    assert np.ptp(np.stack(actions), axis=(0, 1)).min() > 0.5


def moves(agent: Agent, episodes: int, steps: int) -> np.ndarray:
    """Return which steps of PushT [episodes, steps] moved the block by more than 0.1 px."""
    keys = ("proprio", "keypoints")
    env = gym.make(
        "dexworld.envs:dexworld/PushT-v0",
        observation=keys,
        terminate_on_success=False,
        max_episode_steps=steps,
    )
    moved = []
    for seed in range(episodes):
        seen, _ = env.reset(seed=seed)
        state, points = agent.start([seed]), [seen["keypoints"]]
        for _ in range(steps):
            action, state = agent.predict({key: seen[key][None] for key in keys}, state)
            seen, *_ = env.step(action[0])
            points.append(seen["keypoints"])
        moved.append(np.abs(np.diff(points, axis=0)).max((1, 2)) > 0.1)
    return np.array(moved)


def test_it_touches_the_object_much_more_often_than_chance() -> None:
    played = moves(SelfPlay(SPACE), 20, 60)
    by_chance = moves(RandomAgent(SPACE, hold=5), 20, 60)
    assert played.mean() > 0.55
    assert played.mean() > 2.5 * by_chance.mean()
    assert (played.any(1)).mean() == 1.0, "an episode in which nothing moved"


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"low": (0.0,)}, "the workspace from low"),
        ({"high": (512.0, 0.0)}, "low below high"),
        ({"slowest": 0.1}, "choose 0 < slowest <= fastest"),
        ({"margin": 0.5}, "both are shares below 0.5"),
        ({"longest": 0}, "a leg lasts at least 1 step"),
        ({"pause_share": 0.95}, "add to at most 1"),
    ],
)
def test_settings_that_cannot_be(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        SelfPlaySettings(**change)


def test_where_it_cannot_play() -> None:
    with pytest.raises(TypeError, match="targets in a bounded Box"):
        SelfPlay(Discrete(3))
    with pytest.raises(TypeError, match="a workspace of 2 dimensions needs as many actions"):
        SelfPlay(Box(-1.0, 1.0, (3,)))
    with pytest.raises(KeyError, match=r"lacks \['keypoints'\]; it has \['proprio'\]"):
        SelfPlay(SPACE).predict({"proprio": np.zeros((1, 2), np.float32)})
