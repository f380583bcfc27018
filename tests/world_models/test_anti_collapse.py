"""Variance and covariance: known values, and the same however many processes share a batch."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from dexworld.world_models.anti_collapse import variance_covariance


def test_latents_that_are_all_the_same_fall_short_by_everything() -> None:
    short, shared = variance_covariance(torch.full((5, 3), 2.0))
    assert float(short) == pytest.approx(1.0 - 0.01)  # 0.01 keeps the root differentiable
    assert float(shared) == 0.0


def test_known_values() -> None:
    # Columns of deviations 2 and 0.5 over 4 rows, and their covariance.
    first = torch.tensor([1.0, 1.0, -1.0, -1.0]) * 3**0.5
    second = torch.tensor([1.0, -1.0, 1.0, -1.0]) * 3**0.5 / 4 + first / 8
    rows = torch.stack([first, second], dim=1)
    expected = torch.cov(rows.T)
    assert float(expected[0, 0]) == pytest.approx(4.0)
    short, shared = variance_covariance(rows, deviation=1.5)
    missing = 1.5 - float((expected[1, 1] + 1e-4).sqrt())
    assert float(short) == pytest.approx(missing / 2, abs=1e-6)
    assert float(shared) == pytest.approx(float(expected[0, 1]) ** 2, rel=1e-5)
    # Where latents are does not matter.
    assert float(variance_covariance(rows + 100.0, 1.5)[0]) == pytest.approx(float(short), abs=1e-4)


def test_its_gradient_spreads_what_is_too_close_and_leaves_what_is_not() -> None:
    torch.manual_seed(0)
    narrow = (0.1 * torch.randn(64, 2)).requires_grad_()
    variance_covariance(narrow)[0].backward()
    assert narrow.grad is not None
    step = narrow.detach() - 0.1 * narrow.grad
    assert (step.std(0) > narrow.detach().std(0)).all()
    wide = (5.0 * torch.randn(64, 2)).requires_grad_()
    short, _ = variance_covariance(wide)
    short.backward()
    assert torch.equal(short, torch.zeros(())) and torch.equal(wide.grad, torch.zeros_like(wide))


ROWS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.2, 0.5, 2.0])


def losses(rows: Tensor) -> Tensor:
    short, shared = variance_covariance(rows)
    return short + 0.3 * shared


def of_one_half(folder: Path, rank: int) -> None:
    """Write the loss and gradient of half of the rows, in a process of two."""
    dist.init_process_group("gloo", f"file://{folder}/meeting", world_size=2, rank=rank)
    half = ROWS[4 * rank : 4 * rank + 4].clone().requires_grad_()
    loss = losses(half)
    loss.backward()
    torch.save([loss.detach(), half.grad], folder / f"{rank}.pt")
    dist.destroy_process_group()


def test_two_processes_agree_with_one(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")  # which imports nothing anew
    others = [context.Process(target=of_one_half, args=(tmp_path, rank)) for rank in range(2)]
    for each in others:
        each.start()
    for each in others:
        each.join(60)
        assert each.exitcode == 0
    rows = ROWS.clone().requires_grad_()
    loss = losses(rows)
    loss.backward()
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    for alone, _ in found:
        torch.testing.assert_close(alone, loss.detach())
    # Gradients of the processes' losses are averaged, as by data parallelism.
    averaged = torch.cat([gradient for _, gradient in found]) / 2
    torch.testing.assert_close(averaged, rows.grad)
