"""Planning in a DexWM of Franka and Allegro: the paper's search, its bounds, published weights."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers as library
from hydra.core.global_hydra import GlobalHydra
from safetensors.torch import save_file

from dexworld.agents.planning import PlanningAgent
from dexworld.agents.sub_goals import SubGoals
from dexworld.envs.robots.franka_allegro import ARM_HOME, ARM_JOINTS, JOINTS
from dexworld.experiments.command_line import compose_config
from dexworld.experiments.config import decisions, make_model, make_planning_agent
from dexworld.experiments.dexwm_planning import joint_reference, joint_waypoints, load_official
from dexworld.experiments.plan import register_schemas
from dexworld.experiments.schema import build
from dexworld.planners.candidates import Candidates
from dexworld.planners.cem import CEM
from dexworld.planners.noise import Streams
from dexworld.planners.objectives import LatentDistance
from dexworld.planners.start import Start
from dexworld.world_models.cameras import Camera
from dexworld.world_models.cdit import CDiTConfig
from dexworld.world_models.dexwm import DexWM, DexWMConfig
from dexworld.world_models.dexwm_official import NAMES
from dexworld.world_models.hand_keypoints import LINK_ORIGINS, hand_frames
from dexworld.world_models.keypoint_head import KeypointHeadConfig
from tests.world_models.toy_dexwm import randomise

ARM = len(ARM_JOINTS)
REST = np.float32([*ARM_HOME, *[0.3] * 16])
CALIBRATION = Camera.from_view(
    torch.tensor([0.4, 0.0, 1.6]), torch.diag(torch.tensor([1.0, -1.0, -1.0])), 80.0, 112, 196
).as_vector()
REACH = ["experiment=counter_reach_dexwm", "floors=false"]


def configured(*overrides: str) -> Any:
    register_schemas()
    GlobalHydra.instance().clear()
    return compose_config("plan", [*REACH, *overrides])


def agent_of(*overrides: str) -> PlanningAgent:
    config = configured("objective.hand=null", *overrides)
    return make_planning_agent(config, make_model(config))


@pytest.fixture(scope="module")
def seen() -> dict[str, np.ndarray]:
    frame = np.random.default_rng(0).integers(0, 256, (1, 112, 196, 3), np.uint8)
    return {"pixels_torso": frame, "camera_torso": CALIBRATION[None].numpy(), "proprio": REST[None]}


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Noise shows no hand, and that is told elsewhere."""
    path = "dexworld.world_models.observation_warnings.ObservationWarnings.of_hands"
    monkeypatch.setattr(path, lambda *_: None)


@pytest.mark.usefixtures("silent")
@pytest.mark.parametrize(("agent", "hand"), [("dexwm_targets", 0.1), ("dexwm_place", 0.01)])
def test_the_search_is_the_paper_s(agent: str, hand: float, seen: dict[str, np.ndarray]) -> None:
    planning = agent_of("planner=dexwm", f"agent={agent}")
    planner = planning.planner
    assert isinstance(planner, CEM) and planning.proposer is not None and planning.keep_std
    sizes = (planner.horizon, planner.samples, planner.elites, planner.iterations)
    assert sizes == (3, 512, 10, 10)
    assert (planner.kept, planner.smoothing, planner.std_floor) == (0, 0.0, 0.0)
    belief = planning.model.encode(seen)
    seeds = torch.zeros(1, dtype=torch.int64)
    start = planning.proposer.propose(belief, belief, None, horizon=3, seeds=seeds)
    candidates = Candidates(planning.model, LatentDistance(), belief, belief, horizon=3)
    streams = Streams(seeds, device=candidates.low.device, dtype=candidates.low.dtype)
    drawn = planner.strategy(candidates, Start.of(start, candidates), streams).propose(0)[0]
    # It starts at the joints of now, and not in the middle of their range.
    np.testing.assert_allclose(drawn[0].numpy(), REST[None].repeat(3, 0), atol=1e-6)
    spread = (drawn[1:] - torch.from_numpy(REST)).square().mean((0, 1)).sqrt()
    assert spread[:ARM] == pytest.approx(0.3, rel=0.1)
    assert spread[ARM:] == pytest.approx(hand, rel=0.1)


