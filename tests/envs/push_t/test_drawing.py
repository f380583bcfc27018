import numpy as np
import pytest

from dexworld.envs.push_t.drawing import DISTURBANCES, Scene, appearance
from dexworld.envs.push_t.geometry import placed

GOAL = np.array([256.0, 256.0, np.pi / 4])
STATE = np.array([374.0, 84.0, 195.7, 230.2, 1.893])
FACE, PUSHER, GREEN = (143, 163, 184), (78, 126, 255), (144, 238, 144)


def pixel(frame: np.ndarray, point: np.ndarray) -> tuple[int, ...]:
    column, row = np.rint((np.asarray(point) + 0.5) * len(frame) / 512 - 0.5).astype(int)
    return tuple(frame[row, column].tolist())


@pytest.mark.parametrize("size", [64, 96, 224, 512])
def test_what_is_drawn_has_its_colour_where_it_is(size):
    frame = Scene(size, GOAL).draw(STATE)
    assert frame.shape == (size, size, 3)
    assert frame.dtype == np.uint8
    inside = np.array([(-50.0, 15.0), (50.0, 15.0), (0.0, 15.0), (0.0, 70.0), (0.0, 105.0)])
    for point in placed(inside, STATE[2:]):
        assert np.abs(np.array(pixel(frame, point)) - FACE).max() <= 6
    for point in placed(inside[[1, 4]], GOAL):
        assert pixel(frame, point) == GREEN
    assert np.abs(np.array(pixel(frame, STATE[:2])) - PUSHER).max() <= 3
    assert pixel(frame, np.array([450.0, 450.0])) == (255, 255, 255)
    assert max(pixel(frame, np.array([5.0, 256.0]))) < 255  # the wall


@pytest.mark.parametrize("size", [64, 96, 224, 512])
def test_the_pusher_lies_where_it_is_to_a_tenth_of_a_pixel(size):
    scene = Scene(size, None)
    block_away = np.array([256.0, 256.0, 100.0, 100.0, 0.0])
    rows, columns = np.mgrid[:size, :size]
    for shift in (0.0, 1.7, 3.1):
        state = block_away + np.array([shift, -shift, 0.0, 0.0, 0.0])
        frame = scene.draw(state).astype(float)
        elsewhere = state + np.array([150.0, 150.0, 0.0, 0.0, 0.0])
        weight = np.abs(frame - scene.draw(elsewhere)).sum(-1)
        weight[rows > 0.65 * size] = 0.0
        centre = np.array([(weight * columns).sum(), (weight * rows).sum()]) / weight.sum()
        assert np.abs(centre - ((state[:2] + 0.5) * size / 512 - 0.5)).max() < 0.1
        area = weight.max() * np.pi * (15.0 * size / 512) ** 2
        assert weight.sum() == pytest.approx(area, rel=0.25)


def test_the_action_is_a_red_cross():
    target = np.array([300.0, 400.0])
    scene = Scene(512, GOAL)
    assert pixel(scene.draw(STATE, target), target) == (255, 0, 0)
    assert pixel(scene.draw(STATE), target) == (255, 255, 255)


def test_the_agents_goal_is_drawn_where_given():
    frame = Scene(96, GOAL, goal_agent=np.array([100.0, 400.0])).draw(STATE)
    assert pixel(frame, np.array([100.0, 400.0])) == GREEN


def test_a_path_is_a_line_through_its_points():
    scene = Scene(256, None)
    plain = scene.draw(np.array([60.0, 60.0, 400.0, 300.0, 0.0]))
    drawn = scene.draw_path(plain.copy(), np.array([[100.0, 100.0], [200.0, 100.0]]))
    changed = np.argwhere((drawn != plain).any(axis=-1)) * 2
    assert len(changed) >= 50
    assert np.abs(changed[:, 0] - 100).max() <= 6
    assert changed[:, 1].min() >= 94 and changed[:, 1].max() <= 206


def test_drawing_leaves_the_scene_as_it_was():
    scene = Scene(96, GOAL)
    first = scene.draw(STATE)
    scene.draw(STATE[[1, 0, 3, 2, 4]], STATE[:2])
    assert np.array_equal(scene.draw(STATE), first)


def test_there_are_three_colours_of_each_disturbance():
    kinds = [name.split("-")[0] for name in DISTURBANCES]
    assert {kind: kinds.count(kind) for kind in kinds} == dict.fromkeys(
        ("BgColor", "BgObject", "GoalColor"), 3
    )
    frames = [Scene(96, GOAL, look).draw(STATE).tobytes() for look in DISTURBANCES.values()]
    assert len({*frames, Scene(96, GOAL).draw(STATE).tobytes()}) == 10


@pytest.mark.parametrize("name", DISTURBANCES)
def test_a_disturbance_leaves_block_and_pusher_alone(name):
    usual, changed = Scene(96, GOAL).draw(STATE), Scene(96, GOAL, appearance(name)).draw(STATE)
    difference = (usual != changed).any(-1)
    within = np.array([(-45.0, 15.0), (45.0, 15.0), (0.0, 75.0)])
    for point in [*placed(within, STATE[2:]), STATE[:2]]:
        assert pixel(usual, point) == pixel(changed, point)
    share = difference.mean()
    low, high = {"BgColor": (0.7, 1.0), "BgObject": (0.01, 0.06), "GoalColor": (0.01, 0.05)}[
        name.split("-")[0]
    ]
    assert low < share < high


def test_unknown_looks_and_sizes_are_errors():
    with pytest.raises(ValueError, match="BgColor-0"):
        appearance("BgColour-1")
    with pytest.raises(ValueError, match="8 px"):
        Scene(0, GOAL)
