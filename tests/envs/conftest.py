"""A toy with all that makes exact rollouts hard: friction, warm start, free bodies, a controller."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, ClassVar

import mujoco
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray

from dexworld.envs.mujoco_env import FloatArray, MujocoEnv, MujocoSimulation

PINCH = """
<mujoco>
  <option timestep="0.004" cone="elliptic" iterations="5"/>
  <worldbody>
    <geom type="plane" size="1 1 0.1" friction="0.6"/>
    <body name="left" pos="-0.1 0 0.05">
      <joint name="left" type="slide" axis="1 0 0" damping="1"/>
      <geom type="capsule" fromto="0 0 0 0 0 0.05" size="0.02" mass="0.2" friction="1.2"/>
    </body>
    <body name="right" pos="0.1 0 0.05">
      <joint name="right" type="slide" axis="1 0 0" damping="1"/>
      <geom type="capsule" fromto="0 0 0 0 0 0.05" size="0.02" mass="0.2" friction="1.2"/>
    </body>
    <body name="cube" pos="0 0 0.03">
      <freejoint/>
      <geom type="box" size="0.03 0.03 0.03" mass="0.1" friction="0.8"/>
    </body>
    <body name="ball" pos="0 0 0.09">
      <freejoint/>
      <geom type="sphere" size="0.025" mass="0.05" condim="6" friction="0.8 0.01 0.001"/>
    </body>
    <body name="handle" mocap="true" pos="0 0.2 0.1"><site name="handle"/></body>
  </worldbody>
  <equality><weld name="hold" body1="handle" body2="ball" active="false"/></equality>
  <actuator>
    <position joint="left" kp="60" kv="4"/>
    <position joint="right" kp="60" kv="4"/>
  </actuator>
  <sensor>
    <jointpos joint="left"/>
    <jointpos joint="right"/>
    <framepos objtype="body" objname="cube"/>
    <framequat objtype="body" objname="cube"/>
    <framepos objtype="body" objname="ball"/>
    <framelinvel objtype="body" objname="ball"/>
    <framepos objtype="site" objname="handle"/>
  </sensor>
</mujoco>
"""

CLOSED = np.array([0.06, -0.06])
"""Targets of the fingers [m] at which they squeeze the cube."""


class Pinch(MujocoSimulation):
    """Two fingers around a cube with a ball on it; targets are approached along a line."""

    feature_names: ClassVar[frozenset[str]] = frozenset({"state", "ball"})

    def __init__(self) -> None:
        super().__init__(mujoco.MjModel.from_xml_string(PINCH), substeps=5)
        sizes = [
            mujoco.mj_stateSize(self.model, 1 << bit)
            for bit in range(int(mujoco.mjtState.mjSTATE_CTRL).bit_length() - 1)
        ]
        self._ctrl = slice(sum(sizes), sum(sizes) + self.model.nu)

    def controls(self, commands: FloatArray, physics: FloatArray) -> FloatArray:
        """Interpolate from the target that the state remembers."""
        before = np.concatenate([physics[:, None, self._ctrl], commands[:, :-1]], axis=1)
        fraction = (np.arange(self.substeps) + 1.0)[:, None] / self.substeps
        # Ends on the target to the last bit: the next period starts from what the state remembers.
        line = (1.0 - fraction) * before[:, :, None] + fraction * commands[:, :, None]
        return line.reshape(len(commands), -1, self.model.nu)

    def command(self, physics: FloatArray) -> FloatArray:
        """Return the last target."""
        return physics[:, self._ctrl]

    def task_state(self, physics: FloatArray) -> FloatArray:
        """Return the fingers' positions and the cube's."""
        return physics[:, 1:6]

    def physics(self, task_state: FloatArray) -> FloatArray:
        """Return states at rest."""
        mujoco.mj_resetData(self.model, self.data)
        states = np.repeat(self.get_state()[None], len(task_state), axis=0)
        states[:, 1:6] = task_state
        states[:, self._ctrl] = task_state[:, :2]
        return states

    def features(self, sensors: FloatArray, keys: Collection[str]) -> dict[str, FloatArray]:
        """Return the task state and the ball's position."""
        return {"state": sensors[..., :5], "ball": sensors[..., 9:12]}

    def squeeze(self) -> FloatArray:
        """Return an exact state in which the fingers squeeze the cube."""
        mujoco.mj_resetData(self.model, self.data)
        for _ in range(8):
            self.step(CLOSED)
        assert self.data.ncon > 4, "the fingers do not touch the cube"
        assert self.data.qacc_warmstart.any(), "nothing to start warm from"
        return self.get_state()


class PinchEnv(MujocoEnv):
    """The toy as an environment; the reward is the height of the ball."""

    observation_keys = ("state", "physics")
    action_space = Box(-1.0, 1.0, (2,), np.float32)

    def __init__(self) -> None:
        self.simulation: Pinch = Pinch()
        size = self.simulation.state_size
        self.observation_space = Dict(  # type: ignore[assignment]
            {
                "state": Box(-9.0, 9.0, (5,), np.float32),
                "physics": Box(-np.inf, np.inf, (size,), np.float64),
            }
        )

    def raw_action(self, action: FloatArray) -> FloatArray:
        """Return targets [m]."""
        return 0.08 * np.asarray(action, np.float64)

    def normalised_action(self, command: FloatArray) -> FloatArray:
        """Return targets as actions."""
        return command / 0.08

    @property
    def reward_reads(self) -> frozenset[str]:
        """The ball's place is all."""
        return frozenset({"ball"})

    def reward_of(self, features: Any) -> FloatArray:
        """Return the height of the ball."""
        return features["ball"][..., 2]  # type: ignore[no-any-return]

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        """Start in a squeeze."""
        super().reset(seed=seed)
        self.simulation.squeeze()
        return self.observe(), {}

    def step(self, action: NDArray[Any]) -> Any:
        """Move the fingers."""
        self.simulation.step(self.raw_action(self.check_action(action)))
        mujoco.mj_kinematics(self.simulation.model, self.simulation.data)
        reward = float(self.simulation.data.body("ball").xpos[2])
        return self.observe(), reward, False, False, {}

    def observe(self) -> dict[str, NDArray[Any]]:
        """Return all keys."""
        return {"state": self.task_state.astype(np.float32), "physics": self.get_state()}


@pytest.fixture
def pinch() -> Pinch:
    return Pinch()


@pytest.fixture
def pinch_env() -> type[PinchEnv]:
    return PinchEnv
