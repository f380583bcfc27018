import pickle

import numpy as np
import pytest
import torch

from dexworld.envs.counter.env import CounterEnv
from dexworld.envs.counter.objects import TARGETS
from dexworld.envs.counter.observations import OBSERVATIONS
from dexworld.envs.counter.scene import Scene
from dexworld.envs.counter.success import HELD_STEPS
from dexworld.envs.counter.tasks import TASKS
from dexworld.envs.robots.franka_allegro import ARM_LIMITS
from dexworld.envs.simulator_model import SimulatorModel


def played(env: CounterEnv, steps: int) -> None:
    """Follow the script: into contact, where there is any."""
    for action in env.solution[:steps].astype(np.float32):
        env.step(action)


def test_the_script_succeeds_and_then_the_episode_ends(env):
    env.reset(seed=3)
    assert env.solution.shape[1] == 23 and np.abs(env.solution).max() <= 1.0 + 1e-6
    played(env, 99)
    infos = [env.step(env.hold_action())[4] for _ in range(HELD_STEPS)]
    assert infos[-1]["is_success"] and infos[-1]["held_steps"] >= HELD_STEPS
    assert infos[-1]["distance"] < env.rule.tolerance
    env.terminate_on_success = True
    *_, terminated, truncated, info = env.step(env.hold_action())
    env.terminate_on_success = False
    assert terminated and not truncated and info["is_success"] is True


def test_success_has_to_be_held(env):
    env.reset(seed=3)
    env.set_state(env.goal_physics)
    held = [env.step(env.hold_action())[4]["is_success"] for _ in range(HELD_STEPS)]
    assert held == [False] * (HELD_STEPS - 1) + [True]
    env.set_state(env.goal_physics)
    assert not env.step(env.hold_action())[4]["is_success"]


def test_reward_terms_add_up(env):
    env.reset(seed=3)
    for action in env.solution.astype(np.float32):
        _, reward, _, _, info = env.step(action)
        terms = [value for key, value in info.items() if key.startswith("reward_")]
        assert reward == pytest.approx(sum(terms)) and 0.0 <= reward <= 1.0


def test_fifty_steps_from_a_state_saved_in_contact_are_bit_identical(env):
    env.reset(seed=4)
    played(env, 16)
    saved, rng = env.get_state(), np.random.default_rng(0)
    touches = env.simulation.observe(["contact"])["contact"][-1] > 0
    assert touches == (env.task is not TASKS["reach"])
    hold = env.hold_action()
    actions = np.clip(hold + rng.normal(0.0, 0.02, (50, 23)), -1.0, 1.0).astype(np.float32)
    states = []
    for _ in range(2):
        env.set_state(saved)
        for action in actions:
            env.step(action)
        states.append(env.get_state())
    np.testing.assert_array_equal(*states)


def test_a_rollout_equals_the_episode_in_each_problems_own_scene(env, make_env):
    """States and features, contacts among them, to the last bit."""
    model = SimulatorModel(env, threads=1)
    task = {"reach": "reach", "grasp": "grasp", "place": "place"}[type(env.task).__name__.lower()]
    second = make_env(task, observation=("physics", "scene"), terminate_on_success=False)
    env.reset(seed=5, options={"object": "can"})
    second.reset(seed=6, options={"object": "milk", "layout": "island"})
    observed, actions = [], []
    for each in (env, second):
        played(each, 14)
        seen = each._observation(each.get_state())
        observed.append({key: seen[key] for key in ("physics", "scene")})
        actions.append(np.resize(each.solution[14:20], (6, 23)).astype(np.float32))
    belief = model.encode({key: np.stack([o[key] for o in observed]) for key in observed[0]})
    predicted = model.rollout(belief, torch.tensor(np.array(actions))[:, None])
    keys = model.predicts - {"reward"}
    for row, each in enumerate((env, second)):
        for time, action in enumerate(actions[row]):
            _, reward, _, _, _ = each.step(action)
            for key, value in each.simulation.observe(keys).items():
                np.testing.assert_array_equal(predicted[key][row, 0, time].numpy(), value, key)
            if "reward" in predicted:
                assert predicted["reward"][row, 0, time] == pytest.approx(reward, abs=1e-12)
    second.close()
    model.close()


