"""Agents that train inside a model: they learn, they go on where they stopped, they are looked at."""

from __future__ import annotations

import json
import os
import signal

import numpy as np
import pytest
import torch
from reaching import Reaching, imagined, point, worlds
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from dexworld.agents.belief_policy import BeliefPolicy
from dexworld.agents.goal_features import GoalFeatures, measured
from dexworld.agents.imagination_training import ImaginationSettings, ImaginationTrainer
from dexworld.agents.learner import POLICY, Learner
from dexworld.agents.policy import load_policy
from dexworld.experiments.evaluation import run_episodes

COPIES = 16
QUICK = {"n_steps": 5, "batch_size": 40, "n_epochs": 2}
LEG = COPIES * 5


def weights(learned) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in learned.policy.parameters()])


def trainer(folder, learner=None, evaluate=None, make_env=None, refresh=None, **settings):
    chosen = {"steps": 4 * LEG, "evaluate_every": LEG, "learning_rate": 1e-3, **settings}
    return ImaginationTrainer(
        ImaginationSettings(**chosen),
        learner or Learner("PPO", QUICK),
        folder,
        make_env or (lambda number: worlds(COPIES)),
        evaluate=evaluate or (lambda policy, number, steps: {}),
        refresh=refresh,
    )


def test_an_agent_learns_in_a_model_what_works_in_the_world(tmp_path) -> None:
    seen, _ = imagined(256).reset(seed=0)
    policy = {"features_extractor_class": GoalFeatures, "net_arch": [32, 32]}
    policy["features_extractor_kwargs"] = measured(seen)
    learner = Learner(
        "PPO",
        {"n_steps": 10, "batch_size": 320, "n_epochs": 6, "gamma": 0.9, "policy_kwargs": policy},
    )

    def successes(policy, *_) -> dict[str, float]:
        agent = BeliefPolicy(point(), policy)
        results = run_episodes(agent, Reaching, range(1000, 1050), 50)
        return {"eval/success_rate": np.mean([each.success for each in results])}

    training = trainer(
        tmp_path,
        learner,
        successes,
        lambda number: worlds(64),
        steps=16_000,
        evaluate_every=8_000,
        learning_rate=3e-3,
    )
    trained = training.fit()
    first = successes(learner.make(worlds(64), 0))["eval/success_rate"]
    assert first < 0.5 and trained.evaluations[-1]["eval/success_rate"] > 0.9
    assert trained.steps >= 16_000 and trained.resumed_from == 0 and trained.seconds > 0


@pytest.mark.parametrize("algorithm", ["PPO", "SAC"])
def test_a_resumed_training_learns_the_same(tmp_path, algorithm) -> None:
    arguments = {
        "PPO": QUICK,
        "SAC": {"batch_size": 32, "learning_starts": 32, "buffer_size": 240, "train_freq": 1},
    }
    learner = Learner(algorithm, arguments[algorithm])
    whole = trainer(tmp_path / "whole", learner).fit()

    class Killed(RuntimeError):
        pass

    def dies(policy, number, steps):
        if steps >= 3 * LEG:
            raise Killed
        return {}

    broken = trainer(tmp_path / "broken", learner, dies)
    with pytest.raises(Killed):
        broken.fit()
    resumed = trainer(tmp_path / "broken", learner).fit("must")
    assert resumed.resumed_from == 2 * LEG and resumed.steps == whole.steps
    assert torch.equal(weights(resumed.policy), weights(whole.policy))
    again = trainer(tmp_path / "broken", learner).fit()  # nothing is left to do
    assert torch.equal(weights(again.policy), weights(whole.policy))
    saved = load_policy(str(tmp_path / "broken" / POLICY), algorithm)
    assert torch.equal(weights(saved), weights(whole.policy))


def test_it_ends_politely(tmp_path) -> None:
    def interrupts(policy, number, steps):
        if steps == 2 * LEG:
            os.kill(os.getpid(), signal.SIGINT)
        return {}

    with pytest.raises(KeyboardInterrupt):
        trainer(tmp_path, evaluate=interrupts).fit()
    resumed = trainer(tmp_path).fit("must")
    assert resumed.resumed_from == 2 * LEG
    whole = trainer(tmp_path / "whole").fit()
    assert torch.equal(weights(resumed.policy), weights(whole.policy))


def test_the_rate_falls_and_checkpoints_are_few(tmp_path) -> None:
    rates = []

    def look(policy, number, steps):
        rates.append(policy.policy.optimizer.param_groups[0]["lr"])
        return {"eval/success_rate": 0.25}

    trained = trainer(tmp_path, evaluate=look, final_rate=0.2).fit()
    assert rates == pytest.approx([1e-3, 8e-4, 6e-4, 4e-4])
    names = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == [f"step_{3 * LEG:09d}", f"step_{4 * LEG:09d}"]
    assert [each["steps"] for each in trained.evaluations] == [LEG, 2 * LEG, 3 * LEG, 4 * LEG]
    assert {each["eval/success_rate"] for each in trained.evaluations} == {0.25}


