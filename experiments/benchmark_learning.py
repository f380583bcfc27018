"""What learned models owe to each of their parts: rows of the table `learning`.

Every variant differs from the base in one thing, is trained on the same number of windows with the
same seeds, and plans in the same episodes. The models are small, so that all of them train in an
hour or so; the shipped ones are larger and trained for longer.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from rich.console import Console

from dexworld.experiments.benchmark_tables import Row, Tables
from dexworld.experiments.collect import collect
from dexworld.experiments.collection import register_schemas as register_collect
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import register_schemas as register_plan
from dexworld.experiments.plan import evaluate
from dexworld.experiments.statistics import wilson_interval
from dexworld.experiments.train import train
from dexworld.experiments.training import column
from dexworld.experiments.training import register_schemas as register_train
from dexworld.world_models.data.cache import Cache
from dexworld.world_models.data.windows import ACTION, WindowSampler, WindowSettings
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.open_loop import STEPS, open_loop_errors

EPISODES = 50
WINDOWS = 512
VALIDATION = "validation"
"""Self-play of another seed, on which the errors of all variants are measured."""
COLLECTED = ["episodes=1500", "steps=60", "existing=append"]
COMMAND = "dexworld-benchmark learning"
TASK = [
    f"episodes={EPISODES}",
    "seed=1",
    f"parallel={EPISODES}",
    "videos=0",
    "floors=false",
    "existing=resume",
    "agent.inverse=null",
]
PLANNED = [
    "experiment=push_t_goal_state",
    *TASK,
    "planner=cem",
    "planner.horizon=10",
    "planner.samples=48",
    "planner.iterations=8",
    "planner.starts=1",
    "planner.warm_iterations=4",
    "planner.elites=8",
    "planner.warm_std=null",
]
BY_LATENT = ["objective=latent"]
CONTACT = ["recipe=push_t_ablation"]
FREE = ["recipe=push_t_ablation_free"]
OFF = [*FREE, "++model.loss.consistency=0.0"]


@dataclass(frozen=True)
class Variant:
    """One thing that is different."""

    name: str
    """In the table."""
    recipe: Sequence[str]
    """Overrides of `dexworld-train`."""
    data: str = "self_play"
    """Name of the dataset."""
    planned: Sequence[str] = ()
    """Further overrides of `dexworld-plan`."""


BASE = Variant("self-play", CONTACT)
"""Whose models the searches are compared in."""
GAPS = [*CONTACT, "data.frames=3", "model.loss.horizons=[1,2]"]

QUESTIONS: dict[str, tuple[Variant, ...]] = {
    "keypoint consistency (free latents)": (
        Variant("on, planned by keypoints", FREE),
        Variant("on, planned by latents", FREE, planned=BY_LATENT),
        Variant("off, planned by a readout of keypoints", OFF),
        Variant("off, planned by latents: no label at all", OFF, planned=BY_LATENT),
    ),
    "several steps in the loss": (
        Variant("1, 2 and 5 chunks", CONTACT),
        Variant("1 chunk", [*CONTACT, "model.loss.horizons=[1]"]),
    ),
    "rest": (
        Variant("bodies may creep", CONTACT),
        Variant("no motion below 0.5 px", [*CONTACT, "model.predictor.least_motion=0.5"]),
    ),
    "time gaps between frames": (
        Variant("5 steps", GAPS),
        Variant("5, 10 or 15 steps, random", [*GAPS, "data.gaps=[5,15]"]),
    ),
    "exploration": (
        BASE,
        Variant("random actions", CONTACT, data="random"),
        Variant("disagreement of an ensemble", CONTACT, data="disagreement"),
    ),
}


SEARCHES: dict[str, Sequence[str]] = {
    "CEM, 8 x 48": [
        "planner=cem",
        "planner.horizon=10",
        "planner.samples=48",
        "planner.iterations=8",
        "planner.elites=8",
    ],
    "iCEM, 8 x 84 decaying": [
        "planner=icem",
        "planner.horizon=10",
        "planner.samples=84",
        "planner.iterations=8",
        "planner.elites=8",
    ],
    "gradient, 8 restarts x 16": [
        "planner=gradient",
        "planner.horizon=10",
        "planner.restarts=8",
        "planner.iterations=16",
    ],
    "hybrid, 10 x (22 + 4 refined)": [
        "planner=cem_gradient",
        "planner.horizon=10",
        "planner.samples=22",
        "planner.iterations=10",
        "planner.elites=4",
        "planner.refinement_steps=1",
    ],
}
"""Searches of about 380 evaluations for every plan; one with a gradient counts as three."""


def learning_tables(folder: Path, seeds: int, console: Console) -> Tables:
    """Collect, train and plan what is missing in `folder`, and return the tables.

    Args:
        folder: of datasets, models and evaluations; a measurement that was interrupted goes on.
        seeds: trainings of each variant.
        console: where progress is shown.
    """
    tables = ablation_tables(folder, seeds, console)
    tables["searches at equal evaluations, and no search"] = [
        *(
            _acting_row(folder, name, [overrides] * seeds, console)
            for name, overrides in SEARCHES.items()
        ),
        _acting_row(
            folder,
            "inverse model",
            [_inverse(folder, seed, console) for seed in range(seeds)],
            console,
        ),
    ]
    return tables


def ablation_tables(folder: Path, seeds: int, console: Console) -> Tables:
    """Return a table for each of `QUESTIONS`; arguments as of `learning_tables`."""
    for register in (register_collect, register_train, register_plan):
        register()
    return {
        question: [_row(folder, each, seeds, console) for each in variants]
        for question, variants in QUESTIONS.items()
    }


def _acting_row(folder: Path, name: str, agents: Sequence[Sequence[str]], console: Console) -> Row:
    """Return what an agent, given as overrides for each seed, reaches in the base models."""
    rates, evaluations = [], []
    for seed, agent in enumerate(agents):
        model = _model(folder, BASE, seed, console)
        place = folder / "searches" / _slug([name]) / f"seed_{seed}"
        settings = ["experiment=push_t_goal_state", *TASK, f"model.path={model}", *agent]
        planned = _once(
            place / "metrics.json",
            lambda settings=settings, place=place: evaluate(  # type: ignore[misc]
                compose_config("plan", [*settings, f"output={place}"]), COMMAND, console
            ),
        )
        rates.append(planned["success_rate"])
        evaluations.append(planned["model_evaluations"] / planned["episodes"])
    return {
        "agent": name,
        "seeds": len(agents),
        "success": _success(rates),
        "by_seed": ", ".join(f"{rate:.0%}" for rate in rates),
        "evaluations_per_episode": fmean(evaluations),
    }


def _inverse(folder: Path, seed: int, console: Console) -> Sequence[str]:
    """Train what acts without a search, on the latents of the base model; return its overrides."""
    place = folder / "inverse" / f"seed_{seed}"
    _once(
        place / "metrics.json",
        lambda: train(
            compose_config(
                "train",
                [
                    "recipe=push_t_inverse",
                    "training.steps=2500",
                    f"world_model={_model(folder, BASE, seed, console)}",
                    f"data.path={_dataset(folder, BASE.data, console)}",
                    f"seed={seed}",
                    f"training.seed={seed}",
                    f"output={place}",
                ],
            ),
            COMMAND,
            console,
        ),
    )
    return ["agent=inverse", f"agent.path={place / 'model'}"]


def _success(rates: Sequence[float]) -> str:
    low, high = wilson_interval(round(sum(rates) * EPISODES), len(rates) * EPISODES)
    return f"{fmean(rates):.0%} [{low:.0%}, {high:.0%}]"


def _row(folder: Path, variant: Variant, seeds: int, console: Console) -> Row:
    runs = [_run(folder, variant, seed, console) for seed in range(seeds)]
    errors = [errors for _, errors, _ in runs]
    rates = [planned["success_rate"] for *_, planned in runs]
    return {
        "variant": variant.name,
        "seeds": seeds,
        "keypoints_px_5": _over(errors, "keypoints_5"),
        "keypoints_px_10": _over(errors, "keypoints_10"),
        "keypoints_px_25": _over(errors, "keypoints_25"),
        "latent_error_25": _over(errors, "latent_25"),
        "shuffled_ratio_10": _over(errors, "shuffled_10"),
        "success": _success(rates),
        "by_seed": ", ".join(f"{rate:.0%}" for rate in rates),
        "training_minutes": fmean(trained["seconds"] for trained, *_ in runs) / 60.0,
    }


def _over(errors: Sequence[Mapping[str, float]], name: str) -> str:
    """Return the mean over seeds, and the smallest and largest."""
    found = [each[name] for each in errors if name in each]
    if not found:
        return "-"
    return f"{fmean(found):.3g} ({min(found):.3g} to {max(found):.3g})"


def _run(
    folder: Path, variant: Variant, seed: int, console: Console
) -> tuple[dict[str, Any], dict[str, float], dict[str, Any]]:
    """Return the metrics of a training, its errors on the common windows, and the planning in it."""
    model = _model(folder, variant, seed, console)
    place = model.parent.parent
    planning = place / _slug(["plan", *variant.planned])
    trained = json.loads((place / "model" / "metrics.json").read_text(encoding="utf-8"))
    errors = _once(
        place / "errors.json",
        lambda: _errors(model, _dataset(folder, VALIDATION, console)),
    )
    planned = _once(
        planning / "metrics.json",
        lambda: evaluate(
            compose_config(
                "plan",
                [
                    *PLANNED,
                    *variant.planned,
                    f"model.path={model}",
                    f"output={planning}",
                ],
            ),
            COMMAND,
            console,
        ),
    )
    return trained, errors, planned


def _model(folder: Path, variant: Variant, seed: int, console: Console) -> Path:
    """Train a variant, unless it is there, and return the folder of its model."""
    data = _dataset(folder, variant.data, console)
    place = folder / _slug([*variant.recipe, variant.data]) / f"seed_{seed}" / "model"
    _once(
        place / "metrics.json",
        lambda: train(
            compose_config(
                "train",
                [
                    *variant.recipe,
                    f"data.path={data}",
                    f"seed={seed}",
                    f"training.seed={seed}",
                    f"output={place}",
                ],
            ),
            COMMAND,
            console,
        ),
    )
    return place / "model"


def _errors(model: Path, dataset: Path) -> dict[str, float]:
    """Return the open-loop errors of a model on windows that no variant was trained on."""
    learned = LatentWorldModel.from_pretrained(model)
    keys = ["proprio", "keypoints"]
    cache = Cache.open(dataset, [*map(column, keys), ACTION])
    settings = WindowSettings(max(STEPS) + 1, (1, 1), 1, learned.config.predictor.history)
    windows = WindowSampler(cache, settings, batch_size=WINDOWS, seed=0).batch(0)
    frames = {key: windows.frames[column(key)] for key in keys}
    return open_loop_errors(learned, replace(windows, frames=frames))


def _dataset(folder: Path, name: str, console: Console) -> Path:
    """Collect a dataset, unless it is there, and return its folder."""
    path = folder / "data" / name
    settings = [f"collector={name}", *COLLECTED, f"output={path}"]
    if name == VALIDATION:
        settings = ["collector=self_play", *COLLECTED, "episodes=200", "seed=1", f"output={path}"]
    if name == "disagreement":
        ensemble = folder / "ensemble"
        _once(
            ensemble / "metrics.json",
            lambda: train(
                compose_config(
                    "train",
                    [
                        *CONTACT,
                        "++model.predictor.members=3",
                        f"output={ensemble}",
                        f"data.path={_dataset(folder, 'random', console)}",
                    ],
                ),
                COMMAND,
                console,
            ),
        )
        settings.append(f"collector.path={ensemble / 'model'}")
    _once(
        path / ".collected.json",
        lambda: collect(compose_config("collect", settings), COMMAND, console),
    )
    return path


def _once(file: Path, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """Return what `make` returned when it was called first, which `file` holds."""
    if not file.exists():
        made = make()
        file.write_text(json.dumps(made, default=str), encoding="utf-8")
    read: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return read


def _slug(overrides: Sequence[str]) -> str:
    """Return a name of a folder that tells trainings apart."""
    text = "_".join(overrides).replace("recipe=", "")
    return "".join(letter if letter.isalnum() else "-" for letter in text)
