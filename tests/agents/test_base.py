"""The agents that every other one is measured against."""

from __future__ import annotations

import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete, MultiBinary

from dexworld.agents.base import NoOpAgent, RandomAgent, ReplayAgent, rows_of
from dexworld.world_models.base import HOLD_ACTION

SPACE = Box(np.float32([-1.0, 2.0]), np.float32([1.0, 5.0]))


def observation(rows: int) -> dict[str, np.ndarray]:
    return {"state": np.zeros((rows, 3), np.float32)}


def acted(agent, seeds, steps, episode_start=None):
    """Return the actions [steps, B, A] of an agent whose episodes begin."""
    state, actions = agent.start(seeds), []
    for _ in range(steps):
        action, state = agent.predict(observation(len(seeds)), state)
        actions.append(action)
    return np.stack(actions)


def test_random_actions_fill_the_bounds_and_nothing_else() -> None:
    actions = acted(RandomAgent(SPACE), list(range(50)), 20)
    assert actions.dtype == np.float32
    assert (actions >= SPACE.low).all() and (actions <= SPACE.high).all()
    np.testing.assert_allclose(actions.min((0, 1)), SPACE.low, atol=0.05)
    np.testing.assert_allclose(actions.max((0, 1)), SPACE.high, atol=0.05)
    np.testing.assert_allclose(actions.mean((0, 1)), (SPACE.low + SPACE.high) / 2, atol=0.1)


def test_random_actions_are_held() -> None:
    actions = acted(RandomAgent(SPACE, hold=3), [0, 1], 7)
    for start, stop in ((0, 3), (3, 6), (6, 7)):
        assert (actions[start:stop] == actions[start]).all()
    assert len(np.unique(actions[:, 0, 0])) == 3
    with pytest.raises(ValueError, match="hold must be at least 1, got 0"):
        RandomAgent(SPACE, hold=0)


def test_a_row_draws_from_its_seed_alone() -> None:
    together = acted(RandomAgent(SPACE, hold=2), [7, 8, 9], 6)
    alone = acted(RandomAgent(SPACE, hold=2), [8], 6)
    np.testing.assert_array_equal(together[:, 1], alone[:, 0])
    assert not np.array_equal(together[:, 0], together[:, 1])


def test_an_agent_has_no_memory_of_its_own_between_episodes() -> None:
    agent = RandomAgent(SPACE)
    np.testing.assert_array_equal(acted(agent, [3], 4), acted(agent, [3], 4))
    first, _ = RandomAgent(SPACE, seed=1).predict(observation(2))
    again, _ = RandomAgent(SPACE, seed=1).predict(observation(2))
    other, _ = RandomAgent(SPACE, seed=5).predict(observation(2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_rows_that_go_on_are_taken_along() -> None:
    agent = RandomAgent(SPACE, hold=2)
    expected = acted(agent, [7, 8, 9], 6)
    state = agent.start([7, 8, 9])
    for _ in range(3):
        _, state = agent.predict(observation(3), state)
    state = agent.take(state, np.array([0, 2]))
    for time in range(3, 6):
        actions, state = agent.predict(observation(2), state)
        np.testing.assert_array_equal(actions, expected[time, [0, 2]])


def test_a_row_that_starts_over_draws_at_once() -> None:
    agent = RandomAgent(SPACE, hold=4)
    state = agent.start([0, 1])
    before, state = agent.predict(observation(2), state)
    after, state = agent.predict(observation(2), state, np.array([True, False]))
    assert not np.array_equal(after[0], before[0])
    np.testing.assert_array_equal(after[1], before[1])


@pytest.mark.parametrize("space", [SPACE, Discrete(7, start=3)])
def test_asking_a_random_agent_changes_nothing(space) -> None:
    agent = RandomAgent(space, hold=2)
    state = agent.start([0, 1])
    for _ in range(3):
        first, after = agent.predict(observation(2), state)
        again, same = agent.predict(observation(2), state)
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(after.draws, same.draws)
        state = after


def test_random_choices() -> None:
    actions = acted(RandomAgent(Discrete(3, start=5)), list(range(40)), 5)
    assert actions.dtype == np.int64 and set(actions.flatten().tolist()) == {5, 6, 7}


def test_spaces_that_nothing_can_be_drawn_from() -> None:
    with pytest.raises(ValueError, match="random actions need bounds"):
        RandomAgent(Box(-np.inf, np.inf, (2,)))
    with pytest.raises(TypeError, match="Box or Discrete, not MultiBinary"):
        RandomAgent(MultiBinary(3))


def test_an_observation_of_nothing() -> None:
    assert rows_of(observation(3)) == 3
    with pytest.raises(ValueError, match="the observation is empty"):
        rows_of({})


def held(*values: float) -> dict[str, np.ndarray]:
    return {HOLD_ACTION: np.float32(values)[:, None]}


def test_doing_nothing_repeats_what_held_still_at_the_start() -> None:
    agent = NoOpAgent()
    assert agent.observes == {HOLD_ACTION}
    actions, state = agent.predict(held(0.1, 0.2), agent.start([0, 1]))
    np.testing.assert_array_equal(actions[:, 0], np.float32([0.1, 0.2]))
    actions, state = agent.predict(held(0.5, 0.6), state)
    np.testing.assert_array_equal(actions[:, 0], np.float32([0.1, 0.2]))
    actions, state = agent.predict(held(0.7, 0.8), state, np.array([False, True]))
    np.testing.assert_array_equal(actions[:, 0], np.float32([0.1, 0.8]))
    actions, state = agent.predict(held(0.9), agent.take(state, np.array([1])))
    np.testing.assert_array_equal(actions[:, 0], np.float32([0.8]))


def test_doing_nothing_needs_to_know_what_holds_still() -> None:
    with pytest.raises(KeyError, match=r"lacks 'hold_action'; it has \['state'\].*HoldAction"):
        NoOpAgent().predict(observation(1))


EPISODES = {5: np.float32([[1.0], [2.0], [3.0]]), 6: np.float32([[4.0]])}


def test_a_recording_is_repeated_and_then_its_last_action() -> None:
    actions = acted(ReplayAgent(EPISODES), [6, 5], 5)
    assert actions.dtype == np.float32
    assert actions[:, :, 0].T.tolist() == [[4, 4, 4, 4, 4], [1, 2, 3, 3, 3]]


def test_a_recording_starts_over_with_its_episode() -> None:
    agent = ReplayAgent(EPISODES)
    actions, state = agent.predict(observation(2))
    assert actions[:, 0].tolist() == [1, 4]
    actions, state = agent.predict(observation(2), state)
    actions, state = agent.predict(observation(2), state, np.array([True, False]))
    assert actions[:, 0].tolist() == [1, 4]
    actions, state = agent.predict(observation(1), agent.take(state, np.array([0])))
    assert actions[:, 0].tolist() == [2]


def test_a_recording_that_is_not_there() -> None:
    with pytest.raises(
        KeyError, match=r"no actions were recorded for the episode seeds \[9\].*of \[5, 6\]"
    ):
        ReplayAgent(EPISODES).start([5, 9])
    with pytest.raises(ValueError, match=r"episodes \[3\] have no actions"):
        ReplayAgent({3: np.zeros((0, 1), np.float32)})
    with pytest.raises(ValueError, match=r"3 environments.*2 recorded"):
        ReplayAgent(EPISODES).predict(observation(3))
