import copy
import multiprocessing
import os
import pickle
import subprocess
import sys

import mujoco
import numpy as np
import pytest

from dexworld.envs.cameras import calibration
from dexworld.envs.rasteriser import Quality
from dexworld.envs.rendering import Renderer, RenderingUnavailableError, working_backend
from dexworld.envs.robots.allegro_hand import FINGERTIPS, right_hand

BALLS = """
<mujoco>
  <visual><headlight ambient="0.4 0.4 0.4" diffuse="0.4 0.4 0.4"/></visual>
  <worldbody>
    <light pos="0 -1 3" dir="0 0.3 -1" directional="true"/>
    <camera name="front" pos="0 -2 0.5" xyaxes="1 0 0 0 0 1"/>
    <camera name="above" pos="0 0 3"/>
    <geom name="floor" type="plane" size="3 3 0.1" rgba="0.8 0.8 0.8 1"/>
    <geom name="red" pos="0 0 0.9" size="0.2" rgba="1 0 0 1"/>
    <geom name="green" pos="0.8 0 0.5" size="0.2" rgba="0 1 0 1"/>
    <geom name="hidden" pos="-0.8 0 0.5" size="0.2" group="3"/>
    <site name="marker" pos="-0.8 0 0.9" size="0.1" group="4"/>
  </worldbody>
</mujoco>
"""

OPEN = np.array([0.0, 0.05, 0.05, 0.05] * 3 + [1.37, 0.35, 0.3, 0.0])
SPREAD = np.array([0.4, 0.3, 0.2, 0.2, 0.0, 0.1, 0.3, 0.2, -0.4, 0.4, 0.1, 0.3, 0.6, 0.2, 0.1, 0.2])
HOOK = np.array([0.0, 0.5, 0.5, 0.3, 0.0, 0.2, 0.6, 0.3, 0.0, 0.6, 0.3, 0.2, 1.0, 0.8, 0.2, 0.3])


@pytest.fixture(scope="module")
def balls():
    model = mujoco.MjModel.from_xml_string(BALLS)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


@pytest.fixture(scope="module")
def hand():
    spec = right_hand()
    # Both look at the fingertips from before and beyond the palm.
    for name, x, y in (("left", 0.30, 0.2), ("right", 0.34, -0.1)):
        spec.worldbody.add_camera(
            name=name,
            pos=[x, y, 0.2],
            mode=mujoco.mjtCamLight.mjCAMLIGHT_TARGETBODY,
            targetbody="palm",
            fovy=75,
        )
    return spec.compile()


def geoms(model, *names):
    return [model.geom(name).id for name in names]


def test_images_are_upright_and_not_mirrored(balls):
    model, data = balls
    with Renderer(model, 60, 80) as renderer:
        image = renderer.pixels(data, "front")
    assert (image.shape, image.dtype) == ((60, 80, 3), np.uint8)
    assert image[15, 40, 0] > 80 > image[15, 40, 1]  # red: in the middle, above
    assert image[30, 66, 1] > 80 > image[30, 66, 0]  # green: on the right


def test_a_segmentation_names_the_geom_of_each_pixel_and_nothing_hidden(balls):
    model, data = balls
    floor, red, green, hidden = geoms(model, "floor", "red", "green", "hidden")
    with Renderer(model, 60, 80) as renderer:
        before = renderer.pixels(data, "front")
        ids = renderer.segmentation(data, "front")
        np.testing.assert_array_equal(renderer.pixels(data, "front"), before)
    assert (ids.shape, ids.dtype) == ((60, 80), np.int32)
    assert [ids[15, 40], ids[30, 66], ids[58, 5], ids[2, 2]] == [red, green, floor, -1]
    assert set(np.unique(ids)) == {-1, floor, red, green}
    assert hidden not in ids


@pytest.mark.parametrize("angles", [OPEN, SPREAD, HOOK], ids=["open", "spread", "hook"])
@pytest.mark.parametrize("camera", ["left", "right"])
def test_a_projected_fingertip_lands_on_the_drawn_fingertip(hand, angles, camera):
    data = mujoco.MjData(hand)
    data.qpos[:] = angles
    mujoco.mj_forward(hand, data)
    with Renderer(hand, 224, 392) as renderer:
        ids = renderer.segmentation(data, camera)
    view = calibration(hand, data, camera, 224, 392)
    for tip in FINGERTIPS:
        (column, row), before = view.project(data.site(tip).xpos)
        assert before
        assert ids[int(row), int(column)] == hand.geom(tip).id, tip
        # The fingertip's capsule is drawn where it is, to a pixel, and not only somewhere near.
        drawn = np.argwhere(ids == hand.geom(tip).id)
        assert np.abs(drawn.mean(0)[::-1] + 0.5 - (column, row)).max() < 7
        assert len(drawn) > 20


