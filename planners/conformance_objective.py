"""The laws of an objective as a suite that anyone can run on their own class.

Make a subclass in a test file and let pytest collect it:

    class TestMyTerm(ObjectiveConformance):
        def make_objective(self):
            return MyTerm()

        def make_predictions(self):
            return {"latent": self.random(*self.shape, 8)}

        def make_goal(self):
            return {"latent": self.random(self.shape[0], 8)}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from ..world_models.base import State, take
from .base import Objective

Predictions = dict[str, Tensor]


@dataclass(frozen=True)
class Motion:
    """Everything that a cost is made of."""

    predictions: Predictions
    actions: Float[Tensor, "batch candidates horizon action"]
    state: State
    goal: State


class ObjectiveConformance:
    """The laws of an objective; a subclass says which one, and makes up what it reads."""

    shape = (3, 4, 5)
    """Problems, candidates and decisions that are tried."""
    action = 2
    """Dimension of a decision."""
    tolerance = 1e-12
    """Largest absolute difference where two computations should agree."""

    def make_objective(self) -> Objective:
        """Return the objective."""
        raise NotImplementedError

    def make_predictions(self) -> Predictions:
        """Return predictions `[B, N, T, ...]` of at least what is read, by default none."""
        return {}

    def make_goal(self) -> State:
        """Return a goal, by default an empty one."""
        return {}

    def make_state(self) -> State:
        """Return the state that the motion starts from, by default an empty one."""
        return {}

    def at_the_goal(self, motion: Motion) -> tuple[Predictions, Tensor]:
        """Return predictions and actions as good as they can be.

        By default what the goal names is there, whatever the actions.
        """
        there = {
            key: motion.goal[key][:, None, None].expand_as(value) if key in motion.goal else value
            for key, value in motion.predictions.items()
        }
        return there, motion.actions

    def random(self, *shape: int) -> Tensor:
        """Return normal numbers, other ones for each call within a `make` method."""
        return torch.randn(*shape, generator=self._generator, dtype=torch.float64)

    def setup(self) -> tuple[Objective, Motion]:
        """Return the objective and a motion, the same every time."""
        self._generator = torch.Generator().manual_seed(0)
        actions = self.random(*self.shape, self.action).clamp(-1, 1)
        motion = Motion(self.make_predictions(), actions, self.make_state(), self.make_goal())
        return self.make_objective(), motion

    def cost(self, objective: Objective, motion: Motion) -> Float[Tensor, "batch candidates"]:
        """Return the cost of a motion."""
        return objective.cost(motion.predictions, motion.actions, motion.state, motion.goal)

    def assert_same(self, actual: Tensor, expected: Tensor, what: str) -> None:
        """Raise `AssertionError` unless both are the same, to the tolerance."""
        message = partial("{}: {}".format, what)
        torch.testing.assert_close(actual, expected, rtol=0, atol=self.tolerance, msg=message)

    def test_one_finite_cost_for_each_candidate(self) -> None:
        """Of shape `[B, N]`, and nothing that it is made of is changed."""
        objective, motion = self.setup()
        cost = self.cost(objective, motion)
        assert cost.shape == self.shape[:2], f"the cost has shape {tuple(cost.shape)}"
        assert torch.isfinite(cost).all(), f"the cost is {cost}"
        _, untouched = self.setup()
        assert torch.equal(motion.actions, untouched.actions), "the actions were changed"
        for part in ("predictions", "state", "goal"):
            for key, value in getattr(motion, part).items():
                same = torch.equal(value, getattr(untouched, part)[key])
                assert same, f"{part}['{key}'] was changed"

    def test_problems_do_not_influence_each_other(self) -> None:
        """A problem costs alone what it costs among others."""
        objective, motion = self.setup()
        together = self.cost(objective, motion)
        for row in range(self.shape[0]):
            rows = torch.tensor([row])
            alone = Motion(
                take(motion.predictions, rows),
                motion.actions[rows],
                take(motion.state, rows),
                take(motion.goal, rows),
            )
            self.assert_same(self.cost(objective, alone), together[rows], f"problem {row} alone")

    def test_candidates_do_not_influence_each_other(self) -> None:
        """A candidate costs alone what it costs among others."""
        objective, motion = self.setup()
        together = self.cost(objective, motion)
        for candidate in range(self.shape[1]):
            only = slice(candidate, candidate + 1)
            predictions = {key: value[:, only] for key, value in motion.predictions.items()}
            alone = Motion(predictions, motion.actions[:, only], motion.state, motion.goal)
            self.assert_same(
                self.cost(objective, alone), together[:, only], f"candidate {candidate} alone"
            )

    def test_it_reads_what_it_says(self) -> None:
        """Nothing else is needed, and what is read decides: where it is NaN, the cost is."""
        objective, motion = self.setup()
        together = self.cost(objective, motion)
        read = {key: motion.predictions[key] for key in objective.reads}
        alone = Motion(read, motion.actions, motion.state, motion.goal)
        self.assert_same(self.cost(objective, alone), together, "with what it reads alone")
        for key, value in read.items():
            spoilt = value.clone()
            spoilt[1, 2] = torch.nan
            cost = self.cost(
                objective, Motion({**read, key: spoilt}, motion.actions, motion.state, motion.goal)
            )
            assert not torch.isfinite(cost[1, 2]), f"the cost of {key} = NaN is {cost[1, 2]}"
            cost[1, 2] = together[1, 2]
            self.assert_same(cost, together, f"{key} = NaN elsewhere")

    def test_gradients_are_finite(self) -> None:
        """With respect to what is read and to the actions, at the goal too; and there are some."""
        objective, motion = self.setup()
        arrived, calm = self.at_the_goal(motion)
        for predictions, actions in ((motion.predictions, motion.actions), (arrived, calm)):
            leaves = {
                key: value.clone().requires_grad_()
                for key, value in predictions.items()
                if key in objective.reads
            }
            moves = actions.clone().requires_grad_()
            with torch.enable_grad():
                cost = self.cost(
                    objective,
                    Motion({**predictions, **leaves}, moves, motion.state, motion.goal),
                )
            assert cost.requires_grad, "no gradient flows to predictions or actions"
            gradients: Sequence[Tensor | None] = torch.autograd.grad(
                cost.sum(), [*leaves.values(), moves], allow_unused=True
            )
            for name, gradient in zip([*leaves, "actions"], gradients, strict=True):
                finite = gradient is None or torch.isfinite(gradient).all()
                assert finite, f"the gradient with respect to {name} is not finite"

    def test_the_goal_costs_least(self) -> None:
        """Less than any random motion."""
        objective, motion = self.setup()
        arrived, calm = self.at_the_goal(motion)
        there = self.cost(objective, Motion(arrived, calm, motion.state, motion.goal))
        elsewhere = self.cost(objective, motion)
        assert (there < elsewhere).all(), f"{there} at the goal, {elsewhere} elsewhere"
