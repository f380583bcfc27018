"""`dexworld-train`: trains a latent world model, or an inverse model in one, on a dataset."""

from __future__ import annotations

import json
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from torch.utils.tensorboard import SummaryWriter

from dexworld.experiments.command_line import (
    CONF,
    USER_ERRORS,
    check_overrides,
    fail,
    provenance,
    settings_help,
)
from dexworld.experiments.inverse_training import make_inverse
from dexworld.experiments.prediction_strips import prediction_strip
from dexworld.experiments.training import (
    DataConfig,
    TrainConfig,
    make_world_model,
    measure,
    open_dataset,
    register_schemas,
    training_settings,
)
from dexworld.world_models.configuration import to_json
from dexworld.world_models.inverse import InverseModel
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.training import Trainer
from dexworld.world_models.training_settings import TrainingSettings
from dexworld.world_models.training_step import StepReport

KINDS = {"world_model": make_world_model, "inverse": make_inverse}
"""What can be trained, and what makes it and its data."""


def train(config: TrainConfig, command: str, console: Console | None = None) -> dict[str, Any]:
    """Train, write the folder of `config`, and return the metrics.

    Raises:
        ValueError, KeyError, TypeError, OSError: the configuration or the data are wrong.
        KeyboardInterrupt: a checkpoint was written first.
    """
    console = console or Console(stderr=True)
    folder, settings = Path(config.output), training_settings(config)
    dataset = open_dataset(config)
    if config.kind not in KINDS:
        raise ValueError(f"kind={config.kind!r}: choose one of {list(KINDS)}.")
    with _bar(console) as progress:
        model, data = KINDS[config.kind](config, dataset, _task(progress, "cache"))
        folder.mkdir(parents=True, exist_ok=True)
        resolved = OmegaConf.to_yaml(OmegaConf.structured(config))
        (folder / "config.yaml").write_text(resolved, encoding="utf-8")
        with SummaryWriter(str(folder / "tensorboard")) as board:

            def evaluate(trained: Any, step: int) -> dict[str, float]:
                if isinstance(trained, LatentWorldModel):
                    strip = prediction_strip(trained, data.validation)
                    board.add_image("predicted_beside_real", strip, step, dataformats="HWC")
                return measure(trained, data.validation)

            shown = _task(progress, config.name)

            def observe(report: StepReport) -> None:
                shown(report.step, settings.steps, f"loss {report.loss:.3g}")

            trainer = Trainer(
                settings,
                folder,
                fingerprints={
                    "config": to_json(model.config),
                    "data": data.fingerprint,
                    "sampling": {
                        name: getattr(config.data, name)
                        for name in ("frames", "batch_size", "validation_fraction", "max_episodes")
                    }
                    | {"gaps": list(config.data.gaps), "seed": config.seed},
                },
                evaluate=evaluate,
                log=board,
                observe=observe,
            )
            began = time.monotonic()
            result = trainer.fit(model, data.batches, resume=config.resume)
    trained = result.model
    assert isinstance(trained, (LatentWorldModel, InverseModel))
    metrics = {
        "name": config.name,
        "command": command,
        "errors": measure(trained, data.validation),
        "steps": settings.steps,
        "seconds": time.monotonic() - began,
        "resumed_from": result.resumed_from,
        "parameters": sum(each.numel() for each in trained.parameters()),
        "data": {
            "path": Path(config.data.path).name,
            "episodes": len(dataset),
            "frames": dataset.frames,
            "fingerprint": data.fingerprint,
        },
        "seed": config.seed,
        "provenance": provenance(config.seed),
    }
    trained.save_pretrained(folder / "model", metadata=metrics)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=2) + "\n", encoding="utf-8")
    return metrics


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[said]}"),
        console=console,
        disable=not console.is_terminal,
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
    errors = metrics["errors"]
    steps = sorted({int(name.split("_")[1]) for name in errors})
    kinds = sorted({name.replace(f"_{name.split('_')[1]}", "", 1) for name in errors})
    table = Table(title=f"{metrics['name']}: errors by steps ahead", title_justify="left")
    for head in ("steps", *kinds):
        table.add_column(head, justify="right")
    for step in steps:
        cells = []
        for kind in kinds:
            first, _, rest = kind.partition("_")
            value = errors.get(f"{first}_{step}" + (f"_{rest}" if rest else ""))
            cells.append("" if value is None else f"{value:.3g}")
        table.add_row(str(step), *cells)
    console.print(table)


@hydra.main(version_base="1.3", config_path=CONF, config_name="train")
def _run(composed: DictConfig) -> None:
    console = Console(stderr=True)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    try:
        config: TrainConfig = OmegaConf.to_object(composed)  # type: ignore[assignment]
        metrics = train(config, command, console)
    except KeyboardInterrupt:
        console.print(
            f"\ninterrupted; a checkpoint is in {composed.output}. The same command goes on."
        )
        raise SystemExit(130) from None
    except (*USER_ERRORS, ImportError) as error:
        fail(error)
    print_errors(metrics, console)
    console.print(f"model: {(Path(config.output) / 'model').resolve()}", soft_wrap=True)


HELP = """\
dexworld-train trains a latent world model on a dataset of dexworld-collect, or an inverse model on
the latents of one, which is the baseline of planning in it. It writes the model (config.json,
model.safetensors), checkpoints, TensorBoard curves with predicted-beside-real pictures, and
metrics.json into `output`; the same command again goes on where it was interrupted.

  dexworld-train recipe=push_t_state data.path=outputs/play output=outputs/model
  dexworld-train recipe=push_t_pixels data.path=outputs/play training.steps=2000
  dexworld-train recipe=push_t_inverse data.path=outputs/play world_model=outputs/model/model
  torchrun --nproc-per-node 2 -m dexworld.experiments.train training.strategy=ddp ...

An error is one line; with HYDRA_FULL_ERROR=1 in the environment it is a traceback.

Settings are given as key=value or group.key=value; `model` takes those of LatentConfig
(model.predictor.width=256), and the others are:

"""


def main() -> None:
    """Run the command line."""
    register_schemas()
    if {"--help", "-h"} & set(sys.argv[1:]):
        groups = {"": TrainConfig, "data.": DataConfig, "training.": TrainingSettings}
        sys.stdout.write(f"{HELP}{settings_help(groups)}\n\n")
        sys.stdout.flush()
    check_overrides("train", sys.argv[1:])
    _run()


if __name__ == "__main__":
    main()
