"""`dexworld-collect`: the same dataset, however it came about."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.experiments import collect as command
from dexworld.experiments.collection import CollectConfig, register_schemas
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.statistics import episode_seeds
from dexworld.world_models.data.lerobot import Dataset

QUIET = Console(quiet=True)
SHORT = ["steps=6", "group=4"]


def configured(folder: Path, *overrides: str) -> CollectConfig:
    register_schemas()
    GlobalHydra.instance().clear()
    given = [*SHORT, f"output={folder}", *overrides]
    config: CollectConfig = compose_config("collect", given)
    return config


def collect(folder: Path, *overrides: str) -> dict[str, Any]:
    return command.collect(configured(folder, *overrides), "dexworld-collect ...", QUIET)


def files(folder: Path) -> dict[str, str]:
    """Return digests of all files by name, without what tells of command and code."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "README.md":
            content = path.read_bytes()
            if path.name == "info.json":
                info = json.loads(content)
                del info["dexworld"]["provenance"]
                content = json.dumps(info).encode()
            found[str(path.relative_to(folder))] = hashlib.sha256(content).hexdigest()
    return found


def same_content(one: Path, other: Path) -> None:
    """Assert that datasets hold the same, though perhaps in other shards."""
    some, others = Dataset(one), Dataset(other)
    columns = others.columns()
    for key, column in some.columns().items():
        np.testing.assert_array_equal(column, columns[key])
    for key, column in some.episodes.items():
        np.testing.assert_array_equal(column, others.episodes[key])


