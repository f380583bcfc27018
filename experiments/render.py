"""`dexworld-render`: pictures of environments, how episodes start beside what they head for; or films."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import gymnasium as gym
import numpy as np
from gymnasium.spaces import Dict
from numpy.typing import NDArray
from rich.console import Console

import dexworld.envs  # noqa: F401 - registers the environments
from dexworld.agents.episodes import is_image
from dexworld.experiments.command_line import USER_ERRORS, fail
from dexworld.experiments.environments import FILMED, named_arguments
from dexworld.experiments.moving_picture import moving_picture
from dexworld.experiments.statistics import episode_seeds

Frame = NDArray[np.uint8]

OURS = tuple(sorted(name for name in gym.registry if name.startswith("dexworld/")))
"""The environments that come with the package."""
BAND = 18
"""Height of a caption [px]."""
PAPER = 255
_STATE = "state"
_STILL = (".png", ".jpg")


def sheet(
    ids: Sequence[str], episodes: int = 3, *, seed: int = 0, size: int = 240, cameras: bool = False
) -> Frame:
    """Return a picture `(H, W, 3)` with a row for each environment, and in it its first episodes.

    Of each episode it shows the start and, where the environment can draw it, the goal.

    Args:
        ids: environments that render `rgb_array`.
        episodes: how many of each.
        seed: of the episodes; they are of the stage `tune`.
        size: height of each picture [px].
        cameras: what the cameras see at the start, too.

    Raises:
        ValueError: there is nothing to draw, or no such environment.
    """
    if not ids or episodes < 1 or size < BAND:
        raise ValueError(
            f"environments {list(ids)}, {episodes} episodes, pictures {size} px high: nothing to "
            f"draw. Give at least one of each, and pictures of at least {BAND} px."
        )
    # Other seeds for each, which would else show the same kitchens.
    seeds = np.reshape(episode_seeds(seed, "tune", len(ids) * episodes), (len(ids), -1)).tolist()
    rows = [_row(name, own, size, cameras) for name, own in zip(ids, seeds, strict=True)]
    width = max(row.shape[1] for row in rows)
    return np.vstack([_on_paper(row, row.shape[0], width) for row in rows])


def _row(name: str, seeds: Sequence[int], size: int, cameras: bool) -> Frame:
    """Return the pictures of one environment side by side, under its name."""
    env = _made(name, size, cameras)
    try:
        pictures = [part for each in seeds for part in _episode(env, each, size)]
    finally:
        env.close()
    strip = np.hstack(pictures)
    return np.vstack([_caption(name, strip.shape[1], 1.6), strip])


def _made(name: str, size: int, cameras: bool) -> gym.Env[Any, Any]:
    known = named_arguments(name)
    given: dict[str, Any] = {"render_mode": FILMED}
    if "render_size" in known:
        given["render_size"] = size
    if "pixels_size" in known and cameras:
        given["pixels_size"] = size
    if "observation" in known:
        probe = gym.make(name)
        offered = getattr(probe.unwrapped, "observation_keys", ())
        probe.close()
        seen = [key for key in offered if cameras and key.startswith("pixels")]
        given["observation"] = [*(key for key in offered if key == _STATE), *seen]
    return gym.make(name, **given)


def _episode(env: gym.Env[Any, Any], seed: int, size: int) -> list[Frame]:
    """Return pictures of the start, of the goal, and of what cameras see."""
    observation, info = env.reset(seed=seed)
    pictures = [_titled(env.render(), "start", size)]
    goal = info.get("goal", {}).get(_STATE) if isinstance(info.get("goal"), dict) else None
    draw = getattr(env.unwrapped, "draw", None)
    if goal is not None and draw is not None:
        goal = np.asarray(goal, np.float64)
        pictures.append(_titled(draw(goal, goal[None]), "goal", size))
    if isinstance(env.observation_space, Dict):
        for key, space in env.observation_space.spaces.items():
            if is_image(space):
                pictures.append(_titled(observation[key], key, size))
    return pictures


def _titled(picture: Any, title: str, size: int) -> Frame:
    picture = np.asarray(picture, np.uint8)
    width = round(picture.shape[1] * size / picture.shape[0])
    scaled = cv2.resize(picture, (width, size), interpolation=cv2.INTER_AREA)
    framed = _on_paper(np.asarray(scaled, np.uint8), size, width + 4)
    return np.vstack([_caption(title, width + 4), framed])


def _caption(text: str, width: int, scale: float = 1.0) -> Frame:
    band = np.full((round(BAND * scale), width, 3), PAPER, np.uint8)
    place = (4, round(BAND * scale) - 5)
    cv2.putText(
        band, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.42 * scale, (40,) * 3, 1, cv2.LINE_AA
    )
    return band


def _on_paper(picture: Frame, height: int, width: int) -> Frame:
    paper = np.full((height, width, 3), PAPER, np.uint8)
    paper[: picture.shape[0], : picture.shape[1]] = picture
    return paper


def _write_sheet(given: argparse.Namespace) -> None:
    if given.output.suffix.lower() not in _STILL:
        raise ValueError(f"--output {given.output}: a sheet is one of *{', *'.join(_STILL)}.")
    picture = sheet(
        given.ids, given.episodes, seed=given.seed, size=given.size, cameras=given.cameras
    )
    given.output.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(given.output), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 85]):
        raise OSError(f"{given.output} cannot be written.")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        prog="dexworld-render",
        description="A sheet of environments: how episodes start, beside what they head for. Or, "
        "of a film that dexworld-plan made (*.mp4), a picture that moves (--output *.webp).",
    )
    parser.add_argument(
        "ids", nargs="*", default=OURS, help="environments, all of ours by default; or one film"
    )
    parser.add_argument("--episodes", type=int, default=3, help="of each environment")
    parser.add_argument("--seed", type=int, default=0, help="of the episodes")
    parser.add_argument("--size", type=int, default=240, help="height of each picture [px]")
    parser.add_argument("--cameras", action="store_true", help="show what the cameras see, too")
    parser.add_argument("--share", type=float, default=1.0, help="of a film's width, from the left")
    parser.add_argument("--output", type=Path, default=Path("outputs/environments.png"))
    given = parser.parse_args()
    try:
        if [Path(name).suffix for name in given.ids] == [".mp4"]:
            moving_picture(Path(given.ids[0]), given.output, given.size, given.share)
        else:
            _write_sheet(given)
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    Console(file=sys.stdout).print(str(given.output), soft_wrap=True)


if __name__ == "__main__":
    main()
