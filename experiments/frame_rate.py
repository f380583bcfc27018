"""How many steps a second a learned model was trained at, and whether others keep that time."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

from dexworld.world_models.pretrained import find_pretrained, read_contents

FPS = "fps"
"""What it is called in the description of the data in a checkpoint's metadata."""


def trained_rate(metadata: Mapping[str, Any]) -> float | None:
    """Return the steps a second of what a checkpoint learned from [1 / s]; None if it does not say."""
    data = metadata.get("data")
    rate = data.get(FPS) if isinstance(data, Mapping) else None
    return None if rate is None else float(rate)


def check_rates(sources: Iterable[str | None], rate: float | None, whose: str) -> None:
    """Raise `ValueError` if a model is to predict at another rate than it has learned.

    What an action does in a step depends on how long the step lasts, and no weight says how long
    that was. A checkpoint or an environment that does not tell its rate is taken at its word.

    Args:
        sources: models, as `from_pretrained` takes them; None for one that there is not.
        rate: steps a second of what they are used on [1 / s].
        whose: what that is, for the message.
    """
    for source in filter(None, sources):
        learned = trained_rate(read_contents(find_pretrained(source))["metadata"])
        if learned is not None and rate is not None and not math.isclose(learned, rate):
            raise ValueError(
                f"{source} was trained at {learned:g} steps a second, and {whose} has {rate:g}: "
                f"use a model that was trained at {rate:g}, or collect at {learned:g}."
            )
