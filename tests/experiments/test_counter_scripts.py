"""What explorers do at the counter: they go where scripts send them, and grasps fail now and then."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.agents.episodes import EpisodeRunner
from dexworld.agents.exploration import Trajectory
from dexworld.envs.counter.objects import TARGETS
from dexworld.envs.counter.scene import Scene
from dexworld.experiments import collect as command
from dexworld.experiments import counter_scripts as scripts
from dexworld.experiments.collection import make_recipe, register_schemas
from dexworld.experiments.command_line import compose_config
from dexworld.world_models.data.lerobot import Dataset

ARM = 7
SMALL = ["+env.kwargs.distractors=1", "group=2"]


def configured(*overrides: str) -> Any:
    register_schemas()
    GlobalHydra.instance().clear()
    return compose_config("collect", [*SMALL, *overrides])


def played(seeds: list[int], *overrides: str) -> list[dict[str, Any]]:
    """Return the columns of episodes of an explorer."""
    runner: EpisodeRunner = make_recipe(configured(*overrides))()
    episodes = runner.run(seeds)
    runner.close()
    return [episode.frames for episode in episodes]


def column(frames: dict[str, Any], key: str) -> np.ndarray:
    return np.asarray(frames[f"observation.{key}"])


def test_the_palm_reaches_many_places() -> None:
    quiet = ["env=counter_reach", "collector=reach_targets", "collector.scale=0.0"]
    (frames,) = played([5], *quiet)
    palm = column(frames, "palm")[:, :3]
    assert len(palm) == 51
    assert (np.ptp(palm, axis=0) > (0.05, 0.1, 0.05)).all()
    assert (palm[1:] > (0.25, -0.4, 0.1)).all() and (palm < (0.75, 0.55, 0.6)).all()
    speed = np.linalg.norm(np.diff(palm, axis=0), axis=1) / 0.1
    assert 0.1 < np.median(speed) < 0.5
    upside = 1 - 2 * (column(frames, "palm")[:, 4:6] ** 2).sum(axis=1)
    assert (upside < -0.8).all()  # fingers down
    (again,) = played([5], *quiet)
    np.testing.assert_array_equal(frames["action"], again["action"])
    (noisy,) = played([5], *quiet[:2])
    assert not np.array_equal(frames["action"], noisy["action"])


def test_the_hand_opens_and_closes_and_the_arm_stays() -> None:
    quiet = ["env=counter_grasp", "collector=open_and_close", "collector.scale=0.0"]
    (frames,) = played([3], *quiet)
    joints = column(frames, "proprio")
    assert np.ptp(joints[:, :ARM], axis=0).max() < 0.03
    bending = joints[:, ARM + 2]  # of the index finger's middle joint
    assert np.ptp(bending) > 0.25
    turns = np.diff(np.sign(np.diff(frames["action"][:, ARM + 2])))
    assert (turns != 0).sum() >= 4


def test_what_stands_there_is_another_thing_now_and_then() -> None:
    always = ["env=counter_grasp", "collector=noisy_lift", "collector.permute=1.0"]
    never = [*always[:2], "collector.permute=0.0"]
    for seed in (1, 2):
        (same,), (other,) = (played([seed], *each, "steps=2") for each in (never, always))
        scenes = [Scene.of(int(column(each, "scene")[0, 0])) for each in (same, other)]
        assert scenes[0].target != scenes[1].target and scenes[1].target in TARGETS
        assert (scenes[0].layout, scenes[0].style) == (scenes[1].layout, scenes[1].style)
        objects = [column(each, "object")[0] for each in (same, other)]
        np.testing.assert_allclose(objects[0][:2], objects[1][:2], atol=5e-3)


@pytest.mark.slow
def test_some_grasps_fail_and_some_hold() -> None:
    frames = played(list(range(10)), "env=counter_grasp", "collector=noisy_lift")
    rises = np.array([np.ptp(column(each, "object")[[0, -1], 2]) for each in frames])
    ends = np.array([column(each, "object")[-1, 2] for each in frames])
    held = (rises > 0.05) & (ends > 0.12)
    assert 1 <= held.sum() <= 9
    contact = np.array([column(each, "contact")[:, -1].max() for each in frames])
    assert (contact > 0).mean() > 0.6  # those that fail have tried


def test_play_is_all_of_that_in_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    for number, name in enumerate(("lift", "open_and_close", "reach_targets")):
        done = Trajectory(np.full((1, 23), number, np.float32), {})
        monkeypatch.setattr(
            scripts.CounterScripts, name, lambda self, seed, settings, done=done: done
        )
    env = gym.make("dexworld.envs:dexworld/CounterGrasp-v0", observation="state")
    explorer = scripts.CounterScripts(env, steps=5)
    settings = scripts.CounterPlaySettings(lift=0.3, open_and_close=0.2)

    def kinds() -> list[int]:
        return [int(explorer.trajectory(seed, settings).actions[0, 0]) for seed in range(400)]

    assert kinds() == kinds()
    np.testing.assert_allclose(np.bincount(kinds()) / 400, [0.3, 0.2, 0.5], atol=0.08)
    with pytest.raises(ValueError, match="shares of the episodes"):
        scripts.CounterPlaySettings(lift=0.8, open_and_close=0.3)


def test_frames_are_recorded_with_all_that_there_is_to_know(tmp_path: Path) -> None:
    config = configured(
        *("env=counter_grasp", "collector=open_and_close", "episodes=1", "steps=3"),
        *("images=video", "pixels_size=224", f"output={tmp_path / 'play'}"),
    )
    command.collect(config, "dexworld-collect ...", Console(quiet=True))
    dataset = Dataset(tmp_path / "play")
    assert dataset.features["observation.images.torso"].shape == (224, 392, 3)
    assert dataset.features["observation.images.wrist"].shape == (224, 392, 3)
    known = {f"observation.{key}" for key in ("proprio", "keypoints", "object", "contact")}
    assert known | {"observation.camera_torso", "observation.camera_wrist"} <= set(dataset.features)
    episode = dataset.episode(0, ["observation.keypoints", "action"])
    assert episode["action"].shape == (4, 23)


@pytest.mark.parametrize(
    ("overrides", "complaint"),
    [
        (["env=push_t", "collector=reach_targets"], "this collector knows the counter"),
        (["env=counter_reach", "collector=noisy_lift"], "env=counter_grasp"),
        (["env=counter_reach", "collector=counter_play"], "env=counter_grasp"),
    ],
)
def test_what_cannot_be_explored_is_refused(overrides: list[str], complaint: str) -> None:
    register_schemas()
    GlobalHydra.instance().clear()
    recipe = make_recipe(compose_config("collect", [*overrides, "steps=2"]))
    with pytest.raises(TypeError, match=complaint):
        recipe()
