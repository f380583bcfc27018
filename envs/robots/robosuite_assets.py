"""Where the files of the installed robosuite are: its robots, objects and textures."""

from __future__ import annotations

import importlib.util
from pathlib import Path


def robosuite_asset(name: str) -> Path:
    """Return the path of one of robosuite's model files, for example `robots/panda/robot.xml`.

    Only files are used: robosuite itself, whose import takes seconds and wants packages that no
    model needs, is not imported.

    Raises `ModuleNotFoundError`, naming the extra, where robosuite is not installed, and
    `FileNotFoundError` for a file that the installed release does not have.
    """
    found = importlib.util.find_spec("robosuite")
    if found is None or found.origin is None:
        raise ModuleNotFoundError(
            "robosuite, from whose models the Franka arm and household objects come, is not "
            "installed: pip install 'dexworld[robosuite]' (its files alone are enough: "
            "pip install --no-deps 'robosuite>=1.5.2,<1.6')",
            name="robosuite",
        )
    folder = Path(found.origin).parent / "models" / "assets"
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(
            f"the installed robosuite has no model file {name!r} in {folder}: dexworld composes "
            "scenes from robosuite 1.5's. pip install 'robosuite>=1.5.2,<1.6'"
        )
    return path
