"""Models as folders: `config.json` and `model.safetensors`, here, shipped, or on a hub."""

from __future__ import annotations

import importlib
import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, TypeVar, cast

import torch
from torch import nn

from .. import assets
from .atomic_folder import atomic_folder, flush
from .checkpoints import check_tensors
from .configuration import from_json, to_json

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"

Model = TypeVar("Model", bound="Pretrained")
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class Pretrained:
    """Gives a `torch.nn.Module` made from a frozen dataclass, `Model(config)`, a way to a folder.

    A class that inherits from this and from `nn.Module` sets `config_class`, and keeps what it was
    made from as `config`.
    """

    config_class: ClassVar[type[Any]]
    config: Any
    metadata: Mapping[str, Any] = MappingProxyType({})
    """What was written beside the configuration: data, seeds, duration, results."""

    def save_pretrained(
        self, folder: str | Path, metadata: Mapping[str, Any] | None = None
    ) -> Path:
        """Write the model into a folder, and return its path.

        A new folder appears whole. In one that exists each of the two files is replaced whole, and
        other files stay.

        Args:
            folder: Where to.
            metadata: JSON values that `from_pretrained` gives back.

        Raises:
            TypeError: The configuration or the metadata hold what JSON cannot.
            ValueError: A weight is not finite.
        """
        from safetensors.torch import save_file

        folder, model = Path(folder).absolute(), cast(nn.Module, self)
        text = json.dumps(
            {
                "format": FORMAT,
                "class": type(self).__name__,
                "config": to_json(self.config),
                "metadata": to_json(metadata or {}),
            },
            indent=2,
        )
        # Clones, because safetensors refuses weights that share memory.
        tensors = {k: v.detach().cpu().contiguous().clone() for k, v in model.state_dict().items()}
        for name, tensor in tensors.items():
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ValueError(f"{name} is not finite: {folder} was not written. Train anew.")
        # Beside the folder, so that renaming never crosses file systems.
        new = folder.with_name(f".{folder.name}.new") if folder.exists() else folder
        if new != folder:
            shutil.rmtree(new, ignore_errors=True)
        with atomic_folder(new) as unfinished:
            save_file(tensors, unfinished / WEIGHTS)
            (unfinished / CONFIG).write_text(text + "\n", encoding="utf-8")
        if new != folder:
            for name in (WEIGHTS, CONFIG):
                os.replace(new / name, folder / name)
            new.rmdir()
            flush(folder)
        return folder

    # Not Self, which the checker of annotations in the tests does not take in methods.
    @classmethod
    def from_pretrained(  # noqa: PYI019
        cls: type[Model], source: str | Path, device: torch.device | str = "cpu"
    ) -> Model:
        """Return the model in a folder, ready to be used.

        Args:
            source: A folder; the name of a checkpoint that ships with the package; or the name of a
                repository on the Hugging Face hub, `organisation/name`.
            device: Where its weights go.

        Raises:
            FileNotFoundError: There is no such folder, checkpoint or repository, or files are
                missing from it.
            ImportError: It is on a hub, and `huggingface_hub` is not installed.
            ValueError: It is of another class, its configuration is wrong, or its weights are
                damaged or of other shapes.
        """
        folder = find_pretrained(source)
        contents = read_contents(folder)
        if contents["class"] != cls.__name__:
            raise ValueError(
                f"{folder} holds a {contents['class']}, not a {cls.__name__}: load it with "
                f"{contents['class']}.from_pretrained."
            )
        try:
            config = from_json(cls.config_class, contents["config"])
        except ValueError as error:
            raise ValueError(
                f"{folder / CONFIG}: {error} It was edited, or written by another version of "
                "dexworld: install that one, or train anew."
            ) from None
        made: Any = cls
        model = made(config)
        _load_weights(model, folder)
        model.metadata = contents["metadata"]
        ready: Model = model.to(device).eval()
        return ready


def shipped_checkpoints() -> dict[str, Path]:
    """Return the checkpoints that ship with the package, by name."""
    folder = Path(assets.__file__).parent / "checkpoints"
    return {path.parent.name: path.parent for path in sorted(folder.glob(f"*/{CONFIG}"))}


def find_pretrained(source: str | Path) -> Path:
    """Return the folder of a model; fetch it first if it is on a hub.

    Raises:
        FileNotFoundError, ImportError: As `Pretrained.from_pretrained`.
    """
    if Path(source).is_dir():
        return Path(source)
    shipped = shipped_checkpoints()
    if str(source) in shipped:
        return shipped[str(source)]
    there = f"no folder, and no checkpoint that ships with dexworld ({sorted(shipped)})"
    if not isinstance(source, str) or not _HUB_NAME.fullmatch(source):
        raise FileNotFoundError(f"{source} is {there}. Check the path.")
    try:
        hub: Any = importlib.import_module("huggingface_hub")
    except ImportError:
        raise ImportError(
            f"{source} is {there}. To look for it on the Hugging Face hub, install "
            "huggingface_hub (pip install huggingface_hub, or the extra dexworld[encoders])."
        ) from None
    try:
        return Path(hub.snapshot_download(source, allow_patterns=[CONFIG, WEIGHTS]))
    except Exception as error:
        # Whatever the client and its transport raise: missing repository, no network, no access.
        raise FileNotFoundError(
            f"{source} is {there}, and the Hugging Face hub did not give it: {error}"
        ) from error


def read_contents(folder: Path) -> dict[str, Any]:
    """Return what `config.json` says: `format`, `class`, `config` and `metadata`.

    Raises:
        FileNotFoundError, ValueError: As `Pretrained.from_pretrained`.
    """
    path = folder / CONFIG
    try:
        contents = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} has no {CONFIG}: it is not the folder of a model. Give the folder that "
            "save_pretrained wrote."
        ) from None
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}). Save the model again.") from None
    keys = ("format", "class", "config", "metadata")
    if not isinstance(contents, dict) or any(key not in contents for key in keys):
        raise ValueError(f"{path} must have the keys {list(keys)}. Was it written by dexworld?")
    if contents["format"] != FORMAT:
        raise ValueError(
            f"{path} has format {contents['format']}, and this version of dexworld reads {FORMAT}. "
            "Install the version that wrote it, or train anew."
        )
    return contents


def _load_weights(model: nn.Module, folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{folder} has no {WEIGHTS}. Copy it there, or save again.")
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged ({error}). Copy or save it again.") from None
    remedy = f"{CONFIG} and {WEIGHTS} must be of the same save."
    check_tensors(str(path), tensors, model.state_dict(), remedy)
    model.load_state_dict(tensors)
