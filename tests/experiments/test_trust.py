"""Where the members of an ensemble disagree more than they may."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from dexworld.experiments.agent_training import StartsConfig, Task, TrainAgentConfig
from dexworld.experiments.config import AgentConfig, EnvConfig, ObjectiveConfig, make_latent
from dexworld.experiments.schema import schema
from dexworld.experiments.training import column
from dexworld.experiments.trust import greatest_disagreement, held_out
from dexworld.planners import KeypointDistance
from dexworld.world_models.data.lerobot import Dataset
from dexworld.world_models.data.windows import split


def test_it_is_a_percentile_along_motions_that_were_held_out(play, untrained) -> None:
    model = make_latent(untrained("keypoints", chunk=5, members=3))
    found = [greatest_disagreement(model, play, p, 20) for p in (5, 50, 95, 99.9)]
    assert found[0] > 0 and found == sorted(found) and found[0] < found[-1]
    # The largest of all is that of one of the motions, somewhere on it.
    _, (index,) = split(len(Dataset(play)), 0.05, 0)
    episode = Dataset(play).episode(int(index))
    largest = 0.0
    for start in range(len(episode["action"]) - 20):
        seen = {key: episode[column(key)][start][None].copy() for key in model.observes}
        belief = model.encode(seen)
        for first in range(start, start + 20, 5):
            chunk = torch.tensor(episode["action"][first : first + 5]).flatten()[None]
            belief = model.step(belief, chunk)
            largest = max(largest, float(belief["disagreement"]))
    assert found[-1] <= largest + 1e-9
    assert found[-1] == pytest.approx(largest, rel=0.2)


def test_held_out_is_what_the_training_held_out(untrained, tmp_path) -> None:
    given = untrained("keypoints", members=3)
    assert held_out(make_latent(given), 100).tolist() == split(100, 0.05, 0)[1].tolist()
    told = {"data": {"episodes": 60, "validation_fraction": 0.2}, "seed": 7}
    make_latent(given).save_pretrained(given.path, metadata=told)
    # Of a dataset that has grown since, those that were there.
    found = held_out(make_latent(given), 100)
    assert found.tolist() == split(60, 0.2, 7)[1].tolist() and len(found) == 12


@pytest.mark.parametrize("wrong", [0, 100])
def test_a_percentile_that_there_is_not(play, untrained, wrong) -> None:
    with pytest.raises(ValueError, match=rf"trusted={wrong}: give a per cent between 0 and 100"):
        greatest_disagreement(make_latent(untrained("keypoints", members=3)), play, wrong, 20)


def test_one_predictor_agrees_with_itself(play, untrained) -> None:
    with pytest.raises(ValueError, match=r"one predictor, .* or set trusted=null"):
        greatest_disagreement(make_latent(untrained("keypoints", chunk=5)), play, 95, 20)


def test_episodes_are_cut_off_there(play, untrained) -> None:
    config = TrainAgentConfig(
        env=EnvConfig("dexworld/PushTGoal-v0", {}, 20),
        model=untrained("keypoints", chunk=5, members=3),
        objective=ObjectiveConfig(keypoints=schema(KeypointDistance)()),
        agent=AgentConfig(increment=0.3),
        starts=StartsConfig(str(play), [10, 20]),
        trusted=30.0,
    )
    ended = {}
    for trusted in (None, 30.0):
        env = Task(dataclasses.replace(config, trusted=trusted)).imagined(64)
        env.reset(seed=0)
        for _ in range(3):
            _, _, _, truncated, info = env.step(np.zeros((64, 2), np.float32))
        ended[trusted] = truncated.sum()
        assert ("disagreed" in info.get("final_info", info)) == (trusted is not None)
    assert ended[None] == 0 < ended[30.0]
    simulator = dataclasses.replace(config.model, kind="simulator", source="state")
    task = Task(dataclasses.replace(config, model=simulator))
    with pytest.raises(TypeError, match=r"trusted=30.0 is for ensembles"):
        task.imagined(2)
