"""What every environment asks of its arguments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .mujoco_env import FloatArray


def check_choice(name: str, value: object, allowed: Sequence[object]) -> None:
    """Raise `ValueError` unless an argument is one of those that are known."""
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is unknown; choose one of {list(allowed)}.")


def checked_numbers(options: Mapping[str, Any], name: str, count: int, meaning: str) -> FloatArray:
    """Return a reset option as an array; raise `ValueError` unless it is `count` finite numbers."""
    try:
        numbers = np.array(options[name], np.float64)
    except (TypeError, ValueError):
        numbers = np.array(np.nan)
    if numbers.shape != (count,) or not np.isfinite(numbers).all():
        raise ValueError(
            f"options[{name!r}]={options[name]!r}: give {count} finite numbers, {meaning}."
        )
    return numbers
