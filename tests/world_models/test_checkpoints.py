"""Checkpoints: which are kept, which is found, and what is said about those that cannot be used."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from dexworld.world_models.checkpoints import Checkpoint, Checkpoints, check_same

DECISIVE = {"model": "Toy", "settings": {"steps": 9, "learning_rate": 0.1}, "space": (1, 2)}


def save(
    checkpoints: Checkpoints, step: int, error: float | None = None, value: float = 0.0
) -> Checkpoint:
    tensors = {"model": {"weight": torch.full((2,), value + step), "count": torch.tensor(step)}}
    metrics = {} if error is None else {"error": error, "useless": math.nan}
    return checkpoints.save(step, tensors, DECISIVE, metrics)


def steps(checkpoints: Checkpoints) -> list[int]:
    return [checkpoint.step for checkpoint in checkpoints.all()]


def test_what_is_saved_is_found_again(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest() is None
    save(checkpoints, 2)
    saved = save(checkpoints, 10, error=0.5)
    assert checkpoints.latest() == saved
    assert saved.step == 10
    assert saved.metrics == {"error": 0.5, "useless": None}
    tensors = saved.tensors("model")
    assert torch.equal(tensors["weight"], torch.tensor([10.0, 10.0]))
    assert tensors["count"] == 10
    check_same(saved, DECISIVE)


def test_weights_that_share_memory_are_saved_under_both_names(tmp_path: Path) -> None:
    weight = torch.arange(6.0).reshape(2, 3)
    saved = Checkpoints(tmp_path).save(1, {"model": {"a": weight, "b": weight.T}}, DECISIVE, {})
    assert torch.equal(saved.tensors("model")["b"], weight.T)


def test_the_last_ones_are_kept(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path, keep=2)
    for step in (1, 2, 10, 100):
        save(checkpoints, step)
    assert steps(checkpoints) == [10, 100]
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize(("best_is", "best"), [("lowest", 3), ("highest", 1)])
def test_the_best_one_is_kept_too(tmp_path: Path, best_is: str, best: int) -> None:
    checkpoints = Checkpoints(tmp_path, 1, "error", best_is)
    for step, error in enumerate([0.8, math.nan, 0.0, 0.3, 0.4, None], start=1):
        save(checkpoints, step, error)
    assert steps(checkpoints) == [best, 6]
    found = checkpoints.best()
    assert found is not None and found.step == best
    assert not checkpoints.is_best({"error": 0.3 if best_is == "lowest" else 0.5})
    assert not checkpoints.is_best({"error": math.nan})
    assert not checkpoints.is_best({"other": 0.0})
    assert checkpoints.is_best({"error": -0.1 if best_is == "lowest" else 0.9})


def test_what_a_killed_process_left_is_not_found(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    save(checkpoints, 1)
    left = tmp_path / ".step_000000002.unfinished"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert steps(checkpoints) == [1]
    save(checkpoints, 2)
    assert steps(checkpoints) == [1, 2]
    assert not left.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_not_written(tmp_path: Path, value: float) -> None:
    checkpoints = Checkpoints(tmp_path)
    last = save(checkpoints, 1)
    with pytest.raises(ValueError, match=rf"after step 2, weight \(model\).*{last.path}"):
        save(checkpoints, 2, value=value)
    assert steps(checkpoints) == [1]


def test_a_damaged_checkpoint_says_so(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    saved = save(checkpoints, 1)
    weights = saved.path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-3])
    with pytest.raises(ValueError, match=r"cannot be read.*delete this folder"):
        saved.tensors("model")
    weights.unlink()
    with pytest.raises(ValueError, match=r"cannot be read.*delete this folder"):
        saved.tensors("model")
    contents = saved.path / "checkpoint.json"
    contents.write_text(json.dumps({**json.loads(contents.read_text()), "format": 0}))
    with pytest.raises(ValueError, match="format 0, and this version reads 1"):
        checkpoints.latest()
    contents.write_text("{")
    with pytest.raises(ValueError, match=r"cannot be read.*delete this folder"):
        checkpoints.latest()


def test_a_checkpoint_of_another_training_is_named_by_what_differs(tmp_path: Path) -> None:
    saved = save(Checkpoints(tmp_path), 1)
    other = {"model": "Toy", "settings": {"steps": 9, "learning_rate": 0.2}, "data": "abc"}
    with pytest.raises(ValueError, match="is of another training") as error:
        check_same(saved, other)
    message = str(error.value)
    assert "settings.learning_rate: 0.1 then, 0.2 now" in message
    assert "data: not there then, abc now" in message
    assert "space: [1, 2] then, not there now" in message
    assert "steps" not in message
