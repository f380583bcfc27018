import numpy as np
import pytest

from dexworld.envs.counter.objects import ABSENT, THINGS
from dexworld.envs.counter.scene import Scene
from dexworld.envs.counter.simulation import CounterSimulation
from dexworld.envs.counter.staging import HEADING, PLACES, Stage, Unlucky, absent, upright


def stage(script, target="milk", others=("can", "lemon")) -> Stage:
    scene = Scene("one_wall", "navy", target, frozenset(others))
    return Stage(CounterSimulation(scene.number), script)


def test_things_stand_apart_and_the_absent_are_absent(script):
    made, rng = stage(script), np.random.default_rng(0)
    for _ in range(20):
        poses = dict(zip(THINGS, made.layout_of_things(rng), strict=True))
        places = [poses[name][:2] for name in ("milk", "can", "lemon")]
        apart = [np.linalg.norm(a - b) for i, a in enumerate(places) for b in places[:i]]
        assert min(apart) > 0.2
        for low_high, value in zip(PLACES, places[0], strict=True):
            assert low_high[0] <= value <= low_high[1]
        for name in ("bottle", "cereal", "bread"):
            assert poses[name][2] == ABSENT[2]
        for name in ("milk", "can", "lemon"):
            assert poses[name][2] == THINGS[name].half[2]


@pytest.mark.parametrize("others", range(len(THINGS)))
def test_all_things_find_places_that_are_apart(script, others):
    names = [name for name in THINGS if name != "milk"][:others]
    made = stage(script, "milk", names)
    for seed in range(12):
        poses = made.layout_of_things(np.random.default_rng(seed))
        there = poses[poses[:, 2] < 1.0]
        assert len(there) == 1 + others
        apart = [np.linalg.norm(a[:2] - b[:2]) for i, a in enumerate(there) for b in there[:i]]
        assert min(apart, default=1.0) > 0.2


def test_a_full_counter_is_said(script, monkeypatch):
    monkeypatch.setattr("dexworld.envs.counter.staging._APART", 0.5)
    with pytest.raises(Unlucky, match="the counter is too full"):
        stage(script).layout_of_things(np.random.default_rng(0))


@pytest.mark.parametrize(("target", "turns"), [("milk", 4), ("cereal", 2), ("can", 1)])
def test_the_hand_turns_with_the_object_the_nearest_way(script, target, turns):
    made = stage(script, target, ())
    index = list(THINGS).index(target)
    poses = np.array([absent(i) for i in range(len(THINGS))])
    for turn in range(turns):
        heading = 0.3 + turn * 2 * np.pi / turns
        poses[index] = upright(target, np.array([0.5, 0.1]), heading)
        made.set_up(np.zeros(23) + made.simulation.low.clip(0.0), poses)
        assert made.grasp_heading() == pytest.approx(0.3, abs=1e-3)
    assert abs(made.grasp_heading()) <= HEADING


def test_a_fallen_object_cannot_be_grasped_so(script):
    made = stage(script, "can", ())
    poses = np.array([absent(i) for i in range(len(THINGS))])
    poses[0] = (0.5, 0.1, 0.031, np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)
    made.set_up(made.simulation.low.clip(0.0), poses)
    with pytest.raises(Unlucky, match="the can does not stand upright"):
        made.grasp_heading()
