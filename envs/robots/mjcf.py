"""Model files of robots, read with one clear error where that fails."""

from __future__ import annotations

from pathlib import Path

import mujoco


def read_mjcf(path: Path) -> mujoco.MjSpec:
    """Return the model that a file describes, not compiled yet: it may be changed and attached.

    Raises `ValueError`, with what MuJoCo says about it, for a file that is no valid MJCF, and
    `FileNotFoundError` where there is no file.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}.")
    try:
        return mujoco.MjSpec.from_file(str(path))
    except ValueError as error:
        said = " ".join(str(error).split())
        raise ValueError(
            f"{path} is no valid MJCF: {said}. Mend the file, or install again what it came with."
        ) from None
