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


def test_a_full_counter_is_said(script):
    made = stage(script, "milk", tuple(name for name in THINGS if name != "milk"))
    rng, full = np.random.default_rng(0), 0
    for _ in range(30):
        try:
            made.layout_of_things(rng)
        except Unlucky:
            full += 1
    assert full < 30, "all six things fit"


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
