"""Films episodes: what happened, and beside it what the plan had predicted."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import cv2
import gymnasium as gym
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from dexworld.agents.base import Agent
from dexworld.agents.planning import PlanningAgent
from dexworld.experiments.evaluation import EpisodeResult
from dexworld.planners.base import Plan
from dexworld.world_models.base import State

Frame = NDArray[np.uint8]
Predict = Callable[[State, Tensor], NDArray[np.float64]]
"""From a belief (one row) and the decisions of a plan `[1, T, A]` to task states `(steps, S)`."""

HELD_FRAMES = 10
"""Frames for which the last one stays on the screen."""


@dataclass
class _Film:
    frames: list[Frame] = field(default_factory=list)
    predicted: NDArray[np.float64] | None = None
    step: int = 0


class Filming:
    """An observer that writes `<seed>.mp4` for some of the episodes.

    The left half shows the environment with its goal, the right half the task state that the
    plan predicted for the same moment, with the rest of the predicted motion as a line. The right
    half is there where the environment can `draw` a task state and the model predicts one.

    Args:
        folder: where the videos go.
        seeds: the episodes to film.
        predict: what a plan predicts, or None.
    """

    def __init__(self, folder: Path, seeds: Sequence[int], predict: Predict | None = None) -> None:
        self.folder = folder
        self.seeds = frozenset(seeds)
        self.predict = predict
        self._films: dict[int, _Film] = {}

    def begin(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Take the first frame."""
        if seed in self.seeds:
            self._films[seed] = _Film([self._frame(env, None, 0)])

    def planned(self, seed: int, belief: State, goal: State, plan: Plan, row: int) -> None:
        """Remember what the plan predicts."""
        if seed in self._films and self.predict is not None:
            film = self._films[seed]
            film.predicted, film.step = self.predict(belief, plan.actions[row : row + 1]), 0

    def stepped(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Take a frame."""
        if seed in self._films:
            film = self._films[seed]
            film.frames.append(self._frame(env, film.predicted, film.step))
            film.step += 1

    def end(self, result: EpisodeResult) -> None:
        """Write the video."""
        film = self._films.pop(result.seed, None)
        if film is not None:
            width = max(frame.shape[1] for frame in film.frames)
            frames = [_widened(frame, width) for frame in film.frames]
            write_video(self.folder / f"{result.seed}.mp4", frames + frames[-1:] * HELD_FRAMES)

    def _frame(
        self, env: gym.Env[Any, Any], predicted: NDArray[np.float64] | None, step: int
    ) -> Frame:
        real = np.asarray(env.render(), np.uint8)
        draw = getattr(env.unwrapped, "draw", None)
        if predicted is None or draw is None:
            return _captioned(real, "executed")
        drawn = draw(predicted[min(step, len(predicted) - 1)], predicted[step:])
        predicted_half = _captioned(np.asarray(drawn, np.uint8), "predicted")
        return np.hstack([_captioned(real, "executed"), predicted_half])


def predicted_motion(agent: Agent) -> Predict | None:
    """Return what shows the motion that a plan predicts, where the model can tell."""
    if not isinstance(agent, PlanningAgent) or "state" not in agent.model.predicts:
        return None

    def predict(belief: State, decisions: Tensor) -> NDArray[Any]:
        actions = decisions[:, None]
        if agent.action_map is not None:
            actions = agent.action_map.to_model(actions, belief)
        motion = agent.base_model.rollout(belief, actions, ["state"])["state"][0, 0]
        return motion.cpu().double().numpy()

    return predict


def write_video(path: Path, frames: Sequence[Frame], fps: int = 10) -> None:
    """Write frames `(H, W, 3)` as H.264, which browsers show; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.mp4")
    height, width = (size + size % 2 for size in frames[0].shape[:2])
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            even = np.zeros((height, width, 3), np.uint8)
            even[: frame.shape[0], : frame.shape[1]] = frame
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)


def _captioned(frame: Frame, text: str) -> Frame:
    """Return the frame with a caption above it."""
    band = np.full((18, frame.shape[1], 3), 255, np.uint8)
    cv2.putText(band, text, (6, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return np.vstack([band, frame])


def _widened(frame: Frame, width: int) -> Frame:
    missing = width - frame.shape[1]
    if not missing:
        return frame
    return np.hstack([frame, np.full((frame.shape[0], missing, 3), 255, np.uint8)])
