"""Videos: readable, of the right length, showing what was predicted beside what was executed."""

from __future__ import annotations

from pathlib import Path

import av
import gymnasium as gym
import numpy as np
import pytest
import torch

from dexworld.experiments.config import (
    AgentConfig,
    EnvConfig,
    make_env,
    make_model,
    make_planning_agent,
)
from dexworld.experiments.evaluation import EpisodeResult, run_episodes
from dexworld.experiments.filming import HELD_FRAMES, Filming, predicted_motion, write_video
from dexworld.experiments.last_observation import LastObservation
from dexworld.planners import Plan, Search


def frames_of(path: Path) -> list[np.ndarray]:
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("size", [(32, 48), (33, 47)])
def test_a_video_is_read_back(tmp_path, size) -> None:
    shades = (20, 120, 220)
    path = tmp_path / "new" / "film.mp4"
    write_video(path, [np.full((*size, 3), shade, np.uint8) for shade in shades])
    frames = frames_of(path)
    assert len(frames) == 3
    even = (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    for frame, shade in zip(frames, shades, strict=True):
        assert frame.shape == even
        assert abs(float(frame[: size[0] - 2, : size[1] - 2].mean()) - shade) < 4
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.average_rate) == ("h264", 10)
    assert [file.name for file in path.parent.iterdir()] == ["film.mp4"]


@pytest.mark.parametrize("predicted", [True, False])
def test_the_episodes_to_film_are_filmed(tiny, tmp_path, predicted) -> None:
    config = tiny()
    agent = make_planning_agent(config, make_model(config))
    filming = Filming(tmp_path, [5], predicted_motion(agent) if predicted else None)
    results = list(run_episodes(agent, make_env(config, agent.observes), [4, 5], 2, [filming]))
    assert [file.name for file in tmp_path.iterdir()] == ["5.mp4"]
    frames = frames_of(tmp_path / "5.mp4")
    assert len(frames) == 1 + results[1].steps + HELD_FRAMES
    height, width, _ = frames[0].shape
    assert width == (2 if predicted else 1) * 320 and height == 338
    # The last frame stays on the screen.
    assert np.abs(np.float32(frames[-1]) - frames[-HELD_FRAMES]).max() < 30


class Drawn(gym.Env):
    """Shows the time, and what it is told to draw."""

    def __init__(self) -> None:
        self.time = 0
        self.drawn: list[tuple[float, int]] = []

    def render(self):
        return np.full((16, 16, 3), self.time, np.uint8)

    def draw(self, task_state, motion):
        self.drawn.append((float(task_state[0]), len(motion)))
        return np.zeros((16, 16, 3), np.uint8)


def test_the_prediction_is_of_the_same_moment(tmp_path) -> None:
    """Two plans of three predicted states each; the first one is outlived by a step."""
    env, starts = Drawn(), iter((10.0, 20.0))

    def predict(belief, decisions):
        first = next(starts)
        return {"state": np.array([[first], [first + 1], [first + 2]])}

    nothing = torch.zeros(1)
    search = Search(nothing[None], 1, torch.zeros(1, dtype=torch.int64), 0.0)
    plan = Plan(torch.zeros(1, 3, 1), nothing, {}, None, search)
    filming = Filming(tmp_path, [0], predict)
    filming.begin(0, env)
    for steps in (4, 2):
        filming.planned(0, {}, {}, plan, 0)
        for _ in range(steps):
            env.time += 1
            filming.stepped(0, env)
    filming.end(EpisodeResult(0, steps=6))
    assert [at for at, _ in env.drawn] == [10, 11, 12, 12, 20, 21]
    assert [left for _, left in env.drawn] == [3, 2, 1, 0, 3, 2]
    assert len(frames_of(tmp_path / "0.mp4")) == 1 + 6 + HELD_FRAMES


def test_a_learned_model_shows_what_its_points_tell(tiny, untrained, tmp_path) -> None:
    config = tiny(model=untrained())
    agent = make_planning_agent(config, make_model(config))
    filming = Filming(tmp_path, [5], predicted_motion(agent))
    list(run_episodes(agent, make_env(config, agent.observes), [5], 1, [filming]))
    *_, last = frames_of(tmp_path / "5.mp4")
    assert last.shape == (338, 2 * 320, 3)
    predicted = last[18:, 320:].astype(int)
    # Some of it has the colour of the block: the pose was found and drawn.
    assert (np.abs(predicted - (119, 136, 153)).max(axis=-1) < 40).sum() > 500


def test_a_model_that_makes_pictures_shows_them_below_what_it_sees(
    tiny, untrained, tmp_path
) -> None:
    env = {"pixels_size": 32, "goal_in_pixels": False}
    config = tiny(model=untrained("pixels"), env=EnvConfig("dexworld/PushTGoal-v0", env, 10))
    agent = make_planning_agent(config, make_model(config))
    make = make_env(config, agent.observes)
    filming = Filming(tmp_path, [5], predicted_motion(agent))
    list(run_episodes(agent, lambda: LastObservation(make()), [5], 1, [filming]))
    first, *_, last = frames_of(tmp_path / "5.mp4")
    assert last.shape == (338, 2 * 320 + 152, 3)  # 151 made even
    seen, expected = last[18:169, 640:791], last[187:338, 640:791]
    assert first[18:, 320:].min() > 240, "nothing was predicted before the first plan"
    assert seen.mean() > 200 and (seen.min(axis=-1) < 150).any(), "a board with things on it"
    assert np.abs(seen.astype(int) - expected).mean() > 20, "it has learned nothing"
    # Without the frames that it saw, those that it expected have a panel of their own.
    list(run_episodes(agent, make, [5], 1, [filming]))
    assert frames_of(tmp_path / "5.mp4")[-1].shape == (338, 3 * 320, 3)


@pytest.mark.parametrize(("chunk", "expected"), [(1, [1, 2, 3, 4, 5, 6]), (3, [3, 3, 3, 6, 6, 6])])
def test_a_motion_has_a_moment_for_every_step(tiny, untrained, chunk, expected) -> None:
    config = tiny(
        model=untrained(chunk=chunk), agent=AgentConfig(steps_per_decision=3, interpolate=False)
    )
    agent = make_planning_agent(config, make_model(config))
    observation, _ = make_env(config, agent.observes)().reset(seed=0)
    belief = agent.model.encode({key: value[None] for key, value in observation.items()})
    decisions = torch.tensor([[[0.1, 0.2], [-0.3, 0.4]]])
    motion = predicted_motion(agent)(belief, decisions)
    actions = decisions.repeat_interleave(3, dim=1).reshape(1, 1, 6 // chunk, 2 * chunk)
    way = agent.base_model.rollout(belief, actions)["keypoints"][0, 0]
    places = [step // chunk - 1 for step in expected]
    np.testing.assert_array_equal(motion["keypoints"], way[places].numpy())


def test_predictions_without_bounds_are_not_drawn(tmp_path) -> None:
    env = Drawn()
    nothing = torch.zeros(1)
    search = Search(nothing[None], 1, torch.zeros(1, dtype=torch.int64), 0.0)
    plan = Plan(torch.zeros(1, 3, 1), nothing, {}, None, search)
    filming = Filming(tmp_path, [0], lambda *_: {"state": np.array([[1.0], [np.nan]])})
    filming.begin(0, env)
    filming.planned(0, {}, {}, plan, 0)
    filming.stepped(0, env)
    assert env.drawn == []
