"""Attention of many candidates to keys that all of them share, and to keys of their own."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention


class Memory(NamedTuple):
    """Keys and values that queries attend to, `[..., heads, tokens, size]` each."""

    keys: Tensor
    values: Tensor


def attend(
    queries: Float[Tensor, "batch candidates heads tokens size"],
    shared: Memory | None,
    own: Memory | None,
) -> Float[Tensor, "batch candidates heads tokens size"]:
    """Return attention over what is shared `[B, h, S, d]` and what is one's own `[B, N, h, O, d]`.

    The softmax is over both. All queries of a problem attend to what is shared at once, and the two
    parts are merged by what their exponentials sum to, so that nothing is repeated for candidates;
    but see `copies`. Where there is nothing to attend to, the result is zero.
    """
    if shared is None and own is None:
        return torch.zeros_like(queries)
    if shared is None:
        assert own is not None
        return scaled_dot_product_attention(queries, *own)
    if own is None:
        folded = scaled_dot_product_attention(_folded(queries), *shared)
        return _unfolded(folded, queries)
    if copies(queries.device):
        count = queries.shape[1]
        keys, values = (
            torch.cat([common[:, None].expand(-1, count, -1, -1, -1), each], dim=3)
            for common, each in zip(shared, own, strict=True)
        )
        return scaled_dot_product_attention(queries, keys, values)
    everyone, sums = _attend_and_sum(_folded(queries), *shared)
    everyone = _unfolded(everyone, queries)
    sums = _unfolded(sums[..., None], queries)
    single, own_sums = _attend_and_sum(queries.flatten(0, 1), *(each.flatten(0, 1) for each in own))
    single, own_sums = single.view(queries.shape), own_sums.view(sums.shape)
    weight = torch.sigmoid(sums - own_sums).to(single.dtype)
    return torch.lerp(single, everyone, weight)


def copies(device: torch.device) -> bool:
    """Return whether `attend` has to repeat shared keys for every candidate, beside its own.

    It has with gradients, which the sums of exponentials lack, and where no fused attention tells
    them, on GPUs: whoever counts memory counts these copies, of one block at a time.
    """
    told = device.type == "cpu" and hasattr(torch.ops.aten, CPU_ATTENTION)
    return torch.is_grad_enabled() or not told


def _folded(queries: Tensor) -> Tensor:
    """Return `[B, N, h, P, d]` as the queries of one long sequence, `[B, h, N P, d]`."""
    return queries.transpose(1, 2).flatten(2, 3)


def _unfolded(folded: Tensor, queries: Tensor) -> Tensor:
    return torch.unflatten(folded, 2, (queries.shape[1], queries.shape[3])).transpose(1, 2)


CPU_ATTENTION = "_scaled_dot_product_flash_attention_for_cpu"
"""What `scaled_dot_product_attention` runs on a CPU; itself it keeps the sums to itself."""


def _attend_and_sum(
    queries: Float[Tensor, "rows heads tokens size"], keys: Tensor, values: Tensor
) -> tuple[Tensor, Tensor]:
    """Return attention, and the logarithm of the sum of exponentials for every query."""
    output, sums = getattr(torch.ops.aten, CPU_ATTENTION)(queries, keys, values)
    if sums.shape[1] != queries.shape[1]:  # [R, P, h] in some versions
        sums = sums.transpose(1, 2)
    return output, sums
