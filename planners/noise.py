"""Random numbers for searches: one stream for each problem, white or coloured along time."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor


class Streams:
    """One random stream for each of `B` problems, so that none depends on its neighbours.

    Args:
        seeds: One seed per problem, int64 `[B]`.
        device: Where the numbers are drawn and live.
        dtype: Of the numbers.
    """

    def __init__(
        self, seeds: Int[Tensor, " batch"], *, device: torch.device, dtype: torch.dtype
    ) -> None:
        self._device = device
        self._dtype = dtype
        self._generators = [torch.Generator(device).manual_seed(seed) for seed in seeds.tolist()]

    def normal(
        self, candidates: int, horizon: int, action: int
    ) -> Float[Tensor, "batch candidates horizon action"]:
        """Return white standard-normal numbers."""
        noise = self._empty(candidates, horizon, action)
        for row, generator in zip(noise, self._generators, strict=True):
            row.normal_(generator=generator)
        return noise

    def uniform(
        self, candidates: int, horizon: int, action: int
    ) -> Float[Tensor, "batch candidates horizon action"]:
        """Return numbers uniform in [-1, 1)."""
        noise = self._empty(candidates, horizon, action)
        for row, generator in zip(noise, self._generators, strict=True):
            row.uniform_(-1.0, 1.0, generator=generator)
        return noise

    def coloured(
        self, candidates: int, action: int, colour: Float[Tensor, "horizon horizon"]
    ) -> Float[Tensor, "batch candidates horizon action"]:
        """Return normal numbers correlated along time by the filter `colour`."""
        horizon = colour.shape[0]
        white = [
            torch.randn(
                horizon,
                candidates * action,
                generator=generator,
                device=self._device,
                dtype=self._dtype,
            )
            for generator in self._generators
        ]
        # One product per problem: a batched one may round differently for other batch sizes.
        rows = [(colour @ row).view(horizon, candidates, action) for row in white]
        return torch.stack(rows).transpose(1, 2).contiguous()

    def _empty(self, candidates: int, horizon: int, action: int) -> Tensor:
        shape = (len(self._generators), candidates, horizon, action)
        return torch.empty(shape, device=self._device, dtype=self._dtype)


def colour_filter(
    horizon: int, exponent: float, *, device: torch.device, dtype: torch.dtype
) -> Float[Tensor, "horizon horizon"]:
    """Return the matrix `C` for which `C z` has power spectrum `f^-exponent` along time.

    With `z` white, every entry of `C z` has variance one. `exponent` 0 is white, 1 pink, 2 red
    (a random walk). The filter scales the discrete Fourier transform of `z` by `f^(-exponent/2)`,
    the lowest frequency standing in for zero; written as a matrix, because `T` is short.

    Source of the idea: Pinneri et al. 2020, "Sample-efficient Cross-Entropy Method for Real-time
    Planning", section 3.1.
    """
    frequency = torch.fft.rfftfreq(horizon, dtype=torch.float64)
    gain = frequency.clamp(min=1.0 / horizon) ** (-exponent / 2)
    impulses = torch.eye(horizon, dtype=torch.float64)
    matrix: Tensor = torch.fft.irfft(gain * torch.fft.rfft(impulses, dim=-1), n=horizon, dim=-1)
    spread: Tensor = torch.linalg.vector_norm(matrix, dim=-1, keepdim=True)
    return (matrix / spread).to(device=device, dtype=dtype)
