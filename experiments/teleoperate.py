"""`dexworld-teleoperate`: push the T with the mouse and record demonstrations."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import gymnasium as gym
from rich.console import Console

import dexworld.envs  # noqa: F401 - registers the environments
from dexworld.envs.push_t.teleoperation import Screen, Teleoperation, save_demonstration
from dexworld.envs.push_t.window import Window
from dexworld.experiments.command_line import USER_ERRORS, fail, log_simulator_warnings


def record(
    settings: dict[str, Any], folder: Path, seed: int, screen: Screen | None, console: Console
) -> int:
    """Record episodes of seeds `seed`, `seed + 1`, ... until the user quits; return their number.

    Args:
        settings: `id` and arguments of the environment.
        folder: where the episodes go, one file each.
        seed: seed of the first episode.
        screen: shows the frames and follows the pointer; a window where None.
        console: where progress is told.
    """
    env = gym.make(**settings, render_mode="rgb_array")
    screen = screen or Window(512, "q quit, r again, n next", env.metadata["render_fps"])
    steered = Teleoperation(env, screen)
    recorded = 0
    while (demonstration := steered.episode(seed + recorded)) is not None:
        path = save_demonstration(demonstration, folder, settings)
        outcome = "success" if demonstration.success else "no success"
        console.print(f"{path}: {len(demonstration.commands)} steps, {outcome}")
        recorded += 1
    env.close()
    return recorded


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="dexworld-teleoperate",
        description="The pusher follows the mouse once the pointer touches it. Keys: r throws the "
        "episode away and starts it again, n ends and keeps it, q quits.",
    )
    parser.add_argument("--env", default="dexworld/PushT-v0", help="id of a PushT environment")
    parser.add_argument("--physics", default="mujoco", choices=["mujoco", "pymunk"])
    parser.add_argument("--output", type=Path, default=Path("outputs/demonstrations"))
    parser.add_argument("--seed", type=int, default=0, help="seed of the first episode")
    arguments = parser.parse_args()
    log_simulator_warnings()
    console = Console(file=sys.stdout)
    settings = {"id": arguments.env, "physics": arguments.physics}
    try:
        recorded = record(settings, arguments.output, arguments.seed, None, console)
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    console.print(f"recorded {recorded} episodes in {arguments.output}")


if __name__ == "__main__":
    main()
