"""Checks of the settings of planners and objectives; each failure is one clear error."""

from __future__ import annotations

import math
from numbers import Integral


def require_count(settings: object, name: str, least: int = 1) -> None:
    """Raise `ValueError` unless a field of `settings` is an integer of at least `least`."""
    value = getattr(settings, name)
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if not whole:
        raise ValueError(
            f"{type(settings).__name__}({name}={value!r}): {name} must be an integer, "
            f"not {type(value).__name__}."
        )
    require_at_least(settings, name, least)


def require_at_least(settings: object, name: str, least: float) -> None:
    """Raise `ValueError` unless a field of `settings` is at least `least`."""
    value = getattr(settings, name)
    if not value >= least:
        raise ValueError(
            f"{type(settings).__name__}({name}={value}): {name} must be at least {least}."
        )


def require_positive(settings: object, name: str) -> None:
    """Raise `ValueError` unless a field of `settings` is above zero."""
    value = getattr(settings, name)
    if not value > 0:
        raise ValueError(f"{type(settings).__name__}({name}={value}): {name} must be positive.")


def require_fraction(settings: object, name: str) -> None:
    """Raise `ValueError` unless a field of `settings` is in [0, 1]."""
    value = getattr(settings, name)
    if not 0 <= value <= 1:
        raise ValueError(f"{type(settings).__name__}({name}={value}): {name} must be in [0, 1].")


def require_finite(settings: object, name: str) -> None:
    """Raise `ValueError` unless a field of `settings` is a finite number."""
    value = getattr(settings, name)
    if not math.isfinite(value):
        raise ValueError(f"{type(settings).__name__}({name}={value}): {name} must be finite.")


def require_at_most_field(settings: object, name: str, other: str) -> None:
    """Raise `ValueError` unless one field of `settings` is at most another."""
    value, limit = getattr(settings, name), getattr(settings, other)
    if value > limit:
        raise ValueError(
            f"{type(settings).__name__}({name}={value}, {other}={limit}): {name} must be at most "
            f"{other}; lower {name} or raise {other}."
        )
