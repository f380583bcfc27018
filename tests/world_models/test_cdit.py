"""The predictor of DexWM: what its frames see, and what its weights hear."""

from __future__ import annotations

import pytest
import torch

from dexworld.world_models.cdit import Causal, CDiT, norm
from dexworld.world_models.shared_attention import Memory
from tests.world_models.toy_dexwm import frames, movements, toy_config, toy_model


def test_frames_look_back_on_themselves_and_strictly_earlier_ones() -> None:
    # Keys are alike, so that what is found is the mean of what may be seen: of frames 0 to i.
    count, tokens = 4, 3
    keys = torch.zeros(1, 2, count * tokens, 5)
    values = torch.arange(float(count)).repeat_interleave(tokens)[:, None].expand(1, 2, -1, 5)
    found = Causal(Memory(keys, values), tokens)(torch.randn(1, count, 2, tokens, 5))
    expected = torch.tensor([0.0, 0.5, 1.0, 1.5])
    torch.testing.assert_close(found, expected[:, None, None, None].expand_as(found))


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_tokens_attend_to_those_of_their_own_frame_alone(positions: str) -> None:
    model = toy_model(positions)
    for block in model.predictor.blocks:
        for parameter in block.across.out.parameters():
            parameter.data.zero_()  # nothing is seen of other frames
    seen, moved = frames(1, 4), movements(1, 4)
    with torch.no_grad():
        before = model.predictor(seen, moved)
        for frame in range(4):
            other = seen.clone()
            other[:, frame, 0] += 1  # one patch, which all patches of the frame attend to
            changes = (model.predictor(other, moved) - before).abs().amax(-1)[0] > 1e-9
            assert changes[frame].all() and int(changes.any(-1).sum()) == 1


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


@pytest.mark.parametrize("positions", ["slots", "rotary"])
def test_blocks_of_a_new_predictor_leave_tokens_as_they_are(positions: str) -> None:
    predictor = CDiT(toy_config(positions).predictor).double()
    with torch.no_grad():
        predictor.last.weight.copy_(torch.eye(16))  # which is zero, too
        seen = frames(2, 4)
        predicted = predictor(seen, movements(2, 4))
        tokens = predictor.tokens(seen, range(4))
        expected = predictor.leave(norm(tokens))
    torch.testing.assert_close(predicted, expected)


def test_training_gradients_reach_every_weight() -> None:
    model = toy_model()
    seen, moved = frames(2, 4), movements(2, 4)
    predicted = model.predictor(seen, moved)
    (predicted.square().mean() + model.head(predicted).square().mean()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        used = parameter.grad[:4] if name == "predictor.positions" else parameter.grad
        assert used.abs().max() > 0, name
