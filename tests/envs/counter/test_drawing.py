import pickle

import mujoco
import numpy as np
import pytest

from dexworld.envs.counter.drawing import Drawing, with_goal, with_path
from dexworld.envs.counter.scene import CAMERAS, OVERVIEW, Scene, drawn_model
from dexworld.envs.rasteriser import Quality
from dexworld.envs.rendering import Renderer

SIZE = (112, 196)


@pytest.fixture(scope="module")
def start(make_env):
    env = make_env("grasp", layout="one_wall", style="sage", object="can", distractors=["lemon"])
    env.reset(seed=0)
    return env


@pytest.fixture(scope="module")
def drawing(start):
    made = Drawing(start.simulation.scene)
    yield made
    made.close()


def test_every_camera_sees_something_else(drawing, start):
    frames = [drawing.draw(name, *SIZE, start.task_state) for name in (*CAMERAS, OVERVIEW)]
    assert all(frame.shape == (*SIZE, 3) and frame.std() > 10 for frame in frames)
    assert np.abs(frames[0].astype(int) - frames[1]).mean() > 10


def test_another_kitchen_is_drawn_as_if_it_had_been_the_first(start):
    other = Scene("island", "navy", "can", frozenset({"lemon"})).number
    changed, fresh = Drawing(start.simulation.scene), Drawing(other)
    first = changed.draw("torso", *SIZE, start.task_state)
    changed.show(other)
    second = changed.draw("torso", *SIZE, start.task_state)
    assert np.abs(first.astype(int) - second).mean() > 5
    np.testing.assert_array_equal(second, fresh.draw("torso", *SIZE, start.task_state))
    changed.show(start.simulation.scene)
    np.testing.assert_array_equal(first, changed.draw("torso", *SIZE, start.task_state))
    changed.close()
    fresh.close()


def test_calibrated_points_land_on_what_is_drawn(start, drawing):
    """In the camera between the shoulders, and in the one that moves with the palm."""
    scene = Scene.of(start.simulation.scene)
    model = drawn_model(scene.layout, scene.style)
    data = mujoco.MjData(model)
    data.qpos[:] = start.get_state()[1 : 1 + model.nq]
    mujoco.mj_forward(model, data)
    seen = {
        "torso": ("can", data.body("can").xpos),
        "wrist": ("middle_distal", data.site("middle_tip").xpos),
    }
    with Renderer(model, *SIZE) as renderer:
        for camera, (body, point) in seen.items():
            seen_by = drawing.calibration(camera, *SIZE, start.task_state)
            pixel, before = seen_by.project(point)
            column, row = pixel.astype(int).tolist()
            assert before and 0 <= column < SIZE[1] and 0 <= row < SIZE[0]
            geom = renderer.segmentation(data, camera)[row, column]
            assert model.body(model.geom_bodyid[geom]).name == body, camera


def test_pixels_that_show_a_body(drawing, start):
    """They are those that change when it is taken away."""
    gone = start.task_state.copy()
    gone[46 : 46 + 3] = (0.0, 0.0, 40.0)
    pair = [drawing.draw("torso", *SIZE, state).astype(int) for state in (start.task_state, gone)]
    changed = np.abs(pair[0] - pair[1]).max(axis=2) > 8
    shown = drawing.shows(["can"], "torso", *SIZE, start.task_state)
    assert shown.sum() > 20 and (shown & changed).sum() > 0.9 * (shown | changed).sum()
    assert not drawing.shows(["can"], "torso", *SIZE, gone).any()
    assert not (shown & drawing.shows(["lemon"], "torso", *SIZE, start.task_state)).any()


def test_the_goal_is_in_the_corner_and_the_path_on_the_frame(drawing, start):
    frame = drawing.draw(OVERVIEW, *SIZE, start.task_state)
    shown = with_goal(frame, np.zeros_like(frame))
    assert (shown[5:30, -40:-5] == 0).all() and (shown[60:] == frame[60:]).all()
    seen_by = drawing.calibration(OVERVIEW, *SIZE, start.task_state)
    path = np.linspace((0.45, 0.0, 0.1), (0.55, 0.2, 0.2), 5)
    drawn = with_path(frame, path, seen_by)
    pixels = seen_by.project(path)[0].astype(int)
    changed = (drawn != frame).any(axis=2)
    assert changed[pixels[2, 1], pixels[2, 0]] and changed.sum() < 0.05 * changed.size
    behind = np.array([[-5.0, -5.0, 5.0], [0.5, 0.0, 0.1]])
    np.testing.assert_array_equal(with_path(frame, behind, seen_by), frame)


@pytest.mark.slow
def test_the_finer_arm_is_where_the_coarse_one_is(drawing, start):
    """Most pixels of either are of both, and what is no robot looks the same."""
    fine = Drawing(start.simulation.scene, "mesh")
    frames = [each.draw(OVERVIEW, *SIZE, start.task_state).astype(int) for each in (drawing, fine)]
    assert 0.01 < (np.abs(frames[0] - frames[1]).max(axis=2) > 20).mean() < 0.1
    copy = pickle.loads(pickle.dumps(fine))
    np.testing.assert_array_equal(copy.draw(OVERVIEW, *SIZE, start.task_state), frames[1])
    arm = [f"link{index}" for index in range(1, 8)]
    shown = [each.shows(arm, OVERVIEW, *SIZE, start.task_state) for each in (drawing, fine)]
    assert (shown[0] & shown[1]).sum() > 0.85 * (shown[0] | shown[1]).sum() > 100
    fine.close()
    copy.close()


def test_a_copy_draws_alike_and_as_carefully(drawing, start):
    smooth = Drawing(start.simulation.scene, quality=Quality(samples=4))
    frames = []
    for each in (drawing, smooth):
        copy = pickle.loads(pickle.dumps(each))
        pair = [d.draw("torso", *SIZE, start.task_state) for d in (each, copy)]
        np.testing.assert_array_equal(*pair)
        frames.append(pair[0].astype(int))
        copy.close()
    smooth.close()
    assert 0 < (frames[0] != frames[1]).any(axis=2).mean() < 0.2, "edges"
