"""Random streams and their colours."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dexworld.planners.noise import Streams, colour_filter

CPU = torch.device("cpu")


def streams(*seeds: int) -> Streams:
    return Streams(torch.tensor(seeds), device=CPU, dtype=torch.float64)


@pytest.mark.parametrize("kind", ["normal", "uniform", "coloured"])
def test_a_stream_depends_on_its_own_seed_only(kind: str) -> None:
    colour = colour_filter(5, 1.0, device=CPU, dtype=torch.float64)
    arguments = (7, 3, colour) if kind == "coloured" else (7, 5, 3)
    together, alone = streams(3, 4), streams(4)
    for _ in range(2):
        several, one = getattr(together, kind)(*arguments), getattr(alone, kind)(*arguments)
        assert several.shape == (2, 7, 5, 3)
        assert torch.equal(several[1], one[0])
        assert not torch.equal(several[0], one[0])


def test_uniform_noise_fills_its_range() -> None:
    noise = streams(0).uniform(4000, 3, 1)
    assert noise.min() >= -1
    assert noise.max() < 1
    assert noise.std().item() == pytest.approx(1 / np.sqrt(3), rel=0.02)


@pytest.mark.parametrize("exponent", [0.0, 1.0, 2.0, 3.0])
@pytest.mark.parametrize("horizon", [15, 16])
def test_the_power_spectrum_falls_with_the_exponent(exponent: float, horizon: int) -> None:
    colour = colour_filter(horizon, exponent, device=CPU, dtype=torch.float64)
    noise = streams(0).coloured(20000, 1, colour)[0, :, :, 0]
    power = torch.fft.rfft(noise, dim=1).abs().square().mean(dim=0).numpy()
    frequency = np.fft.rfftfreq(horizon)
    inner = slice(1, (horizon + 1) // 2)  # the zeroth and the Nyquist frequency are real
    slope = np.polyfit(np.log(frequency[inner]), np.log(power[inner]), 1)[0]
    assert slope == pytest.approx(-exponent, abs=0.05)


@pytest.mark.parametrize("horizon", [1, 2, 7])
@pytest.mark.parametrize("exponent", [0.0, 2.0])
def test_coloured_noise_has_variance_one_at_every_time(horizon: int, exponent: float) -> None:
    colour = colour_filter(horizon, exponent, device=CPU, dtype=torch.float64)
    torch.testing.assert_close(
        (colour @ colour.T).diagonal(), torch.ones(horizon, dtype=torch.float64)
    )


def test_white_is_the_colour_of_exponent_zero() -> None:
    colour = colour_filter(6, 0.0, device=CPU, dtype=torch.float64)
    torch.testing.assert_close(colour, torch.eye(6, dtype=torch.float64))


def test_dimensions_of_an_action_are_coloured_independently() -> None:
    colour = colour_filter(6, 2.0, device=CPU, dtype=torch.float64)
    noise = streams(0).coloured(20000, 2, colour)[0]
    across = (noise[:, :, 0] * noise[:, :, 1]).mean(dim=0)
    along = (noise[:, 0] * noise[:, 1]).mean(dim=0)
    assert across.abs().max() < 0.03
    assert along.min() > 0.4
