"""Pinhole cameras: what falls where, and what is visible."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dexworld.envs.cameras import calibration
from dexworld.world_models.cameras import CALIBRATION_SIZE, Camera

TORSO = """
<mujoco>
  <worldbody>
    <camera name="torso" pos="0.212 0 1.614" xyaxes="0 -1 0 0.866025 0 0.5" fovy="80"/>
    <camera name="other" pos="1 -2 0.5" euler="70 20 10" fovy="45"/>
  </worldbody>
</mujoco>
"""
FLAT = torch.eye(3, dtype=torch.float64)  # of a camera that looks along the world's z
floats = st.floats(-1.0, 1.0)


def camera(height: int = 100, width: int = 200, fovy: float = 90.0) -> Camera:
    return Camera.from_view(torch.zeros(3, dtype=torch.float64), FLAT, fovy, height, width)


def test_the_line_of_sight_falls_on_the_centre_and_the_field_of_view_on_the_edges() -> None:
    points = torch.tensor([[0.0, 0.0, 2.0], [0.0, 2.0, 2.0], [0.0, -2.0, 2.0], [1.0, 0.0, 1.0]])
    found = camera().project(points.double())
    expected = torch.tensor([[100.0, 50.0], [100.0, 100.0], [100.0, 0.0], [150.0, 50.0]])
    torch.testing.assert_close(found.pixels, expected.double())
    torch.testing.assert_close(found.depth, points[:, 2].double())


def test_dexwms_torso_camera_has_its_published_intrinsics() -> None:
    whole = camera(height=600, width=960, fovy=80.0)
    torch.testing.assert_close(whole.focal, torch.full((2,), 357.526).double(), atol=1e-3, rtol=0)
    assert whole.centre.tolist() == [480.0, 300.0]
    cropped = whole.cropped(top=26, left=0, height=548, width=960)
    assert cropped.centre.tolist() == [480.0, 274.0]
    small = cropped.resized(224, 392)
    assert (small.height, small.width) == (224, 392)
    torch.testing.assert_close(small.focal, cropped.focal * torch.tensor([392 / 960, 224 / 548]))


@given(floats, floats, st.floats(0.5, 3.0))
def test_crops_and_scales_move_pixels_as_they_move_images(x: float, y: float, z: float) -> None:
    point = torch.tensor([[x, y, z]], dtype=torch.float64)
    before = camera().project(point).pixels
    torch.testing.assert_close(
        camera().cropped(10, 30, 50, 60).project(point).pixels, before - torch.tensor([30.0, 10.0])
    )
    resized = camera().resized(50, 400).project(point).pixels
    torch.testing.assert_close(resized, before * torch.tensor([2.0, 0.5]))


def test_visible_is_what_is_ahead_and_inside() -> None:
    inside = torch.tensor([[0.0, 0.0, 1.0], [-1.99, 0.99, 1.0]])
    outside = torch.tensor([[2.01, 0.0, 1.0], [0.0, -1.01, 1.0], [0.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    visible = camera().project(torch.cat([inside, outside]).double()).visible
    assert visible.tolist() == [True, True, False, False, False, False]


def test_calibrations_of_observations_are_the_same_camera() -> None:
    model = mujoco.MjModel.from_xml_string(TORSO)
    data = mujoco.MjData(model)
    mujoco.mj_kinematics(model, data)
    mujoco.mj_camlight(model, data)
    points = np.random.default_rng(0).normal(scale=2.0, size=(50, 3))
    known = [calibration(model, data, name, 224, 392) for name in ("torso", "other")]
    vectors = torch.from_numpy(np.stack([each.as_vector() for each in known]))
    cameras = Camera.from_vector(vectors, 224, 392)
    assert vectors.shape == (2, CALIBRATION_SIZE)
    torch.testing.assert_close(cameras.as_vector(), vectors)
    found = cameras.project(torch.from_numpy(points).float().expand(2, 50, 3))
    for row, each in enumerate(known):
        pixels, ahead = each.project(points)
        assert ((found.depth[row] > 0).numpy() == ahead).all() and ahead.any() and not ahead.all()
        np.testing.assert_allclose(found.pixels[row, ahead], pixels[ahead], rtol=1e-3, atol=1e-2)
        inside = ahead & (pixels >= 0).all(1) & (pixels < [392, 224]).all(1)
        assert (found.visible[row].numpy() == inside).all() and inside.any()


def test_gradients_are_those_of_finite_differences_and_finite_behind_the_camera() -> None:
    points = torch.randn(6, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    points[:3, 2], points[3:, 2] = 1.0, torch.tensor([-1.0, -2.0, 0.0])

    def pixels(points: Tensor) -> Tensor:
        return camera().project(points).pixels

    assert torch.autograd.gradcheck(pixels, points[:3].clone().requires_grad_())
    points.requires_grad_()
    (gradient,) = torch.autograd.grad(pixels(points).sum(), points)
    assert gradient.isfinite().all()


def test_directions_are_seen_along_the_cameras_axes() -> None:
    turned = torch.tensor([[0.0, 0.0, 1.0], [-1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])  # looks along x
    view = Camera.from_view(torch.ones(3), turned, 60.0, 10, 10)
    assert view.directions(torch.tensor([[1.0, 0.0, 0.0]])).tolist() == [[0.0, 0.0, 1.0]]
    assert view.directions(torch.tensor([[0.0, 0.0, 1.0]])).tolist() == [[0.0, -1.0, 0.0]]


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"fovy=180\.0\): the field of view is between"):
        camera(fovy=180.0)
    with pytest.raises(ValueError, match="an image of 0 x 200 pixels"):
        camera(height=0)
