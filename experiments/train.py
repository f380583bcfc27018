"""`dexworld-train`: trains world models, and what they see with, act with and are judged by."""

from __future__ import annotations

import json
import re
import shlex
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import hydra
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch import nn
from torch.utils.tensorboard import SummaryWriter

from dexworld.experiments.command_line import (
    CONF,
    USER_ERRORS,
    check_overrides,
    fail,
    provenance,
    settings_help,
)
from dexworld.experiments.dexwm_training import make_dexwm
from dexworld.experiments.frame_rate import FPS
from dexworld.experiments.frame_training import make_patch_decoder, make_tiny_encoder
from dexworld.experiments.head_training import make_heads
from dexworld.experiments.inverse_training import make_inverse
from dexworld.experiments.prediction_strips import prediction_strip
from dexworld.experiments.progress import console_of_errors
from dexworld.experiments.training import (
    DEXWM,
    HEADS,
    INVERSE,
    PATCH_DECODER,
    TINY_ENCODER,
    WORLD_MODEL,
    DataConfig,
    TrainConfig,
    TrainingData,
    make_world_model,
    measure,
    open_dataset,
    register_schemas,
    training_settings,
)
from dexworld.world_models.configuration import to_json
from dexworld.world_models.data.windows import Windows
from dexworld.world_models.dexwm_training import DexWMTraining
from dexworld.world_models.distributed import rank
from dexworld.world_models.encoders import EncoderConfig
from dexworld.world_models.frame_training import PatchDecoderTraining, TinyEncoderTraining
from dexworld.world_models.head_training import HeadTraining
from dexworld.world_models.heads import HeadsConfig
from dexworld.world_models.latent import LatentConfig, LatentWorldModel
from dexworld.world_models.latent_loss import LossConfig
from dexworld.world_models.predictors import PredictorConfig
from dexworld.world_models.training import Trainer
from dexworld.world_models.training_settings import TrainingSettings
from dexworld.world_models.training_step import StepReport

CONFIG, METRICS = "config.yaml", "metrics.json"
KINDS: dict[str, Callable[..., tuple[Any, TrainingData]]] = {
    WORLD_MODEL: make_world_model,
    INVERSE: make_inverse,
    HEADS: make_heads,
    TINY_ENCODER: make_tiny_encoder,
    PATCH_DECODER: make_patch_decoder,
    DEXWM: make_dexwm,
}
"""What makes what is trained, and its data."""
FRAMES = (TinyEncoderTraining, PatchDecoderTraining, DexWMTraining)
"""Trainings on frames, which measure themselves."""
FITTED_BATCHES = 32
"""From which the scale of a tiny encoder's features is taken in the end."""


def train(config: TrainConfig, command: str, console: Console | None = None) -> dict[str, Any]:
    """Train, write the folder of `config`, and return the metrics.

    Of several processes that train together the first one writes; the others return nothing.

    Raises:
        ValueError, KeyError, TypeError, OSError: the configuration or the data are wrong.
        KeyboardInterrupt: a checkpoint was written first.
    """
    console = console or console_of_errors()
    folder, settings, first = Path(config.output), training_settings(config), rank() == 0
    dataset = open_dataset(config)
    if config.kind not in KINDS:
        raise ValueError(f"kind={config.kind!r}: choose one of {list(KINDS)}.")
    with _bar(console) as progress:
        model, data = KINDS[config.kind](config, dataset, _task(progress, "cache"))
        if first:
            folder.mkdir(parents=True, exist_ok=True)
        if first and not (folder / CONFIG).exists():
            # That of another training, which this one is about to be told from, stays.
            _write_config(config, folder)
        with SummaryWriter(str(folder / "tensorboard")) if first else nullcontext() as board:

            def evaluate(trained: Any, step: int) -> dict[str, float]:
                if isinstance(trained, LatentWorldModel) and board is not None:
                    strip = prediction_strip(trained, data.validation)
                    board.add_image("predicted_beside_real", strip, step, dataformats="HWC")
                if isinstance(trained, FRAMES) and board is not None:
                    drawn = trained.strip(data.validation.to(_device(trained)))
                    board.add_image("drawn_below_real", drawn, step, dataformats="HWC")
                return _errors(trained, data.validation)

            shown = _task(progress, config.name)

            def observe(report: StepReport) -> None:
                shown(report.step, settings.steps, f"loss {report.loss:.3g}")

            trainer = Trainer(
                settings,
                folder,
                fingerprints={
                    "config": to_json(model.config),
                    "data": data.fingerprint,
                    "sampling": _sampling(config),
                },
                evaluate=evaluate,
                log=board,
                observe=observe,
            )
            began = time.monotonic()
            result = trainer.fit(model, data.batches, resume=config.resume)
    if not first:
        return {}
    if isinstance(result.model, TinyEncoderTraining):
        result.model.fit(data.batches(number, 0, 1) for number in range(FITTED_BATCHES))
    trained = finished(result.model)
    lengths = dataset.episodes["length"][: config.data.max_episodes]
    told = folder / METRICS
    took = {"seconds": time.monotonic() - began, "resumed_from": result.resumed_from}
    if result.resumed_from == settings.steps and told.is_file():  # only measured anew
        took = {name: json.loads(told.read_text(encoding="utf-8"))[name] for name in took}
    metrics = {
        "name": config.name,
        "command": portable(command),
        "errors": _errors(result.model, data.validation),
        "steps": settings.steps,
        **took,
        "parameters": sum(each.numel() for each in trained.parameters()),
        "data": {
            "path": Path(config.data.path).name,
            "episodes": len(lengths),
            "frames": int(lengths.sum()),
            "validation_fraction": config.data.validation_fraction,
            FPS: dataset.fps,
            "fingerprint": data.fingerprint,
        },
        "seed": config.seed,
        "provenance": provenance(config.seed),
    }
    trained.save_pretrained(folder / "model", metadata=metrics)
    told.write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    _write_config(config, folder)
    return metrics


