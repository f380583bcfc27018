"""What a predictor remembers, and how that goes on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True)
class Memory:
    """What a prediction starts from, a row for each candidate."""

    latents: Float[Tensor, "rows remembered latent"]
    """Newest last."""
    past: Float[Tensor, "rows history action"]
    """Environment actions that led there, newest last."""

    def roll(
        self, predictor: nn.Module, chunks: Float[Tensor, "rows horizon chunk action"]
    ) -> tuple[Float[Tensor, "rows horizon latent"], Memory]:
        """Return the latents after each chunk of actions, and the memory after the last."""
        way = predictor(self.latents, self.past, chunks)
        latents = torch.cat([self.latents, way], dim=1)[:, -self.latents.shape[1] :]
        return way, Memory(latents, self._acted(chunks))

    def _acted(self, chunks: Tensor) -> Tensor:
        past = torch.cat([self.past, chunks.flatten(1, 2)], dim=1)
        return past[:, -self.past.shape[1] :]

    def see(
        self,
        predictor: nn.Module,
        chunks: Float[Tensor, "rows executed chunk action"],
        latent: Float[Tensor, "rows latent"],
    ) -> Memory:
        """Return the memory after chunks at whose end `latent` is seen.

        Latents of the steps in between are predicted where more than the newest is remembered.
        """
        if self.latents.shape[1] > 1:
            after = self.roll(predictor, chunks)[1]
            return Memory(torch.cat([after.latents[:, :-1], latent[:, None]], dim=1), after.past)
        return Memory(latent[:, None], self._acted(chunks))

    def forget(self, rows: Bool[Tensor, " rows"], fresh: Memory) -> Memory:
        """Return the memory in which some rows are those of another."""
        chosen = rows[:, None, None]
        return Memory(
            torch.where(chosen, fresh.latents, self.latents),
            torch.where(chosen, fresh.past, self.past),
        )

    def repeat(self, times: int) -> Memory:
        """Return a memory with every row so many times."""
        return Memory(
            self.latents.repeat_interleave(times, 0), self.past.repeat_interleave(times, 0)
        )