@pytest.mark.usefixtures("silent")
def test_a_recorded_motion_is_where_the_search_starts(
    seen: dict[str, np.ndarray], tmp_path: Path
) -> None:
    motion = np.linspace(REST, REST + 0.1, 10).astype(np.float32)
    np.savez(tmp_path / "motion.npz", joints=motion, names=np.array(JOINTS))
    agent = agent_of("agent=dexwm_targets", f"agent.reference={tmp_path / 'motion.npz'}")
    belief, seeds = agent.model.encode(seen), torch.zeros(1, dtype=torch.int64)
    assert agent.proposer is not None
    start = agent.proposer.propose(belief, belief, None, horizon=3, seeds=seeds)
    assert start is not None
    expected = np.stack([REST + 0.1 * share for share in (1 / 3, 2 / 3, 1)])
    np.testing.assert_allclose(start.actions[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("objective", ["dexwm", "dexwm_orientation"])
def test_decisions_weigh_one_together(objective: str) -> None:
    config = configured(f"objective={objective}").objective
    for name, weight in (("latent", 1.0), ("hand", 1e-3)):
        term = build(getattr(config, name))
        predicted = {term.key: torch.ones(1, 2, 3, 4)}
        predicted[term.key][:, 1, :2] = 0.0  # all but the last decision are at the goal
        both = term.cost(predicted, torch.zeros(1, 2, 3, 1), {}, {term.key: torch.zeros(1, 4)})[0]
        assert both == pytest.approx([weight, weight / (1 + 0.6 + 0.36)], rel=1e-3)
    assert config.pose is None or config.pose.weight == 0.4


def test_when_to_move_on_to_the_next_goal() -> None:
    assert agent_of().sub_goals is None
    assert agent_of("agent.sub_goals.decisions=3").sub_goals == SubGoals(3)
    assert agent_of("agent.sub_goals.below=0.1").sub_goals == SubGoals(below=0.1)


def test_references_that_cannot_be() -> None:
    with pytest.raises(ValueError, match=r"agent.reference=a.npz says .*agent.increment=null"):
        agent_of("agent.reference=a.npz")
    with pytest.raises(FileNotFoundError, match=r"there is no motion a.npz"):
        agent_of("agent=dexwm_targets", "agent.reference=a.npz")
    with pytest.raises(ValueError, match=r"agent.arm_std=0.0 and agent.hand_std=0.1 must be"):
        joint_reference("current", arm=0.0)
    assert agent_of().proposer is None  # increments of zero are the joints of now


def test_decisions_are_told_apart_by_the_hand_s_increment() -> None:
    agent = configured().agent
    assert decisions(agent) == {
        "steps_per_decision": 5,
        "interpolate": True,
        "increment": 0.35,
        "hand_increment": 0.15,
    }
    for same in (None, 0.35):
        agent.hand_increment = same
        assert "hand_increment" not in decisions(agent)


@pytest.mark.parametrize("increment", [None, 1.0])
def test_decisions_inside_the_bounds_are_actions_inside_the_model_s(
    increment: float | None,
) -> None:
    config = DexWMConfig(
        predictor=CDiTConfig(features=4, patches=4, context=2, width=8, depth=1, heads=2),
        head=None,
        grid=(2, 2),
        joints=len(JOINTS),
        carries=("camera_torso",),
    )
    model = DexWM(config)
    waypoints = joint_waypoints(
        model, steps=5, interpolate=True, increment=increment, hand_increment=None
    )
    targets = waypoints if increment is None else waypoints.maps[-1]  # type: ignore[attr-defined]
    model.attach_palm(palm_of(targets.for_model.kinematics.joints))
    space, bounds = waypoints.action_space, targets.action_space
    low, high = (torch.from_numpy(each) for each in (space.low, space.high))
    first, last = (torch.from_numpy(each) for each in (bounds.low, bounds.high))
    generator = torch.Generator().manual_seed(0)
    corners = torch.rand(1, 400, 4, len(JOINTS), generator=generator) < 0.5
    anywhere = torch.rand(1, 400, 4, len(JOINTS), generator=generator)
    unit = torch.cat([corners.float(), anywhere], dim=1)
    state = {"camera_torso": CALIBRATION[None].float()}
    for command in (first, last, torch.from_numpy(REST)):
        state["command"] = command[None]
        moved = waypoints.to_model(torch.lerp(low, high, unit).clamp(low, high), state)
        inside = model.action_space
        assert (moved >= torch.from_numpy(inside.low)).all()
        assert (moved <= torch.from_numpy(inside.high)).all()
    assert moved[..., :132].abs().max() > 0.85  # and .5 m, the bound of old, would be too little


def palm_of(joints: tuple[str, ...]) -> Any:
    from dexworld.envs.robots.allegro_hand import PALM
    from dexworld.envs.robots.franka_allegro import franka_allegro
    from dexworld.world_models.kinematics import Kinematics

    return Kinematics(franka_allegro(visuals="none").compile(), [f"body:{PALM}"], joints)


# Published weights

WIDTH, SIZE = 24, (28, 42)


def published(folder: Path) -> str:
    """Write random weights in the format of the public code, and return their path."""
    config = DexWMConfig(
        predictor=CDiTConfig(features=WIDTH, patches=6, context=2, width=16, depth=1, heads=2),
        head=KeypointHeadConfig(width=16, depth=1, heads=16),
        grid=(2, 3),
    )
    model = DexWM(config)
    randomise(model, seed=0)
    names = {}
    for name in model.state_dict():
        for pattern, ours in NAMES:
            theirs = re.sub(r"\\(.)", r"\1", pattern.strip("^$")).replace(r"(d+)", r"\1")
            found, count = re.subn(f"^{re.escape(ours)}".replace(r"\\1", r"(\d+)"), theirs, name)
            if count:
                names[found] = name
                break
    tensors = {theirs: model.state_dict()[ours].contiguous() for theirs, ours in names.items()}
    assert len(tensors) == len(model.state_dict())
    save_file(tensors, folder / "weights.safetensors")
    return str(folder / "weights.safetensors")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Return published weights, and the DINOv2 that they go with."""
    folder = tmp_path_factory.mktemp("official")
    body = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
    config = library.Dinov2Config(hidden_size=WIDTH, patch_size=14, image_size=28, **body)
    library.Dinov2Model(config).save_pretrained(folder / "dinov2")
    return published(folder), str(folder / "dinov2")


@pytest.mark.usefixtures("silent")
def test_published_weights_are_planned_with(files: tuple[str, str]) -> None:
    weights, dinov2 = files
    model = load_official(weights, dinov2, "float32", "cpu", image_size=SIZE, heads=2)
    assert model.config.encoder is not None
    assert re.fullmatch(r"dinov2 [0-9a-f]{16} 28x42 .*, official positions", model.config.encoder)
    assert not model.config.feeds_actions and model.config.finger == LINK_ORIGINS
    waypoints: Any = joint_waypoints(
        model, steps=5, interpolate=True, increment=None, hand_increment=None
    )
    assert waypoints.for_model.kinematics.frames == hand_frames(LINK_ORIGINS)
    objective = LatentDistance() + LatentDistance(key="keypoints", weight=1e-3)
    agent = PlanningAgent(
        model,
        CEM(2, 2, samples=6, elites=2, kept=0),
        objective,
        action_map=waypoints,
        proposer=joint_reference("current"),
    )
    frames = np.random.default_rng(0).integers(0, 256, (2, 1, *SIZE, 3), np.uint8)
    told = {"camera_torso": CALIBRATION[None].numpy(), "proprio": REST[None]}
    observation = {"pixels_torso": frames[0], "goal_pixels_torso": frames[1], **told}
    observation |= {f"goal_{key}": value for key, value in told.items()}
    state = None
    for _ in range(6):
        actions, state = agent.predict(observation, state)
        assert np.abs(actions - REST).max() < 1.5
    assert state is not None and int(state.plans[0]) == 2


def test_another_encoder_than_that_of_published_weights(
    files: tuple[str, str], tmp_path: Path
) -> None:
    weights, dinov2 = files
    other = library.Dinov2WithRegistersConfig(
        hidden_size=WIDTH, patch_size=14, image_size=28, num_hidden_layers=1, num_attention_heads=2
    )
    library.Dinov2WithRegistersModel(other).save_pretrained(tmp_path / "other")
    with pytest.raises(ValueError, match="official=True is about the positions of dinov2, not of"):
        load_official(weights, str(tmp_path / "other"), "float32", "cpu", image_size=SIZE, heads=2)
    with pytest.raises(ValueError, match=r"features of 'dinov2 \* official positions', and the"):
        # One of our own, of the same shape.
        load_official(weights, tiny(tmp_path), "float32", "cpu", image_size=SIZE, heads=2)
    model = load_official(weights, dinov2, "float32", "cpu", image_size=SIZE, heads=2)
    library.Dinov2Model(
        library.Dinov2Config(
            hidden_size=WIDTH,
            patch_size=14,
            image_size=28,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
        )
    ).save_pretrained(tmp_path / "changed")
    from dexworld.world_models.frame_encoder import load_frame_encoder

    with pytest.raises(ValueError, match=r"predicts features of 'dinov2 .*, and the encoder is"):
        model.attach(load_frame_encoder(tmp_path / "changed", image_size=SIZE, official=True))


def tiny(folder: Path) -> str:
    from dexworld.world_models.patch_encoder import TinyEncoder, TinyEncoderConfig

    config = TinyEncoderConfig(image_size=SIZE, width=WIDTH, channels=8, hidden=8)
    TinyEncoder(config).save_pretrained(folder / "tiny")
    return str(folder / "tiny")


def test_two_models_at_once() -> None:
    with pytest.raises(
        ValueError, match=r"model.path=counter_dexwm and model.official=w.pth are two"
    ):
        make_model(configured("model.official=w.pth"))
    with pytest.raises(FileNotFoundError):
        make_model(configured("model.official=w.pth", "model.path=null", "model.encoder=/nowhere"))
