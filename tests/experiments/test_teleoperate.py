"""`dexworld-teleoperate` says in one line why it cannot start."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytest.importorskip("pygame")


@pytest.mark.parametrize("driver", [None, "nonsense"])
def test_without_a_display(tmp_path, driver) -> None:
    unset = {"DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER"}
    environment = {name: value for name, value in os.environ.items() if name not in unset}
    environment["XDG_RUNTIME_DIR"] = str(tmp_path)  # Wayland complains where there is none
    if driver is not None:
        environment["SDL_VIDEODRIVER"] = driver
    command = [sys.executable, "-m", "dexworld.experiments.teleoperate", "--output", "here"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stderr.startswith("error: there is no display"), ended.stderr
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())
