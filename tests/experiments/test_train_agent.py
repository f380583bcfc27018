"""`dexworld-train-agent` from a dataset and a model to an agent: what it writes, resumes and refuses."""

from __future__ import annotations

import dataclasses
import json
import signal
import sys
from collections.abc import Callable, Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dexworld.agents.goal_features import GoalFeatures
from dexworld.agents.planar_features import PlanarFeatures
from dexworld.agents.policy import load_policy
from dexworld.experiments import agent_rounds, collect
from dexworld.experiments import config as wiring
from dexworld.experiments import train_agent as command
from dexworld.experiments.agent_rounds import Rounds
from dexworld.experiments.agent_training import (
    Task,
    TrainAgentConfig,
    real_steps,
    register_schemas,
    settings_of,
)
from dexworld.experiments.collection import register_schemas as register_collection
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.train_agent import print_metrics, train_agent
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.latent import LatentWorldModel

QUIET = Console(quiet=True)
RECIPES = Path(command.__file__).parent / "conf" / "agent_recipe"
TINY = [
    "env.episode_steps=20",
    "starts.goal_after=[10,20]",
    "agent.increment=0.3125",
    "copies=16",
    "algorithm.network=[8]",
    "++algorithm.arguments={n_steps: 4, batch_size: 32, n_epochs: 1}",
    "training={steps: 128, evaluate_every: 64}",
    "refresh={episodes: 3, training_steps: 4, batch_size: 16}",
    "episodes=4",
    "evaluation_episodes=2",
    "parallel=4",
]
"""Overrides under which a training takes a second."""


@pytest.fixture
def overrides(play: Path, untrained: Callable[..., Any], tmp_path: Path) -> list[str]:
    """Say where everything is."""
    model = untrained("keypoints", chunk=5)
    LatentWorldModel.from_pretrained(model.path).save_pretrained(
        model.path, metadata={"data": {"episodes": 12, "frames": 732}}
    )
    places = [f"starts.path={play}", f"model.path={model.path}", f"output={tmp_path / 'out'}"]
    return [*TINY, *places]


@pytest.fixture
def configured(overrides: list[str]) -> Callable[..., TrainAgentConfig]:
    def configure(*more: str) -> TrainAgentConfig:
        wiring.register_schemas()
        register_schemas()
        GlobalHydra.instance().clear()
        given = [*(each for each in overrides if not set_again(each, more)), *more]
        config: TrainAgentConfig = compose_config("train_agent", given)
        return config

    return configure


