"""Where searches for joint targets start from."""

from __future__ import annotations

import pytest
import torch

from dexworld.agents.reference_motion import ReferenceMotion, waypoints
from dexworld.planners.base import WarmStart

STD = torch.tensor([0.3, 0.1])
SEEDS = torch.zeros(2, dtype=torch.int64)
STATE = {"command": torch.tensor([[1.0, 2.0], [3.0, 4.0]])}


def test_a_plan_begins_as_the_joints_are() -> None:
    found = ReferenceMotion(STD).propose(STATE, {}, None, horizon=3, seeds=SEEDS)
    assert found is not None and found.std is not None
    assert torch.equal(found.actions, STATE["command"][:, None, None].expand(2, 1, 3, 2))
    assert torch.equal(found.std, STD.expand(2, 3, 2))


def test_a_plan_follows_a_motion_to_its_end() -> None:
    motion = torch.stack([torch.arange(7.0), torch.arange(7.0) * 10], dim=1)
    found = ReferenceMotion(STD, motion).propose(STATE, {}, None, horizon=3, seeds=SEEDS)
    assert found is not None
    expected = torch.tensor([[2.0, 20.0], [4.0, 40.0], [6.0, 60.0]])
    torch.testing.assert_close(found.actions, expected.expand(2, 1, 3, 2))


@pytest.mark.parametrize(
    ("motion", "count", "expected"),
    [
        ([0.0, 1.0], 4, [0.25, 0.5, 0.75, 1.0]),
        ([5.0], 2, [5.0, 5.0]),
        ([0.0, 2.0, 3.0], 1, [3.0]),
        ([0.0, 2.0, 3.0], 4, [1.0, 2.0, 2.5, 3.0]),
    ],
)
def test_waypoints(motion: list[float], count: int, expected: list[float]) -> None:
    found = waypoints(torch.tensor(motion)[:, None], count)
    torch.testing.assert_close(found[:, 0], torch.tensor(expected))


@pytest.mark.parametrize("execute", [1, 2])
def test_what_is_left_of_a_plan_keeps_its_spread_and_what_is_new_gets_its_own(execute: int) -> None:
    left = WarmStart(torch.rand(2, 1, 3, 2), torch.full((2, 3, 2), 0.02))
    proposer = ReferenceMotion(STD, torch.zeros(5, 2), execute=execute)
    found = proposer.propose(STATE, {}, left, horizon=3, seeds=SEEDS)
    assert found is not None and found.std is not None
    assert torch.equal(found.actions, left.actions)
    assert (found.std[:, : 3 - execute] == 0.02).all()
    assert torch.equal(found.std[:, 3 - execute :], STD.expand(2, execute, 2))
    # Where the agent does not keep it, all is searched anew.
    again = proposer.propose(STATE, {}, WarmStart(left.actions), horizon=3, seeds=SEEDS)
    assert again is not None and again.std is not None
    assert torch.equal(again.std, STD.expand(2, 3, 2))


def test_shorter_plans_at_the_end_of_an_episode() -> None:
    left = WarmStart(torch.rand(2, 1, 3, 2), torch.full((2, 3, 2), 0.02))
    for given in (None, left):
        found = ReferenceMotion(STD).propose(STATE, {}, given, horizon=1, seeds=SEEDS)
        assert found is not None and found.std is not None
        assert found.actions.shape == (2, 1, 1, 2) and torch.equal(found.std, STD.expand(2, 1, 2))


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="a motion of 3 joints for 2 joint targets"):
        ReferenceMotion(STD, torch.zeros(4, 3))
    with pytest.raises(KeyError, match=r"state\['command'\], which this model does not carry"):
        ReferenceMotion(STD).propose({"x": SEEDS}, {}, None, horizon=3, seeds=SEEDS)
