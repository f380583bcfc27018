"""Building blocks of the networks: residual perceptrons, conditioned transformers, features."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class ResidualMLP(nn.Module):
    """A perceptron of pre-normalised residual blocks beside a linear path.

    `y = W_skip x + scale * W_out silu(h_depth)`, `h_0 = W_in x`,
    `h_{i+1} = h_i + W_2 silu(W_1 norm(h_i))`. `W_out` starts at zero, so that learning begins from
    the linear map.
    """

    def __init__(
        self, inputs: int, outputs: int, width: int, depth: int, scale: float = 1.0
    ) -> None:
        super().__init__()
        self.enter = nn.Linear(inputs, width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                nn.LayerNorm(width),
                nn.Linear(width, 2 * width),
                nn.SiLU(),
                nn.Linear(2 * width, width),
            )
            for _ in range(depth)
        )
        self.leave = nn.Linear(width, outputs)
        self.skip = nn.Linear(inputs, outputs)
        self.scale = scale
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows outputs"]:
        """Return the outputs of every row."""
        hidden = self.enter(x)
        for block in self.blocks:
            hidden = hidden + block(hidden)
        outputs: Tensor = self.skip(x) + self.scale * self.leave(functional.silu(hidden))
        return outputs


class FourierFeatures(nn.Module):
    """Sines and cosines of coordinates, with which a perceptron can draw sharp edges.

    `x -> (sin 2^i w x, cos 2^i w x)` for `i < octaves`, `w = 2 pi / longest` (Tancik et al. 2020).
    Coordinates are held inside half a longest wave, beyond which features would repeat.
    """

    frequencies: Tensor

    def __init__(self, longest: float, octaves: int) -> None:
        super().__init__()
        self.longest = longest
        frequencies = 2.0 * math.pi / longest * 2.0 ** torch.arange(octaves)
        self.register_buffer("frequencies", frequencies, persistent=False)

    def size(self, inputs: int) -> int:
        """Return how many features so many coordinates have."""
        return 2 * inputs * len(self.frequencies)

    def forward(self, x: Float[Tensor, "*rows inputs"]) -> Float[Tensor, "*rows features"]:
        """Return the features of every row."""
        half = self.longest / 2.0
        phase = (x.clamp(-half, half).unsqueeze(-1) * self.frequencies).flatten(-2)
        return torch.cat([phase.sin(), phase.cos()], dim=-1)


class AdaptiveBlock(nn.Module):
    """A transformer block whose normalisation is set by a condition for each token (AdaLN-zero).

    Attention is causal, then a perceptron; both are scaled, shifted and gated by the condition, and
    the gates start at zero (Peebles and Xie 2023).
    """

    def __init__(self, width: int, heads: int, condition: int, ratio: float = 2.0) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"width={width} must be a multiple of heads={heads}.")
        self.heads = heads
        self.modulate = nn.Linear(condition, 6 * width)
        self.norms = nn.ModuleList(nn.LayerNorm(width, elementwise_affine=False) for _ in range(2))
        self.attend = nn.Linear(width, 3 * width)
        self.merge = nn.Linear(width, width)
        hidden = int(ratio * width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, hidden), nn.GELU(approximate="tanh"), nn.Linear(hidden, width)
        )
        nn.init.zeros_(self.modulate.weight)
        nn.init.zeros_(self.modulate.bias)

    def forward(
        self,
        tokens: Float[Tensor, "rows tokens width"],
        condition: Float[Tensor, "rows tokens condition"],
    ) -> Float[Tensor, "rows tokens width"]:
        """Return the tokens one block later."""
        shift_a, scale_a, gate_a, shift_m, scale_m, gate_m = self.modulate(
            functional.silu(condition)
        ).chunk(6, dim=-1)
        normed = self.norms[0](tokens) * (1.0 + scale_a) + shift_a
        split = self.attend(normed).unflatten(-1, (3, self.heads, -1)).transpose(1, 3)
        query, key, value = split.unbind(2)
        attended = functional.scaled_dot_product_attention(query, key, value, is_causal=True)
        tokens = tokens + gate_a * self.merge(attended.transpose(1, 2).flatten(2))
        normed = self.norms[1](tokens) * (1.0 + scale_m) + shift_m
        moved: Tensor = tokens + gate_m * self.perceptron(normed)
        return moved


def soft_argmax(
    heatmaps: Float[Tensor, "rows maps height width"],
) -> Float[Tensor, "rows maps 2"]:
    """Return where each map is high: the mean position under its softmax, `x, y` in [-1, 1].

    -1 and 1 are the outer edges of the first and the last cell.
    """
    rows, maps, height, width = heatmaps.shape
    weights = torch.softmax(heatmaps.float().flatten(2), dim=-1)
    weights = weights.view(rows, maps, height, width)
    x = (torch.arange(width, device=heatmaps.device) + 0.5) * (2.0 / width) - 1.0
    y = (torch.arange(height, device=heatmaps.device) + 0.5) * (2.0 / height) - 1.0
    return torch.stack([(weights.sum(2) * x).sum(-1), (weights.sum(3) * y).sum(-1)], dim=-1)
