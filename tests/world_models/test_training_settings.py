"""Settings that cannot be are refused; those that change the result are told from the others."""

from __future__ import annotations

from dataclasses import fields

import pytest

from dexworld.world_models.training_settings import HARMLESS, TrainingSettings


@pytest.mark.parametrize(
    ("name", "value", "rule"),
    [
        ("schedule", "cosin", "one of .*cosine"),
        ("precision", "16-mixed", "one of .*bf16-mixed"),
        ("accelerator", "gpu", "one of"),
        ("strategy", "dp", "one of"),
        ("best_is", "last", "one of"),
        ("steps", 0, "at least 1"),
        ("weight_decay", -0.1, "at least 0"),
        ("keep", 0, "at least 1"),
        ("learning_rate", 0.0, "positive"),
        ("learning_rate", float("nan"), "positive"),
        ("warmup", 1.0, r"in \[0, 1\)"),
        ("ema", 1.0, r"in \[0, 1\)"),
    ],
)
def test_a_value_that_cannot_be_is_named(name: str, value: object, rule: str) -> None:
    with pytest.raises(ValueError, match=rf"TrainingSettings\({name}={value!r}\): must be {rule}"):
        TrainingSettings(**{name: value})  # type: ignore[arg-type]


def test_what_does_not_change_the_weights_is_not_decisive() -> None:
    names = {part.name for part in fields(TrainingSettings)}
    assert set(HARMLESS) < names
    assert TrainingSettings().decisive().keys() == names - set(HARMLESS)
