"""Planning in DexWM as its public controller does it: the baseline of `dexworld-benchmark dexwm`.

The same weights and the same numbers, with nothing shared: for every candidate and every call all
frames of the context are encoded, all of them run through all blocks, and all heatmaps are drawn.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional
from torch.utils.flop_counter import FlopCounterMode

from dexworld.world_models.cdit import MODULATIONS, CDiTBlock, CDiTConfig, modulate, norm
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.heatmaps import hard_argmax
from dexworld.world_models.keypoint_head import KeypointHeadConfig
from dexworld.world_models.shared_attention import CPU_ATTENTION

Encode = Callable[[Tensor], Tensor]
"""Frames `[R, ...]` to features `[R, P, E]`."""


class PlainDexWM:
    """Rolls a model out candidate by candidate, of a padded sequence of frames.

    Args:
        model: Whose weights are used; its positions are those of slots.
        encode: Encodes frames again for every candidate; None where the frames are features.
    """

    def __init__(self, model: DexWM, encode: Encode | None = None) -> None:
        if model.config.predictor.positions != "slots" or model.head is None:
            raise ValueError("the public controller has a table of positions, and a head.")
        self.predictor, self.head, self.encode = model.predictor, model.head, encode

    @torch.no_grad()
    def rollout(
        self,
        seen: Tensor,
        moved: Float[Tensor, "candidates horizon condition"],
        between: Float[Tensor, "intervals condition"] | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Return frames `[N, T, P, E]` and keypoints `[N, T, maps, 2]` that follow frames `[S, ...]`.

        Args:
            seen: Frames, or features where nothing is encoded.
            moved: What is tried.
            between: Actions between the frames that were seen, `[S - 1, A]`; the public controller
                takes them for zero, which None is.
        """
        size, candidates = self.predictor.config.context, len(moved)
        sequence = torch.cat([seen[:1].expand(size, *seen.shape[1:]), seen[1:]])
        first = len(seen) - 1
        known_into = moved.new_zeros(len(sequence), moved.shape[2])
        if between is not None and first:
            known_into[-first:] = between
        predicted: list[Tensor] = []
        points: list[Tensor] = []
        for number in range(moved.shape[1]):
            known = sequence[first + number : first + size]
            features = self._encoded(known, candidates)
            frames = torch.cat([features, *[each[:, None] for each in predicted]], dim=1)[:, -size:]
            into = torch.cat(
                [known_into.expand(candidates, -1, -1), moved[:, : number + 1]], dim=1
            )[:, -size - 1 :]
            into[:, 0] = 0  # what led into the oldest frame is not known
            found = self._all_frames(frames, into)
            heatmaps = self.head(found)
            predicted.append(found[:, -1])
            points.append(hard_argmax(heatmaps, self.head.config.stride)[:, -1])
        return torch.stack(predicted, dim=1), torch.stack(points, dim=1)

    def _encoded(self, known: Tensor, candidates: int) -> Tensor:
        """Return features `[N, S, P, E]` of frames; each candidate's, where there is an encoder."""
        if self.encode is None:
            return known[None].expand(candidates, *known.shape)
        # One more takes the place of the frame that is to be predicted.
        padded = torch.cat(
            [
                known,
                known[-1:].expand(self.predictor.config.context + 1 - len(known), *known.shape[1:]),
            ]
        )
        each = padded[None].expand(candidates, *padded.shape)
        encoded = torch.stack([self.encode(one) for one in each])
        return encoded[:, : len(known)]

    def _all_frames(self, frames: Tensor, into: Tensor) -> Tensor:
        """Return what all slots become, `[N, C + 1, P, E]`; only the last one attends to others."""
        predictor = self.predictor
        slots = range(frames.shape[1])
        context = predictor.tokens(frames, slots)
        tokens = torch.cat([context[:, :1], context], dim=1)
        condition = into * predictor.config.action_scale
        for block in predictor.blocks:
            assert isinstance(block, CDiTBlock)
            tokens = _plain_block(block, tokens, context, condition)
        shift, scale = predictor.last_modulation(functional.silu(condition)).chunk(2, dim=-1)
        found: Tensor = predictor.leave(predictor.last(modulate(norm(tokens), shift, scale)))
        return found


def _plain_block(block: CDiTBlock, tokens: Tensor, context: Tensor, condition: Tensor) -> Tensor:
    parts = block.modulation(functional.silu(condition)).chunk(MODULATIONS, dim=-1)
    shift_w, scale_w, gate_w, shift_c, scale_c, shift_a, scale_a, gate_a = parts[:8]
    attended = block.within.within(modulate(norm(tokens), shift_w, scale_w))
    tokens = tokens + gate_w[..., None, :] * attended
    memory = block.across.memory(modulate(norm(context), shift_c[:, :-1], scale_c[:, :-1]))
    keys, values = (each.transpose(1, 2).flatten(2, 3) for each in memory)
    queries = block.across.queries(modulate(norm(tokens), shift_a, scale_a))
    last = functional.scaled_dot_product_attention(queries[:, -1], keys, values)
    found = torch.cat([torch.zeros_like(queries[:, :-1]), last[:, None]], dim=1)
    tokens = tokens + gate_a[..., None, :] * block.across.merge(found)
    shift_p, scale_p, gate_p = parts[8:]
    hidden = block.enlarge(modulate(norm(tokens), shift_p, scale_p))
    hidden = block.reduce(functional.gelu(hidden, approximate="tanh"))
    moved: Tensor = tokens + gate_p[..., None, :] * hidden
    return moved


