"""What keeps jointly trained latents from all becoming the same: variance and covariance."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional

from .distributed import all_gather_rows


def variance_covariance(
    latents: Float[Tensor, "rows latent"], deviation: float = 1.0
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Return how much deviations fall short, and how much dimensions repeat one another.

    The variance term is `mean_d max(0, deviation - std_d)` and the covariance term
    `mean_d sum_{e != d} C_de^2`, both over the rows of all processes, so that they do not depend on
    how the batch is shared (VICReg, Bardes et al. 2022). Chosen over a stop-gradient teacher
    because it says what a healthy latent is, which a curve can show, and needs no second encoder.
    """
    rows = all_gather_rows(latents.float())
    centred = rows - rows.mean(dim=0)
    count = max(len(rows) - 1, 1)
    covariance = centred.T @ centred / count
    spread = torch.sqrt(covariance.diagonal() + 1e-4)
    short = functional.relu(deviation - spread).mean()
    off_diagonal = covariance.square().sum() - covariance.diagonal().square().sum()
    return short, off_diagonal / latents.shape[-1]
