"""The decoder: pictures of the right form, drawn from the latent at every place."""

from __future__ import annotations

import pytest
import torch

from dexworld.world_models.decoder import BroadcastDecoder, DecoderConfig


@pytest.mark.parametrize("size", [8, 20])
def test_pictures_have_their_size(size: int) -> None:
    decoder = BroadcastDecoder(DecoderConfig(size, width=4), latent=3)
    assert decoder(torch.randn(2, 3)).shape == (2, size, size, 3)
    assert "grid" not in decoder.state_dict()


def test_rows_are_drawn_alone() -> None:
    torch.manual_seed(0)
    decoder, latent = BroadcastDecoder(DecoderConfig(8, 4), 3), torch.randn(3, 3)
    together = decoder(latent)
    torch.testing.assert_close(decoder(latent[1:2]), together[1:2])
    assert not torch.allclose(together[0], together[1])


def test_it_learns_to_draw_a_dot_where_the_latent_says() -> None:
    torch.manual_seed(0)
    decoder = BroadcastDecoder(DecoderConfig(8, width=8), latent=2)
    axis = (torch.arange(8) + 0.5) / 4 - 1
    optimizer = torch.optim.Adam(decoder.parameters(), lr=2e-2)

    def error(places: torch.Tensor) -> torch.Tensor:
        x, y = places[:, 0, None, None], places[:, 1, None, None]
        dot = (-4 * ((axis[None, None] - x) ** 2 + (axis[None, :, None] - y) ** 2)).exp()
        return (decoder(places) - dot[..., None]).square().mean()

    generator = torch.Generator().manual_seed(1)
    held_out = 2 * torch.rand(32, 2, generator=generator) - 1
    before = error(held_out).item()
    for _ in range(60):
        optimizer.zero_grad()
        error(2 * torch.rand(16, 2, generator=generator) - 1).backward()
        optimizer.step()
    assert error(held_out).item() < 0.35 * before


def test_sizes_that_cannot_be_drawn_are_refused() -> None:
    for size in (4, 10):
        with pytest.raises(ValueError, match=rf"size={size}\) must be a multiple of 4, from 8 on"):
            DecoderConfig(size)
    with pytest.raises(ValueError, match=r"width=0\) must be at least 1"):
        DecoderConfig(8, 0)
