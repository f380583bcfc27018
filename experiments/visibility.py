"""How much of the object and of the hand the cameras at the counter show: `python -m` prints a table."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import numpy as np

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.counter.drawing import Drawing
from dexworld.envs.counter.env import CounterEnv
from dexworld.envs.counter.scene import CAMERAS, Scene
from dexworld.envs.robots.allegro_hand import LINKS, PALM
from dexworld.experiments.benchmark_tables import Row, markdown
from dexworld.experiments.command_line import USER_ERRORS, fail
from dexworld.experiments.statistics import episode_seeds

HEIGHT, WIDTH = 224, 392
"""Of frames [px]: DexWM's."""
FEW = 50
"""Pixels of which an object of 6 x 16 cm is hardly known: some 7 by 7."""


def visibility(task: str, seeds: Sequence[int], camera: str = "torso") -> list[Row]:
    """Return what frames of 224 x 392 show of the object and of the hand, at start and goal.

    Args:
        task: `reach`, `grasp` or `place`.
        seeds: of episodes.
        camera: one of `scene.CAMERAS`.

    Raises:
        ValueError: there is no such task, or no episode.
    """
    if not seeds:
        raise ValueError("seeds=[]: give at least one episode.")
    env = CounterEnv(task=task)
    drawing = Drawing()
    pixels: dict[str, list[tuple[int, int]]] = {"start": [], "goal": []}
    for seed in seeds:
        env.reset(seed=seed)
        drawing.show(env.simulation.scene)
        target = Scene.of(env.simulation.scene).target
        for moment, physics in (("start", env.get_state()), ("goal", env.goal_physics)):
            state = env.simulation.task_state(physics[None])[0]
            seen = (
                int(drawing.shows(bodies, camera, HEIGHT, WIDTH, state).sum())
                for bodies in ([target], [PALM, *LINKS])
            )
            pixels[moment].append((next(seen), next(seen)))
    drawing.close()
    env.close()
    return [
        {
            "task": task,
            "camera": camera,
            "moment": moment,
            "object not seen": f"{(counts[:, 0] == 0).mean():.0%}",
            f"fewer than {FEW} px": f"{(counts[:, 0] < FEW).mean():.0%}",
            "object, median px": int(np.median(counts[:, 0])),
            "hand not seen": f"{(counts[:, 1] == 0).mean():.0%}",
            "hand, median px": int(np.median(counts[:, 1])),
        }
        for moment, counts in ((name, np.array(seen)) for name, seen in pixels.items())
    ]


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m dexworld.experiments.visibility",
        description="Write as Markdown how much of the object and of the hand the cameras at the "
        "counter show, at the start and at the goal of the first evaluation episodes.",
    )
    parser.add_argument("--episodes", type=int, default=20, help="of each task")
    given = parser.parse_args()
    try:
        seeds = episode_seeds(0, "evaluate", given.episodes)
        rows = [
            row
            for task in ("reach", "grasp", "place")
            for camera in CAMERAS
            for row in visibility(task, seeds, camera)
        ]
    except USER_ERRORS as error:
        fail(error)
    command = f"python -m dexworld.experiments.visibility --episodes {given.episodes}"
    sys.stdout.write(markdown({"what the cameras show": rows}, f"`{command}`"))


if __name__ == "__main__":
    main()