def test_a_projected_ball_is_drawn_to_a_fraction_of_a_pixel(balls):
    model, data = balls
    for camera in ("front", "above"):
        with Renderer(model, 224, 392, quality=Quality(slices=48)) as renderer:
            ids = renderer.segmentation(data, camera)
        view = calibration(model, data, camera, 224, 392)
        (column, row), _ = view.project(np.array([0.0, 0.0, 0.9]))
        drawn = np.argwhere(ids == model.geom("red").id)
        assert drawn.mean(0)[1] + 0.5 == pytest.approx(column, abs=0.5)
        if camera == "above":  # seen from the side its image is not centred on its centre
            assert drawn.mean(0)[0] + 0.5 == pytest.approx(row, abs=0.5)


def test_shadows_and_smooth_edges_come_only_when_asked_for(balls):
    if working_backend() == "warp":
        pytest.skip("the ray tracer has no smooth edges")
    model, data = balls
    kept = copy.deepcopy(model.vis)
    images = {}
    for quality in (Quality(), Quality(shadows=True), Quality(samples=4)):
        with Renderer(model, 120, 160, quality=quality) as renderer:
            images[quality] = renderer.pixels(data, "front").astype(int)
    plain, shaded, smooth = images.values()
    floor = slice(80, 120)
    darker = (plain - shaded)[floor].max()
    assert darker > 20
    assert not np.array_equal(plain, smooth)
    assert np.abs(plain - smooth).mean() < 2
    assert model.vis.quality.offsamples == kept.quality.offsamples
    assert model.vis.quality.numslices == kept.quality.numslices
    assert model.vis.global_.offwidth == kept.global_.offwidth


def test_images_may_exceed_the_buffer_that_the_scene_declares(balls):
    model, data = balls
    assert model.vis.global_.offwidth < 1000
    with Renderer(model, 16, 1000) as renderer:
        assert renderer.pixels(data, "front").shape == (16, 1000, 3)


def test_renderers_of_several_scenes_do_not_disturb_one_another(balls, hand):
    posed = mujoco.MjData(hand)
    mujoco.mj_forward(hand, posed)
    with Renderer(*balls[:1], 40, 60) as first, Renderer(hand, 30, 50) as second:
        before = first.pixels(balls[1], "front"), second.pixels(posed, "left")
        after = first.pixels(balls[1], "front"), second.pixels(posed, "left")
    for one, again in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, again)


def test_a_closed_renderer_says_so_and_closes_twice(balls):
    renderer = Renderer(balls[0], 8, 8)
    renderer.pixels(balls[1], "front")
    renderer.close()
    renderer.close()
    with pytest.raises(RuntimeError, match="this renderer is closed"):
        renderer.pixels(balls[1], "front")


def test_a_copy_draws_the_same_from_a_context_of_its_own(balls):
    model, data = balls
    renderer = Renderer(model, 20, 30)
    image = renderer.pixels(data, "front")
    copied = pickle.loads(pickle.dumps(renderer))
    renderer.close()
    np.testing.assert_array_equal(copied.pixels(data, "front"), image)
    copied.close()


def send_mean(renderer, data, pipe):
    pipe.send(float(renderer.pixels(data, "front").mean()))


def test_a_process_forked_from_one_that_has_drawn_draws_too(balls):
    if working_backend() == "warp":
        pytest.skip("the ray tracer has threads, which a fork does not copy")
    model, data = balls
    context = multiprocessing.get_context("fork")
    with Renderer(model, 64, 64) as renderer:
        expected = renderer.pixels(data, "front").mean()
        for drawer in (renderer, pickle.loads(pickle.dumps(renderer))):
            here, there = context.Pipe(duplex=False)
            process = context.Process(target=send_mean, args=(drawer, data, there))
            process.start()
            try:
                assert here.poll(timeout=60), "the forked process hangs"
                assert here.recv() == pytest.approx(expected)
            finally:
                process.kill()
                process.join()


