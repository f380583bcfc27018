"""A latent world model learns the same in two processes as in one, its anti-collapse term included.

Compared are the terms of the loss, the norms of the gradient, and the weights and their average
after steps of plain gradient descent, all within 1e-6. The optimiser of a training, AdamW, divides
every gradient by its own size. Where that is zero in exact arithmetic, as for the biases of
heatmaps and of attention's keys, which a softmax does not see, what is left is rounding, and AdamW
makes whole steps of it: those weights differ, and nothing that is predicted does.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("latent_steps.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]


def descended(file: Path, *options: str, launcher: tuple[str, ...] = ()) -> dict[str, Tensor]:
    """Descend in processes of their own; return terms, norms and weights by name."""
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    command = [sys.executable, *launcher, str(PROGRAM), str(file), *options]
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=280
    )
    assert run.returncode == 0, run.stderr
    return load_file(file)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    found = descended(tmp_path_factory.mktemp("single") / "found.safetensors")
    for step in range(4):  # every term has a say
        terms = (
            "latent",
            "variance",
            "covariance",
            "encoded_points",
            "predicted_points",
            "picture",
        )
        assert all(found[f"{step}.{term}"] > 1e-4 for term in terms)
    assert (found["model.encoder.features.weight"] - found["average.encoder.features.weight"]).any()
    return found


@pytest.mark.parametrize(
    ("strategy", "launcher"), [("ddp", ()), ("fsdp", tuple(TORCHRUN))], ids=["DDP", "FSDP2"]
)
def test_two_processes_descend_as_one_does(
    single: dict[str, Tensor], tmp_path: Path, strategy: str, launcher: tuple[str, ...]
) -> None:
    options = ("--strategy", strategy, "--devices", "2")
    found = descended(tmp_path / "found.safetensors", *options, launcher=launcher)
    assert found.keys() == single.keys()
    for name, tensor in single.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-6, atol=1e-6, msg=name)
