import numpy as np
import pytest

from dexworld.envs.allegro.scene import NORMAL, Cube
from dexworld.envs.allegro.simulation import POSE, AllegroSimulation
from dexworld.envs.allegro.starts import StartNoise, settled_start
from dexworld.envs.rotations import angle_between, inverse, turned


@pytest.fixture(scope="module")
def simulation():
    return AllegroSimulation()


def test_nothing_moves_until_the_hand_does(simulation):
    for seed in range(3):
        settled_start(simulation, np.random.default_rng(seed), StartNoise())
        before = simulation.get_task_state()
        command = simulation.command(simulation.get_state()[None])[0]
        for _ in range(60):
            simulation.step(command)
        after = simulation.get_task_state()
        assert angle_between(before[POSE][3:], after[POSE][3:]) < 0.01
        assert np.linalg.norm(after[POSE][:3] - before[POSE][:3]) < 0.001


def test_any_face_is_up_and_flat(simulation):
    up = []
    for seed in range(25):
        settled_start(simulation, np.random.default_rng(seed), StartNoise())
        normal = turned(inverse(simulation.get_task_state()[POSE][3:]), NORMAL)
        assert abs(normal).max() > np.cos(0.15)
        up.append(tuple(np.round(normal).astype(int)))
    assert len(set(up)) == 6


def test_noise_is_as_large_as_it_says(simulation):
    places = []
    for seed in range(6):
        settled_start(simulation, np.random.default_rng(seed), StartNoise(0.0, 0.0, 0.0))
        places.append(simulation.get_task_state()[POSE][:3])
    assert np.ptp(places, axis=0).max() < 1e-4


def test_a_seed_fixes_a_start(simulation):
    states = []
    for _ in range(2):
        settled_start(simulation, np.random.default_rng(3), StartNoise())
        states.append(simulation.get_state())
    np.testing.assert_array_equal(states[0][1:], states[1][1:])


def test_a_cube_that_cannot_lie_there():
    simulation = AllegroSimulation((Cube(size=0.03),))
    with pytest.raises(RuntimeError, match=r"50 starts Cube\(.*size=0.03\) did not come to rest"):
        settled_start(simulation, np.random.default_rng(0), StartNoise(position=2.0))


@pytest.mark.parametrize("part", ["position", "yaw", "joints"])
def test_noise_is_not_negative(part):
    with pytest.raises(ValueError, match=rf"{part}=-0.1"):
        StartNoise(**{part: -0.1})
