from dataclasses import astuple

import mujoco
import pytest

from dexworld.envs.counter.styles import ROLES, STYLES, add_materials, material_of
from dexworld.envs.counter.textures import TEXTURES


@pytest.fixture(scope="module")
def model():
    spec = mujoco.MjSpec()
    add_materials(spec)
    return spec.compile()


def test_there_are_at_least_five_and_no_two_alike():
    assert len(STYLES) >= 5
    assert len({astuple(style) for style in STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("role", ROLES)
def test_every_style_has_a_material_for_every_role(model, role):
    for name, style in STYLES.items():
        material = model.material(material_of(role, name))
        finish = getattr(style, role)
        assert material.rgba[:3] == pytest.approx(finish.colour, abs=1e-6)
        image = material.texid[int(mujoco.mjtTextureRole.mjTEXROLE_RGB)]
        assert (image >= 0) == (finish.texture is not None)
        if finish.texture is not None:
            assert model.texture(image).name == finish.texture


def test_every_texture_is_used():
    used = {getattr(style, role).texture for style in STYLES.values() for role in ROLES}
    assert set(TEXTURES) <= used | {"oak"}
