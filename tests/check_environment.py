"""Say in one sentence what an environment lacks. `make setup` runs this; it is not a test.

Usage: check_environment.py interpreter | one-opencv | packages
"""

from __future__ import annotations

import importlib.util
import platform
import sys
from collections.abc import Callable

GL_PACKAGES = "libgl1 libglib2.0-0"


def interpreter() -> str | None:
    """Python 3.11: the version that the pins in constraints.txt were tested on."""
    if sys.version_info[:2] != (3, 11):
        return (
            f"this environment has Python {platform.python_version()}, and dexworld needs 3.11: "
            "delete the environment's folder and run `make setup PYTHON=python3.11`"
        )
    return None


def one_opencv() -> str | None:
    """The headless OpenCV lies on top.

    Other packages bring `opencv-python`, which installs the same files as the headless build and
    needs GL libraries. Whichever came last wins, so `make setup` installs the headless one again.
    """
    if importlib.util.find_spec("cv2") is None:
        return "OpenCV is missing: pip install opencv-python-headless"
    try:
        from cv2 import version
    except ImportError as error:
        return f"OpenCV does not import ({error})"
    if version.headless:
        return None
    return "opencv-python lies over opencv-python-headless; putting the headless build back"


def packages() -> str | None:
    """OpenCV draws, and torchvision is absent."""
    if importlib.util.find_spec("torchvision") is not None:
        return (
            "torchvision is installed: its import fails beside the pinned torch, and that of "
            "every transformers model with it. Run `pip uninstall torchvision`"
        )
    try:
        import cv2
        import numpy as np

        image = cv2.circle(np.zeros((8, 8, 3), np.uint8), (4, 4), 2, (255, 255, 255), -1)
    except ImportError as error:
        if ".so" in str(error):
            return (
                f"OpenCV lacks a system library ({error}). On Debian and Ubuntu: "
                f"apt-get install --no-install-recommends {GL_PACKAGES}"
            )
        return f"OpenCV does not import ({error}): run `make clean`, delete .venv, `make setup`"
    return None if image.any() else "OpenCV does not draw: delete .venv and run `make setup`"


CHECKS: dict[str, Callable[[], str | None]] = {
    "interpreter": interpreter,
    "one-opencv": one_opencv,
    "packages": packages,
}


if __name__ == "__main__":
    lacking = [fault for name in sys.argv[1:] if (fault := CHECKS[name]()) is not None]
    for fault in lacking:
        sys.stderr.write(f"make setup: {fault}.\n")
    sys.exit(len(lacking))
