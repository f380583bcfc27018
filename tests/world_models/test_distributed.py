"""Two processes learn what one does; alone, the functions that speak to others do nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from dexworld.world_models.checkpoints import Checkpoint, Checkpoints
from dexworld.world_models.distributed import (
    all_gather_rows,
    alone,
    from_first_rank,
    like,
    local,
    rank,
    whole,
    world_size,
)

PROGRAM = Path(__file__).with_name("toy_training.py")
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
OPTIONS = ["--accumulate", "2"]


def test_a_single_process_keeps_what_it_has() -> None:
    rows = torch.rand(3, 2, requires_grad=True)
    with alone():
        assert all_gather_rows(rows) is rows
    assert all_gather_rows(rows) is rows
    assert not from_first_rank(rows).requires_grad
    assert whole(rows) is rows
    assert like(rows, torch.zeros(2)) is rows
    assert local(rows).data_ptr() == rows.data_ptr()
    assert world_size() == 1


@pytest.mark.parametrize(
    ("environment", "expected"),
    [({}, 0), ({"LOCAL_RANK": "1"}, 1), ({"RANK": "3", "LOCAL_RANK": "1"}, 3)],
)
def test_the_rank_is_known_before_processes_are_connected(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: int
) -> None:
    for name in ("RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert rank() == expected


def train(folder: Path, *options: str, launcher: list[str] | None = None) -> str:
    """Train the toy in processes of its own, and return what they say."""
    command = [sys.executable, *(launcher or []), str(PROGRAM), str(folder), *OPTIONS, *options]
    # The launchers find their own way; another one's names would lead them astray.
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    environment = {name: value for name, value in os.environ.items() if name not in names}
    run = subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=250
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def last(folder: Path) -> Checkpoint:
    checkpoint = Checkpoints(folder / "checkpoints").latest()
    assert checkpoint is not None and checkpoint.step == 12
    return checkpoint


def assert_close(found: Checkpoint, expected: Checkpoint) -> None:
    assert found.metrics["loss"] == pytest.approx(expected.metrics["loss"], abs=1e-6)
    for file in ("model", "average", "optimizer"):
        tensors = found.tensors(file)
        for name, tensor in expected.tensors(file).items():
            torch.testing.assert_close(tensors[name], tensor, rtol=0, atol=1e-6)


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("single")
    train(folder)
    return folder


@pytest.mark.slow
def test_two_ddp_processes_learn_what_one_does(single: Path, tmp_path: Path) -> None:
    said = train(tmp_path, "--strategy", "ddp", "--devices", "2")
    assert said == "went on from step 0, holding 1.00\n"
    assert_close(last(tmp_path), last(single))


@pytest.mark.slow
def test_two_fsdp_processes_go_on_from_what_one_wrote(single: Path, tmp_path: Path) -> None:
    shutil.copytree(
        single / "checkpoints" / "step_000000004", tmp_path / "checkpoints" / "step_000000004"
    )
    said = train(tmp_path, "--strategy", "fsdp", "--devices", "2", launcher=TORCHRUN)
    assert "went on from step 4, holding 0.5" in said
    assert_close(last(tmp_path), last(single))
