import numpy as np
import pytest

from dexworld.envs.counter.arguments import SceneChoice, checked_options, distractors_of
from dexworld.envs.counter.layouts import LAYOUTS
from dexworld.envs.counter.objects import TARGETS
from dexworld.envs.counter.simulation import STATE_SIZE
from dexworld.envs.counter.styles import STYLES


def test_random_scenes_come_from_the_seed_and_cover_all():
    choice = SceneChoice()
    first = [choice.draw(np.random.default_rng(seed)) for seed in range(150)]
    again = [choice.draw(np.random.default_rng(seed)) for seed in range(150)]
    assert first == again
    assert {scene.layout for scene in first} == set(LAYOUTS)
    assert {scene.style for scene in first} == set(STYLES)
    assert {scene.target for scene in first} == set(TARGETS)
    assert {len(scene.others) for scene in first} == {2}


def test_named_scenes_are_those():
    choice = SceneChoice("island", "navy", "milk", ("lemon", "can"))
    scene = choice.draw(np.random.default_rng(0))
    assert (scene.layout, scene.style, scene.target) == ("island", "navy", "milk")
    assert scene.others == {"lemon", "can"}
    assert SceneChoice(distractors=0).draw(np.random.default_rng(0)).others == frozenset()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"layout": "attic"}, "layout='attic' is unknown; choose one of .'random', 'one_wall'"),
        ({"style": "gothic"}, "style='gothic' is unknown"),
        ({"object": "lemon"}, "object='lemon' is unknown; choose one of .'random', 'can'"),
        ({"distractors": 6}, "distractors=6 is unknown"),
        ({"distractors": ("fork",)}, "distractors='fork' is unknown; choose one of .'can'"),
        ({"object": "can", "distractors": ("can",)}, "distractors='can' is unknown"),
    ],
)
def test_what_is_not_there(arguments, message):
    with pytest.raises(ValueError, match=message):
        SceneChoice(**arguments)


@pytest.mark.parametrize("value", [True, 2.5, "lemon", None])
def test_distractors_that_are_neither_a_number_nor_names(value):
    with pytest.raises(ValueError, match=r"distractors=.*: give how many .* 0 to 5, or a list"):
        distractors_of(value)
    with pytest.raises(ValueError, match="or a list of their names"):
        checked_options({"distractors": value})


def test_distractors_by_number_and_by_name():
    assert distractors_of(np.int64(3)) == 3
    assert distractors_of(["lemon", "can"]) == ("lemon", "can")


def test_options_are_checked():
    state = np.zeros(STATE_SIZE)
    state[46 + 3 : 46 + 42 : 7] = 1.0
    assert np.array_equal(checked_options({"state": state.tolist()})["state"], state)
    assert checked_options(None) == {}
    with pytest.raises(ValueError, match="reset option='kitchen' is unknown; choose one of"):
        checked_options({"kitchen": 1})
    with pytest.raises(ValueError, match=r"options\['goal'\]=.*give 124 finite numbers"):
        checked_options({"goal": [1.0, 2.0]})
    with pytest.raises(ValueError, match="quaternions that are not of length 1"):
        checked_options({"state": np.zeros(STATE_SIZE)})
