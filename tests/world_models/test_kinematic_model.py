"""The kinematic model: the laws of a world model, and MuJoCo's kinematics of hand and object."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import mujoco
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box
from torch import Tensor

from dexworld.world_models.base import State, WorldModel
from dexworld.world_models.conformance import WorldModelConformance
from dexworld.world_models.kinematic_model import KinematicModel
from dexworld.world_models.kinematics import Kinematics

ARM = """
<mujoco>
  <compiler angle="radian"/>
  <worldbody>
    <body name="upper">
      <joint name="yaw" axis="0 0 1" range="-3 3"/><geom size=".02" mass="1"/>
      <body name="lower" pos=".3 0 .1">
        <joint name="pitch" axis="0 1 0" range="-2 2"/><geom size=".02" mass="1"/>
        <body name="palm" pos=".3 0 0" quat=".8 .6 0 0">
          <joint name="roll" axis="1 0 0" range="-2 1"/><geom size=".02" mass="1"/>
          <site name="wrist" pos="-.05 0 0"/><site name="tip" pos=".1 .02 0"/>
          <body name="held" pos=".1 .03 .02" quat=".6 0 .8 0"><geom size=".02" mass="1"/></body>
        </body>
      </body>
    </body>
  </worldbody>
</mujoco>
"""
MODEL = mujoco.MjModel.from_xml_string(ARM)
LOW, HIGH = MODEL.jnt_range.T
SPACE = Box(-1.0, 1.0, (3,), np.float32)
KEYS = ("command", "joints", "keypoints", "palm", "object", "contact")


class Told:
    """A robot that states exactly what it is shown; its dynamics are nobody's business here."""

    action_space = SPACE
    observes = frozenset(KEYS)
    predicts = frozenset(KEYS)
    differentiable = False
    device = torch.device("cpu")

    def encode(
        self, observation: Any, previous: Any = None, actions: Any = None, episode_start: Any = None
    ) -> State:
        return {key: torch.as_tensor(observation[key]) for key in KEYS}

    def rollout(
        self, state: State, actions: Tensor, keys: Collection[str] | None = None
    ) -> dict[str, Tensor]:
        raise NotImplementedError

    def step(self, state: State, actions: Tensor) -> State:
        raise NotImplementedError


def placed(joints: np.ndarray) -> dict[str, np.ndarray]:
    """Return by MuJoCo where everything is, the object being held."""
    data = mujoco.MjData(MODEL)
    data.qpos[:] = joints
    mujoco.mj_kinematics(MODEL, data)
    points = [data.site("wrist").xpos, data.site("tip").xpos]
    poses = {
        name: np.concatenate([data.body(name).xpos, data.body(name).xquat])
        for name in ("palm", "held")
    }
    return {
        "joints": joints.copy(),
        "keypoints": np.array(points),
        "palm": poses["palm"],
        "object": poses["held"],
    }


def observed(joints: np.ndarray, contacts: float) -> dict[str, np.ndarray]:
    """Return an observation `(1, ...)` of the robot at rest."""
    command = 2 * (joints - LOW) / (HIGH - LOW) - 1
    seen = {"command": command, "contact": np.array([0.0, contacts]), **placed(joints)}
    return {key: value[None] for key, value in seen.items()}


def make(furthest: Any = None) -> KinematicModel:
    kinematics = Kinematics(MODEL, ["site:wrist", "site:tip", "body:palm"])
    model = Told()
    assert isinstance(model, WorldModel)
    return KinematicModel(model, kinematics, (LOW, HIGH), furthest)


class TestKinematicModel(WorldModelConformance):
    tolerance = 2e-6  # of single precision

    def make_model(self) -> WorldModel:
        return make([0.2, 0.3, 0.4])

    def make_observation(self, batch: int) -> dict[str, np.ndarray]:
        joints = np.random.default_rng(0).uniform(0.8 * LOW, 0.8 * HIGH, (batch, 3))
        rows = [observed(each, row % 2) for row, each in enumerate(joints)]
        return {key: np.concatenate([row[key] for row in rows]) for key in KEYS}


def same(pose: Tensor, expected: np.ndarray) -> None:
    """Compare poses; a quaternion and its negative are one rotation."""
    expected = expected * np.where(np.arange(7) < 3, 1, np.sign(pose[3:].numpy() @ expected[3:]))
    np.testing.assert_allclose(pose, expected, atol=2e-6)


@pytest.mark.parametrize("contacts", [0.0, 3.0])
def test_hand_and_object_are_where_mujoco_has_them(contacts: float) -> None:
    model = make()
    start = np.array([0.4, -0.3, 0.2])
    state = model.encode(observed(start, contacts))
    actions = torch.rand(1, 2, 3, 3, generator=torch.Generator().manual_seed(1)) * 2 - 1
    found = model.rollout(state, actions)
    for candidate, motion in enumerate(actions[0].double().numpy()):
        for time, action in enumerate(motion):
            joints = LOW + (action + 1) / 2 * (HIGH - LOW)
            expected = placed(joints)
            there = {key: value[0, candidate, time] for key, value in found.items()}
            np.testing.assert_allclose(there["joints"], joints, atol=1e-6)
            np.testing.assert_allclose(there["keypoints"], expected["keypoints"], atol=1e-6)
            same(there["palm"], expected["palm"])
            same(there["object"], expected["object"] if contacts else placed(start)["object"])


def test_joints_go_as_far_as_they_may() -> None:
    furthest = np.array([0.1, 0.2, 0.3])
    model = make(furthest)
    state = model.encode(observed(np.zeros(3), 0.0))
    joints = model.rollout(state, torch.ones(1, 1, 4, 3), ["joints"])["joints"][0, 0]
    expected = np.minimum(np.arange(1, 5)[:, None] * furthest, HIGH)
    np.testing.assert_allclose(joints, expected, atol=1e-6)


def test_gradients_flow_to_the_actions() -> None:
    model = make()
    state = model.encode(observed(np.array([0.4, -0.3, 0.2]), 1.0))
    actions = torch.zeros(1, 1, 2, 3, requires_grad=True)
    model.rollout(state, actions)["object"][..., :3].sum().backward()
    assert actions.grad is not None
    assert (actions.grad[:, :, 1].abs() > 1e-3).all()


def test_what_does_not_fit_is_named() -> None:
    kinematics = Kinematics(MODEL, ["site:wrist", "body:palm"], ["yaw", "pitch"])
    with pytest.raises(ValueError, match="2 joints"):
        KinematicModel(Told(), kinematics, (LOW, HIGH))
    blind = Told()
    blind.predicts = frozenset({"joints"})
    with pytest.raises(KeyError, match="contact"):
        KinematicModel(blind, Kinematics(MODEL, ["body:palm"]), (LOW, HIGH))
    with pytest.raises(KeyError, match="latent"):
        make().rollout(
            make().encode(observed(np.zeros(3), 0.0)), torch.zeros(1, 1, 1, 3), ["latent"]
        )
