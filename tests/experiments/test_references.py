"""Floors and ceilings are kept where they can be, and missed where they cannot."""

from __future__ import annotations

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