def test_only_grasping_has_a_reward_without_a_goal(env):
    assert env.predicts_reward == (env.rule.name.endswith("contact, held for 10 steps"))


def test_a_belief_can_be_built_from_the_task_state(env):
    observation, _ = env.reset(seed=3)
    model = SimulatorModel(env, source="state", threads=1)
    assert model.observes == {"state", "scene"}
    belief = model.encode({key: observation[key][None] for key in model.observes})
    np.testing.assert_allclose(belief["state"][0], env.task_state, atol=1e-5)
    model.close()


def test_every_observation_is_in_its_space_and_shows_the_goal_too(make_env):
    env = make_env("place", observation=OBSERVATIONS, pixels_size=56)
    observation, info = env.reset(seed=0)
    assert set(observation) == set(OBSERVATIONS) == set(info["goal"])
    for seen in (observation, info["goal"], env.step(env.action_space.sample())[0]):
        assert env.observation_space.contains(seen)
    assert observation["pixels_torso"].shape == (56, 98, 3)
    np.testing.assert_allclose(observation["proprio"], observation["state"][:23])
    goal = info["goal"]
    np.testing.assert_array_equal(goal["physics"], env.goal_physics)
    assert np.abs(goal["pixels_torso"].astype(int) - observation["pixels_torso"]).mean() > 1
    assert np.linalg.norm(goal["object"][:3] - observation["object"][:3]) > 0.17
    env.close()


def test_scenes_by_name_and_by_seed(make_env):
    env = make_env("reach", layout="u_shaped", distractors=0)
    env.reset(seed=0)
    scene = Scene.of(env.simulation.scene)
    assert scene.layout == "u_shaped" and scene.others == frozenset()
    env.reset(seed=0, options={"style": "navy", "object": "bottle", "distractors": ["lemon"]})
    scene = Scene.of(env.simulation.scene)
    assert (scene.style, scene.target, scene.others) == ("navy", "bottle", {"lemon"})
    seen = set()
    for seed in range(6):
        env.reset(seed=seed)
        seen.add(env.simulation.scene)
    assert len(seen) > 3


def test_a_given_state_is_started_from(env):
    env.reset(seed=3)
    scene = Scene.of(env.simulation.scene)
    names = {
        "layout": scene.layout,
        "style": scene.style,
        "object": scene.target,
        "distractors": sorted(scene.others),
    }
    state, goal = env.task_state, env.simulation.task_state(env.goal_physics[None])[0]
    env.reset(seed=9, options={**names, "state": state, "goal": goal})
    np.testing.assert_allclose(env.task_state, state, atol=1e-12)
    assert env.solution is None
    _, info = env.reset(seed=9, options={**names, "goal": goal})
    assert info["goal"]["state"] == pytest.approx(goal, abs=1e-4)


def test_a_state_without_a_goal_gets_the_scripts(make_env):
    env = make_env("grasp", object="can", distractors=0, layout="one_wall")
    env.reset(seed=3)
    state = env.task_state
    env.reset(seed=8, options={"state": state})
    np.testing.assert_allclose(env.task_state, state, atol=1e-12)
    assert env.solution is not None
    fallen = state.copy()
    fallen[46 : 46 + 7] = (0.5, 0.1, 0.031, np.sqrt(0.5), np.sqrt(0.5), 0.0, 0.0)
    with pytest.raises(ValueError, match=r"leads to no goal: the can does not stand upright.*Give"):
        env.reset(seed=8, options={"state": fallen})