@pytest.fixture
def run_collect(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., tuple[int, str, str]]:
    """Run `dexworld-collect` in this process; return status, standard output and error."""

    def run(*overrides: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("COLUMNS", "200")
        GlobalHydra.instance().clear()
        monkeypatch.setattr(sys, "argv", ["dexworld-collect", *overrides])
        status = 0
        try:
            command.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        output, error = capfd.readouterr()
        return status, output, error

    return run


def test_a_dataset_holds_what_was_promised(tmp_path: Path) -> None:
    figures = collect(tmp_path / "play", "episodes=5", "images=png", "pixels_size=32")
    assert figures["episodes"] == 5 and figures["steps"] == 30 and figures["seconds"] == 3.0
    dataset = Dataset(tmp_path / "play", fps=10)
    seeds = episode_seeds(0, "train", 5)
    assert dataset.episodes["seed"].tolist() == seeds
    assert dataset.episodes["length"].tolist() == [7] * 5
    assert dataset.tasks == ["self_play in dexworld/PushT-v0"]
    observed = {key for key in dataset.features if key.startswith("observation.")}
    assert observed == {
        f"observation.{key}" for key in ("state", "proprio", "keypoints", "images.top")
    }
    episode = dataset.episode(2)
    # The recorded actions lead through the recorded states and frames.
    env = configured(tmp_path / "play", "images=png", "pixels_size=32")
    recipe = command.make_recipe(env)
    assert recipe.arguments == {"goal_in_pixels": False, "pixels_size": 32}
    again = recipe().env
    seen, _ = again.reset(seed=seeds[2])
    for step in range(6):
        np.testing.assert_array_equal(episode["observation.state"][step], seen["state"])
        np.testing.assert_array_equal(episode["observation.images.top"][step], seen["pixels"])
        seen, reward, *_ = again.step(episode["action"][step])
        assert episode["next.reward"][step] == np.float32(reward)
    np.testing.assert_array_equal(episode["observation.keypoints"][6], seen["keypoints"].flatten())
    assert episode["next.done"].tolist() == [False] * 5 + [True] * 2
    made = dataset.info["dexworld"]["collection"]
    assert made["env"] == {"id": "dexworld/PushT-v0", "kwargs": recipe.arguments, "steps": 6}
    assert made["explorer"]["name"] == "self_play" and made["seed"] == 0
    assert {"README.md", "coverage.png"} <= {path.name for path in (tmp_path / "play").iterdir()}


def test_the_goal_is_not_in_the_frames(tmp_path: Path) -> None:
    green = np.uint8([144, 238, 144])  # the goal's
    for name, change in (("hidden", []), ("shown", ["+env.kwargs.goal_in_pixels=true"])):
        collect(tmp_path / name, "episodes=1", "images=png", *change)
        frames = Dataset(tmp_path / name).episode(0, ["observation.images.top"])
        seen = (np.abs(frames["observation.images.top"].astype(int) - green) < 8).all(-1).any()
        assert seen == (name == "shown")


def test_video_frames(tmp_path: Path) -> None:
    collect(tmp_path / "play", "episodes=2", "images=video")
    dataset = Dataset(tmp_path / "play")
    assert dataset.features["observation.images.top"].dtype == "video"
    assert dataset.episode(1)["observation.images.top"].shape == (7, 64, 64, 3)


def test_seeds_decide(tmp_path: Path) -> None:
    collect(tmp_path / "a", "episodes=6")
    collect(tmp_path / "b", "episodes=6", "group=100")
    collect(tmp_path / "c", "episodes=6", "seed=1")
    assert files(tmp_path / "a") == files(tmp_path / "b")
    name = "data/chunk-000/file-000.parquet"
    assert files(tmp_path / "a")[name] != files(tmp_path / "c")[name]


def test_going_on_gives_what_one_run_gives(tmp_path: Path) -> None:
    collect(tmp_path / "whole", "episodes=11")
    for episodes in (3, 8, 11, 11, 5):
        figures = collect(tmp_path / "parts", f"episodes={episodes}", "existing=append")
        assert figures["episodes"] == max(episodes, 11 if episodes == 5 else 0)
    same_content(tmp_path / "whole", tmp_path / "parts")


def test_other_settings_do_not_go_on(tmp_path: Path) -> None:
    collect(tmp_path / "play", "episodes=2")
    before = files(tmp_path / "play")
    for change, told in (
        ("seed=3", "seed: 0 then, 3 now"),
        ("steps=9", "env.steps: 6 then, 9 now"),
        ("collector.fastest=0.05", "explorer.fastest: 0.07 then, 0.05 now"),
        ("+env.kwargs.physics=pymunk", "env.kwargs.physics: None then, pymunk now"),
        ("images=png", "images: none then, png now"),
    ):
        with pytest.raises(ValueError, match="collected with other settings") as caught:
            collect(tmp_path / "play", "episodes=4", "existing=append", change)
        assert told in str(caught.value) and "existing=overwrite" in str(caught.value)
    assert files(tmp_path / "play") == before
    collect(tmp_path / "play", "episodes=1", "seed=3", "existing=overwrite")
    assert len(Dataset(tmp_path / "play")) == 1


def test_what_others_made_is_not_gone_on_with(tmp_path: Path) -> None:
    collect(tmp_path / "play", "episodes=1")
    path = tmp_path / "play" / "meta" / "info.json"
    info = json.loads(path.read_text())
    del info["dexworld"]["collection"]
    path.write_text(json.dumps(info))
    with pytest.raises(ValueError, match="was not made by dexworld-collect"):
        collect(tmp_path / "play", "episodes=2", "existing=append")


@pytest.mark.slow
@pytest.mark.parametrize("images", ["none", "png", "video"])
def test_the_number_of_workers_changes_nothing(tmp_path: Path, images: str) -> None:
    given = ["episodes=10", f"images={images}"]
    collect(tmp_path / "here", *given)
    for workers in (1, 2):
        collect(tmp_path / f"{workers}", *given, f"workers={workers}")
        assert files(tmp_path / f"{workers}") == files(tmp_path / "here")


@pytest.mark.slow
def test_ray_actors_collect_the_same(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    given = ["episodes=10", "images=png"]
    collect(tmp_path / "here", *given)
    program = [sys.executable, "-m", "dexworld.experiments.collect", *SHORT, *given]
    program += ["workers=2", "backend=ray", f"output={tmp_path / 'ray'}"]
    # Ray warns and leaves sockets behind: in a process of its own.
    subprocess.run(program, check=True, capture_output=True, timeout=200)
    assert files(tmp_path / "ray") == files(tmp_path / "here")


DRIVER = """
import json, os, sys
from rich.console import Console
from dexworld.experiments import collect
from dexworld.experiments.collection import register_schemas
from dexworld.experiments.command_line import code_fingerprint, compose_config
from dexworld.world_models.data.lerobot import DatasetWriter

register_schemas()
code_fingerprint()
log, *overrides = sys.argv[1:]
config = compose_config("collect", overrides)
add = DatasetWriter.add_episode

def logged(self, *given, **named):
    index = add(self, *given, **named)
    with open(log, "a") as file:
        file.write(f"{index}\\n")
    return index

DatasetWriter.add_episode = logged
for _ in sys.stdin:
    child = os.fork()
    if child == 0:
        collect.collect(config, "...", Console(quiet=True))
        os._exit(0)
    print(child, flush=True)
    print(os.waitpid(child, 0)[1], flush=True)
"""
"""Collects in a fresh process for every line; logs each episode that is said to be written."""


@pytest.mark.slow
def test_killed_twenty_times_it_loses_nothing_and_goes_on(tmp_path: Path) -> None:
    episodes, log = "episodes=300", tmp_path / "log"
    collect(tmp_path / "whole", episodes)
    folder = tmp_path / "killed"
    given = [*SHORT, f"output={folder}", episodes, "existing=append"]
    moments, killed = random.Random(0), 0
    with subprocess.Popen(
        [sys.executable, "-c", DRIVER, str(log), *given],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    ) as driver:
        assert driver.stdin is not None and driver.stdout is not None
        status = -1
        while status != 0:
            driver.stdin.write("\n")
            child = int(driver.stdout.readline())
            if killed < 20:
                enough = len(lines(log)) + moments.randrange(12)
                deadline = time.monotonic() + 20
                while len(lines(log)) < enough and time.monotonic() < deadline:
                    time.sleep(0.001)
                time.sleep(moments.uniform(0.0, 0.02))
                os.kill(child, signal.SIGKILL)
            status = int(driver.stdout.readline())
            assert status in (0, signal.SIGKILL)
            killed += status == signal.SIGKILL
            assert durable(folder) >= len(lines(log)), "an episode was lost"
        driver.stdin.close()
    assert killed == 20, "it was done too early"
    # What was on the disk was never written again.
    assert len(lines(log)) == len(set(lines(log))) >= 280
    same_content(tmp_path / "whole", folder)


def lines(log: Path) -> list[str]:
    return log.read_text().splitlines() if log.exists() else []


def durable(folder: Path) -> int:
    """Return how many finished episodes are on the disk."""
    info = folder / "meta" / "info.json"
    if not info.exists():
        return 0
    counted = int(json.loads(info.read_text())["total_episodes"])
    waiting = [int(path.stem.split("-")[1]) for path in folder.glob(".pending/*.arrow")]
    return counted + sum(index >= counted for index in waiting)


@pytest.mark.slow
def test_ctrl_c_leaves_a_dataset_and_no_workers(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "dexworld.experiments.collect", *SHORT, "episodes=100000"]
    program += ["workers=2", f"output={tmp_path / 'play'}"]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True, start_new_session=True)
    deadline = time.monotonic() + 60
    while durable(tmp_path / "play") < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    try:
        for _ in range(5):  # Python swallows an interrupt that meets a destructor
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=8)
                break
        _, error = process.communicate(timeout=5)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 130, error
    assert "existing=append goes on" in error and "Traceback" not in error
    dataset = Dataset(tmp_path / "play")
    assert len(dataset) >= 20
    seeds = episode_seeds(0, "train", len(dataset))
    assert dataset.episodes["seed"].tolist() == seeds
    assert not (tmp_path / "play" / ".pending").exists()
    assert not alive(process.pid)


