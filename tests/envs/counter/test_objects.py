import mujoco
import numpy as np
import pytest

from dexworld.envs.counter.fixtures import BOX, CYLINDER
from dexworld.envs.counter.objects import TARGETS, THINGS, add_thing


@pytest.fixture(scope="module")
def drawn():
    spec = mujoco.MjSpec()
    for index, name in enumerate(THINGS):
        add_thing(spec, index, name, True)
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.mark.parametrize("name", THINGS)
def test_what_is_seen_is_where_it_is_felt(drawn, name):
    """The mesh fills the shape that collides, to a few millimetres."""
    model, data = drawn
    body = model.body(name).id
    geom = next(
        g
        for g in range(model.ngeom)
        if model.geom_bodyid[g] == body and model.geom_type[g] == mujoco.mjtGeom.mjGEOM_MESH
    )
    mesh = int(model.geom_dataid[geom])
    first, count = model.mesh_vertadr[mesh], model.mesh_vertnum[mesh]
    corners = model.mesh_vert[first : first + count] @ data.geom_xmat[geom].reshape(3, 3).T
    corners = corners + data.geom_xpos[geom] - data.xpos[body]
    half = np.array(THINGS[name].half)
    np.testing.assert_allclose(corners.max(axis=0), half, atol=4e-3)
    np.testing.assert_allclose(corners.min(axis=0), -half, atol=4e-3)


@pytest.mark.parametrize("name", THINGS)
def test_the_mesh_weighs_nothing(drawn, name):
    assert drawn[0].body(name).mass[0] == pytest.approx(THINGS[name].mass)
    assert np.abs(drawn[0].body(name).ipos).max() < 1e-9


def test_targets_have_the_size_of_a_grasp():
    for name in TARGETS:
        thing = THINGS[name]
        assert thing.shape in (BOX, CYLINDER)
        assert thing.half[2] == 0.08 and 0.025 < thing.half[0] < 0.032
    assert set(THINGS) - set(TARGETS) == {"bread", "lemon"}
