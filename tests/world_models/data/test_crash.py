import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from dexworld.world_models.data.lerobot import Dataset, recover

PROGRAM = Path(__file__).with_name("crashing_writer.py")


@pytest.mark.slow
def test_killed_twenty_times_at_random_it_keeps_every_finished_episode(tmp_path, toy):
    command = [sys.executable, PROGRAM, tmp_path / "set", "20"]
    program = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert program.returncode == 0, program.stderr
    acknowledged = [int(line) for line in program.stdout.split()]
    assert len(acknowledged) > 20  # the lives were long enough to be worth killing
    assert len(set(acknowledged)) == len(acknowledged)
    episodes = recover(tmp_path / "set")
    assert episodes >= max(acknowledged) + 1
    dataset = Dataset(tmp_path / "set", fps=toy.fps)
    toy.assert_intact(dataset, episodes)
    np.testing.assert_array_equal(dataset.episodes["seed"], np.arange(episodes))
    assert not (tmp_path / "set" / ".pending").exists()
