"""What PushT is asked for at reset, checked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..arguments import check_choice
from ..mujoco_env import FloatArray
from .geometry import BOARD
from .observations import ROOM


def checked_options(options: Mapping[str, Any] | None) -> dict[str, FloatArray]:
    """Return the reset options as arrays; raise `ValueError` for what cannot be one."""
    checked = {}
    for name, value in (options or {}).items():
        check_choice("the reset option", name, ("state", "goal"))
        numbers = np.array(value, np.float64)
        if numbers.shape != (5,) or not np.isfinite(numbers).all():
            raise ValueError(
                f"options[{name!r}]={value!r}: give five finite numbers, agent x, y, block x, y "
                "[px] and angle [rad]."
            )
        if ((numbers[:4] < -ROOM) | (numbers[:4] > BOARD + ROOM)).any():
            raise ValueError(
                f"options[{name!r}]={value!r}: positions are pixels on a board of {BOARD:g} px."
            )
        checked[name] = numbers
    return checked
