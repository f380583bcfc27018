"""The conditional diffusion transformer as a predictor of frames: CDiT, without the diffusion.

Tokens of the frame that is predicted attend to one another and to those of earlier frames, which
are never changed: `K` frames of context cost `K` times one, and whoever predicts many futures from
the same past computes the past's keys and values once.

Source: Bar et al. 2025, "Navigation World Models" (CDiT); Goswami et al. 2025, "World Models Can
Leverage Human Videos for Dexterous Manipulation" (DexWM, section 3).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from .shared_attention import Memory

POSITIONS = ("slots", "rotary")
MODULATIONS = 11
"""Shift, scale, gate of self-attention; shift, scale of the context; shift, scale, gate of
cross-attention; shift, scale, gate of the perceptron."""

SLOWEST = 32.0
"""Frames after which the slowest rotary position has turned by about one radian."""
LookBack = Callable[[Tensor], Tensor]
"""Attention of queries `[B, N, heads, tokens, size]` to earlier frames: `Causal`, or a partial
`shared_attention.attend`."""


@dataclass(frozen=True)
class Causal:
    """Attention of the tokens of frame `i` to frames `0 .. i`, all frames at once."""

    memory: Memory
    """Keys and values of all frames, `[B, heads, frames tokens, size]`."""
    tokens: int
    """Of a frame."""

    def __call__(self, queries: Float[Tensor, "batch frames heads tokens size"]) -> Tensor:
        """Return what every token finds."""
        found = []
        for frame, each in enumerate(queries.unbind(1)):
            keys, values = (part[:, :, : (frame + 1) * self.tokens] for part in self.memory)
            found.append(functional.scaled_dot_product_attention(each, keys, values))
        return torch.stack(found, dim=1)


@dataclass(frozen=True)
class CDiTConfig:
    """Size of a predictor; the defaults are DexWM's largest, XL."""

    features: int = 1024
    """Numbers of a patch, as the encoder gives them."""
    patches: int = 448
    """Patches of a frame."""
    context: int = 8
    """Frames that a prediction looks back on."""
    condition: int = 132
    """Numbers of an action."""
    width: int = 1024
    """Of the tokens; where it is not `features`, tokens are projected there and back."""
    depth: int = 32
    """Blocks."""
    heads: int = 16
    """Of the attentions."""
    ratio: float = 2.0
    """Width of the perceptrons, over that of the tokens."""
    positions: str = "slots"
    """`slots`: a table with a row for every patch of every place in the context, as DexWM has it.
    `rotary`: a row for every patch, and keys and queries turned by which frame theirs was: keys of a
    frame stay what they are when the context moves on. Both count frames, not seconds: how far apart
    two frames are is told by the action between them, which is the whole way from one to the other."""
    residual: bool = False
    """Whether the change from the last frame is predicted, which small networks learn sooner."""
    action_scale: float = 1.0
    """Factor of the actions: they are metres and radians, and small networks learn them late."""

    def __post_init__(self) -> None:
        for name in ("features", "patches", "context", "condition", "width", "depth", "heads"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"CDiTConfig({name}) must be at least 1, got {getattr(self, name)}."
                )
        if self.positions not in POSITIONS:
            raise ValueError(f"CDiTConfig(positions={self.positions!r}): one of {POSITIONS}.")
        if self.width % self.heads or self.width // self.heads % 2:
            raise ValueError(
                f"CDiTConfig(width={self.width}, heads={self.heads}): each head needs an even "
                "number of dimensions."
            )
        if not self.ratio > 0 or not self.action_scale > 0:
            raise ValueError("CDiTConfig(ratio) and CDiTConfig(action_scale) must be positive.")


