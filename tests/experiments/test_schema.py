"""Schemas have the settings, the types and the defaults of what they build."""

from __future__ import annotations

from dexworld.experiments.schema import build, schema
from dexworld.planners import CEM, KeypointDistance


def test_a_schema_has_the_settings_of_what_it_builds() -> None:
    assert schema(CEM) is schema(CEM) is schema(CEM, None)
    settings = schema(CEM)(horizon=3)
    settings.samples = 40
    assert build(settings) == CEM(horizon=3, samples=40)


def test_a_key_of_its_own() -> None:
    assert build(schema(KeypointDistance)()).key == "keypoints"
    assert build(schema(KeypointDistance, "agent")()) == KeypointDistance(key="agent")
