"""Losses and weights that do not depend on how many processes share a batch.

Each of `W` processes computes the loss of its own rows, and the gradients are averaged. A mean
over rows is then the mean over all of them. What is not a mean over rows (a covariance over the
batch) is computed from `all_gather_rows`, on every process.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

_alone: ContextVar[bool] = ContextVar("alone", default=False)


def rank() -> int:
    """Return the number of this process among all that train together: 0 where it is the only one.

    It is known before they are connected too, so that only the first one writes and draws.
    """
    if dist.is_available() and dist.is_initialized():
        return dist.get_rank()
    return int(os.environ.get("RANK", os.environ.get("LOCAL_RANK", "0")))


def world_size() -> int:
    """Return how many processes the functions of this file speak to."""
    connected = dist.is_available() and dist.is_initialized() and not _alone.get()
    return dist.get_world_size() if connected else 1


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Speak to no other process: one of them evaluates a loss, and the others do not."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def all_gather_rows(rows: Tensor) -> Tensor:
    """Return the rows of all processes, `[R, ...] -> [W * R, ...]`, in the order of their ranks.

    The gradient goes back to the process that the rows came from. Summed over the losses of all
    processes and then averaged as gradients are, it is that of one process with all rows. Every
    process must give equally many rows, and take part.
    """
    if world_size() == 1:
        return rows
    gather: Any = _AllGatherRows.apply
    gathered: Tensor = gather(rows)
    return gathered


def from_first_rank(tensor: Tensor) -> Tensor:
    """Return the tensor of the first process, without gradient, on all of them.

    For random numbers that all must share, such as the directions that a batch is projected on:
    each process draws from its own stream, and takes that of the first.
    """
    if world_size() == 1:
        return tensor.detach()
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    dist.broadcast(tensor, src=0)
    return tensor


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor, put together if it is sharded (all processes must take part)."""
    sharded: Any = tensor
    full: Tensor = sharded.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return full


def like(tensor: Tensor, target: Tensor) -> Tensor:
    """Return a whole tensor on the device of `target`, and sharded as `target` is."""
    tensor = tensor.to(target.device)
    if not hasattr(target, "full_tensor"):
        return tensor
    from torch.distributed.tensor import DTensor, distribute_tensor

    assert isinstance(target, DTensor)
    return distribute_tensor(tensor, target.device_mesh, target.placements)


def local(tensor: Tensor) -> Tensor:
    """Return the part of a tensor that this process holds; the same memory, without gradient."""
    sharded: Any = tensor.detach()
    part: Tensor = sharded.to_local() if hasattr(sharded, "to_local") else sharded
    return part


class _AllGatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor) -> Tensor:
        rows = rows.contiguous()
        gathered = [torch.empty_like(rows) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, rows)
        return torch.cat(gathered)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        # Each process holds the gradient of its own loss towards everybody's rows.
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]