def finished(trained: nn.Module) -> Any:
    """Return the model that was trained, without what only its training needs."""
    return trained.model if isinstance(trained, (HeadTraining, *FRAMES)) else trained


def _errors(trained: nn.Module, windows: Windows) -> dict[str, float]:
    if isinstance(trained, FRAMES):
        return trained.errors(windows.to(_device(trained)))
    return measure(finished(trained), windows)


def _device(trained: nn.Module) -> torch.device:
    return next(trained.parameters()).device


def portable(command: str) -> str:
    """Return a command in which files are called by their names, not by where this machine has them.

    For checkpoints, which travel.
    """
    return re.sub(r"(?<![\w.~-])/(?:[^/\s'\"]+/(?=[^\s'\"]))*", "", command)


def _sampling(config: TrainConfig) -> dict[str, Any]:
    """Return what decides which windows are drawn."""
    names = ["frames", "batch_size", "validation_fraction", "max_episodes"]
    names += ["reward", "terminal"] if config.kind == HEADS else []
    names += ["irregular"] if config.data.irregular else []  # as from before there was a choice
    sampling = {name: getattr(config.data, name) for name in names}
    return {**sampling, "gaps": list(config.data.gaps), "seed": config.seed}


def _write_config(config: TrainConfig, folder: Path) -> None:
    resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
    (folder / CONFIG).write_text(resolved, encoding="utf-8")


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        disable=not console.is_terminal or rank() > 0,
    )


def _task(progress: Progress, title: str) -> Any:
    """Return what moves a bar that appears when it is first moved."""
    bars: list[Any] = []

    def move(done: int, total: int, said: str = "") -> None:
        if not bars:
            bars.append(progress.add_task(title, total=total, said=""))
        progress.update(bars[0], completed=done, total=total, said=said)

    return move


def print_errors(metrics: dict[str, Any], console: Console) -> None:
    """Print the errors, a row for each number of steps."""
    errors: dict[str, float] = metrics["errors"]
    cells: dict[tuple[int, str], float] = {}
    for name, value in errors.items():
        matched = re.fullmatch(r"(.+)_(\d+)((?:_[a-z]\w*)?)", name)
        kind, step, rest = matched.groups() if matched else (name, "0", "")
        cells[int(step), kind + rest] = value
    kinds = sorted({kind for _, kind in cells})
    table = Table(title=f"{metrics['name']}: errors by steps ahead", title_justify="left")
    for head in ("steps", *kinds):
        table.add_column(head, justify="right", overflow="fold")
    for step in sorted({step for step, _ in cells}):
        row = [cells.get((step, kind)) for kind in kinds]
        table.add_row(str(step or ""), *("" if value is None else f"{value:.3g}" for value in row))
    console.print(table)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def _run(composed: DictConfig) -> None:
    console = console_of_errors()
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        config: TrainConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
        metrics = train(config, command, console)
    except KeyboardInterrupt:
        console.print(f"\ninterrupted; the same command goes on in {composed.output}.")
        raise SystemExit(130) from None
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    if metrics:
        print_errors(metrics, console)
        console.print(f"model: {(Path(config.output) / 'model').resolve()}", soft_wrap=True)


HELP = """\
dexworld-train trains a latent world model on a dataset of dexworld-collect, an inverse model on
the latents of one, which is the baseline of planning in it, or reward and value heads of one, which
is left as it is; or a small encoder of frames, or what draws the features of one. It writes the
model (config.json, model.safetensors), checkpoints, TensorBoard curves with predicted-beside-real
pictures, and metrics.json into `output`; the same command again goes on where it was interrupted.

  dexworld-train recipe=push_t_state data.path=outputs/play output=outputs/model
  dexworld-train recipe=push_t_pixels data.path=outputs/play training.steps=2000
  dexworld-train recipe=push_t_inverse data.path=outputs/play world_model=outputs/model/model
  dexworld-train recipe=push_t_value data.path=outputs/play initial=outputs/model/model
  dexworld-train recipe=counter_encoder data.path=outputs/counter output=outputs/encoder
  dexworld-train recipe=counter_decoder data.path=outputs/counter encoder=outputs/encoder/model
  dexworld-train recipe=counter_dexwm data.path=outputs/counter encoder=outputs/encoder/model
  torchrun --nproc-per-node 2 -m dexworld.experiments.train training.strategy=ddp \\
      training.devices=2 ...

An error is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.

Settings are given as key=value or group.key=value (those of `model` are of a world model):

"""


def main() -> None:
    """Run the command line."""
    register_schemas()
    if {"--help", "-h"} & set(sys.argv[1:]):
        groups = {
            "": TrainConfig,
            "data.": DataConfig,
            "model.": LatentConfig,
            "model.encoder.": EncoderConfig,
            "model.predictor.": PredictorConfig,
            "model.loss.": LossConfig,
            "model.heads.": HeadsConfig,
            "training.": TrainingSettings,
        }
        sys.stdout.write(f"{HELP}{settings_help(groups)}\n\n")
        sys.stdout.flush()
    # Whether the recipe gives a setting of the model, or it has its default, is all one.
    sys.argv[1:] = [re.sub(r"^\+?(?=model\.)", "++", each) for each in sys.argv[1:]]
    check_overrides("train", sys.argv[1:])
    _run()


if __name__ == "__main__":
    main()
