"""Devices, processes and precision of a training, through Lightning Fabric."""

from __future__ import annotations

import atexit
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .training_settings import TrainingSettings


def make_fabric(settings: TrainingSettings) -> Any:
    """Return a connected `lightning.fabric.Fabric`.

    Under `torchrun` this process is one of those that it started. Otherwise, with more than one
    device, the program is started again for each of the others, up to this call.
    """
    from lightning.fabric import Fabric
    from lightning.fabric.strategies.model_parallel import ModelParallelStrategy

    strategy: Any = settings.strategy
    if strategy == "fsdp":
        strategy = ModelParallelStrategy(
            _shard, data_parallel_size=settings.devices * settings.nodes, tensor_parallel_size=1
        )
    fabric = Fabric(
        accelerator=settings.accelerator,
        strategy=strategy,
        devices=settings.devices,
        num_nodes=settings.nodes,
        precision=settings.precision,  # type: ignore[arg-type]
    )
    fabric.launch()
    if fabric.world_size > 1:
        atexit.register(_disconnect)
    return fabric


def _disconnect() -> None:
    """Leave the other processes: threads of gloo that are alive at the end may abort this one."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _shard(module: nn.Module, mesh: Any) -> nn.Module:
    """Divide the weights of a module among the processes (FSDP2, Zhao et al. 2023).

    Its parts in a `ModuleList` named `blocks` are gathered one by one, the rest at once.
    """
    from torch.distributed.fsdp import fully_shard

    device = torch.device(mesh.device_type, torch.cuda.current_device()) if _on_gpu(mesh) else "cpu"
    module.to(device)
    for tensor in [*module.parameters(), *module.buffers()]:
        dist.broadcast(tensor.detach(), src=0)
    data_parallel = mesh["data_parallel"]
    for name, blocks in list(module.named_modules()):
        if isinstance(blocks, nn.ModuleList) and name.rpartition(".")[2] == "blocks":
            for block in blocks:
                fully_shard(block, mesh=data_parallel)
    fully_shard(module, mesh=data_parallel)
    return module


def _on_gpu(mesh: Any) -> bool:
    return bool(mesh.device_type == "cuda")