def test_curves_have_the_tags_of_the_library_and_of_the_model(tmp_path) -> None:
    found = {"eval/success_rate": 0.5, "model/exploitation_gap": 1.5}
    trainer(tmp_path, evaluate=lambda *_: found).fit()
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    tags = set(curves.Tags()["scalars"])
    assert {"rollout/ep_rew_mean", "rollout/success_rate", "train/loss", *found} <= tags
    gaps = curves.Scalars("model/exploitation_gap")
    assert [(each.step, each.value) for each in gaps] == [(n * LEG, 1.5) for n in (1, 2, 3, 4)]


def test_disagreement_is_told_where_the_model_tells_of_it(tmp_path) -> None:
    class Unsure(type(point())):
        predicts = frozenset({"state", "disagreement"})

        def step(self, state, actions):
            after = super().step({"state": state["state"]}, actions)
            return {**after, "disagreement": torch.full((len(actions),), 0.125)}

        def encode(self, observation, previous=None, actions=None, episode_start=None):
            found = super().encode(observation)
            return {**found, "disagreement": torch.zeros(len(found["state"]))}

    model = Unsure(torch.eye(2), 0.2 * torch.eye(2), point().action_space)
    legs = {"steps": 3 * LEG, "evaluate_every": 3 * LEG}
    trained = trainer(tmp_path, make_env=lambda _: worlds(COPIES, model), **legs).fit()
    assert trained.evaluations[0]["model/disagreement"] == pytest.approx(0.125)


def test_rounds_go_from_world_to_world(tmp_path) -> None:
    calls = []

    def refresh(policy, number):
        assert policy.predict(imagined(3).reset(seed=0)[0], deterministic=True)[0].shape == (3, 2)
        calls.append(("refresh", number))

    def make_env(number):
        calls.append(("world", number))
        return worlds(COPIES)

    def look(policy, number, steps):
        calls.append(("look", number, steps))
        return {}

    rounds = {"rounds": 2, "steps": 3 * LEG, "evaluate_every": LEG}
    trainer(tmp_path, None, look, make_env, refresh, **rounds).fit()
    # A round ends where it shall: in the middle of what is between evaluations, here.
    assert calls == [
        ("world", 0),
        ("look", 0, LEG),
        ("look", 0, 2 * LEG),
        ("refresh", 1),
        ("world", 1),
        ("look", 1, 3 * LEG),
    ]
    calls.clear()
    trainer(tmp_path, None, look, make_env, refresh, **rounds).fit()
    assert calls == [("refresh", 1), ("world", 1)]
    with pytest.raises(ValueError, match=r"rounds=2: nothing would change between them"):
        trainer(tmp_path, rounds=2)


def test_a_new_world_forgets_what_was_replayed(tmp_path) -> None:
    learner = Learner("SAC", {"batch_size": 8, "learning_starts": 16, "buffer_size": 960})
    sizes = []

    def look(policy, number, steps):
        sizes.append(policy.replay_buffer.size() * COPIES)
        return {}

    rounds = {"rounds": 2, "steps": 4 * LEG, "evaluate_every": LEG}
    trainer(tmp_path, learner, look, refresh=lambda *_: None, **rounds).fit()
    assert sizes == [LEG, 2 * LEG, LEG, 2 * LEG]


def test_it_is_watched(tmp_path) -> None:
    seen = []
    training = trainer(tmp_path)
    training.observe = lambda *told: seen.append(told)
    training.fit()
    assert [done for done, _, _ in seen] == [COPIES * (n + 1) for n in range(20)]
    assert {total for _, total, _ in seen} == {4 * LEG}
    assert "imagined success" in seen[-1][2]  # some episodes have ended


def test_what_is_refused(tmp_path) -> None:
    for wrong in ({"steps": 0}, {"rounds": 0}, {"learning_rate": 0.0}, {"final_rate": 2.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            ImaginationSettings(**wrong)
    with pytest.raises(ValueError, match=r"resume='maybe'"):
        trainer(tmp_path).fit("maybe")
    with pytest.raises(FileNotFoundError, match="no checkpoint to resume from"):
        trainer(tmp_path).fit("must")
    trainer(tmp_path).fit()
    with pytest.raises(FileExistsError, match="Choose another folder, or resume"):
        trainer(tmp_path).fit("never")
    with pytest.raises(ValueError, match=r"another training \(seed: 0 then, 1 now\)"):
        trainer(tmp_path, seed=1).fit()
    with pytest.raises(ValueError, match="takes no argument 'gama'"):
        trainer(tmp_path, Learner("PPO", {"gama": 0.9})).fit()
    progress = tmp_path / "checkpoints" / f"step_{4 * LEG:09d}" / "progress.json"
    kept = json.loads(progress.read_text())
    assert kept["decisive"]["algorithm"] == "PPO"
    progress.write_text("{")
    with pytest.raises(ValueError, match="delete this folder"):
        trainer(tmp_path).fit()