@pytest.mark.parametrize("ending", ["", "renderer.close()"])
def test_a_process_that_has_drawn_ends_in_silence(ending):
    code = f"""
import mujoco
from dexworld.envs.rendering import Renderer
model = mujoco.MjModel.from_xml_string({BALLS!r})
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
renderer = Renderer(model, 16, 16)
assert renderer.pixels(data, "front").any()
{ending}
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr, ended.stdout) == (0, "", "")


def resident_megabytes():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


@pytest.mark.slow
def test_closing_gives_the_memory_back(balls):
    model, data = balls

    def draw(times, close):
        renderers = [Renderer(model, 480, 640) for _ in range(times)]
        for renderer in renderers:
            renderer.pixels(data, "front")
            if close:
                renderer.close()
        return renderers  # closed, but not forgotten

    draw(3, close=True)
    before = resident_megabytes()
    kept = draw(12, close=True)
    growth = resident_megabytes() - before
    still_open = draw(12, close=False)
    growth_open = resident_megabytes() - before
    for renderer in kept + still_open:
        renderer.close()
    assert growth < 15 < growth_open


def test_unknown_names_and_sizes_are_refused(balls):
    model, data = balls
    with pytest.raises(ValueError, match=r"no camera 'back'; the scene has \['front', 'above'\]"):
        Renderer(model, 8, 8).pixels(data, "back")
    with pytest.raises(ValueError, match=r"the backend 'vulkan' is unknown: .*'egl', 'osmesa'"):
        Renderer(model, 8, 8, backend="vulkan").pixels(data, "front")
    with pytest.raises(ValueError, match="0 x 8 pixels cannot be drawn"):
        Renderer(model, 0, 8)
    with pytest.raises(ValueError, match="slices=2: at least 0 samples and 4 slices"):
        Quality(slices=2)


def test_the_variable_of_mujoco_chooses_the_backend(balls, monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "vulkan")
    with pytest.raises(ValueError, match="'vulkan' is unknown"):
        working_backend()


BLIND = """
import ctypes, importlib.util, sys
import mujoco
def blind(name, *rest, **more):
    raise OSError(f"{name}: cannot open shared object file")
ctypes.CDLL = blind
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if "warp" in name else found(name, *rest)
from dexworld.envs.rendering import RenderingUnavailableError, working_backend
try:
    working_backend()
except RenderingUnavailableError as error:
    sys.stdout.write(str(error))
"""


def test_where_nothing_draws_the_packages_are_named():
    """On a machine without the libraries: the loader finds none of them."""
    environment = {key: value for key, value in os.environ.items() if key != "MUJOCO_GL"}
    ended = subprocess.run(
        [sys.executable, "-c", BLIND], capture_output=True, text=True, env=environment, check=True
    )
    for part in (
        "egl: libEGL.so.1: cannot open shared object file; apt-get install",
        "libegl1 libopengl0 libgl1-mesa-dri",
        "osmesa: libOSMesa.so.8",
        "libosmesa6",
        "warp and mujoco_warp not installed; pip install 'dexworld[warp]'",
    ):
        assert part in ended.stdout


def test_a_driver_that_does_not_start_is_no_crash_and_no_other_backend():
    code = """
from dexworld.envs.rendering import RenderingUnavailableError, working_backend
try:
    working_backend("egl")
except RenderingUnavailableError as error:
    assert "osmesa" not in str(error)
    print(error)
"""
    environment = os.environ | {"__EGL_VENDOR_LIBRARY_DIRS": os.devnull}
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert "images cannot be drawn on this machine. egl: " in ended.stdout


def test_the_error_is_one_that_callers_can_catch():
    assert issubclass(RenderingUnavailableError, RuntimeError)


@pytest.mark.slow
def test_the_ray_tracer_shows_the_same(hand):
    pytest.importorskip("mujoco_warp")
    if working_backend() == "warp":
        pytest.skip("there is nothing to compare with: no OpenGL here")
    data = mujoco.MjData(hand)
    data.qpos[:] = SPREAD
    mujoco.mj_forward(hand, data)
    with Renderer(hand, 96, 128) as drawn, Renderer(hand, 96, 128, backend="warp") as traced:
        for camera in ("left", "right"):
            same = drawn.segmentation(data, camera) == traced.segmentation(data, camera)
            assert same.mean() > 0.98
            image = drawn.pixels(data, camera).astype(float)
            assert np.abs(traced.pixels(data, camera) - image).mean() < 12
