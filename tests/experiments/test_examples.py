"""What newcomers copy runs, and is short."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = sorted((ROOT / "experiments" / "examples").glob("*.py"))
README = ROOT / "README.md"


def run(code: str, folder: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr


def test_there_is_one_for_an_environment_and_one_for_a_model() -> None:
    names = [path.stem for path in EXAMPLES]
    assert names == ["plan_in_my_environment", "plan_with_my_model"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example, tmp_path) -> None:
    run(example.read_text(), tmp_path)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_has_at_most_forty_lines(example) -> None:
    assert len(example.read_text().splitlines()) <= 40


@pytest.mark.slow
def test_the_code_in_the_readme_runs(tmp_path, play) -> None:
    if not README.exists():
        pytest.skip("there is no README in this installation")
    blocks = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks, "the README shows no Python"
    (tmp_path / "outputs").mkdir()
    (tmp_path / "outputs" / "play").symlink_to(play)
    for block in blocks:
        run(block.replace("learn(1_000_000)", "learn(1)"), tmp_path)
