"""Configurations of a latent world model that cannot be are refused, each by name."""

from __future__ import annotations

from typing import Any

import pytest

from dexworld.world_models.configuration import from_json, to_json
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.latent_config import LatentConfig
from dexworld.world_models.latent_loss import LossConfig
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig

PUSHER, BODY = PointSet("agent", 1, "proprio"), PointSet("keypoints", 4, "keypoints")
LAYOUT = PointLayout((PUSHER, BODY), 256.0, 256.0)
GIVEN: dict[str, Any] = {
    "observes": {"proprio": (2,), "keypoints": (8,)},
    "action_low": (-1.0, -1.0),
    "action_high": (1.0, 1.0),
}


def test_a_latent_is_its_points_and_its_features() -> None:
    sizes = [
        (settings.points_size, settings.latent_size)
        for settings in (
            LatentConfig(**GIVEN),
            LatentConfig(**GIVEN, points=LAYOUT),
            LatentConfig(**GIVEN, points=LAYOUT, points_in_latent=False),
            LatentConfig(**GIVEN, points=LAYOUT, features=0),
        )
    ]
    assert sizes == [(0, 16), (10, 26), (0, 16), (10, 10)]


def test_it_travels_through_json() -> None:
    config = LatentConfig(**GIVEN, points=LAYOUT, hold_point="agent")
    assert from_json(LatentConfig, to_json(config)) == config


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"observes": {}}, "at least one observation"),
        ({"chunk": 0}, "chunk=0 must be at least 1"),
        ({"features": -1}, "features=-1 must be at least 0"),
        ({"features": 0}, "features=0 leaves nothing"),
        ({"features": 0, "points": LAYOUT, "points_in_latent": False}, "features=0 leaves nothing"),
        ({"action_low": (-1.0,)}, "equally many"),
        ({"action_low": (), "action_high": ()}, "equally many"),
        ({"action_low": (-1.0, 1.0)}, "each of the first below that of the second"),
        ({"action_high": (1.0, float("inf"))}, "finite"),
        ({"action_high": (1.0, float("nan"))}, "finite"),
        ({"encoder": EncoderConfig("image")}, r"encoder.kind='image' must be one of \['convol"),
        ({"predictor": PredictorConfig("mlp")}, r"predictor.kind='mlp' must be one of \['planar"),
        (
            {"points": PointLayout((PointSet("latents", 1, "x"),))},
            r"other names than \['latents'\]",
        ),
        ({"points": LAYOUT, "hold_point": "hand"}, "hold_point='hand' must be a set of one point"),
        ({"points": LAYOUT, "hold_point": "keypoints"}, "must be a set of one point"),
        (
            {"points": LAYOUT, "hold_point": "agent", "action_low": (0.0,), "action_high": (1.0,)},
            "actions are two numbers",
        ),
        (
            {
                "points": LAYOUT,
                "points_in_latent": False,
                "predictor": PredictorConfig("planar_contact"),
            },
            "moves points, and needs points_in_latent=True",
        ),
        ({"points": LAYOUT, "loss": LossConfig(consistency=0.0)}, "nothing teaches the points"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LatentConfig(**(GIVEN | changes))
