import importlib.util
import subprocess
import sys

import pytest

from dexworld.envs.robots.robosuite_assets import robosuite_asset


def test_files_are_found_without_importing_robosuite():
    code = (
        "import sys; from dexworld.envs.robots.robosuite_assets import robosuite_asset; "
        "assert robosuite_asset('robots/panda/robot.xml').is_file(); "
        "assert 'robosuite' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_file_that_the_installed_release_lacks_is_named():
    with pytest.raises(FileNotFoundError, match=r"no model file 'robots/pandora\.xml'.*1\.5"):
        robosuite_asset("robots/pandora.xml")


def test_a_missing_robosuite_is_answered_with_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'dexworld\[robosuite\]'") as raised:
        robosuite_asset("robots/panda/robot.xml")
    assert raised.value.name == "robosuite"
