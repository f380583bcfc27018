from itertools import repeat

import numpy as np
import pytest

from dexworld.envs.push_t.chipmunk import PushTChipmunk
from dexworld.envs.push_t.geometry import OUTLINE, angle_difference, placed
from dexworld.envs.push_t.goals import solved_by_waiting, trajectory_goal
from dexworld.envs.push_t.start_states import START_STATES
from dexworld.envs.push_t.success import PoseRule
from dexworld.envs.push_t.twin import PushTTwin

RULE = PoseRule()


def draw(simulation, seed, **arguments):
    rng = np.random.default_rng(seed)
    starts = START_STATES["gym_pusht"](rng, seed)
    return trajectory_goal(simulation, starts, rng, 25, RULE, **arguments)


@pytest.mark.parametrize("make", [PushTTwin, PushTChipmunk])
def test_the_commands_lead_exactly_from_start_to_goal(make):
    simulation = make()
    for seed in range(5):
        chosen = draw(simulation, seed)
        simulation.set_state(chosen.start)
        for command in chosen.commands:
            simulation.step(command)
        assert np.array_equal(simulation.get_state(), chosen.goal)
        assert np.array_equal(simulation.get_task_state(), chosen.goal_state)


def test_goals_are_what_they_promise():
    twin = PushTTwin()
    moves, turns = [], []
    for seed in range(40):
        chosen = draw(twin, seed)
        twin.set_state(chosen.start)
        start = twin.get_task_state()
        moves.append(np.linalg.norm(chosen.goal_state[2:4] - start[2:4]))
        turns.append(float(angle_difference(chosen.goal_state[4], start[4])))
        corners = placed(OUTLINE, np.stack([start, chosen.goal_state])[:, 2:])
        assert corners.min() > 17.0
        assert corners.max() < 494.0
        assert np.linalg.norm(placed(OUTLINE, start[2:]) - start[:2], axis=-1).min() < 90.0
        assert not solved_by_waiting(twin, chosen.start, chosen.goal_state, RULE)
    assert np.all((np.array(moves) >= 20.0) | (np.array(turns) >= np.pi / 9))
    assert 90.0 < np.median(moves) < 170.0
    assert np.pi / 9 < np.median(turns) < np.pi / 3


def test_a_given_start_is_kept():
    given = np.array([150.0, 240.0, 256.0, 256.0, 0.1])
    rng = np.random.default_rng(0)
    chosen = trajectory_goal(PushTTwin(), repeat(given), rng, 25, RULE, lead_in=0)
    twin = PushTTwin()
    twin.set_state(chosen.start)
    assert np.allclose(twin.get_task_state(), given, rtol=0, atol=1e-9)


def test_waiting_at_the_goal_succeeds_and_beside_it_does_not():
    twin = PushTTwin()
    state = np.array([100.0, 100.0, 256.0, 256.0, 0.0])
    start = twin.physics(state[None])[0]
    assert solved_by_waiting(twin, start, state, RULE)
    assert not solved_by_waiting(twin, start, state + np.array([0, 0, 25.0, 0, 0]), RULE)


def test_coasting_into_the_goal_counts_as_waiting():
    twin = PushTTwin()
    twin.set_task_state(np.array([50.0, 60.0, 256.0, 300.0, 0.0]))
    twin.step(np.array([490.0, 60.0]))
    moving, start = twin.get_state(), twin.get_task_state()
    ahead = start + np.array([45.0, 0.0, 0.0, 0.0, 0.0])  # held, it overshoots and comes back
    assert not RULE(start, ahead)
    assert solved_by_waiting(twin, moving, ahead, RULE)
    assert not solved_by_waiting(twin, moving, 2 * ahead - start, RULE)


def test_an_impossible_offset_ends_with_an_error():
    far = np.array([60.0, 60.0, 400.0, 400.0, 0.0])
    with pytest.raises(RuntimeError, match="goal_offset=1"):
        trajectory_goal(PushTTwin(), repeat(far), np.random.default_rng(0), 1, RULE, lead_in=0)
