"""`dexworld-plan`: one evaluation, from the configuration to the report."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import yaml
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dexworld.envs.push_t.teleoperation import Demonstration, save_demonstration
from dexworld.experiments import plan, references
from dexworld.experiments.config import AgentConfig, EnvConfig, ModelConfig
from dexworld.experiments.filming import Filming
from dexworld.experiments.progress import console_of_errors
from dexworld.experiments.report import HEADS

QUIET = Console(quiet=True)


def evaluate(config: Any) -> dict[str, Any]:
    return plan.evaluate(config, "dexworld-plan ...", QUIET)


WALL = ("plan_latency_s", "plan_cpu_s")


def same(metrics: dict[str, Any]) -> dict[str, Any]:
    """Return what does not depend on the clock."""
    kept = {key: value for key, value in metrics.items() if key not in WALL}
    if "ceiling" in kept:
        kept["ceiling"] = same(kept["ceiling"])
        kept["floors"] = {name: same(floor) for name, floor in kept["floors"].items()}
    return kept


def lines(config: Any) -> list[dict[str, Any]]:
    file = Path(config.output) / "episodes.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_an_evaluation_leaves_what_was_promised(tiny) -> None:
    config = tiny(floors=True, videos=1)
    metrics = evaluate(config)
    folder = Path(config.output)
    assert json.loads((folder / "metrics.json").read_text()) == json.loads(json.dumps(metrics))
    assert metrics["success_rule"] == "20 px and pi/9 (agent and block)"
    assert metrics["episodes"] == 3 and metrics["seed"] == 0
    low, high = metrics["success_interval"]
    assert 0 <= low <= metrics["success_rate"] <= high <= 1
    assert set(metrics["floors"]) == {"noop", "random"}
    for floor in (*metrics["floors"].values(), metrics["ceiling"]):
        assert floor["episodes"] == 3
        assert {"success_rate", "success_interval", "success_rate_at_end"} <= set(floor)
    assert metrics["ceiling"]["same_as_run"]
    assert set(metrics["plan_latency_s"]) == {"p50", "p95"}
    # 10 steps are 2 decisions of 5.
    assert metrics["plans"] == 6 and metrics["model_evaluations"] > 6 * 8
    assert metrics["provenance"]["code_fingerprint"]
    assert len(lines(config)) == 3
    assert len(list((folder / "videos").glob("*.mp4"))) == 1
    assert list((folder / "tensorboard").iterdir())
    settled = yaml.safe_load((folder / "config.yaml").read_text())
    assert settled["planner"]["samples"] == 8 and settled["env"]["id"] == "dexworld/PushTGoal-v0"
    assert not list(folder.rglob("*.part*"))
    # Every plan but an episode's first is compared with what came of the one before.
    assert [len(episode["pairs"]) for episode in lines(config)] == [1, 1, 1]
    assert metrics["model_error"]["mean_absolute_gap"] < 1e-3, "the simulator predicts itself"
    found = metrics["prediction_error"]["keypoints"]
    assert found["steps"] == list(range(11)) and max(found["median"]) < 1e-3 < found["static"][10]
    assert any("is the simulator itself" in sentence for sentence in metrics["diagnosis"])
    assert "Predicted keypoints, 10 steps ahead: exact." in metrics["diagnosis"]
    assert metrics["diagnosis"][-1] in (folder / "report.html").read_text()
    assert metrics["diagnosis"][0] in (folder / "table.md").read_text()


def test_the_board_has_one_curve_of_each_kind(tiny) -> None:
    config = tiny()
    metrics = evaluate(config)
    board = EventAccumulator(str(Path(config.output) / "tensorboard"))
    board.Reload()
    tags = board.Tags()["scalars"]
    assert [tag for tag in tags if tag.startswith("search/")] == ["search/change_of_best_cost"]
    curve = [(each.step, each.value) for each in board.Scalars("search/change_of_best_cost")]
    assert [step for step, _ in curve] == list(range(len(curve))) and curve[-1][1] < 0
    static = [each.value for each in board.Scalars("prediction_error/keypoints_static")]
    assert static == pytest.approx(metrics["prediction_error"]["keypoints"]["static"])


def test_a_learned_model_is_told_from_its_planner(tiny, untrained) -> None:
    config = tiny(model=untrained(), floors=True, videos=1)
    metrics = evaluate(config)
    assert metrics["agent"].startswith("CEM in ") and metrics["agent"].endswith("_1 (learned)")
    ceiling = metrics["ceiling"]
    assert not ceiling["same_as_run"] and ceiling["same_episodes"] and ceiling["episodes"] == 3
    assert "with the simulator in its place" in metrics["diagnosis"][0]
    assert set(metrics["prediction_error"]) == {"agent", "keypoints"}
    assert metrics["prediction_error"]["keypoints"]["median"][10] > 10, "it has learned nothing"
    assert metrics["model_error"]["mean_absolute_gap"] > 1
    assert [set(episode["errors"]) for episode in lines(config)] == [{"agent", "keypoints"}] * 3
    assert ceiling["who"] in (Path(config.output) / "table.md").read_text()


def test_episodes_beside_each_other_change_nothing(tiny, tmp_path) -> None:
    first, second = tiny(), tiny(parallel=2, output=str(tmp_path / "other"))
    alone, together = evaluate(first), evaluate(second)
    for metrics in (alone, together):
        del metrics["parallel"]
    assert same(alone) == same(together)


class Interrupted(Filming):
    """Presses Ctrl-C when the second episode has ended."""

    def end(self, result: Any) -> None:
        super().end(result)
        Interrupted.ended = getattr(Interrupted, "ended", 0) + 1
        if Interrupted.ended == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize("cut_off", [False, True])
def test_a_resumed_evaluation_equals_an_uninterrupted_one(
    tiny, tmp_path, monkeypatch, cut_off
) -> None:
    whole = evaluate(tiny(output=str(tmp_path / "whole"), videos=1))
    config = tiny(videos=1)
    Interrupted.ended = 0
    with monkeypatch.context() as patched:
        patched.setattr(plan, "Filming", Interrupted)
        with pytest.raises(KeyboardInterrupt):
            evaluate(config)
    file = Path(config.output) / "episodes.jsonl"
    assert len(lines(config)) == 1, "the first episode is not on the disk"
    if cut_off:
        with file.open("a") as half_done:
            half_done.write(file.read_text()[:100])
    resumed = tiny(videos=1, existing="resume")
    assert same(evaluate(resumed)) == same(whole)
    assert [each["seed"] for each in lines(config)] == [
        each["seed"] for each in lines(tiny(output=str(tmp_path / "whole")))
    ]
    # All is there: resuming once more evaluates nothing.
    monkeypatch.setattr(plan, "run_episodes", lambda *given: iter(()) if not given[2] else 1 / 0)
    assert same(evaluate(resumed)) == same(whole)


def test_resuming_may_ask_for_more_episodes(tiny) -> None:
    evaluate(tiny(episodes=1))
    (first,) = lines(tiny())
    metrics = evaluate(tiny(existing="resume"))
    assert metrics["episodes"] == tiny().episodes > 1
    assert lines(tiny())[0] == first and len(lines(tiny())) == tiny().episodes


@pytest.mark.slow
def test_ctrl_c_leaves_a_valid_state(tmp_path) -> None:
    command = [sys.executable, "-m", "dexworld.experiments.plan", "agent=noop", "episodes=5000"]
    command += ["output=results", "videos=0", "env.episode_steps=5"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    file = tmp_path / "results" / "episodes.jsonl"
    deadline = time.monotonic() + 60
    while not (file.exists() and file.stat().st_size > 1000) and time.monotonic() < deadline:
        time.sleep(0.05)
    for _ in range(5):  # Python swallows an interrupt that meets a destructor
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=5)
            break
    _, error = process.communicate(timeout=5)
    assert process.returncode == 130, error
    assert "existing=resume" in error and "Traceback" not in error
    assert all(json.loads(line)["steps"] == 5 for line in file.read_text().splitlines())
    assert not (tmp_path / "results" / "metrics.json").exists()


@pytest.mark.slow
def test_floors_are_computed_once(tiny, tmp_path, monkeypatch) -> None:
    first = evaluate(tiny(floors=True))
    calls: list[list[int]] = []
    run = references.run_episodes

    def counted(agent: Any, make: Any, seeds: Any, *rest: Any) -> Any:
        calls.append(list(seeds))
        return run(agent, make, seeds, *rest)

    monkeypatch.setattr(references, "run_episodes", counted)
    planner = tiny().planner
    planner.samples = 6
    other = tiny(floors=True, planner=planner, output=str(tmp_path / "b"), name="other")
    assert evaluate(other)["floors"] == first["floors"]
    assert not calls, "the floors do not depend on the planner"
    evaluate(tiny(floors=True, seed=1, output=str(tmp_path / "c")))
    assert len(calls) == 2, "other episodes, other floors"
    monkeypatch.setattr(references, "code_fingerprint", lambda: "other code")
    evaluate(tiny(floors=True, output=str(tmp_path / "d")))
    assert len(calls) == 4, "other code, other floors"


def test_the_ceiling_is_the_model_as_its_own_world(tiny, tmp_path) -> None:
    real = EnvConfig("dexworld/PushTGoal-v0", {"physics": "pymunk"}, 10)
    model = ModelConfig(source="state", kwargs={"physics": "mujoco"}, threads=1)
    metrics = evaluate(tiny(env=real, model=model, floors=True, episodes=2))
    ceiling = metrics["ceiling"]
    assert not ceiling["same_as_run"] and ceiling["episodes"] == 2
    assert metrics["model_error"]["mean_absolute_gap"] > 1e-3, "the twin is not pymunk"
    exact = evaluate(tiny(episodes=2, output=str(tmp_path / "exact")))
    assert ceiling["mean_max_reward"] == exact["mean_max_reward"]
    assert metrics["mean_max_reward"] != exact["mean_max_reward"]


@pytest.mark.parametrize("kind", ["noop", "random"])
def test_floors_can_be_evaluated_by_themselves(tiny, kind) -> None:
    metrics = evaluate(tiny(agent=AgentConfig(kind=kind)))
    assert metrics["agent"] == kind
    assert metrics["plan_latency_s"] == {} and metrics["floors"] == {} == metrics["ceiling"]


def test_the_literatures_seeds(tiny) -> None:
    config = tiny(first_seed=100000, agent=AgentConfig(kind="noop"))
    evaluate(config)
    assert [each["seed"] for each in lines(config)] == [100000, 100001, 100002]


def test_the_command_line_prints_table_and_report(run_plan, tmp_path) -> None:
    status, output, error = run_plan("episodes=2", "videos=1", "output=mine", "name=mine")
    assert status == 0, error
    assert output == ""
    assert "mine: 20 px and pi/9 (agent and block)" in error
    for row in ("CEM in dexworld/PushTGoal-v0 (physics)", "doing nothing", "random actions"):
        assert row in error
    printed = re.search(r"report: (\S+)", error)
    assert printed and Path(printed.group(1)) == (tmp_path / "mine" / "report.html").resolve()
    page = Path(printed.group(1)).read_text()
    assert "dexworld-plan planner=cem planner.horizon=2" in page
    assert "data:video/mp4" in page
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert metrics["name"] == "mine"


def test_a_table_in_a_pipe_is_not_cut(monkeypatch, capfd) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    console = console_of_errors()
    assert not console.is_terminal and console.width == 160
    figures = dict.fromkeys(("success_rate", "success_rate_at_end", "mean_max_reward"), 0.5)
    figures |= {"success_interval": [0, 1], "success_interval_at_end": [0, 1], "episodes": 200}
    figures |= {"plan_latency_s": {"p50": 0.1, "p95": 0.2}, "mean_steps_to_success": 31.25}
    metrics = {
        "name": "wide",
        "success_rule": "20 px",
        "agent": "CEM",
        "diagnosis": ["So [it] is."],
    }
    metrics |= {**figures, "model_evaluations": 1_000_000, "floors": {}}
    plan.print_table(metrics, console)
    _, error = capfd.readouterr()
    for text in (*HEADS.values(), "50 % [0, 100]", "0.100 / 0.200", "31.2", "- So [it] is."):
        assert text in error
    assert "…" not in error
    monkeypatch.setenv("COLUMNS", "70")
    narrow = console_of_errors()
    assert narrow.width == 70
    plan.print_table(metrics, narrow)
    assert "…" not in capfd.readouterr().err


def test_the_report_can_be_opened(run_plan, monkeypatch) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    run_plan("agent=noop", "episodes=1", "videos=0", "output=mine", "open_report=true")
    assert len(opened) == 1 and opened[0].startswith("file:///")


EXAMPLE = Path(__file__).parents[2] / "experiments" / "examples" / "plan_in_my_environment.py"


@pytest.mark.slow
def test_planning_in_an_environment_of_somebody_elses(run_plan, tmp_path, monkeypatch) -> None:
    source = EXAMPLE.read_text().partition("agent = ")[0]
    (tmp_path / "my_puck.py").write_text(f"{source}\ngym.register('Puck-v0', Puck)\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    overrides = ["env=gymnasium", "env.id=my_puck:Puck-v0", "env.episode_steps=30"]
    overrides += ["model=gymnasium", "agent=planning", "objective=reward", "planner.horizon=8"]
    overrides += ["planner.samples=16", "episodes=2", "parallel=2", "floors=true", "output=mine"]
    tiny = ["planner=cem", "planner.iterations=3", "planner.elites=4", "planner.kept=1"]
    status, _, error = run_plan(*overrides, tiny=tiny)
    assert status == 0, error
    assert "the environment reports no success" in error
    assert error.count("renders no rgb_array: there will be no videos") == 1
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    floors = [floor["mean_return"] for floor in metrics["floors"].values()]
    assert len(floors) == 2 and metrics["mean_return"] > max(floors) + 5
    # A reward is of a step: an observation alone has none to compare the predicted one with.
    assert metrics["model_error"] == {}
    for line in (tmp_path / "mine" / "episodes.jsonl").read_text().splitlines():
        assert json.loads(line)["success"] is None


@pytest.mark.slow
def test_a_trained_policy_is_evaluated(run_plan, tmp_path) -> None:
    sb3 = pytest.importorskip("stable_baselines3")
    env = gym.wrappers.FlattenObservation(gym.make("dexworld/PushT-v0"))
    policy = sb3.PPO("MlpPolicy", env, n_steps=8, batch_size=8, n_epochs=1, device="cpu", seed=0)
    policy.learn(8).save(tmp_path / "policy.zip")
    given = ["agent=sb3", f"agent.path={tmp_path / 'policy.zip'}", "output=mine", "videos=1"]
    status, _, error = run_plan("env=push_t", "episodes=2", "parallel=2", *given)
    assert status == 0, error
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert metrics["agent"].startswith("PPO ") and metrics["plans"] == 0
    # What the policy itself earns in the same episode.
    wide = gym.make("dexworld/PushT-v0", terminate_on_success=False, max_episode_steps=10)
    first = lines_of(tmp_path / "mine")[0]
    observation, _ = wide.reset(seed=first["seed"])
    earned = 0.0
    for _ in range(10):
        action, _ = policy.predict(observation["state"], deterministic=True)
        observation, reward, *_ = wide.step(action)
        earned += reward
    assert first["episode_return"] == pytest.approx(earned, rel=1e-6)
    status, _, error = run_plan("env=gymnasium", "env.id=Pendulum-v1", *given, "existing=overwrite")
    assert status == 2 and "acts in Box(-1.0, 1.0, (2,), float32), Pendulum-v1 in Box(-2.0" in error


def lines_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "episodes.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_the_environments_own_solutions_are_the_ceiling_of_the_task(run_plan, tmp_path) -> None:
    env = gym.make("dexworld/PushTGoal-v0")
    push_t: Any = env.unwrapped
    for seed in range(5):
        env.reset(seed=seed)
        commands = push_t.raw_action(push_t.solution)
        nothing = np.zeros((len(commands) + 1, 5))
        episode = Demonstration(
            nothing, nothing, commands, nothing[1:, 0], push_t.goal_state, success=True, seed=seed
        )
        settings = {"id": "dexworld/PushTGoal-v0", "physics": "mujoco"}
        save_demonstration(episode, tmp_path / "solutions", settings)
    given = ["agent=replay", f"agent.path={tmp_path / 'solutions'}", "first_seed=0", "videos=0"]
    status, _, error = run_plan(*given, "episodes=5", "output=mine", tiny=["parallel=3"])
    assert status == 0, error
    metrics = json.loads((tmp_path / "mine" / "metrics.json").read_text())
    assert metrics["success_rate"] == 1.0 and metrics["agent"] == "replay"
    # What was not recorded is said before anything is evaluated.
    status, _, error = run_plan(*given, "episodes=6", "output=more", tiny=[])
    assert status == 2 and "no actions were recorded for the episode seeds [5]" in error
    assert lines_of(tmp_path / "more") == []


def test_the_help_says_how_to_see_a_traceback(run_plan) -> None:
    _, output, _ = run_plan("--help")
    assert "HYDRA_FULL_ERROR=1" in output
    assert "agent.kind" in output and "model.kind" in output