@pytest.fixture
def run(
    overrides: list[str], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Callable[..., tuple[int, str, str]]:
    """Run `dexworld-train-agent` in this process; return status, standard output and error."""

    def run(*given: str, tiny: bool = True) -> tuple[int, str, str]:
        GlobalHydra.instance().clear()
        places = [each for each in overrides if tiny and not set_again(each, given)]
        arguments = [*places, *given]
        monkeypatch.setattr(sys, "argv", ["dexworld-train-agent", *arguments])
        monkeypatch.setenv("COLUMNS", "200")
        status = 0
        try:
            command.main()
        except SystemExit as ended:
            status = int(ended.code or 0)
        output, error = capfd.readouterr()
        return status, output, error

    return run


def set_again(override: str, others: Sequence[str]) -> bool:
    """Return whether a setting is among others that are given later."""
    return override.partition("=")[0] in {other.partition("=")[0] for other in others}


# What comes of it


def test_an_agent_and_its_metrics(run, tmp_path: Path) -> None:
    status, _, error = run("name=mine")
    assert status == 0, error
    folder = tmp_path / "out"
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics["name"] == "mine" and metrics["algorithm"] == "PPO"
    assert metrics["episodes"] == 4 and len(metrics["success_interval"]) == 2
    assert metrics["success_rule"].startswith("20 px") and metrics["stage"] == "tune"
    assert metrics["imagined_decisions"] == 128 and metrics["imagined_steps"] == 640
    assert metrics["real_steps"] == 720 and metrics["played_steps"] == 0
    gap = metrics["imagined_return"] - metrics["real_return"]
    assert metrics["exploitation_gap"] == pytest.approx(gap, abs=1e-9)
    assert [each["steps"] for each in metrics["evaluations"]] == [64, 128]
    assert {"eval/success_rate", "model/exploitation_gap"} <= set(metrics["evaluations"][0])
    assert "20 px and pi/9" in error and "[tune]" not in error
    assert f"policy: {folder / 'policy.zip'}" in error
    assert str(tmp_path) not in metrics["command"]
    assert yaml.safe_load((folder / "config.yaml").read_text())["copies"] == 16


def test_the_agent_acts_where_plans_do(run, run_plan, tmp_path: Path) -> None:
    assert run()[0] == 0
    folder, results = tmp_path / "out", tmp_path / "plan"
    places = ["model=latent", f"model.path={folder / 'model'}", "env=push_t_goal"]
    places += ["episodes=2", "stage=tune", "floors=false", "videos=0", f"output={results}"]
    policy = f"agent.path={folder / 'policy.zip'}"
    assert run_plan("agent=belief_policy", policy, *places)[0] == 0
    metrics = json.loads((results / "metrics.json").read_text())
    assert metrics["agent"].endswith("out/policy.zip") and metrics["plans"] == 4
    assert metrics["model_evaluations"] == 0 and metrics["plan_latency_s"]["p50"] > 0
    guided = [f"agent.policy={folder / 'policy.zip'}", "agent.proposals=5"]
    guided += ["agent.increment=0.3125", "existing=overwrite"]
    assert run_plan(*guided, *places)[0] == 0
    metrics = json.loads((results / "metrics.json").read_text())
    # Of each of two plans: two iterations of eight candidates, and five plans of the policy.
    assert metrics["model_evaluations"] == 2 * 2 * (2 * 8 + 5)
    reranked = ["planner=random_shooting", "planner.horizon=2", "planner.samples=5"]
    reranked += ["env.episode_steps=10", "agent.policy_samples=true"]
    assert run_plan(*guided, *places, tiny=reranked)[0] == 0
    metrics = json.loads((results / "metrics.json").read_text())
    # Five samples of the policy, which are all that is compared.
    assert metrics["model_evaluations"] == 2 * 2 * (5 + 5)
    status, _, error = run_plan("agent=belief_policy", policy, *places[:1], "agent.increment=null")
    assert status == 2 and "model.path" in error


def test_a_policy_of_other_decisions_or_another_model(run, run_plan, untrained, tmp_path) -> None:
    assert run("observes=[latent]")[0] == 0
    policy = f"agent.path={tmp_path / 'out' / 'policy.zip'}"
    other = untrained("pixels", chunk=5).path
    places = ["env=push_t_goal", "episodes=1", "floors=false", "videos=0"]
    belief = ["agent=belief_policy", policy, *places]
    pixels = ["+env.kwargs.pixels_size=32", "model=latent", f"model.path={other}"]
    status, _, error = run_plan(*belief, *pixels)
    assert status == 2 and "latent of shape (10,)" in error and "(14,)" in error
    status, _, error = run_plan(*belief, "model=simulator_state")
    assert status == 2 and "have no 'latent'" in error
    missing = ["agent=belief_policy", *places, "model=simulator"]
    status, _, error = run_plan(*missing)
    assert status == 2 and "agent.kind=belief_policy needs agent.path, a policy.zip" in error


@pytest.mark.parametrize("frame", ["null", "keypoints"])
def test_the_same_training_in_the_simulator(configured, frame) -> None:
    config = configured("model=simulator_state", "model.threads=1", f"frame={frame}")
    metrics = train_agent(config, "command", QUIET)
    assert metrics["trained_in"] == "simulator"
    # Every decision is five steps of the environment.
    assert metrics["real_steps"] == metrics["imagined_steps"] == 640
    assert [each["model/real_steps"] for each in metrics["evaluations"]] == [320, 640]
    # The twin as its own model, from states: what it imagines is what comes.
    assert metrics["exploitation_gap"] == pytest.approx(0.0, abs=0.05)
    assert not (Path(config.output) / "model").exists()


def test_sac_and_resuming(configured) -> None:
    sac = ["algorithm.name=SAC", "training={steps: 96, evaluate_every: 48}"]
    given = "++algorithm.arguments={learning_starts: 16, batch_size: 8, buffer_size: 960}"
    metrics = train_agent(configured(*sac, given), "command", QUIET)
    again = train_agent(configured(*sac, given), "command", QUIET)
    assert metrics["resumed_from"] == 0 and again["resumed_from"] == 96
    assert again["real_return"] == metrics["real_return"]
    assert again["evaluations"] == metrics["evaluations"]
    with pytest.raises(ValueError, match=r"another training \(reward.scale: 0.02 then, 0.5 now\)"):
        train_agent(configured(*sac, given, "reward.scale=0.5"), "command", QUIET)


def test_a_policy_that_sees_all_from_the_body(run, run_plan, tmp_path: Path) -> None:
    assert run("frame=keypoints", "algorithm.features=planar")[0] == 0
    file = tmp_path / "out" / "policy.zip"
    policy: Any = load_policy(str(file), "PPO")
    assert policy.decision_frame == "keypoints"
    assert isinstance(policy.policy.features_extractor, PlanarFeatures)
    given = ["agent=belief_policy", f"agent.path={file}", "env=push_t_goal", "episodes=1"]
    given += ["model=latent", f"model.path={tmp_path / 'out' / 'model'}", "videos=0"]
    given += ["floors=false"]
    status, _, error = run_plan(*given, "agent.increment=0.5", "agent.steps_per_decision=10")
    assert status == 2
    assert "set agent.increment=0.3125 agent.steps_per_decision=5, as in its training" in error
    assert run_plan(*given)[0] == 0


def test_what_the_policy_sees_is_normalised(configured) -> None:
    config = configured()
    train_agent(config, "command", QUIET)
    policy: Any = load_policy(f"{config.output}/policy.zip", "PPO")
    assert isinstance(policy.policy.features_extractor, GoalFeatures)
    env = Task(config).imagined(512)
    seen, _ = env.reset(seed=1)
    tensors = policy.policy.obs_to_tensor(seen)[0]
    features = policy.policy.features_extractor(tensors)
    assert features[:, :2].mean(0).abs().max() < 0.5 and 0.5 < float(features[:, :2].std()) < 2.0


@pytest.fixture(scope="module")
def play_pixels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Collect a little self-play as frames."""
    register_collection()
    GlobalHydra.instance().clear()
    folder = tmp_path_factory.mktemp("play_pixels") / "play"
    given = ["episodes=3", "steps=40", "images=png", "pixels_size=64", f"output={folder}"]
    collect.collect(compose_config("collect", given), "dexworld-collect", QUIET)
    return folder


SEEN_AS_FRAMES = ["model.path=push_t_pixels", "frame=keypoints"]
SEEN_AS_FRAMES += ["++env.kwargs={physics: mujoco, pixels_size: 64, goal_in_pixels: false}"]


@pytest.mark.slow
def test_a_policy_that_sees_frames_which_the_model_decodes(
    run, run_plan, play_pixels: Path, tmp_path: Path
) -> None:
    given = [*SEEN_AS_FRAMES, f"starts.path={play_pixels}", "observes=[pixels]"]
    status, _, error = run(*given)
    assert status == 2 and "set algorithm.features=none" in error
    given += ["algorithm.features=none", "training={steps: 64, evaluate_every: 64}"]
    status, _, error = run(*given)
    assert status == 0, error
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["trained_in"] == "push_t_pixels" and metrics["episodes"] == 4
    policy: Any = load_policy(str(tmp_path / "out" / "policy.zip"), "PPO")
    assert policy.observation_space["goal_pixels"].shape == (3, 64, 64)
    acting = ["agent=belief_policy", f"agent.path={tmp_path / 'out' / 'policy.zip'}"]
    acting += ["agent.increment=0.3125", "env=push_t_goal", "model=latent", "episodes=1"]
    acting += ["videos=0", "floors=false", f"output={tmp_path / 'plan'}"]
    status, _, error = run_plan(*acting, SEEN_AS_FRAMES[0], SEEN_AS_FRAMES[2])
    assert status == 0, error


# The environment's own reward

OWN = ["env=push_t", "env.episode_steps=20", "starts.goal_after=null", "reward.kind=predicted"]


@pytest.mark.parametrize("bonus", [0.0, 2.0])
def test_the_reward_that_a_model_has_learned(configured, bonus: float) -> None:
    config = configured(*OWN, "model.path=push_t_value", f"reward.success={bonus}")
    env = Task(config).imagined(8)
    assert env.success is not None
    env.reset(seed=0)
    found = success_at(env, 3)
    assert found["_is_success"].tolist()[3] is False and found["final_info"]["is_success"][3]
    told = found["final_info"]
    paid = told["reward_predicted"][3] + (bonus if bonus else 0.0)
    assert ("reward_success" in told) == bool(bonus) and found["rewards"][3] == paid
    metrics = train_agent(config, "command", QUIET)
    assert metrics["trained_in"] == "push_t_value" and metrics["real_steps"] == 300_000
    assert np.isfinite(metrics["exploitation_gap"])


def success_at(env: Any, copy: int) -> dict[str, Any]:
    """Have a copy succeed in the next step; return what is told of it."""
    env.success = lambda state, goal: torch.arange(env.num_envs) == copy
    rewards_success = env.reward_terms.get("success")
    if rewards_success is not None:
        env.reward_terms["success"] = dataclasses.replace(rewards_success, success=env.success)
    _, rewards, _, _, info = env.step(np.zeros((env.num_envs, 2), np.float32))
    return {**info, "rewards": rewards}


def test_what_the_environment_pays_is_what_the_simulator_predicts(configured) -> None:
    config = configured(*OWN, "model=simulator_state", "model.threads=1", "reward.success=0")
    metrics = train_agent(config, "command", QUIET)
    # No episode of so short a training succeeds: of every decision all five steps are paid.
    assert metrics["success_rate"] == 0
    assert metrics["real_return"] == pytest.approx(metrics["mean_return"], abs=1e-9)
    assert metrics["mean_return"] > 0
    assert metrics["exploitation_gap"] == pytest.approx(0.0, abs=0.05)
    assert metrics["exploitation_gap_error"] < 0.05


# Where the model is believed


def test_imagination_ends_where_an_ensemble_disagrees(run, untrained, tmp_path: Path) -> None:
    ensemble = untrained("keypoints", chunk=5, members=3).path
    lengths = {}
    for trusted in ("null", "30"):
        output = tmp_path / trusted
        status, _, error = run(f"model.path={ensemble}", f"trusted={trusted}", f"output={output}")
        assert status == 0, error
        metrics = json.loads((output / "metrics.json").read_text())
        assert all(each["model/disagreement"] > 0 for each in metrics["evaluations"])
        events = EventAccumulator(str(output / "tensorboard")).Reload()
        lengths[trusted] = events.Scalars("rollout/ep_len_mean")[-1].value
        assert events.Scalars("model/disagreement")
    assert lengths["30"] < lengths["null"] == 4.0
    status, _, error = run(f"model.path={ensemble}", "trusted=100")
    assert status == 2 and "trusted=100.0: give a per cent between 0 and 100" in error


# Rounds


def test_rounds_of_playing_and_learning(configured, play: Path) -> None:
    config = configured("training.rounds=3", "training.steps=192")
    before = Dataset(play).fingerprint()
    metrics = train_agent(config, "command", QUIET)
    output = Path(config.output)
    data = Dataset(output / "data")
    assert len(data) == 12 + 2 * 3 and (data.episodes["length"][12:] == 21).all()
    assert len(set(data.episodes["seed"].tolist())) == 18
    assert Dataset(play).fingerprint() == before, "the data that one starts from stay as they are"
    assert metrics["played_steps"] == 120 and metrics["real_steps"] == 720 + 120
    assert [each["round"] for each in metrics["evaluations"]] == [0, 1, 2]
    steps = [each["model/real_steps"] for each in metrics["evaluations"]]
    assert steps == [720, 780, 840]
    models = [
        LatentWorldModel.from_pretrained(path)
        for path in (config.model.path, *(output / "rounds" / n / "model" for n in "12"))
    ]
    weights = [next(each.predictors.parameters()).detach().numpy() for each in models]
    assert not np.array_equal(weights[0], weights[1])
    assert not np.array_equal(weights[1], weights[2])
    kept = LatentWorldModel.from_pretrained(output / "model")
    np.testing.assert_array_equal(next(kept.predictors.parameters()).detach().numpy(), weights[2])


def test_an_interrupted_round_goes_on(configured, monkeypatch, tmp_path: Path) -> None:
    rounds = ["training.rounds=2", "refresh.noise=0.1"]
    whole = train_agent(configured(*rounds, f"output={tmp_path / 'whole'}"), "command", QUIET)
    broken = configured(*rounds, f"output={tmp_path / 'broken'}")

    def dies(self: Rounds, number: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Rounds, "_learn", dies)
        with pytest.raises(KeyboardInterrupt):
            train_agent(broken, "command", QUIET)
    assert len(Dataset(tmp_path / "broken" / "data")) == 15
    resumed = train_agent(broken, "command", QUIET)
    assert resumed["resumed_from"] == 64
    assert resumed["real_return"] == whole["real_return"]
    # The same episodes were played, and only once.
    for folder in ("whole", "broken"):
        assert len(Dataset(tmp_path / folder / "data")) == 15
    one, other = (Dataset(tmp_path / folder / "data") for folder in ("whole", "broken"))
    np.testing.assert_array_equal(
        one.columns(["action"])["action"], other.columns(["action"])["action"]
    )


@pytest.mark.slow
def test_ctrl_c_is_heard_while_the_agent_plays_and_before_the_model_learns(
    configured, monkeypatch, tmp_path: Path
) -> None:
    rounds = ["training.rounds=2", "refresh={episodes: 20, training_steps: 4, batch_size: 16}"]
    whole = train_agent(configured(*rounds, f"output={tmp_path / 'whole'}"), "command", QUIET)
    broken = configured(*rounds, f"output={tmp_path / 'broken'}")
    data, model = tmp_path / "broken" / "data", tmp_path / "broken" / "rounds" / "1" / "model"

    def interrupted(name: str, first: bool) -> None:
        """Ask once to end, before or after something of the rounds is done."""
        usual, asked = getattr(agent_rounds, name), []

        def call(*arguments: Any) -> Any:
            done = None if first else usual(*arguments)
            if not asked:
                asked.append(signal.raise_signal(signal.SIGINT))
            return usual(*arguments) if first else done

        with monkeypatch.context() as patch:
            patch.setattr(agent_rounds, name, call)
            with pytest.raises(KeyboardInterrupt):
                train_agent(broken, "command", QUIET)

    interrupted("_written", first=False)
    assert len(Dataset(data)) == 12 + 16, "the episodes that were played side by side are kept"
    interrupted("_written", first=True)
    assert len(Dataset(data)) == 12 + 20 and not model.exists()
    interrupted("train", first=True)
    assert not model.exists() and list((model.parent / "checkpoints").iterdir())
    resumed = train_agent(broken, "command", QUIET)
    assert resumed["real_return"] == whole["real_return"]
    one, other = (Dataset(tmp_path / name / "data") for name in ("whole", "broken"))
    np.testing.assert_array_equal(
        one.columns(["action"])["action"], other.columns(["action"])["action"]
    )


def test_the_simulator_has_nothing_to_learn(configured) -> None:
    config = configured("model=simulator_state", "training.rounds=2")
    with pytest.raises(ValueError, match=r"rounds=2: .*simulator has nothing to learn"):
        train_agent(config, "command", QUIET)


# What is refused


def test_starts_that_run_out(run) -> None:
    given = ["starts.replace=false", "algorithm.features=none", "copies=64"]
    status, _, error = run(*given, "training={steps: 4096, evaluate_every: 4096}")
    assert status == 2 and "starts are wanted, and" in error and "take replace=True" in error


def test_places_do_not_turn_with_a_body(run) -> None:
    status, _, error = run("frame=keypoints", "agent.increment=null")
    assert status == 2 and "Set agent.increment, or frame=null." in error


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("algorithm.name=PPP", "no algorithm 'PPP'"),
        ("algorithm.arguments.gama=0.9", "takes no argument 'gama'. Did you mean 'gamma'"),
        ("reward.kind=progres", "reward.kind='progres': choose one of"),
        ("starts.goal_after=[1]", "fewest and most, two numbers"),
        ("starts.goal_after=[90,95]", "90 steps before its end"),
        ("starts.path=/nowhere", "/nowhere"),
        ("observes=[agent,lattent]", "no ['lattent']"),
        ("model.path=nowhere", "Check the path"),
        ("training.rounds=0", "rounds=0"),
        ("training.stepps=3", "there is no setting 'training.stepps'. Did you mean 'steps'"),
        (
            "agent_recipe=push_t_goal_pop",
            "there is no agent_recipe 'push_t_goal_pop'. Did you mean",
        ),
        ("starts.goal_after=null", "no"),
        ("trusted=95", "the model is one predictor"),
        ("stage=best", "stage='best'"),
        ("reward.kind=predicted", "predicts no reward"),
        ("reward.near=-1", "reward.near=-1.0"),
        ("frame=body", "reads ['body'], which LatentWorldModel does not predict"),
        ("algorithm.features=plane", "choose goal, planar or none"),
        ("algorithm.activation=Relu", "torch.nn has no such class"),
    ],
)
def test_mistakes_are_one_line(run, given, message) -> None:
    status, _, error = run(given)
    assert status == 2, error
    assert error.startswith("error: ") and error.count("\n") == 1
    assert message in error


def test_help(run) -> None:
    status, output, _ = run("--help", tiny=False)
    assert status == 0
    for setting in ("starts.path", "reward.scale", "algorithm.name", "training.rounds", "copies"):
        assert f"  {setting} " in output
    assert "refresh.episodes" in output and "learning_rate" in output


@pytest.mark.parametrize("name", sorted(p.stem for p in RECIPES.glob("push_t_goal_*.yaml")))
def test_every_recipe_can_be_read(name) -> None:
    wiring.register_schemas()
    register_schemas()
    GlobalHydra.instance().clear()
    config = compose_config("train_agent", [f"agent_recipe={name}", "starts.path=somewhere"])
    assert settings_of(config).steps > 100_000 and config.model.path == "push_t_state"


def test_steps_that_a_model_does_not_tell(untrained) -> None:
    assert real_steps(wiring.make_latent(untrained("keypoints"))) is None
    assert real_steps(LatentWorldModel.from_pretrained("push_t_state")) == 480_000


def test_metrics_are_printed_where_steps_are_unknown() -> None:
    figures = dict.fromkeys(
        ["real_return", "imagined_return", "exploitation_gap", "imagined_success_rate"], 0.5
    )
    evaluation = {f"model/{name}": value for name, value in figures.items()}
    evaluation |= {"steps": 10, "eval/success_rate": 0.25}
    metrics = {"name": "mine", "success_rule": "rule", "evaluations": [evaluation], **figures}
    metrics |= {"success_rate": 0.5, "success_interval": [0.1, 0.9], "episodes": 4, "stage": "tune"}
    text = StringIO()
    print_metrics(metrics, Console(file=text, width=120))
    assert "?" in text.getvalue() and "50% [10%, 90%] of 4 episodes (tune)" in text.getvalue()
