"""A DexWM of Franka and Allegro: trained by `dexworld-train`, loaded, and planned in."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from rich.console import Console

from dexworld.agents.planning import PlanningAgent
from dexworld.envs.robots.franka_allegro import ARM_HOME, JOINTS
from dexworld.experiments import train
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.dexwm_planning import joint_waypoints, load_dexwm
from dexworld.experiments.training import register_schemas
from dexworld.planners.cem import CEM
from dexworld.planners.cem_gradient import CEMGradient
from dexworld.planners.objectives import LatentDistance, PoseError
from dexworld.planners.search import SearchPlanner
from dexworld.world_models.cameras import Camera
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.dexwm import DexWM
from dexworld.world_models.patch_encoder import TinyEncoder, TinyEncoderConfig

HEIGHT, WIDTH = 28, 42
QUIET = Console(quiet=True)
REST = np.array([*ARM_HOME, *[0.3] * (len(JOINTS) - len(ARM_HOME))], np.float32)
CAMERA = Camera.from_view(
    torch.tensor([0.4, 0.0, 1.6]), torch.diag(torch.tensor([1.0, -1.0, -1.0])), 80.0, HEIGHT, WIDTH
)


def frames(count: int, random: np.random.Generator) -> dict[str, np.ndarray]:
    moves = 0.05 * random.normal(size=(count, len(JOINTS))).cumsum(0)
    return {
        "observation.images.torso": random.integers(0, 256, (count, HEIGHT, WIDTH, 3), np.uint8),
        "observation.camera_torso": np.tile(CAMERA.as_vector().numpy(), (count, 1)),
        "observation.proprio": (REST + moves).astype(np.float32),
        "action": np.zeros((count, 2), np.float32),
    }


@pytest.fixture
def made(tmp_path: Path) -> tuple[str, str]:
    """Write a dataset and an encoder, and return their folders."""
    features = {
        "observation.images.torso": Feature("image", (HEIGHT, WIDTH, 3)),
        "observation.camera_torso": Feature("float32", (16,)),
        "observation.proprio": Feature("float32", (len(JOINTS),)),
        "action": Feature("float32", (2,)),
    }
    random = np.random.default_rng(0)
    with DatasetWriter(tmp_path / "play", features, 10, robot_type="toy") as writer:
        for _ in range(4):
            writer.add_episode(frames(12, random), task="see")
    torch.manual_seed(0)
    encoder = TinyEncoder(
        TinyEncoderConfig(image_size=(HEIGHT, WIDTH), width=8, channels=8, hidden=8)
    )
    encoder.save_pretrained(tmp_path / "encoder")
    return str(tmp_path / "play"), str(tmp_path / "encoder")


def trained(play: str, encoder: str | None, output: Path, *more: str) -> None:
    register_schemas()
    GlobalHydra.instance().clear()
    given = ["recipe=counter_dexwm", f"data.path={play}", f"output={output}"]
    given += [] if encoder is None else [f"encoder={encoder}"]
    given += ["data.batch_size=2", "data.gaps=[1,3]", "data.validation_fraction=0.3"]
    given += ["training.steps=4", "training.evaluate_every=2", "training.ema=0.5"]
    given += ["model.model.predictor.width=16", "model.model.predictor.depth=1"]
    given += ["model.model.head.width=16", "model.model.head.depth=1"]
    train.train(compose_config("train", [*given, *more]), "dexworld-train ...", QUIET)


@pytest.mark.slow
@pytest.mark.parametrize(
    "planner",
    [
        CEM(2, 2, samples=6, elites=2, kept=0),
        CEMGradient(2, 1, samples=4, elites=2, kept=0, refinement_steps=1),
    ],
)
def test_from_a_dataset_to_joint_targets(
    made: tuple[str, str], tmp_path: Path, planner: SearchPlanner
) -> None:
    play, encoder = made
    # In four steps a head learns too little to find a hand.
    trained(play, encoder, tmp_path / "dexwm", "++model.model.least_peak=0")
    path = str(tmp_path / "dexwm" / "model")
    errors = DexWM.from_pretrained(path).metadata["errors"]
    assert {f"{name}_3" for name in ("latent", "shuffled", "still", "keypoints")} < set(errors)
    model = load_dexwm(path, encoder, "float32", "cpu")
    assert model.observes == {"pixels_torso", "camera_torso", "proprio"}
    key = "soft_keypoints" if isinstance(planner, CEMGradient) else "keypoints"
    objective = LatentDistance() + LatentDistance(key=key, weight=1e-3)
    objective = objective + PoseError(key="palm", position_scale=0.0, weight=0.4)
    waypoints = joint_waypoints(model, steps=5, interpolate=True, increment=0.5, hand_increment=0.2)
    agent = PlanningAgent(model, planner, objective, action_map=waypoints)
    shown = frames(2, np.random.default_rng(1))
    now = {
        "pixels_torso": shown["observation.images.torso"][:1],
        "camera_torso": shown["observation.camera_torso"][:1],
        "proprio": shown["observation.proprio"][:1],
    }
    goal = {
        "goal_pixels_torso": shown["observation.images.torso"][1:],
        "goal_camera_torso": shown["observation.camera_torso"][1:],
        "goal_proprio": shown["observation.proprio"][1:],
    }
    actions, memory = None, None
    for _ in range(6):  # past the second plan
        actions, memory = agent.predict({**now, **goal}, memory)
        assert actions.shape == (1, len(JOINTS))
        moved = np.abs(actions[0] - now["proprio"][0])
        assert moved[:7].max() <= 1.0 + 1e-5
        assert moved[7:].max() <= 0.4 + 1e-5
    assert memory is not None and int(memory.plans[0]) == 2


def test_what_training_lacks(made: tuple[str, str], tmp_path: Path) -> None:
    play, encoder = made
    with pytest.raises(ValueError, match=r"kind=dexwm needs encoder=\.\.\."):
        trained(play, None, tmp_path / "dexwm")
    with pytest.raises(KeyError, match=r"no observation.joints"):
        trained(play, encoder, tmp_path / "dexwm", "++model.joints=joints")
    with pytest.raises(ValueError, match=r"has shape \(16,\), and Franka and Allegro have 23"):
        trained(play, encoder, tmp_path / "dexwm", "++model.joints=camera_torso")


def test_what_planning_lacks(made: tuple[str, str], tmp_path: Path) -> None:
    play, encoder = made
    trained(play, encoder, tmp_path / "dexwm", "training.steps=1", "training.evaluate_every=1")
    path = str(tmp_path / "dexwm" / "model")
    with pytest.raises(ValueError, match=r"needs model.encoder, the frame encoder of"):
        load_dexwm(path, None, "float32", "cpu")
    with pytest.raises(ValueError, match=r"model.precision='half': one of"):
        load_dexwm(path, encoder, "half", "cpu")
    torch.manual_seed(1)
    other = TinyEncoder(
        TinyEncoderConfig(image_size=(HEIGHT, WIDTH), width=8, channels=8, hidden=8)
    )
    other.save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="give it that one, or train anew"):
        load_dexwm(path, str(tmp_path / "other"), "float32", "cpu")
    trained(
        play,
        encoder,
        tmp_path / "mute",
        "training.steps=1",
        "training.evaluate_every=1",
        "model.model.joints=0",
    )
    mute = load_dexwm(str(tmp_path / "mute" / "model"), encoder, "float32", "cpu")
    with pytest.raises(ValueError, match=r"have 0 joint targets: train with model.model.joints=23"):
        joint_waypoints(mute, steps=5, interpolate=True, increment=None, hand_increment=None)
