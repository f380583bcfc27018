"""Rolling DexWM out: the fast path against the plain one, and what is remembered between calls."""

from __future__ import annotations

from collections.abc import Collection

import pytest
import torch
from torch import Tensor

from dexworld.experiments.plain_dexwm import PlainDexWM, Search, count_operations, shared_flops
from dexworld.planners.base import Plan
from dexworld.planners.cem import CEM
from dexworld.planners.objectives import LatentDistance
from dexworld.world_models.base import State, Wrapper
from dexworld.world_models.dexwm import FRAMES, INTO, DexWM
from tests.world_models.toy_dexwm import (
    HEAD,
    SIZES,
    frames,
    movements,
    randomise,
    seen_states,
    toy_model,
)

TOLERANCES = {torch.float64: 1e-9, torch.float32: 1e-4}
CONTEXT = SIZES["context"]


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("feeds", [True, False])
@pytest.mark.parametrize("count", [1, 2, 4, 6])
@pytest.mark.parametrize("horizon", [1, 3, 7])
def test_the_fast_path_is_the_plain_one(
    count: int, horizon: int, feeds: bool, dtype: torch.dtype
) -> None:
    model = toy_model("slots", dtype, feeds_actions=feeds)
    between = movements(1, count - 1, seed=3).to(dtype)
    seen, state = seen_states(model, count, between=between)
    moved = movements(1, 20, horizon).to(dtype)
    with torch.no_grad():
        fast = model.rollout(state, moved)
    latents, points = PlainDexWM(model).rollout(
        seen[0, -CONTEXT:], moved[0], between[0, -CONTEXT + 1 :] if feeds else None
    )
    tolerance = TOLERANCES[dtype]
    torch.testing.assert_close(fast["latent"][0], latents, rtol=tolerance, atol=tolerance)
    goal = frames(1, seed=5)[:, 0].to(dtype)
    costs = [(each - goal).square().mean((1, 2, 3)) for each in (fast["latent"][0], latents)]
    assert costs[0].topk(5).indices.tolist() == costs[1].topk(5).indices.tolist()
    assert torch.equal(fast["keypoints"][0], points[:, :, HEAD.maps // 2 :].to(dtype))


def test_actions_between_frames_matter_where_they_are_fed() -> None:
    # Or the comparison above would compare nothing.
    model = toy_model()
    seen, moved = frames(1, 3), movements(1, 2, 1)
    found = [
        PlainDexWM(model).rollout(seen[0], moved[0], between)[0]
        for between in (None, movements(2, seed=3))
    ]
    assert (found[0] - found[1]).abs().max() > 1e-3


class Plain(Wrapper):
    """Plans by the public controller's way, from all frames that were seen and what was done."""

    def __init__(self, model: DexWM) -> None:
        self.model = model
        self.plain = PlainDexWM(model)
        self.seen: list[Tensor] = []
        self.done: list[Tensor] = []

    def rollout(
        self, state: State, actions: Tensor, keys: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        seen = torch.cat(self.seen[-CONTEXT:])
        between = torch.cat(self.done[-CONTEXT + 1 :]) if self.done else None
        return {"latent": self.plain.rollout(seen, actions[0].to(seen), between)[0][None]}


class Elites(LatentDistance):
    """The same cost, which remembers the five best candidates of every iteration."""

    found: list[list[int]]

    def cost(self, *given: object) -> Tensor:
        costs: Tensor = super().cost(*given)  # type: ignore[arg-type]
        self.found.append(costs[0].topk(min(5, costs.shape[1]), largest=False).indices.tolist())
        return costs


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_plans_stay_the_same_over_many_steps_of_control(dtype: torch.dtype) -> None:
    # Plan, execute, look, encode, plan on: further than the context goes back.
    fast = toy_model("slots", dtype)
    plain = Plain(toy_model("slots", dtype))
    planner = CEM(5, 3, samples=24, elites=5, kept=0, std_floor=0.0, smoothing=0.0)
    pictures = frames(1, 7, seed=8).to(dtype)
    goal = fast.encode({"features": frames(1, seed=5)[:, 0].to(dtype)})
    state: State = fast.encode({"features": pictures[:, 0]})
    plain.seen.append(pictures[:, 0])
    tolerance, start = TOLERANCES[dtype], None
    for step in range(1, 7):
        plans: list[Plan] = []
        elites: list[list[list[int]]] = []
        for model in (fast, plain):
            objective = Elites()
            object.__setattr__(objective, "found", [])
            seeds = torch.tensor([step])
            plans.append(planner.plan(model, objective, state, goal, seeds=seeds, warm_start=start))
            elites.append(objective.found)
        assert elites[0] == elites[1] and len(elites[0]) == 3
        torch.testing.assert_close(plans[0].cost, plans[1].cost, rtol=tolerance, atol=tolerance)
        torch.testing.assert_close(
            plans[0].actions, plans[1].actions, rtol=tolerance, atol=tolerance
        )
        executed = plans[0].actions[:, :1]
        state = fast.encode({"features": pictures[:, step]}, state, executed)
        plain.seen.append(pictures[:, step])
        plain.done.append(executed[0].to(dtype))


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_float32_is_close_to_float64(positions: str) -> None:
    moved, found = movements(1, 6, 6), []
    between = movements(1, 4, seed=3)
    for dtype in TOLERANCES:
        model = toy_model(positions, dtype)
        _, state = seen_states(model, 5, between=between.to(dtype))
        with torch.no_grad():
            found.append(model.rollout(state, moved.to(dtype))["latent"].double())
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-4)


def test_gradients_take_the_same_path() -> None:
    model = toy_model()
    _, state = seen_states(model, 2, problems=2)
    moved = movements(2, 3, 3).requires_grad_()
    with_gradient = model.rollout(state, moved)
    with torch.no_grad():
        without = model.rollout(state, moved.detach())
    for key in ("latent", "soft_keypoints"):
        torch.testing.assert_close(with_gradient[key], without[key], rtol=1e-10, atol=1e-10)
    cost = with_gradient["latent"].square().mean() + 0.01 * with_gradient["soft_keypoints"].mean()
    (gradient,) = torch.autograd.grad(cost, moved)

    def costs(actions: Tensor) -> float:
        predicted = model.rollout(state, actions, ["latent", "soft_keypoints"])
        return float(
            predicted["latent"].square().mean() + 0.01 * predicted["soft_keypoints"].mean()
        )

    for place in ((0, 0, 0, 0), (1, 2, 1, 5), (0, 1, 2, 11)):
        step = torch.zeros_like(moved)
        step[place] = 1e-5
        with torch.no_grad():
            slope = (costs(moved + step) - costs(moved - step)) / 2e-5
        assert abs(slope - float(gradient[place])) < 1e-6 * max(1.0, abs(slope))
    assert (gradient != 0).all()


def test_what_candidates_share_is_computed_once_for_a_belief() -> None:
    model = toy_model("slots", torch.float32)
    _, state = seen_states(model, 1)
    moved = movements(1, 5, 2).float()
    with torch.no_grad():
        counts = [
            count_operations(lambda: model.rollout(state, moved, ["latent"])) for _ in range(2)
        ]
    assert counts[1] < counts[0]
    before = model.rollout(state, moved, ["latent"])["latent"]
    other = {**state, FRAMES: state[FRAMES] + 1}
    assert not torch.allclose(before, model.rollout(other, moved, ["latent"])["latent"])


def test_operations_are_those_of_the_formula() -> None:
    model = toy_model("slots", torch.float32)
    state = model.encode({"features": frames(1)[:, 0].float()})
    search = Search(candidates=6, horizon=3)
    moved = movements(1, 6, 3).float()
    with torch.no_grad():
        counted = count_operations(lambda: model.rollout(state, moved, ["latent", "keypoints"]))
    expected = shared_flops(model.config.predictor, HEAD, SIZES["patches"], search, maps=2, patch=4)
    assert counted == pytest.approx(expected, rel=0.01)


def test_keys_of_predictions_stay_in_the_rotary_scheme() -> None:
    # Rolled out at once, with keys kept, as with the belief moved on and all keys computed anew.
    model = toy_model("rotary")
    _, state = seen_states(model, 2)
    moved = movements(1, 1, 6)
    with torch.no_grad():
        at_once = model.rollout(state, moved, ["latent"])["latent"][:, 0]
        for number in range(6):
            state = model.step(state, moved[:, 0, number])
            assert (state["latent"] - at_once[:, number]).abs().max() < 1e-12


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_other_weights_make_other_keys(positions: str) -> None:
    # Any single weight may have changed since what candidates share was computed.
    model = toy_model(positions)
    _, state = seen_states(model, 2, between=movements(1, 1, seed=3))
    moved = movements(1, 2, 2)
    with torch.no_grad():
        for name, parameter in model.predictor.named_parameters():
            model.rollout(state, moved, ["latent"])
            parameter.add_(0.1)
            kept = model.rollout(state, moved, ["latent"])["latent"]
            anew = model.rollout({**state, FRAMES: state[FRAMES].clone()}, moved, ["latent"])
            assert torch.equal(kept, anew["latent"]), name
    randomise(model, seed=9)
    assert not torch.allclose(kept, model.rollout(state, moved, ["latent"])["latent"])


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_teacher_forcing_and_rollout_say_the_same_of_a_full_context(positions: str) -> None:
    model = toy_model(positions)
    seen, moved = frames(1, 4), movements(1, 4)
    state = {FRAMES: seen, INTO: torch.nn.functional.pad(moved[:, :-1], (0, 0, 1, 0))}
    with torch.no_grad():
        forced = model.predictor(seen, moved)[:, -1]
        rolled = model.rollout(state, moved[:, None, -1:], ["latent"])["latent"][:, 0, 0]
    torch.testing.assert_close(forced, rolled, rtol=1e-10, atol=1e-10)
