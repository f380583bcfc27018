"""The adapter over decisions, and the conformance suite on toys."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from dexworld.planners.linear_quadratic import LinearModel, bounded_problem
from dexworld.planners.recorder import Recorder
from dexworld.world_models.actions import Hold
from dexworld.world_models.base import (
    ROLLOUT,
    STEP,
    Mapped,
    Observation,
    WorldModel,
    check_actions,
    check_keys,
    check_observation,
    check_state,
    decoder_of,
    name_of,
    take,
)
from dexworld.world_models.conformance import WorldModelConformance


def linear_model() -> LinearModel:
    return bounded_problem().model


class TestLinearModel(WorldModelConformance):
    def make_model(self) -> WorldModel:
        return linear_model()

    def make_observation(self, batch: int) -> Observation:
        return {"state": np.random.default_rng(0).normal(size=(batch, 8))}


class TestMappedModel(TestLinearModel):
    def make_model(self) -> WorldModel:
        return Mapped(linear_model(), Hold(linear_model().action_space, 3))


def test_a_mapped_model_predicts_after_each_decision() -> None:
    model = linear_model()
    mapped = Mapped(model, Hold(model.action_space, 3))
    state = bounded_problem().state
    decisions = torch.rand(8, 2, 4, 10, generator=torch.Generator().manual_seed(0)).double()
    every = model.rollout(state, decisions.repeat_interleave(3, dim=2))["state"]
    torch.testing.assert_close(mapped.rollout(state, decisions)["state"], every[:, :, 2::3])
    assert mapped.observes == model.observes
    assert mapped.device == model.device
    assert mapped.differentiable


class Paying(LinearModel):
    """A linear model that pays each action its first number."""

    predicts = frozenset({"state", "reward"})

    def rollout(self, state, actions, keys=None):  # type: ignore[no-untyped-def]
        found = {**super().rollout(state, actions), "reward": actions[..., 0]}
        return {key: found[key] for key in keys or self.predicts}

    def step(self, state, actions):  # type: ignore[no-untyped-def]
        return {**super().step(state, actions), "reward": actions[:, 0]}


def test_a_decision_is_paid_what_its_actions_are_paid() -> None:
    model, state = linear_model(), bounded_problem().state
    paying = Paying(model.a, model.b, model.action_space)
    mapped = Mapped(paying, Hold(model.action_space, 5))
    decisions = torch.rand(8, 2, 4, 10, generator=torch.Generator().manual_seed(0)).double()
    found = mapped.rollout(state, decisions, {"reward"})
    assert set(found) == {"reward"}
    torch.testing.assert_close(found["reward"], 5 * decisions[..., 0])
    for time in range(4):
        state = mapped.step(state, decisions[:, 1, time])
        assert torch.equal(state["reward"], found["reward"][:, 1, time])
    twice = Mapped(mapped, Hold(model.action_space, 2))
    torch.testing.assert_close(
        twice.step(state, decisions[:, 0, 0])["reward"], 10 * decisions[:, 0, 0, 0]
    )


class Drawing(LinearModel):
    def pictures(self, latent: torch.Tensor) -> torch.Tensor:
        return latent[:, None, None, None].expand(-1, 1, 1, 3).byte()


def test_frames_are_drawn_by_the_model_inside_all_wrappers() -> None:
    model = linear_model()
    drawing = Drawing(model.a, model.b, model.action_space)
    assert decoder_of(drawing) is drawing
    hold = Hold(model.action_space, 2)
    assert decoder_of(Recorder(Mapped(Mapped(drawing, hold), hold))) is drawing
    with pytest.raises(TypeError, match=r"LinearModel draws no pictures .*: give pictures="):
        decoder_of(Recorder(Mapped(model, hold)))


def test_a_mapped_model_tells_the_model_what_was_executed() -> None:
    seen = []

    class Listening(LinearModel):
        def encode(self, observation, previous=None, actions=None, episode_start=None):  # type: ignore[no-untyped-def]
            seen.append(actions)
            return super().encode(observation)

    model = linear_model()
    mapped = Mapped(Listening(model.a, model.b, model.action_space), Hold(model.action_space, 3))
    observation = {"state": np.zeros((2, 8))}
    decisions = torch.rand(2, 1, 10, generator=torch.Generator().manual_seed(0)).double()
    state = mapped.encode(observation)
    mapped.encode(observation, state, decisions)
    assert seen[0] is None
    torch.testing.assert_close(seen[1], decisions.repeat_interleave(3, dim=1))


def test_take_picks_rows() -> None:
    state = {"a": torch.arange(3), "b": torch.arange(6).view(3, 2)}
    assert take(state, torch.tensor([2]))["b"].tolist() == [[4, 5]]
    assert take(state, torch.tensor([True, False, True]))["a"].tolist() == [0, 2]


def test_errors_say_what_there_is() -> None:
    model = linear_model()
    with pytest.raises(KeyError, match=r"Wish reads \['hope'\].*it predicts \['state'\]"):
        check_keys({"hope", "state"}, model, "Wish")
    with pytest.raises(KeyError, match=r"lacks \['state'\].*it has \['pixels'\]"):
        check_observation({"pixels": 0}, model)
    with pytest.raises(ValueError, match=r"decisions have shape \(2, 3\).*\(10,\)"):
        check_actions(torch.zeros(2, 3), Box(-1, 1, (10,)), "decisions")


def test_messages_name_the_model_behind_the_maps() -> None:
    model = linear_model()
    hold = Hold(model.action_space, 3)
    mapped = Mapped(Mapped(model, hold), hold)
    assert name_of(model) == name_of(mapped) == "LinearModel"
    assert repr(Mapped(model, hold)) == "Mapped(LinearModel, Hold)"
    with pytest.raises(KeyError, match="which LinearModel does not predict"):
        check_keys({"hope"}, mapped, "Wish")
    with pytest.raises(KeyError, match="which LinearModel observes"):
        check_observation({"pixels": 0}, mapped)


@pytest.mark.parametrize(
    ("shape", "dims", "message"),
    [
        ((3, 4, 5, 2), ROLLOUT, None),
        ((3, 2), STEP, None),
        ((3, 4, 5, 2), None, None),
        ((3, 4, 5, 3), ROLLOUT, "that of the action space"),
        ((), STEP, "that of the action space"),
        ((3, 4, 2), ROLLOUT, r"\(3, 4, 2\); they must be \[B, N, T, A\], at least one of each"),
        ((3, 4, 2), STEP, r"must be \[B, A\]"),
        ((3, 4, 0, 2), ROLLOUT, "at least one of each"),
        ((3, 0, 5, 2), ROLLOUT, "at least one of each"),
        ((1, 4, 5, 2), ROLLOUT, r"are for 1 problems .*state\['x'\] is for \(3,\)"),
        ((1, 2), STEP, "both must be for the same number"),
    ],
)
def test_shapes_of_actions(shape: tuple[int, ...], dims: str | None, message: str | None) -> None:
    state = {"x": torch.zeros(3, 7)}
    if message is None:
        check_actions(torch.zeros(shape), Box(-1, 1, (2,)), dims=dims, state=state)
        return
    with pytest.raises(ValueError, match=message):
        check_actions(torch.zeros(shape), Box(-1, 1, (2,)), dims=dims, state=state)


def test_shapes_of_states() -> None:
    model, state = linear_model(), {"state": torch.zeros(3, 8), "more": torch.zeros(3)}
    check_state(state, {"state": (8,)}, model)
    with pytest.raises(KeyError, match=r"lacks \['physics'\], which states of LinearModel carry"):
        check_state(state, {"physics": (9,)}, model)
    with pytest.raises(
        ValueError, match=r"has shape \(3, 8\); states of LinearModel have \(B, 9\)"
    ):
        check_state(state, {"state": (9,)}, model)
    with pytest.raises(ValueError, match=r"have \(B\)"):
        check_state({"state": torch.zeros(())}, {"state": ()}, model)
