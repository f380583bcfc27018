"""Floors and ceilings are kept where they can be, and missed where they cannot."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from dexworld.experiments import references
from dexworld.experiments.config import AgentConfig, EnvConfig, ModelConfig

QUIET = Console(quiet=True)


@pytest.fixture
def noop(tiny):
    """Make the configuration of an agent that does nothing."""
    return lambda **changes: tiny(agent=AgentConfig(kind="noop"), **changes)


@pytest.fixture
def evaluate(monkeypatch):
    """Evaluate one episode; tell its figures and whether they had to be computed."""

    def once(config: Any) -> tuple[dict[str, Any], bool]:
        runs: list[object] = []
        run = references.run_episodes
        with monkeypatch.context() as patched:
            patched.setattr(
                references, "run_episodes", lambda *given: runs.append(given) or run(*given)
            )
            return references.evaluate_cached(config, [3], QUIET), bool(runs)

    references._warn_once.cache_clear()
    return once


def test_what_was_found_is_kept(noop, evaluate) -> None:
    first, computed = evaluate(noop())
    again, computed_again = evaluate(noop())
    assert computed and not computed_again
    assert again == first


def test_a_broken_file_is_computed_and_written_again(noop, evaluate, tmp_path) -> None:
    first, _ = evaluate(noop())
    (file,) = (tmp_path / "cache").iterdir()
    file.write_text(file.read_text()[:20])
    assert evaluate(noop()) == (first, True)
    assert evaluate(noop()) == (first, False)


def test_a_cache_that_cannot_be_written_is_told_once(noop, evaluate, tmp_path, caplog) -> None:
    (tmp_path / "a_file").write_text("")
    config = noop(cache=str(tmp_path / "a_file" / "cache"))
    for _ in range(2):
        figures, computed = evaluate(config)
        assert figures["episodes"] == 1 and computed
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert "not kept for the next evaluation" in record.getMessage()
    assert str(tmp_path / "a_file") in record.getMessage()


def test_without_a_home(noop, evaluate, monkeypatch, caplog) -> None:
    def homeless() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    for _ in range(2):
        figures, computed = evaluate(noop(cache=None))
        assert figures["episodes"] == 1 and computed
    (record,) = caplog.records
    assert "Could not determine home directory." in record.getMessage()


@pytest.mark.parametrize("given", [None, "", "{folder}/mine"])
def test_the_users_cache(noop, evaluate, monkeypatch, tmp_path, given) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    if given is None:
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    else:
        monkeypatch.setenv("XDG_CACHE_HOME", given.format(folder=tmp_path))
    evaluate(noop(cache=None))
    folder = tmp_path / ("mine" if given else ".cache") / "dexworld"
    assert len(list(folder.glob("*.json"))) == 1


def test_other_code_or_versions_are_other_episodes(noop, evaluate, monkeypatch) -> None:
    before = references.decisive(noop())
    assert set(before["code"]) == {"dexworld", "numpy", "torch", "mujoco", "pymunk"}
    assert evaluate(noop())[1]
    with monkeypatch.context() as patched:
        patched.setattr(references, "version", lambda name: "0.0" if name == "mujoco" else "1.0")
        assert references.decisive(noop()) != before
        assert evaluate(noop())[1]
    with monkeypatch.context() as patched:
        patched.setattr(references, "code_fingerprint", lambda: "other code")
        assert references.decisive(noop()) != before
        assert evaluate(noop())[1]
    assert references.decisive(noop()) == before
    assert not evaluate(noop())[1]


def test_the_ceiling_says_whose_episodes_it_had(tiny) -> None:
    twin = {"physics": "mujoco"}
    model = ModelConfig(source="state", kwargs=twin, threads=1)
    for physics, same in (("mujoco", True), ("pymunk", False)):
        env = EnvConfig("dexworld/PushTGoal-v0", {"physics": physics}, 10)
        found = references.ceiling(tiny(env=env, model=model, floors=True), {}, [3], QUIET)
        assert (found["same_as_run"], found["same_episodes"]) == (False, same)
        assert found["who"].endswith("(same seeds, its own physics)") is not same


# No ceiling


def reported(folder: Path) -> tuple[dict[str, Any], str]:
    """Return the metrics of an evaluation, and its report."""
    metrics = json.loads((folder / "metrics.json").read_text())
    return metrics, (folder / "report.html").read_text()


@pytest.mark.parametrize(
    ("overrides", "why"),
    [
        (
            ["experiment=push_t_goal_state", "objective=latent"],
            "the objective reads latent, which no simulator predicts",
        ),
        (
            ["experiment=push_t_coverage_value"],
            "the objective reads value, which no simulator predicts",
        ),
        (
            ["experiment=push_t_goal_state", "env.kwargs.physics=pymunk"],
            "dexworld/PushTGoal-v0, as it is made here, does not run on MuJoCo",
        ),
    ],
)
def test_where_no_simulator_can_plan_there_is_no_ceiling(
    run_plan, tmp_path: Path, overrides: list[str], why: str
) -> None:
    given = ["episodes=2", "parallel=2", "videos=0", "output=mine"]
    status, _, error = run_plan(*overrides, *given)
    assert status == 0, error
    metrics, page = reported(tmp_path / "mine")
    assert metrics["ceiling"] == {} and set(metrics["floors"]) == {"noop", "random"}
    assert metrics["episodes"] == 2 and metrics["plans"] > 0
    sentence = metrics["diagnosis"][0]
    assert sentence.startswith(f"There is no ceiling, since {why}")
    assert "There is no ceiling" in page and "There is no ceiling" in error


def test_gradients_have_no_ceiling(run_plan, tmp_path: Path) -> None:
    planner = ["planner=gradient", "planner.horizon=2", "planner.iterations=2"]
    given = ["experiment=push_t_goal_state", "episodes=1", "videos=0", "output=mine"]
    status, _, error = run_plan(*given, tiny=[*planner, "env.episode_steps=10"])
    assert status == 0, error
    metrics, _ = reported(tmp_path / "mine")
    assert "since the planner follows gradients" in metrics["diagnosis"][0]


def test_a_dexwm_is_not_taken_for_the_simulator(tiny) -> None:
    config = tiny(model=ModelConfig("dexwm", path="counter_dexwm"), floors=True)
    assert "DexWM" in references.without_ceiling(config)
    assert references.ceiling(config, {}, [3], QUIET) == {}
