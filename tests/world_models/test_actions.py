"""Action maps against their equations; gradients and bounds of each."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from dexworld.world_models.actions import Chain, Chunks, Hold, Increments, Interpolate
from dexworld.world_models.base import COMMAND, ActionMap, State
from dexworld.world_models.conformance_actions import BATCH, HORIZON, ActionMapConformance

B, N, T, A = 2, 3, 4, 2
SPACE = Box(np.array([-1.0, 0.0]), np.array([2.0, 5.0]), dtype=np.float64)
STATE = {"command": torch.tensor([[0.5, 1.0], [2.0, 4.5]], dtype=torch.float64)}
MAPS: dict[str, Callable[[], ActionMap]] = {
    "hold": lambda: Hold(SPACE, 3),
    "interpolate": lambda: Interpolate(SPACE, 3),
    "increments": lambda: Increments(SPACE, 0.7),
    "chain": lambda: Chain([Increments(SPACE, 0.7), Interpolate(SPACE, 2), Hold(SPACE, 2)]),
}


def decisions_for(action_map: ActionMap) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    low, high = torch.from_numpy(action_map.action_space.low), action_map.action_space.high
    unit = torch.rand(B, N, T, A, generator=generator, dtype=torch.float64)
    return low + (torch.from_numpy(high) - low) * unit


class TestHold(ActionMapConformance):
    model_space = SPACE

    def make_action_map(self) -> ActionMap:
        return MAPS["hold"]()


class TestInterpolate(TestHold):
    def make_action_map(self) -> ActionMap:
        return MAPS["interpolate"]()


class TestIncrements(TestHold):
    def make_action_map(self) -> ActionMap:
        return MAPS["increments"]()


class TestChain(TestHold):
    def make_action_map(self) -> ActionMap:
        return MAPS["chain"]()


CHUNKED = Box(np.tile(SPACE.low, 2), np.tile(SPACE.high, 2), dtype=np.float64)
"""Actions of a model that takes two of the environment's at once."""


class TestChunks(ActionMapConformance):
    """Of decisions that are held for four steps, two chunks of two."""

    model_space, shares_space = CHUNKED, False

    def make_action_map(self) -> ActionMap:
        return Chain([Hold(SPACE, 4), Chunks(SPACE, 2)])

    def make_state(self) -> State:
        return {COMMAND: self._inside(SPACE, BATCH)}

    def test_mapping_goes_on_where_it_left_off(self) -> None:
        """From the last command, which is an environment's action and not a chunk of them."""
        action_map, decisions, state = self.setup()
        together = action_map.to_model(decisions, state)
        executed = action_map.to_env(decisions[:, 2], state)
        for time in range(1, HORIZON):
            later = {**state, COMMAND: executed[:, 4 * time - 1]}
            rest = action_map.to_model(decisions[:, 2:3, time:], later)
            self.assert_same(rest, together[:, 2:3, 2 * time :], f"from decision {time} on")

    def test_the_environment_gets_what_the_chunks_are_made_of(self) -> None:
        action_map, decisions, state = self.setup()
        assert action_map.steps == 4
        chunks = action_map.to_model(decisions, state)[:, 2]
        actions = action_map.to_env(decisions[:, 2], state)
        assert actions.shape == (BATCH, 4 * HORIZON, 2)
        self.assert_same(actions, chunks.reshape(BATCH, 4 * HORIZON, 2), "in a row")


class TestChunksOfInterpolatedIncrements(TestChunks):
    tolerance = 1e-15

    def make_action_map(self) -> ActionMap:
        return Chain([Increments(SPACE, 0.7), Interpolate(SPACE, 4), Chunks(SPACE, 2)])


@pytest.fixture(params=MAPS)
def action_map(request: pytest.FixtureRequest) -> ActionMap:
    return MAPS[request.param]()


def test_hold_repeats() -> None:
    decisions = decisions_for(Hold(SPACE, 3))
    actions = Hold(SPACE, 3).to_model(decisions, {})
    for time in range(3 * T):
        assert torch.equal(actions[:, :, time], decisions[:, :, time // 3])


def test_interpolate_follows_straight_lines_from_the_last_command() -> None:
    decisions = decisions_for(Interpolate(SPACE, 3))
    actions = Interpolate(SPACE, 3).to_model(decisions, STATE)
    for b, n, time in np.ndindex(B, N, T):
        previous = STATE["command"][b] if time == 0 else decisions[b, n, time - 1]
        for step in range(3):
            expected = previous + (step + 1) / 3 * (decisions[b, n, time] - previous)
            torch.testing.assert_close(actions[b, n, 3 * time + step], expected)


def test_increments_accumulate_within_the_bounds() -> None:
    decisions = decisions_for(Increments(SPACE, 0.7))
    actions = Increments(SPACE, 0.7).to_model(decisions, STATE)
    for b, n in np.ndindex(B, N):
        command = STATE["command"][b]
        for time in range(T):
            command = (command + 0.7 * decisions[b, n, time]).clamp(
                torch.from_numpy(SPACE.low), torch.from_numpy(SPACE.high)
            )
            torch.testing.assert_close(actions[b, n, time], command)
    assert Increments(SPACE, 0.7).action_space == Box(-1.0, 1.0, (2,))


def test_chain_applies_the_first_map_first() -> None:
    first, second = Increments(SPACE, 0.7), Interpolate(SPACE, 2)
    decisions = decisions_for(first)
    expected = second.to_model(first.to_model(decisions, STATE), STATE)
    torch.testing.assert_close(Chain([first, second]).to_model(decisions, STATE), expected)
    assert Chain([first, second]).action_space is first.action_space


def test_a_chain_ends_with_what_the_environment_takes() -> None:
    hold, chunks = Hold(SPACE, 4), Chunks(SPACE, 2)
    decisions = decisions_for(hold)
    chain = Chain([hold, chunks])
    assert torch.equal(chain.to_env(decisions[:, 0], STATE), hold.to_env(decisions[:, 0], STATE))
    plain = Chain([Increments(SPACE, 0.7), Interpolate(SPACE, 2)])
    expected = plain.to_model(decisions, STATE)[:, 1]
    assert torch.equal(plain.to_env(decisions[:, 1], STATE), expected)
    assert torch.equal(chunks.to_env(decisions[:, 1], {}), decisions[:, 1])


def test_gradients_are_those_of_finite_differences(action_map: ActionMap) -> None:
    decisions = decisions_for(action_map).requires_grad_()
    assert torch.autograd.gradcheck(lambda u: action_map.to_model(u, STATE), decisions, eps=1e-7)


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match=r"Hold\(steps\) must be at least 1, got 0"):
        Hold(SPACE, 0)
    with pytest.raises(ValueError, match=r"Increments\(scale\) must be positive"):
        Increments(SPACE, 0.0)
    with pytest.raises(ValueError, match=r"Chunks\(chunk\) must be at least 1, got 0"):
        Chunks(SPACE, 0)
    with pytest.raises(ValueError, match="4 environment actions are not chunks of 3"):
        Chunks(SPACE, 3).to_model(decisions_for(Hold(SPACE, 1)), {})
    with pytest.raises(ValueError, match="at least one action map"):
        Chain([])
    with pytest.raises(KeyError, match=r"state\['command'\].*Use Hold"):
        Interpolate(SPACE, 2).to_model(decisions_for(Hold(SPACE, 1)), {"x": torch.zeros(2)})
