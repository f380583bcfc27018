"""Heads: what a model with them predicts beside the rest, and what they leave as it is."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from dexworld.world_models.base import Observation
from dexworld.world_models.conformance import WorldModelConformance
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.heads import REWARD, VALUE, Heads, HeadsConfig
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.points import PointLayout, PointSet
from dexworld.world_models.predictors import PredictorConfig
from dexworld.world_models.pretrained import shipped_checkpoints

SMALL = HeadsConfig(width=8, depth=1, octaves=2)


def make(heads: HeadsConfig | None = SMALL, members: int = 2) -> LatentWorldModel:
    """Return a small model with random weights, which are the same with heads and without."""
    torch.manual_seed(0)
    model = LatentWorldModel(
        LatentConfig(
            {"place": (2,), "speed": (3,)},
            (-1.0, -1.0),
            (1.0, 1.0),
            chunk=2,
            features=4,
            points=PointLayout((PointSet("agent", 1, "place"),)),
            encoder=EncoderConfig(width=8, depth=1),
            predictor=PredictorConfig(width=8, depth=1, history=3, members=members),
            heads=heads,
        )
    )
    model.fit(observed(16))
    for name, weights in model.named_parameters():
        generator = torch.Generator().manual_seed(sum(map(ord, name)))
        nn.init.normal_(weights, std=0.02 if "skip" in name else 0.2, generator=generator)
    if model.heads is not None:
        model.heads.fit(torch.tensor([1.0, 5.0]))
    return model.eval()


def observed(rows: int) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return {
        "place": torch.rand(rows, 2, generator=generator) - 0.5,
        "speed": torch.rand(rows, 3, generator=generator),
    }


def actions_for(model: LatentWorldModel, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(2)
    return 2.0 * torch.rand((*shape, *model.action_space.shape), generator=generator) - 1.0


class TestModelWithHeads(WorldModelConformance):
    tolerance = 1e-5

    def make_model(self) -> LatentWorldModel:
        return make()

    def make_observation(self, batch: int) -> Observation:
        return observed(batch)


def test_a_model_predicts_reward_and_value_where_it_has_heads() -> None:
    assert {REWARD, VALUE} & make(None).predicts == set()
    model = make()
    assert model.predicts == {LATENT, "agent", "disagreement", REWARD, VALUE}
    state = model.encode(observed(3))
    assert state[REWARD].shape == state[VALUE].shape == (3,)
    found = model.rollout(state, actions_for(model, 3, 4, 5), {VALUE})
    assert found[VALUE].shape == (3, 4, 5) and found[VALUE].std() > 0


def test_heads_change_nothing_else() -> None:
    plain, model = make(None), make()
    actions = actions_for(model, 3, 4, 5)
    expected = plain.rollout(plain.encode(observed(3)), actions)
    found = model.rollout(model.encode(observed(3)), actions)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


def test_predictions_of_an_ensemble_are_the_means_of_its_members() -> None:
    model, alone = make(), []
    actions = actions_for(model, 2, 3, 2)
    for member in range(2):
        single = make(members=1)
        own, weights = f"predictors.{member}.", model.state_dict()
        chosen = {k: v for k, v in weights.items() if not k.startswith("predictors.")}
        chosen |= {k.replace(own, "predictors.0."): v for k, v in weights.items() if own in k}
        single.load_state_dict(chosen)
        alone.append(single.rollout(single.encode(observed(2)), actions)[VALUE])
    found = model.rollout(model.encode(observed(2)), actions)[VALUE]
    torch.testing.assert_close(found, torch.stack(alone).mean(0))


def test_gradients_reach_the_actions() -> None:
    model = make()
    state = {key: value.double() for key, value in model.encode(observed(1)).items()}
    actions = (0.3 * actions_for(model, 1, 1, 2)).double().requires_grad_()
    model.double()

    def worth(given: Tensor) -> tuple[Tensor, ...]:
        return tuple(model.rollout(state, given, {REWARD, VALUE}).values())

    assert torch.autograd.gradcheck(worth, actions)


def test_numbers_are_in_units_of_the_rewards_that_were_seen() -> None:
    heads = Heads(HeadsConfig(discount=0.75), 3)
    heads.fit(torch.tensor([1.0, 5.0]))
    worth = heads(torch.randn(4, 3), {REWARD, VALUE})
    # New heads say the mean, of all rewards, and of always getting it.
    torch.testing.assert_close(worth[REWARD], torch.full((4,), 3.0))
    torch.testing.assert_close(worth[VALUE], torch.full((4,), 12.0))
    torch.testing.assert_close(heads.rewards(torch.ones(2)), torch.full((2,), 5.0))
    torch.testing.assert_close(heads.values(-torch.ones(2)), torch.full((2,), 4.0))
    heads.fit(torch.full((3,), 2.0))
    assert heads.rewards(torch.zeros(1)).tolist() == [2.0] and heads.deviation == 1.0
    assert not heads(torch.randn(4, 3), {LATENT})


def test_heads_survive_a_save(tmp_path: Path) -> None:
    model = make()
    model.save_pretrained(tmp_path / "model")
    again = LatentWorldModel.from_pretrained(tmp_path / "model")
    assert again.config == model.config and again.config.heads == SMALL
    actions = actions_for(model, 2, 3, 4)
    expected = model.rollout(model.encode(observed(2)), actions)
    for key, value in again.rollout(again.encode(observed(2)), actions).items():
        assert torch.equal(value, expected[key]), key


@pytest.mark.parametrize("name", ["push_t_state", "push_t_state_fine", "push_t_pixels"])
def test_checkpoints_without_heads_load_and_predict_what_they_do_with_new_ones(name: str) -> None:
    model = LatentWorldModel.from_pretrained(shipped_checkpoints()[name])
    assert model.heads is None and VALUE not in model.predicts
    with_heads = LatentWorldModel(dataclasses.replace(model.config, heads=SMALL)).eval()
    missing = with_heads.load_state_dict(model.state_dict(), strict=False).missing_keys
    assert missing and all(key.startswith("heads.") for key in missing)
    seen: dict[str, Tensor] = {
        key: torch.full((1, *shape), 128.0) for key, shape in model.config.observes.items()
    }
    if "pixels" in seen:
        seen["pixels"] = seen["pixels"].byte()
    else:
        seen["keypoints"] += 40.0 * model.predictors[0].template.flatten()
    actions = 0.2 * actions_for(model, 1, 2, 3)
    expected = model.rollout(model.encode(seen), actions)
    found = with_heads.rollout(with_heads.encode(seen), actions)
    for key, value in expected.items():
        assert torch.equal(found[key], value), key


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"discount": 1.0}, r"HeadsConfig\(discount=1.0\) must be in \[0, 1\)"),
        ({"width": 0}, r"width=0\) must be at least 1"),
        ({"octaves": -1}, r"octaves=-1\) must be at least 0"),
        ({"proposals": -1}, r"proposals=-1\) must be at least 0"),
        ({"expectile": 1.0}, r"expectile=1.0\) must be in \(0, 1\)"),
        ({"inertia": -0.1}, r"inertia=-0.1\) must be in \[0, 1\)"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HeadsConfig(**changes)


def test_points_need_other_names() -> None:
    points = PointLayout((PointSet(VALUE, 1, "place"),))
    with pytest.raises(ValueError, match=r"other names than \['value'\]"):
        LatentConfig({"place": (2,)}, (-1.0,), (1.0,), points=points)
