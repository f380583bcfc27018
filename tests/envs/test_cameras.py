import mujoco
import numpy as np
import pytest

from dexworld.envs.cameras import CALIBRATION_SIZE, Calibration, calibration

SCENE = """
<mujoco>
  <worldbody>
    <camera name="down" pos="0 0 2" fovy="80"/>
    <camera name="torso" pos="0.212 0 1.614" xyaxes="0 -1 0 0.866025 0 0.5" fovy="80"/>
    <camera name="sensor" pos="0 0 2" sensorsize="0.004 0.003" resolution="40 30" focal="0.01 0.01"/>
    <camera name="flat" projection="orthographic" fovy="2"/>
  </worldbody>
</mujoco>
"""


@pytest.fixture(scope="module")
def scene():
    model = mujoco.MjModel.from_xml_string(SCENE)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return model, data


def test_the_focal_length_is_that_of_the_field_of_view(scene):
    view = calibration(*scene, "torso", 600, 960)
    np.testing.assert_allclose(np.diag(view.intrinsics), [357.526, 357.526, 1.0], atol=1e-3)
    np.testing.assert_array_equal(view.intrinsics[:2, 2], [480, 300])


def test_points_fall_right_below_and_before_as_in_an_image(scene):
    view = calibration(*scene, "down", 100, 200)
    focal = view.intrinsics[0, 0]
    points = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.5, 0.0], [0.0, 0.0, 3.0]])
    pixels, before = view.project(points)
    np.testing.assert_allclose(
        pixels[:3], [[100, 50], [100 + focal / 4, 50], [100, 50 - focal / 4]], atol=1e-9
    )
    assert before.tolist() == [True, True, True, False]
    assert np.isfinite(pixels).all()


def test_the_edge_of_the_field_of_view_is_the_edge_of_the_image(scene):
    view = calibration(*scene, "down", 100, 200)
    height = 2 * np.tan(np.radians(40))
    pixels, _ = view.project(np.array([[0, height, 0.0], [0, -height, 0], [2 * height, 0, 0]]))
    np.testing.assert_allclose(pixels, [[100, 0], [100, 100], [200, 50]], atol=1e-9)


def test_a_camera_that_looks_down_by_60_degrees_sees_the_floor_ahead(scene):
    view = calibration(*scene, "torso", 224, 392)
    ahead = 0.212 + 1.614 / np.tan(np.radians(60))
    pixels, before = view.project(np.array([[ahead, 0.0, 0.0], [ahead, -0.1, 0.0]]))
    np.testing.assert_allclose(pixels[0], [196, 112], atol=1e-2)
    assert pixels[1, 0] > 200  # the robot's right is the image's right
    assert before.all()


def test_a_calibration_survives_as_a_vector(scene):
    view = calibration(*scene, "torso", 224, 392)
    vector = view.as_vector()
    assert (vector.shape, vector.dtype) == ((CALIBRATION_SIZE,), np.float32)
    again = Calibration.from_vector(vector)
    points = np.random.default_rng(0).uniform(-0.3, 0.3, (5, 3))
    np.testing.assert_allclose(again.project(points)[0], view.project(points)[0], atol=1e-3)


def test_a_calibration_does_not_follow_the_simulation(scene):
    model, data = scene
    view = calibration(model, data, "down", 10, 10)
    data.cam_xpos[:] += 1.0
    np.testing.assert_array_equal(view.position, [0, 0, 2])
    mujoco.mj_forward(model, data)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("front", r"no camera 'front'; the scene has \['down', 'torso', 'sensor', 'flat'\]"),
        ("sensor", "not calibrated by its vertical field of view"),
        ("flat", "not calibrated by its vertical field of view"),
    ],
)
def test_other_cameras_are_refused(scene, name, message):
    with pytest.raises(ValueError, match=message):
        calibration(*scene, name, 10, 10)
