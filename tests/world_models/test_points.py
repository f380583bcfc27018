"""Keypoints: labels to normalised points and back, in units that are said once."""

from __future__ import annotations

import pytest
import torch

from dexworld.world_models.points import PointLayout, PointSet

LAYOUT = PointLayout(
    (PointSet("pusher", 1, "proprio"), PointSet("corners", 3, "keypoints")), 256.0, 128.0
)


def test_labels_become_points_in_the_order_of_the_sets() -> None:
    labels = {
        "keypoints": torch.tensor([[0.0, 64.0, 128.0, 192.0, 256.0, 512.0]]),
        "proprio": torch.tensor([[384.0, 256.0]]),
        "other": torch.zeros(1),
    }
    points = LAYOUT.normalise(labels, rows=1)
    expected = [[1.0, 0.0], [-2.0, -1.5], [-1.0, -0.5], [0.0, 2.0]]
    assert points.tolist() == [expected]
    assert (LAYOUT.count, LAYOUT.names) == (4, ("pusher", "corners"))
    assert (LAYOUT.part("pusher"), LAYOUT.part("corners")) == (slice(0, 1), slice(1, 4))
    assert LAYOUT.labelled(labels) and not LAYOUT.labelled({"proprio": labels["proprio"]})
    assert not PointLayout().labelled(labels)


def test_what_is_normalised_splits_into_what_it_was() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = {
        "proprio": 512.0 * torch.rand(2, 5, 2, generator=generator, dtype=torch.float64),
        "keypoints": 512.0 * torch.rand(2, 5, 3, 2, generator=generator),
    }
    points = LAYOUT.normalise(labels, rows=2)
    assert points.shape == (2, 5, 4, 2) and points.dtype == torch.float32
    split = LAYOUT.split(points)
    torch.testing.assert_close(split["pusher"][:, :, 0], labels["proprio"].float())
    torch.testing.assert_close(split["corners"], labels["keypoints"])


def test_distances_are_quadratic_below_a_label_unit_and_linear_beyond() -> None:
    truth = torch.zeros(1, 4, 2)
    near, far = truth.clone(), truth.clone()
    near[0, 1, 0] = 0.5 / 128.0
    far[0, 1, 0] = 10.0 / 128.0
    assert float(LAYOUT.loss(near, truth)) == pytest.approx(0.5 * 0.5**2 / 8)
    assert float(LAYOUT.loss(far, truth)) == pytest.approx((10.0 - 0.5) / 8)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"PointLayout\(scale\) must be positive, got 0"):
        PointLayout(scale=0.0)
    with pytest.raises(ValueError, match=r"PointSet\(pusher, count=0\): at least 1"):
        PointSet("pusher", 0, "proprio")
    with pytest.raises(ValueError, match="each may occur once"):
        PointLayout((PointSet("a", 1, "x"), PointSet("a", 2, "y")))
    with pytest.raises(KeyError, match=r"no points 'arm'; there are \['pusher', 'corners'\]"):
        LAYOUT.part("arm")
    with pytest.raises(ValueError, match="there are no points to normalise"):
        PointLayout().normalise({}, rows=1)


def test_labels_that_do_not_fit_are_told_by_name() -> None:
    labels = {"proprio": torch.zeros(2, 2)}
    with pytest.raises(KeyError, match=r"'corners' are where 'keypoints' says.*\['proprio'\]"):
        LAYOUT.normalise(labels, rows=1)
    labels["keypoints"] = torch.zeros(2, 8)
    with pytest.raises(ValueError, match="'keypoints' holds 8 numbers, and the 3 points 'corners'"):
        LAYOUT.normalise(labels, rows=1)
