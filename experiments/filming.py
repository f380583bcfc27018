"""Films episodes: what happened, and beside it what the plan had predicted."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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
from dexworld.world_models.latent import LATENT, LatentWorldModel

Frame = NDArray[np.uint8]
Motion = Mapping[str, NDArray[Any]]
"""What a plan predicts, `(steps, ...)` for each key, after every step of the environment."""
Predict = Callable[[State, Tensor], Motion]
"""From a belief (one row) and the decisions of a plan `[1, T, A]` to the motion they lead to."""

HELD_FRAMES = 10
"""Frames for which the last one stays on the screen."""
PICTURES = "pictures"
"""Key of a motion: frames as the model expects to see them."""
BAND = 18
"""Height of a caption [px]."""


@dataclass
class _Film:
    env: gym.Env[Any, Any]
    frames: list[Frame] = field(default_factory=list)
    states: NDArray[np.float64] | None = None
    """Predicted task states."""
    pictures: Frame | None = None
    """Predicted frames `(steps, h, w, 3)`."""
    step: int = 0


class Filming:
    """An observer that writes `<seed>.mp4` for some of the episodes.

    On the left is the environment with its goal; beside it the task state that the plan predicted
    for the same moment, with the rest of the predicted motion as a line. That is there where the
    environment can `draw` a task state and the predictions tell one: as `state`, or by the
    environment's `task_state_of`. On the right, where the model makes pictures: what it really saw,
    if that are `pixels`, and what it had expected to see.

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
            film = self._films[seed] = _Film(env)
            film.frames.append(_frame(film))

    def planned(self, seed: int, belief: State, goal: State, plan: Plan, row: int) -> None:
        """Remember what the plan predicts."""
        if seed in self._films and self.predict is not None:
            film = self._films[seed]
            motion = self.predict(belief, plan.actions[row : row + 1])
            film.states, film.pictures = _task_states(film.env, motion), motion.get(PICTURES)
            film.step = 0

    def stepped(self, seed: int, env: gym.Env[Any, Any]) -> None:
        """Take a frame."""
        if seed in self._films:
            film = self._films[seed]
            film.frames.append(_frame(film))
            film.step += 1

    def end(self, result: EpisodeResult) -> None:
        """Write the video."""
        film = self._films.pop(result.seed, None)
        if film is not None:
            height, width = (max(frame.shape[i] for frame in film.frames) for i in (0, 1))
            frames = [_padded(frame, height, width) for frame in film.frames]
            write_video(self.folder / f"{result.seed}.mp4", frames + frames[-1:] * HELD_FRAMES)


def predicted_motion(agent: Agent) -> Predict | None:
    """Return what tells the motion that a plan predicts; None for an agent that does not plan.

    Between two moments of which the model tells, as one whose actions last several steps has, the
    motion holds the later one.
    """
    if not isinstance(agent, PlanningAgent):
        return None
    model, action_map = agent.base_model, agent.action_map
    draws = isinstance(model, LatentWorldModel) and model.decoder is not None

    def predict(belief: State, decisions: Tensor) -> Motion:
        actions, steps = decisions[:, None], decisions.shape[1]
        if action_map is not None:
            actions, steps = action_map.to_model(actions, belief), steps * action_map.steps
        predictions = {key: way[0, 0] for key, way in model.rollout(belief, actions).items()}
        if draws:
            assert isinstance(model, LatentWorldModel)
            predictions[PICTURES] = model.pictures(predictions[LATENT])
        places = np.ceil(np.arange(1, steps + 1) * actions.shape[2] / steps).astype(int) - 1
        return {key: way.cpu().numpy()[places] for key, way in predictions.items()}

    return predict


def _task_states(env: gym.Env[Any, Any], motion: Motion) -> NDArray[np.float64] | None:
    """Return what `env` can draw of a motion, `(steps, S)`."""
    tell = getattr(env.unwrapped, "task_state_of", lambda predictions: predictions.get("state"))
    told = tell(motion) if hasattr(env.unwrapped, "draw") else None
    if told is None or not np.isfinite(told).all():
        return None
    return np.asarray(told, np.float64)


def _frame(film: _Film) -> Frame:
    """Return the next frame: all panels side by side."""
    real = np.asarray(film.env.render(), np.uint8)
    panels = [_captioned(real, "executed")]
    if film.states is not None:
        now = min(film.step, len(film.states) - 1)
        drawn = film.env.unwrapped.draw(film.states[now], film.states[film.step :])  # type: ignore[attr-defined]
        panels.append(_captioned(np.asarray(drawn, np.uint8), "predicted"))
    if film.pictures is not None:
        expected = film.pictures[min(film.step, len(film.pictures) - 1)]
        panels.append(_seen_and_expected(film.env, expected, len(real)))
    height = max(len(panel) for panel in panels)
    return np.hstack([_padded(panel, height, panel.shape[1]) for panel in panels])


def _seen_and_expected(env: gym.Env[Any, Any], expected: Frame, height: int) -> Frame:
    """Return what the model sees above what it had expected to see; the latter where it is blind."""
    seen = getattr(env, "observed", {}).get("pixels")
    if seen is None:
        return _captioned(_scaled(expected, height), "expected")
    side = max(BAND, (height - BAND) // 2)
    above, below = _scaled(seen, side), _scaled(expected, side)
    return np.vstack([_captioned(above, "seen"), _captioned(below, "expected")])


def write_video(path: Path, frames: Sequence[Frame], fps: int = 10) -> None:
    """Write frames `(H, W, 3)` as H.264, which browsers show; the file appears when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(".part.mp4")
    height, width = (size + size % 2 for size in frames[0].shape[:2])
    with av.open(str(unfinished), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "20"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for frame in frames:
            even = _padded(frame, height, width)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode())
    unfinished.replace(path)


def _captioned(frame: Frame, text: str) -> Frame:
    """Return the frame with a caption above it."""
    band = np.full((BAND, frame.shape[1], 3), 255, np.uint8)
    cv2.putText(band, text, (6, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (60, 60, 60), 1, cv2.LINE_AA)
    return np.vstack([band, frame])


def _scaled(frame: Frame, side: int) -> Frame:
    """Return a frame as a square, its pixels left visible."""
    return np.asarray(cv2.resize(frame, (side, side), interpolation=cv2.INTER_NEAREST), np.uint8)


def _padded(frame: Frame, height: int, width: int) -> Frame:
    """Return the frame with white below it and on its right."""
    padded = np.full((height, width, 3), 255, np.uint8)
    padded[: frame.shape[0], : frame.shape[1]] = frame
    return padded
