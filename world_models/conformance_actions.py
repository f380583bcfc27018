"""The laws of an action map as a suite that anyone can run on their own class.

Make a subclass in a test file and let pytest collect it:

    class TestMyMap(ActionMapConformance):
        model_space = SPACE

        def make_action_map(self):
            return MyMap(SPACE)
"""

from __future__ import annotations

from functools import partial

import torch
from gymnasium.spaces import Box
from jaxtyping import Float
from torch import Tensor

from .base import COMMAND, ActionMap, State, take

BATCH, CANDIDATES, HORIZON = 3, 4, 4


class ActionMapConformance:
    """The laws of an action map; a subclass says which one, and what model it is for."""

    model_space: Box
    """Actions that the model takes."""
    shares_space = True
    """Whether the environment takes the same actions as the model."""
    tolerance = 0.0
    """Largest absolute difference where two computations should agree; 0 is bit for bit."""
    seed = 0
    """Seed of the decisions that are tried."""

    def make_action_map(self) -> ActionMap:
        """Return the map; the same one every time."""
        raise NotImplementedError

    def make_state(self) -> State:
        """Return `BATCH` states that decisions start from; by default a random last command."""
        return {COMMAND: self._inside(self.model_space, BATCH)}

    def make_decisions(self) -> Float[Tensor, "batch candidates horizon action"]:
        """Return random decisions; the first candidate's are all low, the second's all high."""
        space = self.make_action_map().action_space
        decisions = self._inside(space, BATCH, CANDIDATES, HORIZON)
        decisions[:, 0] = torch.from_numpy(space.low)
        decisions[:, 1] = torch.from_numpy(space.high)
        return decisions

    def setup(self) -> tuple[ActionMap, Float[Tensor, "batch candidates horizon action"], State]:
        """Return the map, decisions, and the state that they start from."""
        return self.make_action_map(), self.make_decisions(), self.make_state()

    def _inside(self, space: Box, *shape: int) -> Tensor:
        low, high = torch.from_numpy(space.low).double(), torch.from_numpy(space.high).double()
        generator = torch.Generator().manual_seed(self.seed)
        unit = torch.rand(*shape, *space.shape, generator=generator, dtype=torch.float64)
        return low + (high - low) * unit

    def assert_same(self, actual: Tensor, expected: Tensor, what: str) -> None:
        """Raise `AssertionError` unless both are the same, to the tolerance."""
        message = partial("{}: {}".format, what)
        torch.testing.assert_close(actual, expected, rtol=0, atol=self.tolerance, msg=message)

    def test_shapes(self) -> None:
        """`k` model actions and `steps` environment actions for every decision, however many."""
        action_map, decisions, state = self.setup()
        for horizon in (1, HORIZON):
            some = decisions[:, :, :horizon]
            actions = action_map.to_model(some, state)
            per_decision = action_map.to_model(some[:, :, :1], state).shape[2]
            expected = (BATCH, CANDIDATES, horizon * per_decision, *self.model_space.shape)
            assert actions.shape == expected, f"{tuple(actions.shape)} instead of {expected}"
            assert actions.dtype == some.dtype, f"{actions.dtype} instead of {some.dtype}"
            commands = action_map.to_env(some[:, 2], state)
            made = (commands.shape[0], commands.shape[1])
            assert made == (BATCH, horizon * action_map.steps), f"to_env gives {made}"

    def test_actions_are_inside_the_bounds(self) -> None:
        """Decisions inside their bounds become actions inside the model's."""
        action_map, decisions, state = self.setup()
        actions = action_map.to_model(decisions, state)
        low, high = torch.from_numpy(self.model_space.low), torch.from_numpy(self.model_space.high)
        inside = (low <= actions).all() and (actions <= high).all()
        assert inside, f"{actions.min()} .. {actions.max()} leaves {self.model_space}"

    def test_gradients_reach_every_decision(self) -> None:
        """And are finite, and reach no other problem and no other candidate."""
        action_map, decisions, state = self.setup()
        decisions = decisions[:, 2:].requires_grad_()  # where no bound holds a decision fast
        with torch.enable_grad():
            actions = action_map.to_model(decisions, state)
            (gradient,) = torch.autograd.grad(actions.sum(), decisions, retain_graph=True)
            (own,) = torch.autograd.grad(actions[1, 0].sum(), decisions)
        assert torch.isfinite(gradient).all(), "the gradient is not finite"
        reached = (gradient != 0).flatten(0, 1).any(dim=0).any(dim=-1)
        assert reached.all(), f"of the decisions, gradients reach {reached.tolist()}"
        own[1, 0] = 0
        assert (own == 0).all(), "a gradient reaches other problems or candidates"

    def test_later_decisions_cannot_change_earlier_actions(self) -> None:
        """Causality, for every moment."""
        action_map, decisions, state = self.setup()
        before = action_map.to_model(decisions, state)
        per_decision = before.shape[2] // HORIZON
        for time in range(1, HORIZON):
            changed = decisions.clone()
            changed[:, :, time:] = decisions[:, :, time:].flip(1)
            after = action_map.to_model(changed, state)
            kept = slice(0, time * per_decision)
            self.assert_same(after[:, :, kept], before[:, :, kept], f"changed from {time} on")
            assert not torch.equal(after, before), f"decision {time} changes nothing"

    def test_rows_do_not_influence_each_other(self) -> None:
        """Problems alone, and candidates alone, become the actions that they become together."""
        action_map, decisions, state = self.setup()
        together = action_map.to_model(decisions, state)
        for row in range(BATCH):
            rows = torch.tensor([row])
            alone = action_map.to_model(decisions[rows], take(state, rows))
            self.assert_same(alone, together[rows], f"problem {row} alone")
        for candidate in range(CANDIDATES):
            only = slice(candidate, candidate + 1)
            alone = action_map.to_model(decisions[:, only], state)
            self.assert_same(alone, together[:, only], f"candidate {candidate} alone")

    def test_model_and_environment_get_the_same(self) -> None:
        """Where they share an action space."""
        if not self.shares_space:
            return
        action_map, decisions, state = self.setup()
        actions = action_map.to_model(decisions, state)
        for candidate in range(CANDIDATES):
            executed = action_map.to_env(decisions[:, candidate], state)
            self.assert_same(executed, actions[:, candidate], f"candidate {candidate}")

    def test_mapping_goes_on_where_it_left_off(self) -> None:
        """The rest of a plan, mapped from the last command, becomes the rest of the actions."""
        action_map, decisions, state = self.setup()
        together = action_map.to_model(decisions, state)
        per_decision = together.shape[2] // HORIZON
        for time in range(1, HORIZON):
            for candidate in range(CANDIDATES):
                only = slice(candidate, candidate + 1)
                command = together[:, candidate, time * per_decision - 1]
                rest = action_map.to_model(decisions[:, only, time:], {**state, COMMAND: command})
                self.assert_same(
                    rest, together[:, only, time * per_decision :], f"from decision {time} on"
                )
