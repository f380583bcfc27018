"""Small DexWMs whose weights are all random, so that nothing is hidden behind zeros."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dexworld.world_models.cdit import CDiTConfig
from dexworld.world_models.dexwm import DexWM, DexWMConfig
from dexworld.world_models.keypoint_head import KeypointHeadConfig

GRID = (3, 4)
SIZES: dict[str, Any] = {
    "features": 10,
    "patches": GRID[0] * GRID[1],
    "context": 4,
    "condition": 12,
    "width": 16,
    "depth": 2,
    "heads": 2,
}
HEAD = KeypointHeadConfig(width=16, depth=1, heads=2, maps=4, resize="none", stride=2)


def toy_config(positions: str = "slots", **settings: Any) -> DexWMConfig:
    sizes = {**SIZES, "positions": positions, **settings.pop("sizes", {})}
    told: dict[str, Any] = {"head": HEAD, "grid": GRID, "patch": 4, "frames": "features"}
    # Random heads draw anything.
    told |= {"least_peak": 0.0, "furthest": 0.5}
    return DexWMConfig(predictor=CDiTConfig(**sizes), **{**told, **settings})


def toy_model(
    positions: str = "slots", dtype: torch.dtype = torch.float64, **settings: Any
) -> DexWM:
    model = DexWM(toy_config(positions, **settings)).to(dtype).eval()
    randomise(model, seed=0)
    return model


def randomise(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            drawn = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
            parameter.copy_(0.7 * drawn / math.sqrt(max(1, parameter.shape[-1])))


def frames(rows: int, count: int = 1, seed: int = 1) -> Tensor:
    """Return features `[R, count, P, E]`."""
    generator = torch.Generator().manual_seed(seed)
    shape = (rows, count, SIZES["patches"], SIZES["features"])
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def movements(*shape: int, seed: int = 2, size: float = 0.5) -> Tensor:
    """Return actions inside the bounds."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(*shape, SIZES["condition"], generator=generator, dtype=torch.float64)
    return size * (2 * drawn - 1)


def seen_states(
    model: DexWM, count: int, problems: int = 1, between: Tensor | None = None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return frames, and the belief after having seen them; actions between are zero where None."""
    dtype = model.predictor.positions.dtype
    seen = frames(problems, count).to(dtype)
    state = model.encode({"features": seen[:, 0]})
    nothing = torch.zeros(problems, max(0, count - 1), *model.action_space.shape, dtype=dtype)
    executed = nothing if between is None else between
    for number in range(1, count):
        state = model.encode({"features": seen[:, number]}, state, executed[:, number - 1, None])
    return seen, state
