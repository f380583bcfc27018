import mujoco
import numpy as np
import pytest

from dexworld.envs.counter.layouts import LAYOUTS
from dexworld.envs.counter.objects import TARGETS, THINGS
from dexworld.envs.counter.scene import SCENES, Scene, drawn_model, looking, physics_model
from dexworld.envs.counter.styles import STYLES

SIZES = (
    "nq",
    "nv",
    "nu",
    "nbody",
    "ngeom",
    "nsensor",
    "nsensordata",
    "nmesh",
    "ntex",
    "nmat",
    "nlight",
    "ncam",
    "nbvh",
    "nM",
    "nbuffer",
)


def test_numbers_and_scenes_are_one_to_one_but_for_a_target_in_its_own_way():
    numbers = np.random.default_rng(0).integers(SCENES, size=300).tolist()
    for number in (0, SCENES - 1, *numbers):
        scene = Scene.of(number)
        again = scene.number
        own = 1 << list(THINGS).index(scene.target)
        assert again == number & ~own
        assert Scene.of(again) == scene


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"layout": "attic"}, "layout='attic' is unknown; choose one of .*one_wall"),
        ({"style": "gothic"}, "style='gothic' is unknown.*modern"),
        ({"target": "lemon"}, "object='lemon' is unknown; choose one of .*can"),
        ({"others": frozenset({"fork"})}, "distractor='fork' is unknown.*bread"),
        ({"others": frozenset({"can"})}, "the can cannot be both"),
    ],
)
def test_what_is_not_there(changed, message):
    with pytest.raises(ValueError, match=message):
        Scene(**{"layout": "one_wall", "style": "modern", "target": "can"} | changed)


@pytest.mark.parametrize("drawn", [False, True])
def test_all_variants_have_one_size_signature(drawn):
    signatures = set()
    for layout, style, target in zip(LAYOUTS, STYLES, [*TARGETS, *TARGETS], strict=False):
        model = drawn_model(layout, style) if drawn else physics_model(Scene(layout, style, target))
        signatures.add(tuple(getattr(model, size) for size in SIZES))
    assert len(signatures) == 1


def test_a_style_does_not_change_the_physics():
    first, second = (physics_model(Scene("island", style, "milk")) for style in ("navy", "sage"))
    assert first is second


def test_what_is_drawn_moves_as_what_is_stepped():
    stepped, drawn = (
        physics_model(Scene("one_wall", "navy", "can")),
        drawn_model("one_wall", "navy"),
    )
    assert stepped.nq == drawn.nq
    states = []
    for model in (stepped, drawn):
        model = mujoco.MjModel.__copy__(model)
        model.body_gravcomp[:] = physics_model(Scene("one_wall", "navy", "can")).body_gravcomp
        data = mujoco.MjData(model)
        data.qpos[:7], data.qpos[19] = (0.0, 0.1, 0.0, -2.3, 0.0, 2.4, 0.785), 0.4
        data.qpos[23:30] = (0.5, 0.1, 0.3, 1.0, 0.0, 0.0, 0.0)
        data.ctrl[:] = data.qpos[:23]
        for _ in range(100):
            mujoco.mj_step(model, data)
        states.append(data.qpos.copy())
    np.testing.assert_allclose(*states, atol=1e-9)


def test_styles_change_materials_and_light():
    first, second = drawn_model("one_wall", "modern"), drawn_model("one_wall", "industrial")
    changed = first.geom_matid != second.geom_matid
    assert 30 < changed.sum() < first.ngeom
    assert not np.array_equal(first.light_diffuse, second.light_diffuse)
    assert np.array_equal(first.geom_size, second.geom_size)


def test_the_torso_camera_is_the_one_of_dexwm():
    model = physics_model(Scene("one_wall", "modern", "can"))
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    camera = model.camera("torso")
    forward = -data.cam("torso").xmat.reshape(3, 3)[:, 2]
    np.testing.assert_allclose(forward, (np.cos(np.pi / 3), 0.0, -np.sin(np.pi / 3)), atol=1e-9)
    assert camera.fovy[0] == 80.0
    floor = data.geom("floor").xpos[2]
    assert camera.pos[2] - floor == pytest.approx(1.614, abs=1e-3)


def test_a_camera_that_looks_at_a_point():
    spec = mujoco.MjSpec()
    spec.worldbody.add_camera(name="eye", **looking((1.0, -2.0, 0.7), (0.2, 0.3, 0.1)))
    model = spec.compile()
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    axes = data.cam("eye").xmat.reshape(3, 3)
    towards = np.array([-0.8, 2.3, -0.6])
    np.testing.assert_allclose(-axes[:, 2], towards / np.linalg.norm(towards), atol=1e-6)
    assert axes[2, 0] == pytest.approx(0.0, abs=1e-6) and axes[2, 1] > 0
