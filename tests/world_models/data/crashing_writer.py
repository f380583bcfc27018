"""A program that writes episodes and is killed over and over: `crashing_writer.py FOLDER KILLS`.

It imports the library once and forks for every life, so that a kill costs milliseconds. For every
episode that a life has added it prints the index, before it adds the next one.
"""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np

from dexworld.world_models.data.lerobot import Dataset, DatasetWriter

spec = spec_from_file_location("toy", Path(__file__).with_name("conftest.py"))
assert spec is not None and spec.loader is not None
toy = module_from_spec(spec)
spec.loader.exec_module(toy)


def live(folder: Path, acknowledged: int) -> None:
    """Check what readers saw of the lives before, and add episodes until killed."""
    if (folder / "meta" / "info.json").exists():
        dataset = Dataset(folder)
        for index in range(max(0, len(dataset) - 3), len(dataset)):
            frames = dataset.episode(index)
            assert (frames["action"] == toy.episode(index)["action"]).all()
            assert len(frames[toy.IMAGE]) == len(frames["action"])
    with DatasetWriter(
        folder,
        toy.features("video"),
        toy.FPS,
        robot_type="toy",
        existing="append",
        episodes_per_file=3,
    ) as writer:
        while True:
            index = writer.episodes
            writer.add_episode(toy.episode(index), task="push", extras={"seed": index})
            os.write(acknowledged, f"{index}\n".encode())


def main(folder: Path, kills: int) -> None:
    """Fork, kill after a random time, and again; print the acknowledged episodes."""
    random = np.random.default_rng(0)
    for _ in range(kills):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(read)
            try:
                live(folder, write)
            finally:
                traceback.print_exc()
                os._exit(1)
        os.close(write)
        with os.fdopen(read) as lines:
            # Dies while it opens, or some time after some episodes: whatever the machine's speed.
            episodes = int(random.integers(0, 6))
            acknowledged = [lines.readline() for _ in range(episodes)]
            time.sleep(random.uniform(0.0, 0.03 if episodes else 0.2))
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
            if not os.WIFSIGNALED(status):
                sys.exit("a life ended by itself")
            sys.stdout.writelines([*acknowledged, *lines])


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
