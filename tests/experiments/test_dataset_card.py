"""The card of a dataset."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml

from dexworld.agents.self_play import SelfPlaySettings
from dexworld.experiments.collection import STAGE
from dexworld.experiments.command_line import provenance
from dexworld.experiments.dataset_card import coverage, draw, shown, write_card
from dexworld.experiments.trajectories import COLLECTION
from dexworld.world_models.data.lerobot import Dataset, DatasetWriter, Feature

MADE: dict[str, Any] = {
    "env": {"id": "dexworld/PushT-v0", "kwargs": {"goal_in_pixels": False}, "steps": 4},
    "explorer": {"name": "random", "hold": 5},
    "seed": 3,
    "stage": STAGE,
}
SQUARE = np.array([[-20.0, 0.0], [20.0, 0.0], [0.0, -20.0], [0.0, 20.0]])


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Write two episodes of 4 and 2 steps whose coverage can be told by hand."""
    features = {
        "observation.keypoints": Feature("float32", (8,)),
        "observation.proprio": Feature("float32", (2,)),
        "action": Feature("float32", (2,)),
        "next.success": Feature("bool", (1,)),
    }
    info = {COLLECTION: MADE, "provenance": provenance(3)}
    # The object moves in two of the first episode's steps; between episodes it jumps.
    middles = [
        np.float64([[128, 384], [138, 384], [138, 384], [148, 384], [148, 384]]),
        np.float64([[384, 128]] * 3),
    ]
    agents = [
        np.float64([[100, 384], [110, 384], [300, 384], [120, 384], [0, 0]]),
        np.float64([[0, 512], [256, 256], [0, 0]]),
    ]
    with DatasetWriter(tmp_path / "play", features, 10, robot_type="x", info=info) as writer:
        for number, (middle, agent) in enumerate(zip(middles, agents, strict=True)):
            points = (middle[:, None] + SQUARE).reshape(len(middle), 8)
            columns = {
                "observation.keypoints": points.astype(np.float32),
                "observation.proprio": agent.astype(np.float32),
                "action": np.zeros((len(middle), 2), np.float32),
                "next.success": np.full(len(middle), number == 1),
            }
            writer.add_episode(columns, task="push", extras={"seed": number})
    return tmp_path / "play"


def test_what_the_steps_have_seen(dataset: Path) -> None:
    seen = coverage(Dataset(dataset), SelfPlaySettings())
    assert seen is not None and len(seen.moved) == 6, "4 + 2 steps"
    assert seen.moved.tolist() == [True, False, True, False, False, False]
    assert seen.near.tolist() == [True, True, False, True, False, False]
    np.testing.assert_allclose(seen.middle[[0, 4]], [[0.25, 0.75], [0.75, 0.25]], atol=1e-6)
    np.testing.assert_allclose(seen.agent[4], [0.0, 1.0])
    np.testing.assert_allclose(seen.angle, np.pi / 2)  # from (0, -20) to (0, 20)
    figures = seen.figures()
    assert figures["object moves"] == pytest.approx(2 / 6)
    assert figures["agent near object"] == pytest.approx(3 / 6)
    assert figures["object in cells of an 8 x 8 grid"] == pytest.approx(2 / 64)


def test_the_card_tells_what_how_and_how_much(dataset: Path) -> None:
    figures = write_card(dataset, "dexworld-collect episodes=2")
    assert figures["episodes"] == 2 and figures["steps"] == 6 and figures["seconds"] == 0.6
    assert figures["episodes with success"] == 0.5
    text = (dataset / "README.md").read_text()
    head, _, body = text.removeprefix("---\n").partition("---\n")
    assert "LeRobot" in yaml.safe_load(head)["tags"]
    for told in (
        "# random in dexworld/PushT-v0",
        "dexworld-collect episodes=2",
        "| seed | 3, stage `train`",
        "| steps | 6 |",
        "| episodes with success | 50.0 % |",
        "| object moves | 33.3 % |",
        '`{"goal_in_pixels": false}`',
        '`random` `{"hold": 5}`',
        "| `observation.keypoints` | float32 | [8] |",
        "![where object and agent have been](coverage.png)",
        "T + 1 rows",
        "numpy ",
    ):
        assert told in body
    picture = cv2.imread(str(dataset / "coverage.png"))
    assert picture.shape[1] > 2 * picture.shape[0] > 200
    assert not list(dataset.glob("*.part"))


def test_the_picture_shows_where_things_were(dataset: Path, tmp_path: Path) -> None:
    seen = coverage(Dataset(dataset), SelfPlaySettings())
    assert seen is not None
    draw(seen, tmp_path / "one.png")
    draw(seen, tmp_path / "again.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    moved = type(seen)(1 - seen.middle, seen.agent, seen.angle, seen.moved, seen.near)
    draw(moved, tmp_path / "other.png")
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_a_dataset_without_positions_has_a_card_without_a_picture(dataset: Path) -> None:
    assert coverage(Dataset(dataset), SelfPlaySettings(object_key="cube")) is None
    three = SelfPlaySettings(low=(0.0,) * 3, high=(1.0,) * 3)
    assert coverage(Dataset(dataset), three) is None
    assert shown("seconds", 1234.56) == "1,234.6" and shown("share", 0.126) == "12.6 %"
