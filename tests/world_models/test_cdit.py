"""The predictor of DexWM: what its frames see, and what its weights hear."""

from __future__ import annotations

import pytest
import torch

from tests.world_models.toy_dexwm import frames, movements, toy_model


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_teacher_forcing_is_causal(positions: str) -> None:
    model = toy_model(positions)
    seen, moved = frames(2, 4), movements(2, 4)
    with torch.no_grad():
        before = model.predictor(seen, moved)
        for frame in range(4):
            other, elsewhere = seen.clone(), moved.clone()
            other[:, frame] += 1
            elsewhere[:, frame] += 1
            for changed in (model.predictor(other, moved), model.predictor(seen, elsewhere)):
                moves = (changed - before).abs().flatten(2).amax((0, 2)) > 1e-9
                assert moves.tolist() == [number >= frame for number in range(4)]


def test_training_gradients_reach_every_weight() -> None:
    model = toy_model()
    seen, moved = frames(2, 4), movements(2, 4)
    predicted = model.predictor(seen, moved)
    (predicted.square().mean() + model.head(predicted).square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        used = parameter.grad[:4] if name == "predictor.positions" else parameter.grad
        assert used.abs().max() > 0, name
