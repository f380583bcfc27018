"""The checkpoints of a training: folders of tensors and JSON, whole or not there, never pickles."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from .atomic_folder import atomic_folder, remove_folder, remove_leftovers

FORMAT = 1
CONTENTS = "checkpoint.json"
LOWEST, HIGHEST = "lowest", "highest"
SHOWN = 6
"""Differing entries that an error names."""

Decisive = Mapping[str, Any]
"""What a training's result depends on: JSON values, nested by name."""


@dataclass(frozen=True)
class Checkpoint:
    """A written checkpoint; its tensors stay on the disk until they are asked for."""

    path: Path
    step: int
    """Steps that were finished when it was written."""
    decisive: Decisive
    """What the training that wrote it depends on."""
    metrics: Mapping[str, float | None]
    """What was evaluated at this step; null where not finite."""

    def tensors(self, name: str) -> dict[str, Tensor]:
        """Return the tensors of one of its files, on the CPU."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            return load_file(self.path / f"{name}.safetensors")
        except (OSError, SafetensorError) as error:
            raise _broken(self.path, error) from None


class Checkpoints:
    """The folder with the checkpoints of one training.

    Args:
        folder: Where they are, each in a folder `step_000123`.
        keep: How many of the last ones are kept.
        best_metric: The best one by this metric is kept too, where a name is given.
        best_is: Whether the `lowest` or the `highest` metric is the best.
    """

    def __init__(
        self, folder: Path, keep: int = 2, best_metric: str | None = None, best_is: str = LOWEST
    ) -> None:
        self.folder = folder
        self.keep = keep
        self.best_metric = best_metric
        self.best_is = best_is

    def all(self) -> list[Checkpoint]:
        """Return all finished checkpoints, the last one last.

        Raises:
            ValueError: One of them was damaged, or is of another version of this package.
        """
        return [_read(path) for path in sorted(self.folder.glob("step_*"))]

    def latest(self) -> Checkpoint | None:
        """Return the checkpoint to go on from, if there is one."""
        paths = sorted(self.folder.glob("step_*"))
        return _read(paths[-1]) if paths else None

    def best(self) -> Checkpoint | None:
        """Return the checkpoint with the best `best_metric`, if one was evaluated."""
        scored = [saved for saved in self.all() if self._loss(saved.metrics) < math.inf]
        return min(scored, key=lambda saved: self._loss(saved.metrics), default=None)

    def is_best(self, metrics: Mapping[str, float]) -> bool:
        """Return whether these metrics are better than those of every checkpoint."""
        best = self.best()
        return self._loss(metrics) < (self._loss(best.metrics) if best else math.inf)

    def _loss(self, metrics: Mapping[str, float | None]) -> float:
        """Return a number that is the lower, the better; infinite where nothing was measured."""
        value = metrics.get(self.best_metric) if self.best_metric else None
        if value is None or not math.isfinite(value):
            return math.inf
        return value if self.best_is == LOWEST else -value

    def save(
        self,
        step: int,
        tensors: Mapping[str, Mapping[str, Tensor]],
        decisive: Decisive,
        metrics: Mapping[str, float],
    ) -> Checkpoint:
        """Write a checkpoint, on the disk before this returns, and remove those not to be kept.

        Args:
            step: Finished steps.
            tensors: Tensors by name, by the file that they go to.
            decisive: What the training depends on.
            metrics: What was evaluated at this step.

        Raises:
            ValueError: A tensor is not finite; nothing is written then.
        """
        from safetensors.torch import save_file

        for file, named in tensors.items():
            for name, tensor in named.items():
                if tensor.is_floating_point() and not tensor.isfinite().all():
                    raise ValueError(
                        f"after step {step}, {name} ({file}) is not finite, and was not written. "
                        f"{self.remedy()}"
                    )
        remove_leftovers(self.folder)
        path = self.folder / f"step_{step:09d}"
        contents = {
            "format": FORMAT,
            "step": step,
            "decisive": decisive,
            "metrics": {k: v if math.isfinite(v) else None for k, v in metrics.items()},
        }
        with atomic_folder(path) as unfinished:
            for file, named in tensors.items():
                # Clones, because safetensors refuses weights that share memory.
                copies = {k: v.detach().cpu().contiguous().clone() for k, v in named.items()}
                save_file(copies, unfinished / f"{file}.safetensors")
            (unfinished / CONTENTS).write_text(json.dumps(contents, indent=2), encoding="utf-8")
        self._prune()
        return _read(path)

    def _prune(self) -> None:
        saved = self.all()
        best = self.best()
        for checkpoint in saved[: -self.keep]:
            if best is None or checkpoint.step != best.step:
                remove_folder(checkpoint.path)

    def remedy(self) -> str:
        """Return what to do when a training diverges."""
        last = self.latest()
        where = f"The last good checkpoint is {last.path}" if last else "There is no checkpoint yet"
        return (
            f"{where}. Lower learning_rate or gradient_clip, raise warmup, or try "
            "precision=32-true, in another folder; and look for values in the data that are not "
            "finite."
        )


def check_same(checkpoint: Checkpoint, decisive: Decisive) -> None:
    """Raise `ValueError` where a training differs from the one that wrote a checkpoint."""
    before, now = _flat(checkpoint.decisive), _flat(json.loads(json.dumps(decisive)))
    changes = [
        f"{name}: {before.get(name, 'not there')} then, {now.get(name, 'not there')} now"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if changes:
        raise ValueError(
            f"{checkpoint.path} is of another training ({_some(changes)}). Resume with what it "
            "was started with, or train in another folder."
        )


def check_tensors(
    source: str, found: Mapping[str, Tensor], expected: Mapping[str, Tensor], remedy: str
) -> None:
    """Raise `ValueError` unless tensors have the names and shapes of those they are to replace."""
    differ = [f"{name} is missing" for name in expected if name not in found]
    differ += [f"{name} is not the model's" for name in found if name not in expected]
    differ += [
        f"{name} has shape {tuple(found[name].shape)}, the model's {tuple(tensor.shape)}"
        for name, tensor in expected.items()
        if name in found and found[name].shape != tensor.shape
    ]
    if differ:
        raise ValueError(f"{source} holds the weights of another model: {_some(differ)}. {remedy}")


def _read(path: Path) -> Checkpoint:
    try:
        contents = json.loads((path / CONTENTS).read_text(encoding="utf-8"))
        if contents["format"] != FORMAT:
            raise ValueError(f"format {contents['format']}, and this version reads {FORMAT}")
        decisive, metrics = contents["decisive"], contents["metrics"]
        return Checkpoint(path, contents["step"], decisive, metrics)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(path, error) from None


def _broken(path: Path, error: Exception) -> ValueError:
    return ValueError(
        f"the checkpoint {path} cannot be read ({error}). Checkpoints are written whole, so it was "
        "damaged afterwards: delete this folder, and training goes on from the one before."
    )


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Return the leaves of nested mappings by their dotted paths."""
    if not isinstance(value, Mapping) or not value:
        return {prefix: value}
    leaves: dict[str, Any] = {}
    for key, each in value.items():
        leaves |= _flat(each, f"{prefix}.{key}" if prefix else str(key))
    return leaves


def _some(items: list[str]) -> str:
    more = len(items) - SHOWN
    return "; ".join(items[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
