"""Pictures show what there is: the faces, the goal, and everything where the calibration says."""

from __future__ import annotations

import copy
import pickle
import sys
import types

import mujoco
import numpy as np
import pytest

from dexworld.envs.allegro.appearance import CAMERAS, FACES, drawn_scene
from dexworld.envs.allegro.drawing import Drawing
from dexworld.envs.allegro.env import AllegroReorientEnv
from dexworld.envs.allegro.scene import Cube, scene
from dexworld.envs.allegro.simulation import POSE, AllegroSimulation, N
from dexworld.envs.allegro.starts import StartNoise, settled_start
from dexworld.envs.cameras import Calibration
from dexworld.envs.rendering import Renderer, working_backend
from dexworld.envs.rotations import about, product, turned

SIZE = 96
RAY_TRACER = "dexworld.envs.ray_tracer"


@pytest.fixture(scope="module")
def start():
    simulation = AllegroSimulation()
    settled_start(simulation, np.random.default_rng(0), StartNoise())
    return simulation.get_task_state()


@pytest.fixture(scope="module")
def drawing():
    made = Drawing()
    yield made
    made.close()


def test_what_is_there_for_the_eye_does_not_change_the_physics():
    ends = []
    for spec in (scene(Cube()), drawn_scene(Cube())):
        model = spec.compile()
        data = mujoco.MjData(model)
        data.qpos[N + 2] += 0.04
        data.ctrl[:] = np.linspace(0.3, 1.0, N)
        for _ in range(100):
            mujoco.mj_step(model, data)
        assert data.ncon > 0
        ends.append(data.qpos.copy())
    np.testing.assert_array_equal(*ends)


def colour_of_most(frame):
    """Return the colour of the faces that most pixels which have one are nearest to."""
    pixels = frame.reshape(-1, 1, 3) / 255.0
    known = {name: colour[:3] for name, (_, colour) in FACES.items() if name != "white"}
    far = np.abs(pixels - np.array(list(known.values()))).max(axis=2)
    nearest = far.argmin(axis=1)[far.min(axis=1) < 0.25]
    counts = np.bincount(nearest, minlength=len(known))
    assert counts.max() > 100
    return list(known)[counts.argmax()]


def test_each_face_has_its_colour(drawing, start):
    for name, (normal, _) in FACES.items():
        if name == "white":  # so are the fingertips
            continue
        axis = np.cross(normal, [0.0, 0.0, 1.0])
        angle = np.arccos(normal[2])
        up = about(axis if np.any(axis) else np.array([1.0, 0.0, 0.0]), angle)
        np.testing.assert_allclose(turned(up, np.array(normal)), [0, 0, 1], atol=1e-12)
        state = start.copy()
        state[POSE][3:] = up
        assert colour_of_most(drawing.draw("above", SIZE, state, None)) == name


@pytest.mark.parametrize("camera", CAMERAS)
def test_the_goal_is_beside_the_hand(drawing, start, camera):
    goal = product(about(np.array([0.0, 0.0, 1.0]), 1.0), start[POSE][3:])
    plain = drawing.draw(camera, SIZE, start, None).astype(int)
    shown = drawing.draw(camera, SIZE, start, goal).astype(int)
    changed = np.abs(plain - shown).max(axis=2) > 30
    assert 100 < changed.sum() < 0.25 * SIZE**2
    assert changed[1:-1, 1:-1].sum() == changed.sum(), "it is cut off"


@pytest.mark.parametrize("edge", [0.06, 0.045])
@pytest.mark.parametrize("camera", CAMERAS)
def test_the_cube_is_drawn_where_the_calibration_says(drawing, start, camera, edge):
    """Above the fingers, it is all that differs from a picture without it."""
    simulation = AllegroSimulation((Cube(size=edge),))
    state = start.copy()
    state[N + 2] += 0.05
    gone = state.copy()
    gone[N : N + 3] = (0.0, 0.0, -5.0)
    frames = [drawing.draw(camera, SIZE, each, None, edge).astype(int) for each in (state, gone)]
    rows, columns = np.nonzero(np.abs(frames[0] - frames[1]).max(axis=2) > 20)
    corners, _ = simulation.points(state)
    pixels, before = drawing.calibration(camera, SIZE).project(corners)
    assert before.all()
    low, high = pixels.min(axis=0), pixels.max(axis=0)
    assert columns.min() >= low[0] - 1 and columns.max() <= high[0] + 1
    assert rows.min() >= low[1] - 1 and rows.max() <= high[1] + 1
    drawn = np.array([np.ptp(columns) + 1, np.ptp(rows) + 1])
    assert (drawn > high - low - 3).all()


def test_a_ray_tracer_draws_cubes_of_another_size_too(drawing, start, monkeypatch):
    """It draws from a copy of the model that it was given; here one whose pictures OpenGL makes."""
    backend, edges = working_backend(), (0.06, 0.045, 0.045, 0.07)
    if backend == "warp":
        pytest.skip("there is nothing to compare with: no OpenGL here")
    expected = [drawing.draw("above", SIZE, start, None, edge) for edge in edges]

    class Copying(Renderer):
        def __init__(self, model, height, width, shadows) -> None:
            super().__init__(copy.copy(model), height, width, backend)

        def pixels(self, data, camera):
            return super().pixels(data, self.model.camera(camera).name)

    monkeypatch.setitem(sys.modules, RAY_TRACER, types.SimpleNamespace(RayTracer=Copying))
    monkeypatch.setattr("dexworld.envs.rendering._fault", lambda backend: None)
    monkeypatch.setenv("MUJOCO_GL", "warp")
    traced = Drawing()
    for edge, picture in zip(edges, expected, strict=True):
        np.testing.assert_array_equal(traced.draw("above", SIZE, start, None, edge), picture)
    traced.close()


def test_observed_cameras_and_frames():
    keys = ["pixels_above", "pixels_side", "camera_above"]
    env = AllegroReorientEnv(observation=keys, pixels_size=64, render_mode="rgb_array")
    observation, info = env.reset(seed=0)
    assert observation["pixels_above"].shape == (64, 64, 3)
    assert np.any(observation["pixels_above"] != info["goal"]["pixels_above"])
    seen = Calibration.from_vector(observation["camera_above"])
    pixels, _ = seen.project(env.task_state[POSE][:3])
    assert ((pixels > 10) & (pixels < 54)).all()
    assert env.render().shape == (480, 480, 3)
    np.testing.assert_array_equal(env.render(), env.draw(env.task_state, env.task_state[None]))
    copy = pickle.loads(pickle.dumps(env))
    hold = env.hold_action()
    for key in ("pixels_above", "pixels_side"):
        np.testing.assert_array_equal(copy.step(hold)[0][key], env.step(hold)[0][key])
    for each in (env, copy):
        each.close()
        each.close()


def test_goals_can_be_left_out_of_frames():
    frames = []
    for shown in (True, False):
        env = AllegroReorientEnv(observation="pixels_front", goal_in_pixels=shown)
        frames.append(env.reset(seed=0)[0]["pixels_front"])
        env.close()
    assert np.any(frames[0] != frames[1])