@pytest.mark.slow
def test_workers_end_with_the_process_that_they_work_for(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "dexworld.experiments.collect", *SHORT, "episodes=100000"]
    program += ["workers=2", f"output={tmp_path / 'play'}"]
    process = subprocess.Popen(program, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 60
    while durable(tmp_path / "play") < 20 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert len(alive(process.pid)) >= 3
    process.kill()
    process.wait()
    while alive(process.pid) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not alive(process.pid)


def alive(session: int) -> list[int]:
    """Return the processes of a session that run."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError, ValueError):
            state, _, _, its = (entry / "stat").read_text().rpartition(")")[2].split()[:4]
            if int(its) == session and state != "Z":
                found.append(int(entry.name))
    return found


def test_the_command_line_tells_what_it_made(run_collect, tmp_path: Path) -> None:
    status, output, error = run_collect(*SHORT, "episodes=3", "output=play")
    assert status == 0 and output == ""
    assert "play: episodes 3, steps 18, seconds 1.8" in error and "object moves" in error
    card = (tmp_path / "play" / "README.md").read_text()
    assert "dexworld-collect steps=6 group=4 episodes=3 output=play" in card
    status, _, error = run_collect(*SHORT, "episodes=3", "output=play")
    assert status == 2 and error.count("\n") == 1
    assert "error: play holds a dataset already" in error and "append" in error


def test_any_environment_can_be_recorded(run_collect, tmp_path: Path) -> None:
    given = ["env=gymnasium", "env.id=Pendulum-v1", "collector=random", "output=pendulum"]
    status, _, error = run_collect(*given, "env.episode_steps=9", "episodes=3")
    assert status == 0, error
    dataset = Dataset(tmp_path / "pendulum")
    assert dataset.features["observation.observation"].shape == (3,) and dataset.fps == 30
    assert not (tmp_path / "pendulum" / "coverage.png").exists()


def test_an_environment_that_fails(run_collect, tmp_path: Path, monkeypatch) -> None:
    seed = episode_seeds(0, "train", 7)[6]
    source = f"""
import gymnasium as gym
import numpy as np

class Fails(gym.Env):
    observation_space = action_space = gym.spaces.Box(-1.0, 1.0, (1,))
    metadata = {{"render_fps": 5, "render_modes": []}}

    def reset(self, *, seed=None, options=None):
        self.broken = seed == {seed}
        return np.zeros(1, np.float32), {{}}

    def step(self, action):
        if self.broken:
            raise OverflowError("too far")
        return np.zeros(1, np.float32), 0.0, False, False, {{}}

gym.register("Fails-v0", Fails)
"""
    (tmp_path / "failing_environment.py").write_text(source)
    monkeypatch.syspath_prepend(str(tmp_path))
    given = ["env=gymnasium", "env.id=failing_environment:Fails-v0", "env.episode_steps=4"]
    given += ["collector=random", "episodes=20", "output=play", "group=3"]
    status, _, error = run_collect(*given)
    assert status == 2 and error.count("\n") == 1
    assert f"the episode of seed {seed} failed: OverflowError: too far" in error
    assert "existing=append goes on" in error
    assert len(Dataset(tmp_path / "play")) == 6


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("images=jpg", "images='jpg': choose one of ['none', 'png', 'video']"),
        ("backend=threads", "backend='threads': choose one of ['processes', 'ray']"),
        ("workers=-1", "workers=-1: give 0 for this process, or more"),
        ("address=auto", "address='auto' is for backend=ray"),
        ("steps=0", "steps=0: an episode has at least 1 step"),
        ("episodes=0", "episodes=0"),
        ("group=0", "group=0: play at least one episode"),
        ("pixels_size=0", "pixels_size=0"),
        ("existing=refuse", "existing='refuse': choose"),
        ("collector=noisy_replay", "needs collector.path"),
        ("collector.slowest=-1", "choose 0 < slowest <= fastest"),
        ("collector.quick=1", "there is no setting 'collector.quick'"),
        ("collector=playful", "there is no collector 'playful'"),
        ("observe=[taste]", "PushTEnv gives ['pixels'"),
    ],
)
def test_wrong_settings_are_answered_with_the_right_ones(
    run_collect, given: str, told: str
) -> None:
    extra = ["images=png"] if given.startswith("pixels") else []
    status, _, error = run_collect(*SHORT, "episodes=2", "output=play", *extra, given)
    assert status == 2 and told in error and error.count("\n") == 1, error


def test_what_an_environment_does_not_give(run_collect) -> None:
    pendulum = ["env=gymnasium", "env.id=Pendulum-v1", "collector=random", "env.episode_steps=5"]
    for given, told in (
        ("observe=[state]", "observe=['state']: Pendulum-v1 gives ['observation']"),
        ("images=png", "images=png: Pendulum-v1 gives no frames"),
        ("collector=self_play", "a workspace of 2 dimensions needs as many actions"),
    ):
        status, _, error = run_collect(*pendulum, given)
        assert status == 2 and told in error and error.count("\n") == 1, error


def test_the_help_shows_the_settings_of_every_explorer(run_collect) -> None:
    _, output, _ = run_collect("--help")
    for words in ("existing=append", "collector=self_play:", "collector.hold", "workers"):
        assert words in output
