from typing import ClassVar

import mujoco
import numpy as np
import pytest
from gymnasium.spaces import Box

from dexworld.envs.mujoco_env import (
    EXACT,
    MujocoEnv,
    MujocoSimulation,
    Simulation,
    state_slices,
)
from dexworld.envs.push_t.chipmunk import PushTChipmunk
from dexworld.envs.push_t.twin import PushTTwin

CART = """<mujoco><option timestep="0.01"/><worldbody><body><joint name="x" type="slide" axis="1 0 0"/>
<geom size="0.1" mass="1"/></body></worldbody><actuator><motor joint="x"/></actuator>
<sensor><jointpos joint="x"/></sensor></mujoco>"""


class Cart(MujocoSimulation):
    """A mass under a force that ramps up over the control period."""

    feature_names: ClassVar[frozenset[str]] = frozenset({"x"})

    def __init__(self):
        super().__init__(mujoco.MjModel.from_xml_string(CART), substeps=4)

    def controls(self, commands, physics):
        ramp = np.linspace(0.25, 1.0, self.substeps)
        return (commands[:, :, None] * ramp[:, None]).reshape(len(commands), -1, 1)

    def command(self, physics):
        return np.zeros((len(physics), 1))

    def task_state(self, physics):
        return physics[:, 1:2]

    def physics(self, task_state):
        states = np.zeros((len(task_state), self.state_size))
        states[:, 1:2] = task_state
        return states

    def features(self, sensors, keys):
        return {"x": sensors[..., :1]}


class CartEnv(MujocoEnv):
    observation_keys = ("state", "physics")

    def __init__(self):
        self.simulation = Cart()
        self.action_space = Box(np.float32([-2.0]), np.float32([1.0]))

    def raw_action(self, action):
        return action

    def normalised_action(self, command):
        return command


def test_a_step_applies_the_controls_one_physics_step_each():
    cart = Cart()
    cart.step(np.array([2.0]))
    x = v = 0.0
    for share in (0.25, 0.5, 0.75, 1.0):
        v += 0.01 * 2.0 * share
        x += 0.01 * v
    assert cart.get_task_state() == pytest.approx([x], abs=1e-12)
    assert cart.data.time == pytest.approx(0.04)


def test_states_round_trip_and_foreign_ones_are_refused():
    cart = Cart()
    cart.set_task_state(np.array([0.7]))
    assert cart.get_task_state() == pytest.approx([0.7])
    saved = cart.get_state()
    cart.step(np.array([1.0]))
    expected = cart.get_state()
    cart.set_state(saved)
    cart.step(np.array([1.0]))
    assert np.array_equal(cart.get_state(), expected)
    with pytest.raises(ValueError, match="another environment"):
        CartEnv().set_state(PushTTwin().get_state())


def test_a_task_state_of_another_size_is_refused():
    for simulation, wrong in ((Cart(), np.zeros(3)), (PushTTwin(), np.zeros(3))):
        before = simulation.get_state()
        with pytest.raises(ValueError, match=r"shape \(3,\) cannot be started from.*have shape"):
            simulation.set_task_state(wrong)
        with pytest.raises(ValueError, match="cannot be started from"):
            simulation.set_task_state(simulation.get_task_state()[None])
        assert np.array_equal(simulation.get_state(), before)


def test_components_of_a_state_stand_where_their_slices_say():
    for model in (Cart().model, PushTTwin().model):
        data = mujoco.MjData(model)
        rng, size = np.random.default_rng(0), mujoco.mj_stateSize(model, EXACT)
        mujoco.mj_setState(model, data, rng.normal(size=size), EXACT)
        state = np.empty(size)
        mujoco.mj_getState(model, data, state, EXACT)
        slices = state_slices(model)
        assert sum(part.stop - part.start for part in slices.values()) == size
        for component in ("TIME", "QPOS", "QVEL", "CTRL", "WARMSTART"):
            bit = int(getattr(mujoco.mjtState, f"mjSTATE_{component}"))
            part = np.empty(mujoco.mj_stateSize(model, bit))
            mujoco.mj_getState(model, data, part, bit)
            assert np.array_equal(state[slices[bit]], part), component


def test_actions_are_checked_and_clipped():
    env = CartEnv()
    assert env.check_action(np.array([7.0])).tolist() == [1.0]
    assert env.check_action(np.float32([-7.0])).tolist() == [-2.0]
    assert env.check_action(np.array([0.25])).dtype == np.float64
    with pytest.raises(ValueError, match=r"shape \(2,\).*takes \(1,\) in \[-2, 1\]"):
        env.check_action(np.zeros(2))
    with pytest.raises(ValueError, match="not finite"):
        env.check_action(np.array([np.nan]))


def test_observation_keys_are_checked():
    env = CartEnv()
    assert env.select_observations("state") == ("state",)
    assert env.select_observations(["physics", "state"]) == ("physics", "state")
    for wrong in ("pixel", ("state", "pixels"), ()):
        with pytest.raises(ValueError, match=r"CartEnv gives \['state', 'physics'\]"):
            env.select_observations(wrong)


def test_an_environment_tells_no_rewards_unless_it_says_so():
    env = CartEnv()
    assert env.predicts_reward is False
    assert env.reward_reads == frozenset()
    with pytest.raises(NotImplementedError, match="CartEnv"):
        env.reward_of({})


def test_both_engines_of_push_t_are_simulations():
    assert isinstance(PushTTwin(), Simulation)
    assert isinstance(PushTChipmunk(), Simulation)
