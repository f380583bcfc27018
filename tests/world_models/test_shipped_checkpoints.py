"""The models that ship: small, described, and right about what happens."""

from __future__ import annotations

from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.agents.self_play import SelfPlay
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.inverse import InverseModel
from dexworld.world_models.latent import LatentWorldModel
from dexworld.world_models.patch_decoder import PatchDecoder
from dexworld.world_models.patch_encoder import TinyEncoder
from dexworld.world_models.pretrained import read_contents, shipped_checkpoints

LARGEST = 10 * 2**20
STEPS = 25


def test_those_that_are_promised_ship() -> None:
    promised = {"push_t_state", "push_t_pixels", "push_t_value", "push_t_inverse"}
    promised |= {"counter_encoder", "counter_decoder", "counter_dexwm"}
    assert promised <= set(shipped_checkpoints())


@pytest.mark.parametrize("name", sorted(shipped_checkpoints()))
def test_a_checkpoint_is_small_and_described(name) -> None:
    folder = shipped_checkpoints()[name]
    assert sum(file.stat().st_size for file in folder.iterdir()) <= LARGEST
    described = (folder.parent / "README.md").read_text(encoding="utf-8")
    kinds = (LatentWorldModel, InverseModel, TinyEncoder, PatchDecoder, DexWM)
    kind = {each.__name__: each for each in kinds}
    model = kind[read_contents(folder)["class"]].from_pretrained(name)
    assert f"`{name}`" in described
    assert model.metadata["command"] in described
    assert not any(part.is_absolute() for part in map(Path, model.metadata["command"].split()))


@pytest.mark.parametrize("name", ["push_t_state", "push_t_pixels"])
def test_predictions_come_true(name) -> None:
    """After 25 steps of self-play on 8 boards the block is where it was predicted, on the median."""
    model = LatentWorldModel.from_pretrained(name)
    envs = [
        gym.make(
            "dexworld/PushT-v0",
            observation=("pixels", "proprio", "keypoints"),
            pixels_size=64,
            goal_in_pixels=False,
            terminate_on_success=False,
        )
        for _ in range(8)
    ]
    seen = [env.reset(seed=100 + row)[0] for row, env in enumerate(envs)]
    batch = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
    belief = model.encode(batch)
    player = SelfPlay(envs[0].action_space)
    memory, actions = player.start(range(8)), []
    for _ in range(STEPS):
        chosen, memory = player.predict(batch, memory)
        actions.append(torch.from_numpy(chosen))
        seen = [env.step(action)[0] for env, action in zip(envs, chosen, strict=True)]
        batch = {key: np.stack([each[key] for each in seen]) for key in seen[0]}
    chunks = torch.stack(actions, dim=1).reshape(8, 1, STEPS // model.config.chunk, -1)
    predicted = model.rollout(belief, chunks, ["keypoints", "agent"])

    def error(points: torch.Tensor, truth: np.ndarray) -> float:
        away = torch.linalg.vector_norm(points - torch.from_numpy(truth), dim=-1)
        return float(away.mean(-1).median())

    static = error(belief["keypoints"], batch["keypoints"])
    assert error(predicted["agent"][:, 0, -1], batch["proprio"][:, None]) < 5.0
    assert error(predicted["keypoints"][:, 0, -1], batch["keypoints"]) < 0.3 * static


def test_those_of_the_counter_fit_one_another() -> None:
    encoder = TinyEncoder.from_pretrained("counter_encoder")
    decoder = PatchDecoder.from_pretrained("counter_decoder")
    model = DexWM.from_pretrained("counter_dexwm")
    model.attach(encoder)
    assert decoder.config.encoder == encoder.name
    height, width = encoder.image_size
    frame = np.zeros((1, height, width, 3), np.uint8)
    seen = {"pixels_torso": frame, "camera_torso": np.zeros((1, 16)), "proprio": np.zeros((1, 23))}
    with pytest.warns(UserWarning, match="show no right hand"):  # darkness, indeed
        state = model.encode(seen)
    assert state["latent"].shape == (1, encoder.grid[0] * encoder.grid[1], encoder.width)
    assert decoder.draw(state["latent"]).shape == (1, height, width, 3)
