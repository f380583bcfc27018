"""The suite finds world models that break a law."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.planners.linear_quadratic import LinearModel, bounded_problem
from dexworld.world_models.base import Observation, State, WorldModel
from dexworld.world_models.conformance import WorldModelConformance

Predictions = dict[str, Tensor]


class Lawful(LinearModel):
    """A linear model; the subclasses below break one law each."""

    def __init__(self) -> None:
        model = bounded_problem().model
        super().__init__(model.a, model.b, model.action_space)

    def rollout(self, state: State, actions: Tensor, keys: Any = None) -> Predictions:
        predictions = super().rollout(state, actions, keys)
        return {key: self.changed(value, actions) for key, value in predictions.items()}

    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value


class Flat(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value[:, :, 1:]


class Generous(Lawful):
    def rollout(self, state: State, actions: Tensor, keys: Any = None) -> Predictions:
        return super().rollout(state, actions)


class Drifting(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value + 1e-6


class Growing(Lawful):
    def step(self, state: State, actions: Tensor) -> State:
        return {**super().step(state, actions), "history": actions}


class Sociable(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value + 0.1 * value.mean(dim=0)


class Competitive(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value - value.mean(dim=1, keepdim=True)


class Clairvoyant(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value + 0.1 * actions.mean(dim=(2, 3))[:, :, None, None]


class Deaf(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return torch.zeros_like(value)


class Noisy(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value + torch.rand_like(value)


class Nostalgic(Lawful):
    def encode(
        self, observation: Any, previous: Any = None, actions: Any = None, episode_start: Any = None
    ) -> State:
        seen = super().encode(observation)
        return seen if previous is None else {"state": seen["state"] + 0.1 * previous["state"] + 1}


class Detached(Lawful):
    def changed(self, value: Tensor, actions: Tensor) -> Tensor:
        return value.detach()


class Cleaning(Lawful):
    """Broken actions count as none, as MuJoCo has it."""

    def rollout(self, state: State, actions: Tensor, keys: Any = None) -> Predictions:
        return super().rollout(state, actions.nan_to_num(0.0, 0.0, 0.0), keys)


class Halting(Lawful):
    def step(self, state: State, actions: Tensor) -> State:
        return super().step(state, actions.nan_to_num(0.0, 0.0, 0.0))


class Raising(Lawful):
    def step(self, state: State, actions: Tensor) -> State:
        if not torch.isfinite(actions).all():
            raise ArithmeticError
        return super().step(state, actions)


class Gullible(Lawful):
    """Takes states and actions as they come."""

    def rollout(self, state: State, actions: Tensor, keys: Any = None) -> Predictions:
        states, current = [], state["state"][:, None]
        for action in actions.unbind(2):
            current = self._next(current, action[..., :10])
            states.append(current)
        return {"state": torch.stack(states, 2)}


class Suite(WorldModelConformance):
    def __init__(self, kind: Callable[[], WorldModel]) -> None:
        self.kind = kind

    def make_model(self) -> WorldModel:
        return self.kind()

    def make_observation(self, batch: int) -> Observation:
        return {"state": np.random.default_rng(0).normal(size=(batch, 8))}


LAWS: dict[str, tuple[Callable[[], WorldModel], ...]] = {
    "test_shapes": (Flat,),
    "test_keys_choose_the_predictions": (Generous,),
    "test_rollout_equals_chained_step": (Drifting,),
    "test_a_step_keeps_the_form_of_a_state": (Growing,),
    "test_problems_do_not_influence_each_other": (Sociable,),
    "test_candidates_do_not_influence_each_other": (Competitive,),
    "test_later_actions_cannot_change_earlier_predictions": (Clairvoyant,),
    "test_actions_matter": (Deaf,),
    "test_nothing_is_random_after_encode": (Noisy,),
    "test_rows_that_start_an_episode_forget": (Nostalgic,),
    "test_gradients_flow_where_promised": (Detached, Clairvoyant, Sociable),
    "test_an_action_that_is_not_finite_spoils_its_own_candidate_alone": (
        Cleaning,
        Halting,
        Raising,
        Sociable,
        Competitive,
    ),
    "test_bad_input_is_refused": (Gullible,),
}


def test_every_law_is_tried() -> None:
    laws = {name for name in dir(WorldModelConformance) if name.startswith("test_")}
    assert laws == set(LAWS)


@pytest.mark.parametrize(("law", "kind"), [(law, kind) for law in LAWS for kind in LAWS[law]])
def test_who_breaks_a_law_is_found(law: str, kind: Callable[[], WorldModel]) -> None:
    getattr(Suite(Lawful), law)()
    with pytest.raises((AssertionError, ArithmeticError, KeyError)):
        getattr(Suite(kind), law)()
