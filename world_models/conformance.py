"""The laws of a world model as a suite that anyone can run on their own class.

Make a subclass in a test file and let pytest collect it:

    class TestMyModel(WorldModelConformance):
        def make_model(self):
            return MyModel()

        def make_observation(self, batch):
            return {"state": torch.randn(batch, 4)}
"""

from __future__ import annotations

import unittest
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from .base import Observation, State, WorldModel, take

BATCH, CANDIDATES = 3, 4

raises = unittest.TestCase().assertRaisesRegex


class WorldModelConformance:
    """The laws of a world model; a subclass says which one, and what it observes."""

    horizon = 5
    """Actions of a rollout."""
    tolerance = 0.0
    """Largest absolute difference where two computations should agree; 0 is bit for bit."""
    seed = 0
    """Seed of the actions that are tried."""

    def make_model(self) -> WorldModel:
        """Return the model; the same one every time."""
        raise NotImplementedError

    def make_observation(self, batch: int) -> Observation:
        """Return the same observations every time, one for each of `batch` problems."""
        raise NotImplementedError

    def setup(self) -> tuple[WorldModel, State, Float[Tensor, "batch candidates horizon action"]]:
        """Return the model, a state of it, and random actions inside the bounds."""
        model = self.make_model()
        low = torch.from_numpy(model.action_space.low).to(model.device)
        high = torch.from_numpy(model.action_space.high).to(model.device)
        generator = torch.Generator().manual_seed(self.seed)
        shape = (BATCH, CANDIDATES, self.horizon, low.shape[0])
        unit = torch.rand(shape, generator=generator, dtype=low.dtype).to(model.device)
        return model, model.encode(self.make_observation(BATCH)), low + (high - low) * unit

    def assert_same(self, actual: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
        """Raise `AssertionError` unless both hold the same values, to the tolerance."""
        assert set(actual) == set(expected), f"{sorted(actual)} instead of {sorted(expected)}"
        for key, value in actual.items():
            torch.testing.assert_close(
                value,
                expected[key],
                rtol=0.0,
                atol=self.tolerance,
                msg=partial("{}: {}".format, key),
            )

    def test_shapes(self) -> None:
        """Every prediction is `[B, N, T, ...]`, finite and on the model's device."""
        model, state, actions = self.setup()
        for key, value in state.items():
            assert value.shape[0] == BATCH, f"state['{key}'] has shape {tuple(value.shape)}"
        for key, value in model.rollout(state, actions).items():
            expected = (BATCH, CANDIDATES, self.horizon)
            assert value.shape[:3] == expected, f"{key} has shape {tuple(value.shape)}"
            assert value.device == model.device, f"{key} is on {value.device}"
            assert torch.isfinite(value).all(), f"{key} is not finite"

    def test_keys_choose_the_predictions(self) -> None:
        """All where None; otherwise exactly those, with the same values."""
        model, state, actions = self.setup()
        everything = model.rollout(state, actions)
        assert set(everything) == model.predicts
        for key in model.predicts:
            self.assert_same(model.rollout(state, actions, {key}), {key: everything[key]})
        assert not model.rollout(state, actions, frozenset())

    def test_rollout_equals_chained_step(self) -> None:
        """Stepping and then rolling out the rest predicts what one rollout predicts."""
        model, state, actions = self.setup()
        everything = model.rollout(state, actions)
        for candidate in range(2):
            current = state
            for time in range(self.horizon):
                action = actions[:, candidate, time]
                current = model.step(current, action)
                for key in model.predicts & set(current):
                    expected = everything[key][:, candidate, time]
                    self.assert_same({key: current[key]}, {key: expected})
                rest = actions[:, candidate : candidate + 1, time + 1 :]
                if rest.shape[2] > 0:
                    after = {
                        key: value[:, candidate : candidate + 1, time + 1 :]
                        for key, value in everything.items()
                    }
                    self.assert_same(model.rollout(current, rest), after)

    def test_a_step_keeps_the_form_of_a_state(self) -> None:
        """The same keys, shapes and dtypes come out that went in."""
        model, state, actions = self.setup()
        stepped = model.step(state, actions[:, 0, 0])
        form = {key: (value.shape, value.dtype) for key, value in state.items()}
        assert {key: (value.shape, value.dtype) for key, value in stepped.items()} == form

    def test_problems_do_not_influence_each_other(self) -> None:
        """A row alone gets the predictions that it gets among others."""
        model, state, actions = self.setup()
        everything = model.rollout(state, actions)
        stepped = model.step(state, actions[:, 0, 0])
        for row in range(BATCH):
            rows = torch.tensor([row], device=model.device)
            alone = model.rollout(take(state, rows), actions[rows])
            self.assert_same(alone, take(everything, rows))
            self.assert_same(
                model.step(take(state, rows), actions[rows, 0, 0]), take(stepped, rows)
            )

    def test_candidates_do_not_influence_each_other(self) -> None:
        """And equal candidates are predicted equal: they share whatever is random."""
        model, state, actions = self.setup()
        everything = model.rollout(state, actions)
        alone = model.rollout(state, actions[:, 2:3])
        self.assert_same(alone, {key: value[:, 2:3] for key, value in everything.items()})
        twice = model.rollout(state, actions[:, [1, 1]])
        self.assert_same(
            {key: value[:, :1] for key, value in twice.items()},
            {key: value[:, 1:] for key, value in twice.items()},
        )

    def test_later_actions_cannot_change_earlier_predictions(self) -> None:
        """Causality, for every moment of the rollout."""
        model, state, actions = self.setup()
        before = model.rollout(state, actions)
        for time in range(1, self.horizon):
            changed = actions.clone()
            changed[:, :, time:] = actions[:, :, time:].flip(1)
            after = model.rollout(state, changed)
            self.assert_same(
                {key: value[:, :, :time] for key, value in after.items()},
                {key: value[:, :, :time] for key, value in before.items()},
            )

    def test_actions_matter(self) -> None:
        """Other actions lead elsewhere."""
        model, state, actions = self.setup()
        predictions = model.rollout(state, actions)
        differs = [not torch.equal(value[:, 0], value[:, 1]) for value in predictions.values()]
        assert any(differs), "no prediction depends on the actions"

    def test_nothing_is_random_after_encode(self) -> None:
        """The same state and actions give the same predictions, and the state stays as it is."""
        model, state, actions = self.setup()
        before = {key: value.clone() for key, value in state.items()}
        first = model.rollout(state, actions)
        model.step(state, actions[:, 0, 0])
        again = model.rollout(state, actions)
        for key, value in first.items():
            assert torch.equal(value, again[key]), f"{key} differs from one rollout to the next"
        for key, value in before.items():
            assert torch.equal(value, state[key]), f"a rollout changed state['{key}']"

    def test_rows_that_start_an_episode_forget(self) -> None:
        """A belief carried over an episode's end is the one of a fresh start."""
        model, state, actions = self.setup()
        observation = self.make_observation(BATCH)
        start = torch.ones(BATCH, dtype=torch.bool, device=model.device)
        carried = model.encode(observation, state, actions[:, 0, :2], start)
        fresh = model.encode(observation)
        everything = model.rollout(fresh, actions)
        self.assert_same(model.rollout(carried, actions), everything)

    def test_gradients_flow_where_promised(self) -> None:
        """To the actions up to that moment of the same candidate and problem, and nowhere else."""
        model, state, actions = self.setup()
        if not model.differentiable:
            return
        actions = actions.requires_grad_()
        with torch.enable_grad():
            predictions = model.rollout(state, actions)
        moment = self.horizon - 2
        total = torch.zeros_like(actions)
        for key, value in predictions.items():
            if not value.requires_grad:
                continue
            (gradient,) = torch.autograd.grad(value[1, 2, moment].sum(), actions, retain_graph=True)
            assert torch.isfinite(gradient).all(), f"the gradient of {key} is not finite"
            total = total + gradient.abs()
        assert (total[1, 2, : moment + 1] > 0).any(), "no gradient reaches the actions"
        total[1, 2, : moment + 1] = 0
        assert (total == 0).all(), "a gradient reaches other problems, candidates or times"

    def test_an_action_that_is_not_finite_spoils_its_own_candidate_alone(self) -> None:
        """All predictions after it are not finite, in a rollout as in a step; no others change.

        So a broken candidate neither wins a search nor ends it.
        """
        model, state, actions = self.setup()
        before = model.rollout(state, actions)
        later, first = self.horizon // 2, actions.clone()
        changed = actions.clone()
        changed[1, 2, later] = torch.nan
        first[1, 2, 0] = torch.inf
        first[1, 3, 0, :1] = torch.nan
        after, spoilt = model.rollout(state, changed), model.rollout(state, first)
        stepped = model.step(state, first[:, 2, 0])
        healthy = model.step(state, actions[:, 2, 0])
        on = model.step(stepped, actions[:, 2, 1])
        self.assert_same(
            {key: value[1, 2, :later] for key, value in after.items()},
            {key: value[1, 2, :later] for key, value in before.items()},
        )
        for key, value in before.items():
            for candidate in (2, 3):
                broken = spoilt[key][1, candidate]
                assert not torch.isfinite(broken).any(), f"{key} is finite after a broken action"
            others = torch.ones(value.shape[:2], dtype=torch.bool)
            others[1, 2:] = False
            self.assert_same({key: spoilt[key][others]}, {key: value[others]})
            for state_after in (stepped, on):
                if key in state_after:
                    assert not torch.isfinite(state_after[key][1]).any(), f"state['{key}']"
        rows = torch.tensor([0, 2], device=model.device)
        self.assert_same(take(stepped, rows), take(healthy, rows))

    def test_bad_input_is_refused(self) -> None:
        """An observation without what the model observes; actions of a shape it does not take.

        Where annotations are checked at run time, they may be what refuses a number of dimensions.
        """
        model, state, actions = self.setup()
        for key in model.observes:
            observation = dict(self.make_observation(BATCH))
            del observation[key]
            with raises(KeyError, key):
                model.encode(observation)
        wrong = torch.cat([actions, actions[..., :1]], dim=-1)
        with raises(ValueError, "action space"):
            model.rollout(state, wrong)
        with raises(ValueError, "action space"):
            model.step(state, wrong[:, 0, 0])
        one = take(state, torch.tensor([0], device=model.device))
        with raises(ValueError, "problems"):
            model.rollout(one, actions)
        with raises(ValueError, "problems"):
            model.step(one, actions[:, 0, 0])
        with raises(ValueError, "at least one"):
            model.rollout(state, actions[:, :, :0])
        with raises((ValueError, TypeError), "actions"):
            model.rollout(state, actions[:, 0])
        with raises((ValueError, TypeError), "actions"):
            model.step(state, actions[:, 0])
        with raises(KeyError, "the state lacks"):
            model.rollout({}, actions)
        with raises(KeyError, "the state lacks"):
            model.step({}, actions[:, 0, 0])
