"""`dexworld-render`: a sheet with a row for each environment, start beside goal."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import gymnasium as gym
import numpy as np
import pytest

from dexworld.experiments import render
from dexworld.experiments.statistics import episode_seeds


def test_start_and_goal_stand_side_by_side() -> None:
    picture = render.sheet(["dexworld/PushTGoal-v0"], 2, size=64)
    assert picture.shape == (29 + 18 + 64, 4 * 68, 3) and picture.dtype == np.uint8
    env = gym.make("dexworld/PushTGoal-v0", render_mode="rgb_array", render_size=64)
    for index, seed in enumerate(episode_seeds(0, "tune", 2)):
        env.reset(seed=seed)
        start = picture[-64:, 2 * index * 68 :][:, :64]
        np.testing.assert_array_equal(start, env.render())
        goal = picture[-64:, (2 * index + 1) * 68 :][:, :64]
        assert not np.array_equal(start, goal)


def test_environments_without_goal_or_state_are_drawn_too() -> None:
    picture = render.sheet(["dexworld/PushT-v0", "CartPole-v1"], 1, size=50)
    assert len(picture) == 2 * (29 + 18 + 50)


def test_cameras_show_what_they_see() -> None:
    blind, seeing = (
        render.sheet(["dexworld/PushT-v0"], 1, size=48, cameras=cameras)
        for cameras in (False, True)
    )
    assert seeing.shape[1] == blind.shape[1] + 52


def test_a_sheet_of_all_kitchens() -> None:
    counters = [name for name in render.OURS if "Counter" in name]
    assert len(counters) == 3
    picture = render.sheet(counters[:1], 1, size=60)
    assert picture.std() > 20


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["dexworld/PushT-v0", "--episodes", "0"], "nothing to draw"),
        (["dexworld/Nothing-v0"], "Nothing"),
        (["dexworld/PushT-v0", "--episodes", "1", "--output", "here.nothing"], "here.nothing"),
    ],
)
def test_what_cannot_be_drawn_is_one_line(
    arguments: list[str],
    complaint: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["dexworld-render", *arguments])
    with pytest.raises(SystemExit) as ended:
        render.main()
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and complaint in said and said.count("\n") == 1


def test_the_command_writes_a_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "sheets" / "sheet.png"
    given = ["dexworld/PushT-v0", "--episodes", "1", "--size", "40", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["dexworld-render", *given])
    render.main()
    np.testing.assert_array_equal(
        cv2.imread(str(output))[..., ::-1], render.sheet(["dexworld/PushT-v0"], 1, size=40)
    )
