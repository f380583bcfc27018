"""The low-level controller of robots that take joint targets."""

from __future__ import annotations

import numpy as np

from .mujoco_env import FloatArray


def interpolated(commands: FloatArray, start: FloatArray, substeps: int) -> FloatArray:
    """Return targets `(M, T * substeps, A)` on straight lines through `commands` `(M, T, A)`.

    The first line begins at `start` `(M, A)`. With `f = (i + 1) / substeps`, step `i` of a period
    is `(1 - f) a + f b`, and its last exactly the command `b`: the next period starts from there,
    and would start elsewhere if it were remembered with an error of rounding.
    """
    before = np.concatenate([start[:, None], commands[:, :-1]], axis=1)[:, :, None]
    fraction = (np.arange(substeps)[:, None] + 1.0) / substeps
    line: FloatArray = (1.0 - fraction) * before + fraction * commands[:, :, None]
    return line.reshape(len(commands), -1, commands.shape[2])
