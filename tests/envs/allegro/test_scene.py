import mujoco
import numpy as np
import pytest

from dexworld.envs.allegro.scene import (
    ACROSS,
    CORNERS,
    CUBE,
    FINGERS,
    NORMAL,
    PALM_POSITION,
    PALM_SURFACE,
    Cube,
    scene,
)
from dexworld.envs.allegro.simulation import AllegroSimulation
from dexworld.envs.allegro.starts import StartNoise, settled_start
from dexworld.envs.robots.allegro_hand import FINGERTIPS


def test_hand_and_cube():
    model = scene(Cube(mass=0.11, size=0.05)).compile()
    assert (model.nu, model.nv) == (16, 22)
    assert model.body(CUBE).mass[0] == pytest.approx(0.11)
    np.testing.assert_allclose(model.geom(CUBE).size, 0.025)
    assert model.opt.timestep == 0.005 and model.opt.impratio == 10.0


def test_the_palm_faces_up_and_the_fingers_slightly_down():
    model = scene(Cube()).compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    frame = data.body("palm").xmat.reshape(3, 3)
    np.testing.assert_allclose(frame, np.stack([NORMAL, ACROSS, FINGERS], axis=1), atol=1e-12)
    assert NORMAL[2] > 0.95 and -0.25 < FINGERS[2] < -0.15
    tips = np.array([data.site(name).xpos for name in FINGERTIPS])
    assert tips[0] @ ACROSS > tips[1] @ ACROSS > tips[2] @ ACROSS  # index, middle, ring


def test_variants_have_the_same_sizes():
    models = [scene(Cube(*numbers)).compile() for numbers in ((0.08, 1.0, 0.06), (0.2, 0.3, 0.04))]
    for name in (
        "nq",
        "nv",
        "nu",
        "nbody",
        "ngeom",
        "nsite",
        "nsensordata",
        "nM",
        "nbvh",
        "narena",
    ):
        assert getattr(models[0], name) == getattr(models[1], name), name


@pytest.mark.parametrize("friction", [0.5, 1.3])
def test_the_friction_of_the_cube_counts(friction):
    simulation = AllegroSimulation((Cube(friction=friction),))
    settled_start(simulation, np.random.default_rng(0), StartNoise())
    data, cube = simulation.data, simulation.model.geom(CUBE).id
    touching = [contact for contact in data.contact if cube in contact.geom]
    assert touching
    assert {contact.friction[0] for contact in touching} == {friction}


def test_a_settled_cube_lies_on_the_palm():
    simulation = AllegroSimulation()
    settled_start(simulation, np.random.default_rng(0), StartNoise())
    corners, tips = simulation.points(simulation.get_task_state())
    heights = (corners - PALM_POSITION) @ NORMAL - PALM_SURFACE
    assert abs(heights).min() < 0.001 and heights.min() > -0.001
    assert heights.max() == pytest.approx(0.06, abs=0.004)
    assert corners.shape == CORNERS.shape and tips.shape == (4, 3)
