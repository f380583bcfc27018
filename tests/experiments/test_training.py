"""What is trained on what: models with their first weights, windows, frozen encoders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from dexworld.experiments.schema import schema
from dexworld.experiments.training import (
    DataConfig,
    TrainConfig,
    chosen_episodes,
    column,
    make_data,
    make_model,
    make_world_model,
    measure,
    open_dataset,
    training_settings,
    with_defaults,
)
from dexworld.world_models.configuration import from_json
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.latent import LATENT, LatentConfig, LatentWorldModel
from dexworld.world_models.predictors import PredictorConfig
from dexworld.world_models.training_settings import TrainingSettings

Configure = Callable[..., TrainConfig]


@pytest.fixture
def pushed(pushes: Callable[..., Path], tmp_path: Path) -> Path:
    return pushes(tmp_path / "data")


@pytest.fixture
def configured(pushed: Path) -> Configure:
    def configure(data: dict[str, Any] = {}, path: Path = pushed, **changes: Any) -> TrainConfig:  # noqa: B006
        model = changes.pop("model", {})
        points = [
            {"name": "agent", "count": 1, "label": "proprio"},
            {"name": "keypoints", "count": 3, "label": "keypoints"},
        ]
        small = {
            "features": 2,
            "points": {"sets": points, "centre": 256.0, "scale": 256.0},
            "encoder": {"width": 8, "depth": 1},
            "predictor": {"width": 8, "depth": 1, "history": 3},
            "loss": {"horizons": [2]},
        }
        return TrainConfig(
            data=DataConfig(str(path), **{"frames": 3, "batch_size": 8, **data}),
            model={**small, **model},
            **changes,
        )

    return configure


SEES_PIXELS = {"observes": ["pixels"]}
CONVOLUTIONAL = {"kind": "convolutional", "width": 4, "depth": 1, "maps": 2}


def weights(model: LatentWorldModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(some: dict[str, Tensor], others: dict[str, Tensor]) -> bool:
    return all(torch.equal(tensor, others[name]) for name, tensor in some.items())


def made(config: TrainConfig) -> LatentWorldModel:
    return make_model(config, open_dataset(config))


# Names and defaults


def test_observations_have_columns() -> None:
    names = ["proprio", "pixels", "pixels_wrist"]
    expected = ["observation.proprio", "observation.images.top", "observation.images.wrist"]
    assert [column(name) for name in names] == expected


@dataclass(frozen=True)
class Part:
    size: int = 3
    names: tuple[str, ...] = ("a",)


@dataclass(frozen=True)
class Whole:
    needed: int
    part: Part = field(default_factory=Part)
    perhaps: Part | None = None
    scale: float = 2.0


def test_what_is_not_given_is_the_default() -> None:
    complete = with_defaults(Whole, {"needed": 1, "perhaps": {"size": 5}})
    assert from_json(Whole, complete) == Whole(1, Part(), Part(5))
    complete = with_defaults(Whole, {"part": {"names": ["x"]}, "unknown": 1})
    assert complete["part"] == {"size": 3, "names": ["x"]} and complete["unknown"] == 1
    assert "needed" not in complete  # that is for from_json to say
    assert with_defaults(Whole, 3) == 3


def test_settings_of_the_loop_are_checked() -> None:
    config = TrainConfig(training=schema(TrainingSettings)(steps=7))
    assert training_settings(config) == TrainingSettings(steps=7)
    config.training.steps = 0
    with pytest.raises(ValueError, match=r"TrainingSettings\(steps=0\)"):
        training_settings(config)


# First weights


def test_first_weights_follow_from_the_seed(configured: Configure) -> None:
    before = torch.random.get_rng_state()
    first = weights(made(configured()))
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(3)
    assert same(first, weights(made(configured())))
    assert not same(first, weights(made(configured(seed=1))))


def test_a_model_measures_the_episodes_that_it_is_trained_on(configured: Configure) -> None:
    config = configured({"max_episodes": 4, "validation_fraction": 0.5})
    dataset = open_dataset(config)
    train, _ = chosen_episodes(config, dataset)
    seen = [dataset.episode(int(index)) for index in train]
    places = np.concatenate([frames["observation.proprio"] for frames in seen])
    model = make_model(config, dataset)
    assert model.observes == {"proprio", "keypoints"}
    assert model.config.observes == {"proprio": (2,), "keypoints": (6,)}
    np.testing.assert_allclose(model.encoder.mean[6:], places.mean(0), rtol=1e-4)
    np.testing.assert_allclose(model.encoder.deviation[6:], places.std(0, ddof=1), rtol=1e-3)


def test_a_model_begins_with_the_weights_of_another(configured: Configure, tmp_path: Path) -> None:
    first = made(configured())
    first.save_pretrained(tmp_path / "first")
    again = made(configured(seed=1, initial=str(tmp_path / "first")))
    assert same(weights(first), weights(again))
    # What has other shapes is new, and what is measured of the data is measured.
    wide = {"predictor": {"kind": "planar_contact", "width": 16, "depth": 1, "history": 3}}
    config = configured(seed=1, initial=str(tmp_path / "first"), model=wide)
    wider = made(config)
    assert same(first.encoder.state_dict(), wider.encoder.state_dict())
    assert wider.predictors[0].template.norm() > 0.1
    assert all(each.requires_grad for each in wider.parameters())


def test_weights_that_do_not_fit_are_refused(configured: Configure, tmp_path: Path) -> None:
    made(configured()).save_pretrained(tmp_path / "first")
    initial = str(tmp_path / "first")
    other = {"encoder": {"width": 6, "depth": 1}}
    with pytest.raises(ValueError, match=r"do not fit the model.*encoder\..*Choose the same"):
        made(configured(initial=initial, freeze_encoder=True, model=other))
    made(configured(initial=initial, model=other))
    with pytest.raises(ValueError, match="needs the model whose encoder is kept: initial="):
        made(configured(freeze_encoder=True))
    with pytest.raises(FileNotFoundError, match="Check the path"):
        made(configured(initial=str(tmp_path / "nothing")))


def test_bounds_of_actions_may_be_given(configured: Configure) -> None:
    model = made(configured(model={"action_low": [-2.0, -3.0], "action_high": [1.0, 4.0]}))
    assert model.action_space.low.tolist() == [-2.0, -3.0]
    assert model.action_space.high.tolist() == [1.0, 4.0]


# What cannot be learned


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"data": {"observes": ["speed"]}}, KeyError, r"no observation.speed; it has .*proprio"),
        ({"model": {"featurs": 3}}, ValueError, "unknown key 'featurs'. Did you mean 'features'"),
        (
            {"model": {"predictor": {"widht": 3}}},
            ValueError,
            "model.predictor has an unknown key 'widht'. Did you mean 'width'",
        ),
        ({"model": {"features": "3"}}, ValueError, "model.features must be int, and is '3'"),
        ({"model": {"loss": {"horizons": [3]}}}, ValueError, r"windows have 3: give them 4"),
        (
            {"model": {"points": {"sets": [{"name": "a", "count": 1, "label": "hand"}]}}},
            KeyError,
            r"no observation.hand; .* choose data.observes and model.points",
        ),
        (
            {"model": {"points": {"sets": [{"name": "a", "count": 2, "label": "proprio"}]}}},
            ValueError,
            r"'a' has 2 points, and observation.proprio of .* has 2 numbers",
        ),
        (
            {"model": {"decoder": {"size": 16}}},
            ValueError,
            r"size=16, but the frames.*\(32, 32, 3\)",
        ),
        ({"data": {"max_episodes": 9}}, ValueError, "max_episodes=9: .* has 8 episodes"),
        ({"data": {"max_episodes": 0}}, ValueError, "max_episodes=0: .* has 8 episodes"),
        ({"data": {"max_episodes": 1}}, ValueError, "1 episodes are too few"),
        ({"data": {"validation_fraction": 0.0}}, ValueError, "nothing to measure on"),
    ],
)
def test_what_cannot_be_learned_is_told(
    configured: Configure, changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        made(configured(**changes))


def test_pictures_cannot_be_learned_without_frames(
    configured: Configure, pushes: Callable[..., Path], tmp_path: Path
) -> None:
    blind = pushes(tmp_path / "blind", pictures=False)
    with pytest.raises(KeyError, match=r"no observation.images.top;.*images=png"):
        made(configured(path=blind, model={"decoder": {}}))


def test_a_dataset_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere"):
        open_dataset(TrainConfig(data=DataConfig(str(tmp_path / "nowhere"))))


# Windows


def test_windows_hold_what_is_observed_and_labelled(configured: Configure) -> None:
    config = configured(SEES_PIXELS | {"gaps": [2, 2]}, model={"encoder": CONVOLUTIONAL})
    dataset = open_dataset(config)
    model, data = make_world_model(config, dataset)
    windows = data.batches(0, 0, 1)
    assert set(windows.frames) == {"pixels", "proprio", "keypoints"}
    assert windows.actions.shape == (8, 2, 2, 2) and windows.past.shape == (8, 3, 2)
    # The dataset's own rows, of episodes to train on.
    train, validate = chosen_episodes(config, dataset)
    columns = dataset.columns(["observation.proprio", "episode_index"])
    for row, start in enumerate(windows.start.tolist()):
        rows = columns["observation.proprio"][[start, start + 2, start + 4]]
        np.testing.assert_array_equal(windows.frames["proprio"][row], rows)
        assert columns["episode_index"][start] in train
    # Frames of the others, one step apart, are measured.
    assert data.validation.actions.shape[2] == 1
    starts = data.validation.start.numpy()
    assert set(columns["episode_index"][starts].tolist()) <= set(validate.tolist())
    errors = measure(model, data.validation)
    assert {"latent_1", "agent_5", "keypoints_10_p90", "shuffled_10"} <= set(errors)
    assert data.fingerprint == dataset.fingerprint()
    loss, _ = model.training_loss(windows, 0.0)
    assert loss.isfinite()


def test_measured_windows_are_as_long_as_the_longest_episode_allows(
    configured: Configure, pushes: Callable[..., Path], tmp_path: Path
) -> None:
    lengths = pushes(tmp_path / "lengths", lengths=[8, 40, 9, 10])
    config = configured({"validation_fraction": 0.5}, path=lengths)
    dataset, found = open_dataset(config), set()
    for config.seed in range(4):
        _, validate = chosen_episodes(config, dataset)
        longest = int(dataset.episodes["length"][validate].max())
        _, data = make_world_model(config, dataset)
        assert data.validation.actions.shape[1] == min(25, longest - 1)
        found.add(longest)
    assert 40 in found and len(found) > 1


def test_chunks_are_measured_as_far_as_whole_actions_reach(configured: Configure) -> None:
    config = configured({"gaps": [6, 7]}, model={"chunk": 3})
    model, data = make_world_model(config, open_dataset(config))
    assert data.batches(3, 0, 1).actions.shape[2] == 6
    assert data.validation.actions.shape[1] == 27
    assert "agent_27" in measure(model, data.validation)


@pytest.mark.parametrize(
    ("gaps", "model", "message"),
    [
        ([1], {}, r"data.gaps=\[1\]: give fewest and most"),
        ([3, 2], {}, r"gaps=\(3, 2\), multiple=1\): 1 <= fewest <= most"),
        ([2, 2], {"chunk": 3}, "a multiple between them"),
        ([1, 30], {}, "3 frames 30 steps apart need an episode of 61 frames"),
    ],
)
def test_wrong_gaps_are_told(
    configured: Configure, gaps: list[int], model: dict[str, Any], message: str
) -> None:
    config = configured({"gaps": gaps}, model=model)
    with pytest.raises(ValueError, match=message):
        make_world_model(config, open_dataset(config))


def test_a_cache_of_other_data_is_told(
    configured: Configure, pushed: Path, pushes: Callable[..., Path]
) -> None:
    config = configured()
    make_world_model(config, open_dataset(config))
    pushes(pushed, existing="append")
    with pytest.raises(ValueError, match="was built from other data than"):
        make_world_model(config, open_dataset(config))
    config.data.rebuild_cache = True
    _, data = make_world_model(config, open_dataset(config))
    assert data.fingerprint == Dataset(pushed).fingerprint()


# Frozen encoders


@pytest.mark.parametrize("decoder", [None, {"size": 32, "width": 4}])
def test_a_frozen_encoder_encodes_once(
    configured: Configure, tmp_path: Path, decoder: dict[str, int] | None
) -> None:
    sees = {"encoder": CONVOLUTIONAL}
    first = made(configured(SEES_PIXELS, model=sees))
    first.save_pretrained(tmp_path / "first")
    config = configured(
        SEES_PIXELS,
        initial=str(tmp_path / "first"),
        freeze_encoder=True,
        seed=1,
        model=sees | {"decoder": decoder, "predictor": {"kind": "transformer", "width": 8}},
    )
    dataset = open_dataset(config)
    model, data = make_world_model(config, dataset)
    assert same(weights(first.encoder), model.encoder.state_dict())
    assert not any(each.requires_grad for each in model.encoder.parameters())
    windows = data.batches(0, 0, 1)
    pictures = {"pixels"} if decoder else set()
    assert set(windows.frames) == {LATENT, "proprio", "keypoints"} | pictures
    frames = np.concatenate([each["observation.images.top"] for each in dataset])
    seen = torch.from_numpy(frames[windows.start.numpy() + 1])
    with torch.no_grad():
        expected = first.encoder({"pixels": seen})
    torch.testing.assert_close(windows.frames[LATENT][:, 1], expected)
    loss, terms = model.training_loss(windows, 0.0)
    loss.backward()
    assert "variance" not in terms and ("picture" in terms) == bool(decoder)
    trained = {name for name, each in model.named_parameters() if each.requires_grad}
    assert trained == {name for name, each in model.named_parameters() if each.grad is not None}
    assert measure(model, data.validation)["latent_1"] >= 0


def test_latents_of_another_encoder_are_encoded_anew(configured: Configure, tmp_path: Path) -> None:
    found = []
    for seed in (0, 1):
        sees = {"encoder": CONVOLUTIONAL}
        made(configured(SEES_PIXELS, seed=seed, model=sees)).save_pretrained(tmp_path / str(seed))
        config = configured(
            SEES_PIXELS, initial=str(tmp_path / str(seed)), freeze_encoder=True, model=sees
        )
        found.append(make_world_model(config, open_dataset(config))[1])
    one, other = (data.batches(0, 0, 1).frames[LATENT] for data in found)
    assert not torch.allclose(one, other)
    assert found[0].fingerprint != found[1].fingerprint


def test_a_frozen_encoder_does_not_excuse_a_cache_of_other_data(
    configured: Configure, pushed: Path, pushes: Callable[..., Path], tmp_path: Path
) -> None:
    sees = {"observes": ["keypoints"]}
    made(configured(sees)).save_pretrained(tmp_path / "first")
    config = configured(sees, initial=str(tmp_path / "first"), freeze_encoder=True)
    make_world_model(config, open_dataset(config))
    pushes(pushed, existing="append")
    with pytest.raises(ValueError, match=r"other data than .* data\.rebuild_cache=true"):
        make_world_model(config, open_dataset(config))
    config.data.rebuild_cache = True
    _, data = make_world_model(config, open_dataset(config))
    assert data.fingerprint.startswith(Dataset(pushed).fingerprint())


def test_numbers_can_be_encoded_once_too(configured: Configure, tmp_path: Path) -> None:
    sees = {"observes": ["keypoints"]}
    made(configured(sees)).save_pretrained(tmp_path / "first")
    config = configured(sees, initial=str(tmp_path / "first"), freeze_encoder=True)
    _, data = make_world_model(config, open_dataset(config))
    assert set(data.batches(0, 0, 1).frames) == {LATENT, "proprio", "keypoints"}
    made(configured()).save_pretrained(tmp_path / "both")
    config = configured(initial=str(tmp_path / "both"), freeze_encoder=True)
    with pytest.raises(ValueError, match="encodes one observation, not"):
        make_world_model(config, open_dataset(config))


def test_a_given_model_is_not_measured_anew(configured: Configure) -> None:
    config = configured()
    dataset = open_dataset(config)
    model = LatentWorldModel(
        LatentConfig(
            {"keypoints": (6,)},
            (-1.0, -1.0),
            (1.0, 1.0),
            predictor=PredictorConfig(width=8, depth=1, history=3),
        )
    )
    before = weights(model)
    config.data.observes = ["keypoints"]
    make_data(config, dataset, model)
    assert same(before, weights(model))


def test_gaps_of_their_own_are_for_frames(configured: Configure) -> None:
    config = configured({"gaps": [1, 2], "irregular": True})
    with pytest.raises(ValueError, match="irregular=true is for learning from frames; kind=world_"):
        make_world_model(config, open_dataset(config))
