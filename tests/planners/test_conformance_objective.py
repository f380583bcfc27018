"""The suite finds objectives that break a law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from dexworld.planners.base import Objective
from dexworld.planners.conformance_objective import ObjectiveConformance
from dexworld.planners.objectives import LatentDistance


class Lawful(LatentDistance):
    """Squared distance; the subclasses below break one law each."""


class Flat(Lawful):
    def cost(self, *arguments: Any) -> Tensor:
        return super().cost(*arguments)[:, :1].expand(-1, 2)


class Careless(Lawful):
    def cost(self, predictions: Any, actions: Tensor, state: Any, goal: Any) -> Tensor:
        actions.zero_()
        return super().cost(predictions, actions, state, goal)


class Sociable(Lawful):
    def cost(self, *arguments: Any) -> Tensor:
        cost = super().cost(*arguments)
        return cost + 0.1 * cost.mean(dim=0)


class Competitive(Lawful):
    def cost(self, *arguments: Any) -> Tensor:
        cost = super().cost(*arguments)
        return cost - cost.amin(dim=1, keepdim=True)


class Curious(Lawful):
    def cost(self, predictions: Any, *arguments: Any) -> Tensor:
        return super().cost(predictions, *arguments) + predictions["other"].square().mean(dim=2)


class Forgiving(Lawful):
    def cost(self, *arguments: Any) -> Tensor:
        return super().cost(*arguments).nan_to_num(0.0)


class Rooted(Lawful):
    def cost(self, *arguments: Any) -> Tensor:
        return super().cost(*arguments).sqrt()


class Contrary(Lawful):
    def cost(self, *arguments: Any) -> Tensor:
        return -super().cost(*arguments)


class Suite(ObjectiveConformance):
    def __init__(self, kind: Callable[[], Objective]) -> None:
        self.kind = kind

    def make_objective(self) -> Objective:
        return self.kind()

    def make_predictions(self) -> dict[str, Tensor]:
        return {"latent": self.random(*self.shape, 6), "other": self.random(*self.shape)}

    def make_goal(self) -> dict[str, Tensor]:
        return {"latent": self.random(self.shape[0], 6)}


LAWS = {
    "test_one_finite_cost_for_each_candidate": (Flat, Careless),
    "test_problems_do_not_influence_each_other": (Sociable,),
    "test_candidates_do_not_influence_each_other": (Competitive,),
    "test_it_reads_what_it_says": (Curious, Forgiving),
    "test_gradients_are_finite": (Rooted,),
    "test_the_goal_costs_least": (Contrary,),
}


def test_every_law_is_tried() -> None:
    laws = {name for name in dir(ObjectiveConformance) if name.startswith("test_")}
    assert laws == set(LAWS)


@pytest.mark.parametrize(("law", "kind"), [(law, kind) for law in LAWS for kind in LAWS[law]])
def test_who_breaks_a_law_is_found(law: str, kind: Callable[[], Objective]) -> None:
    getattr(Suite(Lawful), law)()
    with pytest.raises((AssertionError, KeyError, TypeError)):
        getattr(Suite(kind), law)()


def test_the_motion_is_the_same_every_time() -> None:
    first, again = (Suite(Lawful).setup()[1] for _ in range(2))
    assert torch.equal(first.actions, again.actions)
    assert torch.equal(first.goal["latent"], again.goal["latent"])
