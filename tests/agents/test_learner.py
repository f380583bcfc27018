"""Algorithms of stable-baselines3 by name: what they are made with, what is saved, what is refused."""

from __future__ import annotations

import zipfile

import numpy as np
import pytest
import torch
from reaching import imagined, worlds

from dexworld.agents.goal_features import GoalFeatures, measured
from dexworld.agents.learner import REPLAY, Learner, at_rate, forget_replay
from dexworld.agents.policy import load_policy

QUICK = {"n_steps": 4, "batch_size": 16, "n_epochs": 1}
SAC = {"batch_size": 16, "learning_starts": 16, "buffer_size": 96}


def weights(learned) -> torch.Tensor:
    return torch.cat([each.detach().flatten() for each in learned.policy.parameters()])


def test_the_same_seed_gives_the_same_weights() -> None:
    made = [weights(Learner("PPO", QUICK).make(worlds(4), seed)) for seed in (0, 0, 1)]
    assert torch.equal(made[0], made[1]) and not torch.equal(made[0], made[2])


def test_features_travel_with_the_policy(tmp_path) -> None:
    seen, _ = imagined(32).reset(seed=0)
    features = {"features_extractor_class": GoalFeatures}
    features["features_extractor_kwargs"] = measured(seen)
    learner = Learner("PPO", {**QUICK, "policy_kwargs": features})
    learned = learner.make(worlds(4), 0)
    learner.save(learned, tmp_path)
    loaded = learner.load(tmp_path, worlds(4))
    assert isinstance(loaded.policy.features_extractor, GoalFeatures)
    np.testing.assert_array_equal(
        loaded.predict(seen, deterministic=True)[0], learned.predict(seen, deterministic=True)[0]
    )


def test_the_replay_buffer_is_kept_as_arrays(tmp_path) -> None:
    learner = Learner("SAC", SAC)
    for steps in (40, 160):  # before and after the buffer of 96 transitions has gone round
        learned = learner.make(worlds(4), 0)
        learned.learn(steps)
        folder = tmp_path / str(steps)
        folder.mkdir()
        learner.save(learned, folder)
        np.load(folder / REPLAY, allow_pickle=False).close()
        there, back = learned.replay_buffer, learner.load(folder, worlds(4)).replay_buffer
        assert (back.pos, back.full) == (there.pos, there.full) and there.full == (steps == 160)
        size = len(there.rewards) if there.full else there.pos
        for name in ("rewards", "actions", "dones", "timeouts"):
            np.testing.assert_array_equal(getattr(back, name)[:size], getattr(there, name)[:size])
        for name in ("observations", "next_observations"):
            for key, values in getattr(there, name).items():
                np.testing.assert_array_equal(getattr(back, name)[key][:size], values[:size])
    forget_replay(learned)
    assert learned.replay_buffer.size() == 0
    forget_replay(Learner("PPO", QUICK).make(worlds(4), 0))


def test_what_thousands_of_copies_saw_last_is_not_saved(tmp_path) -> None:
    learner = Learner("PPO", QUICK)
    learned = learner.make(worlds(4), 0)
    learned.learn(16)
    learner.save(learned, tmp_path)
    with zipfile.ZipFile(tmp_path / "policy.zip") as archive:
        assert b"_last_obs" not in archive.read("data")


def test_what_is_to_be_remembered_is_saved(tmp_path) -> None:
    learner = Learner("PPO", QUICK, attributes={"decision_frame": "body", "decisions": {"a": None}})
    learner.save(learner.make(worlds(4), 0), tmp_path)
    saved = load_policy(str(tmp_path / "policy.zip"), "PPO", "cpu")
    assert saved.decision_frame == "body" and saved.decisions == {"a": None}


def test_the_rate_is_as_it_was_set() -> None:
    learned = Learner("PPO", QUICK).make(worlds(4), 0)
    at_rate(learned, 0.0125)
    learned.learn(16)
    assert learned.policy.optimizer.param_groups[0]["lr"] == 0.0125


def test_what_cannot_be_learned_with() -> None:
    with pytest.raises(ValueError, match=r"no algorithm 'POP'. Valid: .*'PPO'"):
        Learner("POP").check()
    with pytest.raises(ValueError, match=r"PPO takes no argument 'n_step'. Did you mean 'n_steps'"):
        Learner("PPO", {"n_step": 4}).make(worlds(4), 0)
    with pytest.raises(ValueError, match=r"no argument 'seed'"):
        Learner("PPO", {"seed": 4}).check()
    Learner("TD3", {"tau": 0.1}).check()