class PackedAttention(nn.Module):
    """Attention whose projections to queries, keys and values are one matrix, in this order."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.width, self.heads = width, heads
        self.packed = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def queries(self, tokens: Float[Tensor, "*rows tokens width"]) -> Tensor:
        """Return `[..., heads, tokens, size]`."""
        weight, bias = self.packed.weight[: self.width], self.packed.bias[: self.width]
        return self._split(functional.linear(tokens, weight, bias), 1)[0]

    def memory(self, tokens: Float[Tensor, "*rows tokens width"]) -> Memory:
        """Return keys and values `[..., heads, tokens, size]`."""
        weight, bias = self.packed.weight[self.width :], self.packed.bias[self.width :]
        return Memory(*self._split(functional.linear(tokens, weight, bias), 2))

    def within(self, tokens: Float[Tensor, "*rows tokens width"]) -> Tensor:
        """Return the tokens of each row attending to one another."""
        queries, keys, values = self._split(self.packed(tokens), 3)
        return self.merge(functional.scaled_dot_product_attention(queries, keys, values))

    def merge(self, attended: Float[Tensor, "*rows heads tokens size"]) -> Tensor:
        """Return `[..., tokens, width]`."""
        merged: Tensor = self.out(attended.transpose(-3, -2).flatten(-2))
        return merged

    def _split(self, projected: Tensor, parts: int) -> tuple[Tensor, ...]:
        each = torch.unflatten(projected, -1, (parts, self.heads, -1))
        split: tuple[Tensor, ...] = each.movedim(-3, 0).transpose(-3, -2).unbind(0)
        return split


class CDiTBlock(nn.Module):
    """Attention inside the frame, attention to earlier frames, a perceptron; AdaLN-zero each."""

    def __init__(self, config: CDiTConfig) -> None:
        super().__init__()
        width, hidden = config.width, int(config.ratio * config.width)
        self.modulation = nn.Linear(config.condition, MODULATIONS * width)
        self.within = PackedAttention(width, config.heads)
        self.across = PackedAttention(width, config.heads)
        self.enlarge = nn.Linear(width, hidden)
        self.reduce = nn.Linear(hidden, width)

    def memory(
        self,
        normed: Float[Tensor, "*rows patches width"],
        condition: Float[Tensor, "*rows condition"],
    ) -> Memory:
        """Return keys and values of frames, whose actions are those that led into them."""
        rows = slice(3 * self.across.width, 5 * self.across.width)
        linear = self.modulation
        shift, scale = functional.linear(
            functional.silu(condition), linear.weight[rows], linear.bias[rows]
        ).chunk(2, dim=-1)
        return self.across.memory(modulate(normed, shift, scale))

    def forward(
        self,
        tokens: Float[Tensor, "batch candidates patches width"],
        condition: Float[Tensor, "batch candidates condition"],
        look_back: LookBack,
        turn: Tensor | None,
    ) -> Float[Tensor, "batch candidates patches width"]:
        """Return the tokens of the predicted frames, one block later."""
        parts = self.modulation(functional.silu(condition)).chunk(MODULATIONS, dim=-1)
        shift_w, scale_w, gate_w, _, _, shift_a, scale_a, gate_a, shift_p, scale_p, gate_p = parts
        attended = self.within.within(modulate(norm(tokens), shift_w, scale_w))
        tokens = tokens + gate_w[..., None, :] * attended
        queries = self.across.queries(modulate(norm(tokens), shift_a, scale_a))
        if turn is not None:
            queries = rotate(queries, turn)
        attended = self.across.merge(look_back(queries))
        tokens = tokens + gate_a[..., None, :] * attended
        hidden = self.enlarge(modulate(norm(tokens), shift_p, scale_p))
        hidden = self.reduce(functional.gelu(hidden, approximate="tanh"))
        moved: Tensor = tokens + gate_p[..., None, :] * hidden
        return moved


class CDiT(nn.Module):
    """Predicts the features of the next frame from those of earlier ones and an action.

    A frame is in a slot of the context, 0 to `context - 1`, the last one being now. The prediction
    starts from the tokens of the last frame; its condition is the action that leads out of it. Keys
    and values of a frame are modulated by the action that led into it, that of slot 0 being zero.
    """

    def __init__(self, config: CDiTConfig) -> None:
        super().__init__()
        self.config = config
        width, features = config.width, config.features
        same = width == features
        self.enter = nn.Identity() if same else nn.Linear(features, width)
        self.leave = nn.Identity() if same else nn.Linear(width, features)
        rows = config.context + 1 if config.positions == "slots" else 1
        self.positions = nn.Parameter(torch.empty(rows, config.patches, width))
        blocks = [CDiTBlock(config) for _ in range(config.depth)]
        self.blocks = nn.ModuleList(blocks)
        self.last_modulation = nn.Linear(config.condition, 2 * width)
        self.last = nn.Linear(width, width)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the weights; modulations and the last layer are zero, so that it predicts zero."""
        nn.init.normal_(self.positions, std=0.02)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)
        for zero in (*(each.modulation for each in self._each), self.last_modulation, self.last):
            nn.init.zeros_(zero.weight)
            nn.init.zeros_(zero.bias)

    @property
    def _each(self) -> list[CDiTBlock]:
        return [block for block in self.blocks if isinstance(block, CDiTBlock)]

    # What predictions are made of

    def tokens(
        self, features: Float[Tensor, "*rows patches features"], slots: Sequence[int]
    ) -> Float[Tensor, "*rows patches width"]:
        """Return the tokens of frames `[..., S, P, E]` in the given slots."""
        rows: Tensor = self.positions
        if self.config.positions == "slots":
            rows = rows[list(slots)]
        entered: Tensor = self.enter(features) + rows
        return entered

    def memories(
        self,
        tokens: Float[Tensor, "*rows slots patches width"],
        actions: Float[Tensor, "*rows slots condition"],
        times: Sequence[int],
    ) -> list[Memory]:
        """Return each block's keys and values of frames, `[..., heads, S P, size]`.

        `times` are those of the frames, in frames from any origin.
        """
        normed, condition = norm(tokens), actions * self.config.action_scale
        turn = self._turn(times, tokens)
        found = []
        for block in self._each:
            keys, values = block.memory(normed, condition)
            if turn is not None:
                keys = rotate(keys, turn[:, None, None])
            # [..., S, h, P, d] -> [..., h, S P, d]
            found.append(
                Memory(*(each.transpose(-4, -3).flatten(-3, -2) for each in (keys, values)))
            )
        return found

    def predict(
        self,
        tokens: Float[Tensor, "batch candidates patches width"],
        actions: Float[Tensor, "batch candidates condition"],
        look_back: Sequence[LookBack],
        times: Sequence[int],
    ) -> Float[Tensor, "batch candidates patches features"]:
        """Return the frame that follows each candidate's tokens.

        Args:
            tokens: Of the frame before.
            actions: What leads out of it.
            look_back: Attention of each block to earlier frames.
            times: Of the predicted frames, one or one for each candidate, as in `memories`.
        """
        condition, turn = actions * self.config.action_scale, self._turn(times, tokens)
        turn = turn if turn is None else turn[:, None, None]
        for block, look in zip(self._each, look_back, strict=True):
            tokens = block(tokens, condition, look, turn)
        shift, scale = self.last_modulation(functional.silu(condition)).chunk(2, dim=-1)
        predicted: Tensor = self.leave(self.last(modulate(norm(tokens), shift, scale)))
        return predicted

    def forward(
        self,
        features: Float[Tensor, "batch frames patches features"],
        actions: Float[Tensor, "batch frames condition"],
    ) -> Float[Tensor, "batch frames patches features"]:
        """Return what follows each frame, predicted from it and those before: teacher forcing.

        `actions` lead out of the frames; there are at most `context` of them.
        """
        slots = range(actions.shape[1])
        tokens = self.tokens(features, slots)
        into = functional.pad(actions[:, :-1], (0, 0, 1, 0))
        memories = self.memories(tokens, into, slots)
        look_back = [Causal(memory, self.config.patches) for memory in memories]
        predicted = self.predict(tokens, actions, look_back, [slot + 1 for slot in slots])
        return predicted + features if self.config.residual else predicted

    def _turn(self, times: Sequence[int], like: Tensor) -> Tensor | None:
        """Return angles `[S, size / 2]` of frames at such times; None where there is a table."""
        if self.config.positions == "slots":
            return None
        size = self.config.width // self.config.heads
        planes = torch.arange(size // 2, device=like.device)
        planes = planes.to(torch.promote_types(like.dtype, torch.float32))
        return planes.new_tensor(times)[:, None] * torch.exp(
            planes * (-2 * math.log(SLOWEST) / size)
        )


def norm(tokens: Float[Tensor, "*rows width"]) -> Float[Tensor, "*rows width"]:
    """Return the tokens with mean 0 and variance 1 (layer norm without parameters)."""
    return functional.layer_norm(tokens, tokens.shape[-1:], eps=1e-6)


def modulate(
    tokens: Float[Tensor, "*rows patches width"],
    shift: Float[Tensor, "*rows width"],
    scale: Float[Tensor, "*rows width"],
) -> Float[Tensor, "*rows patches width"]:
    """Return `tokens (1 + scale) + shift`, the same for all patches of a row."""
    return tokens * (1.0 + scale[..., None, :]) + shift[..., None, :]


def rotate(
    vectors: Float[Tensor, "*rows tokens size"], angles: Float[Tensor, "... half"]
) -> Float[Tensor, "*rows tokens size"]:
    """Return vectors turned in planes of two dimensions each (rotary positions, Su et al. 2021)."""
    cosine, sine = (each.to(vectors.dtype) for each in (angles.cos(), angles.sin()))
    first, second = vectors.chunk(2, dim=-1)
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return torch.cat(turned, dim=-1)
