"""Each bad input of a user has one clear sentence and exit status 2."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import mujoco
import mujoco.rollout
import numpy as np
import pytest

from dexworld.experiments.command_line import (
    code_fingerprint,
    fingerprint,
    log_simulator_warnings,
    nearest,
    provenance,
    settings_help,
)

BAD = {
    "a preset": (["experiment=push_t_goal_simulatr"], "Did you mean 'push_t_goal_simulator'?"),
    "a planner": (["planner=iccem"], "there is no planner 'iccem'. Did you mean 'icem'?"),
    "a group option": (["env=push_t_gaol"], "Did you mean 'push_t_goal'?"),
    "a model": (["model=simulatr"], "Did you mean 'simulator'?"),
    "a key under a model": (["model=gymnasium", "model.sorce=state"], "Did you mean 'source'?"),
    "an objective": (["objective=push"], "Did you mean 'push_t'?"),
    "an agent": (["agent=nop"], "Did you mean 'noop'?"),
    "a key": (
        ["planner.sampels=3"],
        "no setting 'planner.sampels'. Did you mean 'samples'? Valid:",
    ),
    "a key of the root": (["episods=3"], "Did you mean 'episodes'?"),
    "a key of a term": (["objective.keypoints.wieght=3"], "Did you mean 'weight'?"),
    "a key under a preset": (
        ["experiment=push_t_goal_simulator", "agent.exeucte=3"],
        "Did you mean 'execute'?",
    ),
    "a word": (["noop"], "'noop' cannot be read: give settings as key=value."),
    "a type": (["planner.samples=many"], "planner.samples=many: Value 'many' of type 'str'"),
    "a type of the root": (["episodes=few"], "episodes=few: Value 'few' of type 'str'"),
    "a group of the wrong type": (["env.kwargs=3"], "env.kwargs=3: Cannot assign int"),
    "horizon 0": (["planner.horizon=0"], "CEM(horizon=0): horizon must be at least 1."),
    "more elites than samples": (
        ["planner.elites=9"],
        "CEM(elites=9, samples=8): elites must be at most samples",
    ),
    "an environment": (["env.id=dexworld/PushTGaol-v0"], "Did you mean: `PushTGoal`?"),
    "an argument of the environment": (
        ["+env.kwargs.goal_ofset=3"],
        "takes no argument 'goal_ofset'. Did you mean 'goal_offset'?",
    ),
    "an argument of the environment, for a floor": (
        ["agent=noop", "+env.kwargs.goal_ofset=3"],
        "takes no argument 'goal_ofset'. Did you mean 'goal_offset'?",
    ),
    "an argument of the model": (
        ["+model.kwargs.phisics=pymunk"],
        "takes no argument 'phisics'. Did you mean 'physics'?",
    ),
    "a value of such an argument": (
        ["+env.kwargs.goal=moving"],
        "goal='moving' is unknown; choose one of ['fixed', 'trajectory', 'random'].",
    ),
    "an argument that is to be added": (["env.kwargs.goal=fixed"], "write +env.kwargs.goal=..."),
    "pymunk as the model": (["+model.kwargs.physics=pymunk"], "does not run on MuJoCo"),
    "a source": (["model.source=pixels"], "source='pixels': choose one of ['physics', 'state']."),
    "threads": (["model.threads=0"], "threads must be at least 1, got 0."),
    "what the model does not predict": (
        ["objective={latent: {key: latent}}"],
        "reads ['latent'], which SimulatorModel does not predict; it predicts ['agent'",
    ),
    "a reward that is not predicted": (
        ["objective={reward: {weight: 1.0}}"],
        "reads ['reward'], which SimulatorModel does not predict",
    ),
    "a part of a term that is null": (
        ["objective.latent.key=latent"],
        "objective.latent is null; set it as a whole, 'objective={latent: {key: latent}}'.",
    ),
    "a term that is null": (
        ["objective.latent={key: latent}"],
        "objective.latent is null; set it as a whole, 'objective={latent: {key: latent}}'.",
    ),
    "no terms": (["objective={keypoints: null, agent: null}"], "the objective has no term; give"),
    "a planner of gradients": (
        ["planner=gradient"],
        "is not differentiable, and this planner follows gradients",
    ),
    "episodes": (["episodes=0"], "episodes=0: evaluate at least one."),
    "parallel": (["parallel=0"], "parallel=0: run at least one episode at a time."),
    "a stage": (["stage=test"], "stage='test': choose one of ['train', 'tune', 'evaluate']."),
    "existing": (["existing=keep"], "existing='keep': choose one of ['refuse', 'resume'"),
    "a kind of agent": (
        ["agent.kind=planing"],
        "agent.kind='planing': choose one of ['planning', 'noop',",
    ),
    "execute": (["agent.execute=3"], "execute=3 decisions of a plan of horizon 2: choose between"),
    "steps": (["agent.steps_per_decision=0"], "steps) must be at least 1, got 0."),
    "increment": (["agent.increment=-1"], "must be positive, got -1"),
    "an output": (["output=/proc/nowhere/x"], "/proc/nowhere"),
}


@pytest.mark.parametrize(("overrides", "said"), BAD.values(), ids=BAD)
def test_bad_input_is_one_clear_sentence(overrides, said, run_plan, tmp_path) -> None:
    chosen = any(item.startswith("planner=") for item in overrides)
    tiny = ["planner.horizon=2"] if chosen else None
    status, _, error = run_plan("episodes=1", *overrides, **({"tiny": tiny} if tiny else {}))
    assert status == 2, error
    assert error.startswith("error: ")
    assert len(error.splitlines()) == 1, error
    assert said in error


def test_what_was_wrong_does_not_stand_in_the_way_of_what_is_right(run_plan) -> None:
    status, _, error = run_plan("output=here", "episodes=1", "agent=noop", "parallel=0")
    assert status == 2, error
    status, _, error = run_plan("output=here", "episodes=1", "agent=noop", "videos=0")
    assert status == 0, error
    status, _, error = run_plan("output=here", "episodes=1", "agent=noop", "videos=0")
    assert status == 2
    assert error.startswith("error: here holds results. Choose another output, or existing=resume")


COMMAND = [sys.executable, "-m", "dexworld.experiments.plan"]


@pytest.mark.slow
def test_the_status_of_the_process(tmp_path) -> None:
    overrides = ["agent=noop", "env.id=Nowhere-v0"]
    ended = subprocess.run(
        [*COMMAND, *overrides], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.startswith("error: ") and ended.stderr.count("\n") == 1


def test_help_says_what_it_does_and_what_can_be_set(run_plan) -> None:
    status, output, _ = run_plan("--help")
    assert status == 0
    assert output.startswith("dexworld-plan evaluates any agent")
    assert "dexworld-plan experiment=push_t_goal_simulator" in output
    assert "  episodes                  Episodes to evaluate." in output
    assert "  agent.execute             Decisions carried out before planning again." in output
    assert (
        "cem, cem_gradient, counter, counter_grasp, dexwm, dexwm_gradient, gradient, icem, mppi, push_t_coverage"
        in output
    )
    assert "push_t_goal_simulator" in output.partition("experiment: ")[2]


def test_the_composed_configuration_can_be_shown(run_plan) -> None:
    status, output, error = run_plan("planner.samples=7", tiny=["--cfg", "job"])
    assert (status, error) == (0, "")
    assert "samples: 7" in output


def test_settings_help_tells_the_docstrings() -> None:
    assert settings_help({"": _Schema, "a.": _Schema}).splitlines() == [
        "  speed                     How fast.",
        "  size                      How large.",
        "  a.speed                   How fast.",
        "  a.size                    How large.",
    ]


@dataclass
class _Schema:
    """A schema."""

    speed: float = 1.0
    """How fast."""
    colour: str = "red"
    size: int = 2
    """How
    large."""


def test_the_nearest_valid_name() -> None:
    assert (
        nearest("samlpes", ["elites", "samples"])
        == "Did you mean 'samples'? Valid: elites, samples."
    )
    assert nearest("xyz", ["b", "a"]) == "Valid: a, b."


def test_provenance_says_what_a_result_depends_on() -> None:
    record = provenance(7)
    assert record["seed"] == 7
    assert record["packages"]["mujoco"] and record["packages"]["dexworld"]
    assert record["code_fingerprint"] == code_fingerprint()
    assert len(record["code_fingerprint"]) == 16


def test_the_fingerprint_changes_with_the_code(tmp_path) -> None:
    source = tmp_path / "envs" / "world.py"
    source.parent.mkdir()
    prints = []
    for text in ("a = 1", "a = 2", "a = 1"):
        source.write_text(text)
        (tmp_path / "envs" / "notes.txt").write_text(str(len(prints)))
        prints.append(fingerprint(tmp_path))
    assert prints[0] == prints[2] != prints[1]
    Path(source).rename(source.with_name("other.py"))
    assert fingerprint(tmp_path) != prints[0]


def test_the_fingerprint_is_of_the_code_that_runs(monkeypatch) -> None:
    """Edits during an evaluation must not pass for the code that evaluated."""
    before = code_fingerprint()
    monkeypatch.setattr("dexworld.experiments.command_line.fingerprint", lambda package: "edited")
    assert code_fingerprint() == before


def test_the_commit_is_that_of_the_package_alone(monkeypatch, tmp_path) -> None:
    """An installation inside another repository must not borrow its commit."""
    repository, package = tmp_path, tmp_path / "site-packages" / "dexworld"
    package.mkdir(parents=True)
    git = ["git", "-C", str(repository), "-c", "user.name=a", "-c", "user.email=a@b"]
    subprocess.run([*git, "init", "-q"], check=True)
    subprocess.run([*git, "commit", "-q", "--allow-empty", "-m", "another"], check=True)
    monkeypatch.setattr("dexworld.experiments.command_line.PACKAGE", package)
    assert provenance(0)["git_commit"] is None
    monkeypatch.setattr("dexworld.experiments.command_line.PACKAGE", repository)
    assert len(provenance(0)["git_commit"]) == 12


UNSTABLE = """<mujoco><worldbody><body><joint name="x" type="slide"/><geom size="0.1"/></body></worldbody>
<actuator><motor joint="x"/></actuator></mujoco>"""


def test_the_simulators_warnings_are_logged_once_and_leave_no_file(
    monkeypatch, tmp_path, caplog
) -> None:
    monkeypatch.chdir(tmp_path)
    before = mujoco.get_mju_user_warning()
    try:
        log_simulator_warnings()
        model = mujoco.MjModel.from_xml_string(UNSTABLE)
        states = np.zeros((20, mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS)))
        controls = np.full((20, 3, 1), 1e30)
        workers = [mujoco.MjData(model) for _ in range(2)]
        mujoco.rollout.rollout(model, workers, states, controls)
    finally:
        mujoco.set_mju_user_warning(before)
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "MuJoCo: Nan, Inf or huge value in CTRL at ACTUATOR 0." in record.getMessage()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_nothing_is_left_in_the_current_folder(tmp_path) -> None:
    here = tmp_path / "here"
    here.mkdir()
    places = [f"output={tmp_path / 'results'}", f"cache={tmp_path / 'cache'}"]
    command = [*COMMAND, "agent=noop", "episodes=1", "videos=0", "env.episode_steps=2", *places]
    here.chmod(0o555)
    ended = subprocess.run(command, cwd=here, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout == ""
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "command",
    [
        ["render", "dexworld/CounterReach-v0", "--episodes", "1"],
        ["plan", "env=counter_reach", "agent=noop", "episodes=1", "videos=1", "floors=false"],
    ],
)
def test_a_machine_that_cannot_draw_is_one_line(command, tmp_path) -> None:
    """EGL without any driver; another way of drawing is not taken, since this one was asked for."""
    name, *arguments = command
    blind = {"MUJOCO_GL": "egl", "__EGL_VENDOR_LIBRARY_DIRS": os.devnull}
    ended = subprocess.run(
        [sys.executable, "-m", f"dexworld.experiments.{name}", *arguments],
        cwd=tmp_path,
        env=os.environ | blind,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    (line,) = (line for line in ended.stderr.splitlines() if line.startswith("error: "))
    assert line.startswith("error: images cannot be drawn on this machine. egl: ")
    assert "apt-get install" in line and "Traceback" not in ended.stderr


def test_a_cache_that_cannot_be_written_is_one_warning(run_plan, tmp_path) -> None:
    (tmp_path / "file").write_text("")
    status, output, error = run_plan("episodes=1", "videos=0", "output=o", "cache=file/cache")
    assert (status, output) == (0, "")
    (line,) = (line for line in error.splitlines() if line.startswith("WARNING: "))
    assert "floors and ceilings are not kept for the next evaluation (file/cache: Not a" in line