# What a search costs, counted and by formula


def count_operations(run: Callable[[], object]) -> int:
    """Return the operations of what `run` does: a multiplication and an addition are two."""

    def attention(queries: Any, keys: Any, values: Any, *_: Any, **__: Any) -> int:
        rows, heads, tokens, size = queries
        return int(2 * rows * heads * tokens * keys[2] * (size + values[3]))

    # What attention runs on a CPU, which the counter does not know.
    known = {getattr(torch.ops.aten, CPU_ATTENTION): attention}
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)  # what is fused there cannot be counted
    try:
        with FlopCounterMode(display=False, custom_mapping=known) as counter:
            run()
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
    return int(counter.get_total_flops())


@dataclass(frozen=True)
class Search:
    """One iteration of a search: candidates and decisions ahead."""

    candidates: int = 512
    horizon: int = 3
    seen: int = 1
    """Frames that were seen."""


def plain_flops(
    sizes: CDiTConfig, head: KeypointHeadConfig, head_tokens: int, search: Search, encoder: float
) -> float:
    """Return the operations of an iteration in the plain way; `encoder` is those of a frame.

    A multiplication and an addition count as two; norms, softmax and gates are left out.
    """
    frames, p, d = sizes.context + 1, sizes.patches, sizes.width
    linear = 2 * p * d * d
    block = frames * linear * (4 + 2 + 2 * sizes.ratio) + sizes.context * linear * 2
    block += 4 * p * p * d * (frames + sizes.context)
    block += 2 * frames * sizes.condition * MODULATIONS * d
    call = sizes.depth * block + frames * _ends(sizes, entered=sizes.context / frames)
    call += frames * head_flops(sizes, head, head_tokens, head.maps)
    return search.candidates * search.horizon * (call + frames * encoder)


def shared_flops(
    sizes: CDiTConfig,
    head: KeypointHeadConfig,
    head_tokens: int,
    search: Search,
    maps: int,
    iterations: int = 1,
    patch: int = 14,
) -> float:
    """Return the operations of an iteration of `DexWM.rollout`, with a table of positions.

    What a belief shares is computed in its first iteration, and counted as a share of all.
    """
    p, d = sizes.patches, sizes.width
    linear, context, horizon = 2 * p * d * d, sizes.context, search.horizon
    block = linear * (4 + 2 + 2 * sizes.ratio) + 4 * p * p * d * (1 + context)
    block += 2 * sizes.condition * MODULATIONS * d
    calls = horizon * (sizes.depth * block + _ends(sizes, entered=0))
    calls += horizon * head_flops(sizes, head, head_tokens, maps, patch)
    # Keys and values: what is predicted is a new frame in every slot it moves to.
    moved_down = sum(min(number, context) for number in range(horizon))
    seen = sum(max(0, context - number) for number in range(horizon))
    keys = sizes.depth * (2 * linear + 2 * sizes.condition * 2 * d) + _enter(sizes)
    return search.candidates * (calls + moved_down * keys) + seen * keys / iterations


def vision_transformer_flops(
    width: int, depth: int, tokens: int, patch: int, ratio: float
) -> float:
    """Return the operations of a vision transformer on one image."""
    linear = 2 * tokens * width * width
    return depth * (linear * (4 + 2 * ratio) + 4 * tokens**2 * width) + (
        2 * tokens * 3 * patch**2 * width
    )


def head_flops(
    sizes: CDiTConfig, head: KeypointHeadConfig, tokens: int, maps: int, patch: int = 14
) -> float:
    """Return the operations of a keypoint head on one frame."""
    cells = (patch // head.stride) ** 2
    linear = 2 * tokens * head.width**2
    block = linear * (4 + 2 * head.ratio) + 4 * tokens**2 * head.width
    ends = 2 * sizes.patches * sizes.features * head.width + 2 * tokens * head.width * cells * maps
    return head.depth * block + ends


def _enter(sizes: CDiTConfig) -> float:
    same = sizes.width == sizes.features
    return 0.0 if same else 2 * sizes.patches * sizes.features * sizes.width


def _ends(sizes: CDiTConfig, entered: float) -> float:
    """Return the operations before the first block and after the last one."""
    last = 2 * sizes.patches * sizes.width**2 + 4 * sizes.condition * sizes.width
    return last + _enter(sizes) + entered * _enter(sizes)