def test_raw_joint_targets(make_env):
    env, raw = make_env("reach"), make_env("reach", action="joints")
    for each in (env, raw):
        each.reset(seed=1)
    target = raw.simulation.get_state()[None]
    joints = raw.simulation.command(target)[0] - 0.03
    assert raw.action_space.contains(joints.astype(np.float32))
    env.step(env.normalised_action(joints))
    raw.step(joints)
    np.testing.assert_allclose(env.get_state(), raw.get_state(), atol=1e-9)


def test_pictures_show_the_goal_and_predictions(make_env):
    env = make_env("grasp", render_mode="rgb_array", render_size=96)
    env.reset(seed=0)
    frame = env.render()
    assert frame.shape == (96, 168, 3) and frame.std() > 10
    motion = np.stack([env.task_state] * 3)
    motion[:, 46:] += np.linspace(0.0, 0.1, 3)[:, None]
    assert (env.draw(env.task_state, motion) != frame).any()
    copy = pickle.loads(pickle.dumps(env))
    np.testing.assert_array_equal(copy.render(), frame)
    for each in (env, copy):
        each.close()


def test_limits_are_those_of_actions_physics_scripts_and_copies(make_env):
    env = make_env("grasp", limits="fr3", action="joints", distractors=0, observation="physics")
    low, high = np.array(ARM_LIMITS["fr3"]).T
    env.reset(seed=0)
    physics, model = env.get_state(), SimulatorModel(env, threads=1)
    for each in (env, pickle.loads(pickle.dumps(env))):
        np.testing.assert_allclose(each.action_space.low[:7], low, atol=1e-6)
        np.testing.assert_allclose(each.simulation.model.jnt_range[:7, 1], high)
        each.reset(seed=0)
        np.testing.assert_array_equal(each.get_state(), physics)
        each.set_state(each.goal_physics)
        assert each.lift().holds
        # Joint 6 of a Panda bends to -0.02 rad, that of its successor to 0.54.
        bent = each.hold_action()
        bent[5] = -0.01
        for _ in range(20):
            each.step(np.clip(bent, each.action_space.low, each.action_space.high))
        assert each.simulation.observe(["joints"])["joints"][5] > 0.5
    assert model.simulation.model.jnt_range[5, 0] == low[5]
    model.close()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"task": "cook"}, "task='cook' is unknown; choose one of .'reach', 'grasp', 'place'"),
        ({"action": "torque"}, "action='torque' is unknown"),
        ({"layout": "attic"}, "layout='attic' is unknown"),
        ({"object": "lemon"}, f"object='lemon' is unknown.*{TARGETS[-1]}"),
        ({"limits": "ur5"}, "limits='ur5' is unknown; choose one of .'panda', 'fr3'"),
        ({"visuals": "none"}, "visuals='none' is unknown; choose one of .'fast', 'mesh'"),
        ({"distractors": True}, "distractors=True: give how many"),
        ({"render_mode": "human"}, "render_mode='human' is unknown"),
        ({"observation": "smell"}, "observation='smell': CounterEnv gives"),
        ({"pixels_size": 8}, "pixels_size=8, render_size=360: frames are at least 16 px high"),
    ],
)
def test_arguments_that_are_none(arguments, message):
    with pytest.raises(ValueError, match=message):
        CounterEnv(**arguments)


def test_actions_that_are_none(env):
    env.reset(seed=3)
    with pytest.raises(ValueError, match=r"has shape \(7,\); CounterEnv takes \(23,\)"):
        env.step(np.zeros(7, np.float32))
    with pytest.raises(ValueError, match="not finite"):
        env.step(np.full(23, np.nan, np.float32))


@pytest.mark.slow
def test_neither_waiting_nor_chance_succeeds(env):
    rng, solved = np.random.default_rng(0), {"waiting": 0, "chance": 0}
    for seed in range(3):
        for name in solved:
            env.reset(seed=100 + seed)
            hold = env.hold_action()
            done = False
            for _ in range(50):
                action = hold if name == "waiting" else rng.uniform(-1, 1, 23).astype(np.float32)
                done |= env.step(action)[4]["is_success"]
            solved[name] += done
    assert solved == {"waiting": 0, "chance": 0}
