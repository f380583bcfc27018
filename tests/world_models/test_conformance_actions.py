"""The suite finds action maps that break a law."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from dexworld.world_models.actions import Interpolate
from dexworld.world_models.base import ActionMap, State
from dexworld.world_models.conformance_actions import ActionMapConformance

SPACE = Box(np.array([-1.0, 0.0]), np.array([2.0, 5.0]), dtype=np.float64)


class Lawful(Interpolate):
    """Lines through waypoints; the subclasses below break one law each."""

    def __init__(self) -> None:
        super().__init__(SPACE, 3)


class Miscounting(Lawful):
    def to_env(self, decisions: Tensor, state: State) -> Tensor:
        return super().to_env(decisions, state)[:, ::3]


class Overshooting(Lawful):
    def to_model(self, decisions: Tensor, state: State) -> Tensor:
        return super().to_model(1.1 * decisions, state)


class Deaf(Lawful):
    def to_model(self, decisions: Tensor, state: State) -> Tensor:
        heard = decisions.clone()
        heard[:, :, 2] = heard[:, :, 2].detach()
        return super().to_model(heard, state)


class Smoothing(Lawful):
    def to_model(self, decisions: Tensor, state: State) -> Tensor:
        mean = decisions.mean(dim=2, keepdim=True).expand_as(decisions)
        return super().to_model(torch.lerp(decisions, mean, 0.1), state)


class Sociable(Lawful):
    def to_model(self, decisions: Tensor, state: State) -> Tensor:
        mean = decisions.mean(dim=0, keepdim=True).expand_as(decisions)
        return super().to_model(torch.lerp(decisions, mean, 0.1), state)


class Copying(Lawful):
    def to_model(self, decisions: Tensor, state: State) -> Tensor:
        mean = decisions.mean(dim=1, keepdim=True).expand_as(decisions)
        return super().to_model(torch.lerp(decisions, mean, 0.1), state)


class Secretive(Lawful):
    def to_env(self, decisions: Tensor, state: State) -> Tensor:
        return super().to_env(decisions, state) * 0.99


class Forgetful(Lawful):
    def to_model(self, decisions: Tensor, state: State) -> Tensor:
        return super().to_model(decisions, {"command": torch.zeros_like(state["command"])})


class Suite(ActionMapConformance):
    model_space = SPACE

    def __init__(self, kind: Callable[[], ActionMap]) -> None:
        self.kind = kind

    def make_action_map(self) -> ActionMap:
        return self.kind()


LAWS = {
    "test_shapes": (Miscounting,),
    "test_actions_are_inside_the_bounds": (Overshooting,),
    "test_gradients_reach_every_decision": (Deaf, Sociable, Copying),
    "test_later_decisions_cannot_change_earlier_actions": (Smoothing,),
    "test_rows_do_not_influence_each_other": (Sociable, Copying),
    "test_model_and_environment_get_the_same": (Secretive,),
    "test_mapping_goes_on_where_it_left_off": (Forgetful,),
}


def test_every_law_is_tried() -> None:
    laws = {name for name in dir(ActionMapConformance) if name.startswith("test_")}
    assert laws == set(LAWS)


@pytest.mark.parametrize(("law", "kind"), [(law, kind) for law in LAWS for kind in LAWS[law]])
def test_who_breaks_a_law_is_found(law: str, kind: Callable[[], ActionMap]) -> None:
    getattr(Suite(Lawful), law)()
    with pytest.raises(AssertionError):
        getattr(Suite(kind), law)()


def test_an_environment_with_actions_of_its_own_may_differ() -> None:
    class Apart(Suite):
        shares_space = False

    Apart(Secretive).test_model_and_environment_get_the_same()
