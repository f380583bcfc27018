"""`dexworld-benchmark`: tables of accuracy, search and speed, each measured in one run."""

from __future__ import annotations

import argparse
import json
import math
import os
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import torch
from rich.console import Console

from dexworld.experiments.benchmark_tables import Tables, markdown, table
from dexworld.experiments.command_line import (
    USER_ERRORS,
    fail,
    log_simulator_warnings,
    nearest,
    provenance,
)
from dexworld.experiments.results import finite


@dataclass(frozen=True)
class Benchmark:
    """Tables that are measured together."""

    measure: Callable[[argparse.Namespace], Tables]
    """Measures them, with the arguments of the command line."""
    require: Callable[[argparse.Namespace], object] = lambda arguments: None
    """Raises one of `UNAVAILABLE` if what they need is not there."""
    on_request: bool = False
    """Whether it takes so long that it is measured only where it is named."""


def _golden(arguments: argparse.Namespace) -> Path:
    from dexworld.experiments.benchmark_envs import GOLDEN

    return Path(arguments.golden or GOLDEN)


def _require_golden(arguments: argparse.Namespace) -> None:
    from dexworld.experiments.benchmark_envs import load_golden

    load_golden(_golden(arguments))


def _twin(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_envs import twin_error

    return {"error of the twin against pymunk": twin_error(_golden(arguments))}


def _require_gym_pusht(arguments: argparse.Namespace) -> None:
    from dexworld.experiments.benchmark_envs import require_gym_pusht

    require_gym_pusht()


def _envs(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_envs import push_t_speed
    from dexworld.experiments.benchmark_envs_hands import counter_frames, counter_physics
    from dexworld.experiments.benchmark_rollouts import rollout_speed

    tables = {
        "PushT against gym-pusht, one core": push_t_speed(arguments.seconds),
        "rollouts of PushT against a Python loop": rollout_speed(),
    }
    try:
        _require_franka(arguments)
    except UNAVAILABLE as error:
        sys.stderr.write(f"skipping the hands: {error}\n")
        return tables
    return tables | {
        "physics of Franka and Allegro, one core": counter_physics(seconds=arguments.seconds),
        "frames of 224 x 392 per second, one core": counter_frames(arguments.seconds),
    }


def _planners(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_planners import linear_quadratic_tables
    from dexworld.experiments.benchmark_push_t import push_t_planners

    return linear_quadratic_tables(arguments.seeds) | push_t_planners(arguments.problems)


def _data(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_collection import collection_speed
    from dexworld.experiments.benchmark_data import window_speed

    return {
        "collection of PushT, frames encoded and written": collection_speed(),
        "training windows, from the cache and from files": window_speed(arguments.seconds),
    }


def _require_stable_baselines(arguments: argparse.Namespace) -> None:
    from dexworld.experiments.benchmark_imagination import require_stable_baselines

    require_stable_baselines()


def _imagination(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_imagination import imagination_speed, training_speed

    return {
        "PushTGoal, simulated and imagined": imagination_speed(arguments.seconds),
        "PPO on PushTGoal, end to end": training_speed(arguments.seconds),
    }


def _require_franka(arguments: argparse.Namespace) -> None:
    from dexworld.experiments.benchmark_kinematics import require_franka

    require_franka()


def _kinematics(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_kinematics import kinematics_speed

    return kinematics_speed()


def _dexwm(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_dexwm import dexwm_search, dexwm_speed

    return {
        "an iteration of a search in DexWM": dexwm_speed(),
        "searches in a DexWM of the kitchen counter, first plans of reaching": dexwm_search(),
    }


def _learning(arguments: argparse.Namespace) -> Tables:
    from dexworld.experiments.benchmark_learning import learning_tables

    return learning_tables(arguments.folder, arguments.trainings, Console(stderr=True))


BENCHMARKS = {
    "planners": Benchmark(_planners),
    "envs": Benchmark(_envs, _require_gym_pusht),
    "twin": Benchmark(_twin, _require_golden),
    "data": Benchmark(_data, _require_gym_pusht),
    "imagination": Benchmark(_imagination, _require_stable_baselines),
    "kinematics": Benchmark(_kinematics, _require_franka),
    "dexwm": Benchmark(_dexwm, _require_franka, on_request=True),
    "learning": Benchmark(_learning, on_request=True),
}
UNAVAILABLE = (ImportError, FileNotFoundError)
"""What is raised where an optional package or file is missing."""


def run(names: Sequence[str], arguments: argparse.Namespace, console: Console) -> None:
    """Measure, print and write the named tables, and each of them before the next."""
    tables: Tables = {}
    for name in names:
        with console.status(f"measuring {name}"):
            measured = BENCHMARKS[name].measure(arguments)
        for title, rows in measured.items():
            console.print(table(title, rows))
        tables |= measured
        if arguments.output:
            write(arguments.output, tables)


def write(path: Path, tables: Tables) -> None:
    """Write the tables and what made them, as Markdown or JSON by the suffix of the file."""
    record = provenance(seed=0)
    command = shlex.join([Path(sys.argv[0]).name, *sys.argv[1:]])
    today = date.today().isoformat()
    if path.suffix == ".md":
        commit = record["git_commit"] or "unknown"
        made = f"`{command}`, {today}, commit {commit}, {record['machine']}."
        text = markdown(tables, made)
    else:
        written = {"command": command, "date": today, "provenance": record, "tables": tables}
        text = json.dumps(finite(written), indent=2) + "\n"
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text, encoding="utf-8")
    unfinished.replace(path)


def _available(arguments: argparse.Namespace) -> list[str]:
    """Return the tables to measure; one that was not asked for by name may be unavailable."""
    names = []
    usual = [name for name, each in BENCHMARKS.items() if not each.on_request]
    for name in arguments.tables or usual:
        try:
            BENCHMARKS[name].require(arguments)
        except UNAVAILABLE as error:
            if arguments.tables:
                raise
            sys.stderr.write(f"skipping {name}: {error}\n")
        else:
            names.append(name)
    return names


def _check(arguments: argparse.Namespace) -> None:
    """Raise `ValueError` or `OSError` for arguments that would fail after minutes of measuring."""
    for name in arguments.tables:
        if name not in BENCHMARKS:
            raise ValueError(f"there is no table {name!r}. {nearest(name, BENCHMARKS)}")
    if not 0 < arguments.seconds < math.inf:
        raise ValueError(f"--seconds {arguments.seconds}: measure for a positive time.")
    for name in ("seeds", "problems", "trainings"):
        if getattr(arguments, name) < 1:
            raise ValueError(f"--{name} {getattr(arguments, name)}: take at least one.")
    output = arguments.output
    if output is None:
        return
    if output.suffix not in {".md", ".json"}:
        raise ValueError(f"--output {output}: end its name in .md (Markdown) or .json.")
    output.parent.mkdir(parents=True, exist_ok=True)
    if output.is_dir() or not os.access(output.parent, os.W_OK):
        raise OSError(f"--output {output}: no file can be written there.")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="dexworld-benchmark",
        description="Measure tables; what they compare is measured in one run on this machine.",
        epilog="twin: error of the MuJoCo PushT against pymunk after 1, 5, 10, 25 steps. "
        "envs: steps/s and frames/s against gym-pusht and robosuite, rollouts against a Python loop. "
        "planners: final cost against evaluations and time, on a bounded linear-quadratic "
        "problem and on PushT. "
        "data: frames/s of collection, training windows/s of the cache against files. "
        "imagination: steps/s of PushTGoal in a learned model against the simulator's, and of PPO. "
        "kinematics: joints to keypoints and gradients back, against loops over MuJoCo. "
        "dexwm (minutes, only by name): an iteration of a search in DexWM, as its public controller "
        "does it and as we do. "
        "learning (an hour or more, only by name): what learned models owe to each part.",
    )
    parser.add_argument(
        "tables",
        nargs="*",
        metavar="TABLE",
        help=f"{', '.join(BENCHMARKS)}; all but dexwm and learning where none is named",
    )
    parser.add_argument("--seconds", type=float, default=2.0, help="time for each speed")
    parser.add_argument("--seeds", type=int, default=10, help="seeds of the search")
    parser.add_argument("--problems", type=int, default=8, help="PushT goals to plan for")
    parser.add_argument("--trainings", type=int, default=3, help="trainings of each variant")
    parser.add_argument(
        "--folder",
        type=Path,
        default=Path("outputs/learning"),
        help="datasets and models of `learning`; what is there is not made again",
    )
    parser.add_argument("--golden", help="trajectories of the public PushT (.npz)")
    parser.add_argument(
        "--output", type=Path, help="write the tables to this file too: .md (Markdown) or .json"
    )
    return parser


def main() -> None:
    """Run the command line."""
    arguments = _parser().parse_args()
    torch.set_num_threads(1)
    log_simulator_warnings()
    try:
        _check(arguments)
        run(_available(arguments), arguments, Console(file=sys.stdout))
    except KeyboardInterrupt:
        kept = f"; the finished tables are in {arguments.output}" if arguments.output else ""
        sys.stderr.write(f"\ninterrupted{kept}.\n")
        raise SystemExit(130) from None
    except (*USER_ERRORS, ImportError) as error:
        fail(error)


if __name__ == "__main__":
    main()
