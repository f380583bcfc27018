import sys
from pathlib import Path

import gym_pusht  # noqa: F401 - registers the public environment
import gymnasium as gym
import numpy as np
import pytest

import dexworld.envs  # noqa: F401 - registers the ids
from dexworld.envs.push_t.drawing import DISTURBANCES
from dexworld.envs.push_t.env import PushTEnv
from dexworld.envs.push_t.geometry import angle_difference
from dexworld.envs.push_t.success import PoseRule

GOLDEN = Path(__file__).parents[2] / "data" / "push_t_golden.npz"
ALL = ("pixels", "state", "proprio", "keypoints", "physics")
STATE = [120.0, 130.0, 250.0, 240.0, 0.4]


@pytest.fixture(scope="module")
def golden():
    with np.load(GOLDEN) as data:
        return dict(data)


@pytest.mark.slow
def test_pymunk_reproduces_the_golden_episodes(golden):
    env = PushTEnv(physics="pymunk", action="pixels", observation=("state",))
    for episode, seed in enumerate(golden["reset_seed"].tolist()):
        observation, info = env.reset(seed=seed)
        for step in range(41):
            expected = golden["states"][episode, step, :5]
            assert np.abs(env.task_state - expected).max() < 1e-6
            assert np.array_equal(
                observation["state"], golden["obs"][episode, step].astype(np.float32)
            )
            assert info["coverage"] == pytest.approx(golden["coverage"][episode, step], abs=1e-9)
            if step < 40:
                observation, _, _, _, info = env.step(golden["actions"][episode, step])


def test_pymunk_is_the_public_environment_reward_and_end_included():
    public = gym.make("gym_pusht/PushT-v0", obs_type="state", disable_env_checker=True).unwrapped
    env = PushTEnv(physics="pymunk", action="pixels")
    actions = np.random.default_rng(0).uniform(100.0, 400.0, (25, 2)).astype(np.float32)
    for seed in (100000, 100007):
        expected, _ = public.reset(seed=seed)
        observation, _ = env.reset(seed=seed)
        assert np.array_equal(observation["state"], expected.astype(np.float32))
        for action in actions:
            expected, *outcome = public.step(action)
            observation, reward, terminated, truncated, info = env.step(action)
            assert np.array_equal(observation["state"], expected.astype(np.float32))
            assert reward == pytest.approx(outcome[0], abs=1e-12)
            assert (terminated, truncated) == tuple(outcome[1:3])
            assert info["is_success"] == outcome[3]["is_success"]


def test_the_twin_starts_where_pymunk_does():
    twin, public = PushTEnv(), PushTEnv(physics="pymunk")
    differences = []
    for seed in range(30):
        twin.reset(seed=seed)
        public.reset(seed=seed)
        differences.append(np.abs(twin.task_state - public.task_state).max())
    assert np.mean(np.array(differences) < 1e-6) > 0.8
    assert max(differences) < 1.0  # starts that overlap, of which one step undoes a part


@pytest.mark.parametrize("physics", ["mujoco", "pymunk"])
def test_given_states_and_goals_come_back(physics):
    goal = [200.0, 210.0, 300.0, 260.0, -2.0]
    env = PushTEnv(physics=physics, observation=ALL, goal="random")
    observation, info = env.reset(seed=0, options={"state": STATE, "goal": goal})
    assert np.allclose(env.task_state, STATE, rtol=0, atol=1e-9)
    assert np.allclose(observation["state"], STATE, rtol=0, atol=1e-4)
    assert np.array_equal(env.goal_state, goal)
    expected = [*goal[:4], goal[4] + 2 * np.pi]
    assert np.allclose(info["goal"]["state"], expected, rtol=0, atol=1e-4)
    env.set_state(info["goal"]["physics"])
    assert np.allclose(env.task_state, goal, rtol=0, atol=1e-9)


def test_starts_are_legacy_or_direct():
    drawn, starts = [], {}
    for mode in ("legacy", "direct"):
        env = PushTEnv(reset_mode=mode, reset_distribution="diffusion_policy")
        env.reset(seed=100003)
        starts[mode] = env.task_state
    random = np.random.RandomState(100003)
    for low, high in ((50, 450), (50, 450), (100, 400), (100, 400)):
        drawn.append(random.randint(low, high))
    angle = random.randn() * 2 * np.pi - np.pi
    assert np.allclose(starts["direct"], [*drawn, angle], rtol=0, atol=1e-6)
    shift = 45.0 * np.array([np.sin(angle), 1.0 - np.cos(angle)])
    assert np.allclose(starts["legacy"][2:4], drawn[2:] + shift, rtol=0, atol=1e-6)


@pytest.mark.parametrize("physics", ["mujoco", "pymunk"])
def test_a_saved_state_repeats_in_contact(physics):
    env = PushTEnv(physics=physics, observation="physics", terminate_on_success=False)
    env.reset(options={"state": [200.0, 180.0, 200.0, 200.0, 0.3]}, seed=0)
    actions = np.random.default_rng(0).uniform(-0.6, 0.2, (53, 2))
    for action in actions[:3]:
        env.step(action)
    saved = env.get_state()
    first = [env.step(action)[0]["physics"] for action in actions[3:]]
    env.set_state(saved)
    assert np.array_equal(first, [env.step(action)[0]["physics"] for action in actions[3:]])


@pytest.mark.parametrize("physics", ["mujoco", "pymunk"])
def test_the_solution_reaches_the_goal_exactly(physics):
    env = gym.make("dexworld/PushTGoal-v0", physics=physics, observation=ALL).unwrapped
    for seed in range(5):
        _, info = env.reset(seed=seed)
        outcomes = [env.step(action.astype(np.float32)) for action in env.solution]
        assert outcomes[-1][4]["is_success"]
        assert np.array_equal(env.task_state, env.goal_state)
        for key in ("state", "proprio", "keypoints", "physics", "pixels"):
            assert np.array_equal(outcomes[-1][0][key], info["goal"][key]), key


@pytest.mark.parametrize("includes_agent", [True, False])
def test_neither_waiting_nor_chance_solves_the_goal_task(includes_agent):
    env = gym.make("dexworld/PushTGoal-v0", goal_includes_agent=includes_agent).unwrapped
    rng, solved = np.random.default_rng(0), {"waiting": 0, "held": 0, "random": 0}
    for seed in range(30):
        _, info = env.reset(seed=seed)
        assert not info["is_success"]
        start, hold = env.get_state(), env.hold_action()
        held = rng.uniform(-1.0, 1.0, (10, 2)).repeat(5, axis=0)
        for name, actions in {
            "waiting": [hold] * 50,
            "held": held,
            "random": rng.uniform(-1.0, 1.0, (50, 2)),
        }.items():
            env.set_state(start)
            solved[name] += any(env.step(action)[4]["is_success"] for action in actions)
    assert solved["waiting"] == 0
    assert solved["held"] <= 3
    assert solved["random"] <= 3


def test_random_goals_come_from_the_environments_own_generator():
    env = gym.make("dexworld/PushTMulti-v0").unwrapped
    goals = []
    for seed in range(30):
        env.reset(seed=seed)
        goals.append(env.goal_state)
    low, high = np.min(goals, axis=0), np.max(goals, axis=0)
    assert (low[2:] >= [156, 156, 0]).all()
    assert (high[2:] <= [356, 356, 2 * np.pi]).all()
    assert (high - low)[2:4].min() > 100
    assert np.array_equal(env.goal_state[:2], env.task_state[:2])


def test_reward_and_end_follow_the_coverage():
    at_goal = [100.0, 100.0, 256.0, 256.0, np.pi / 4]
    env = PushTEnv()
    _, info = env.reset(options={"state": at_goal})
    assert info["is_success"]
    assert info["coverage"] == pytest.approx(1.0)
    _, reward, terminated, truncated, info = env.step(env.hold_action())
    assert (reward, terminated, truncated) == (1.0, True, False)
    assert info["reward_coverage"] == reward
    beside = [*at_goal[:2], 266.0, 256.0, np.pi / 4]
    env.reset(options={"state": beside})
    _, reward, terminated, _, info = env.step(env.hold_action())
    assert not terminated
    assert reward == pytest.approx(info["coverage"] / 0.95)
    assert 0.7 < reward < 0.95
    forever = PushTEnv(terminate_on_success=False)
    forever.reset(options={"state": at_goal})
    assert forever.step(forever.hold_action())[2] is False


@pytest.mark.slow
def test_the_page_says_how_far_goals_are():
    env = PushTEnv(goal="trajectory")
    moves, turns = [], []
    for seed in range(200):
        env.reset(seed=seed)
        start, goal = env.task_state, env.goal_state
        moves.append(np.linalg.norm(goal[2:4] - start[2:4]))
        turns.append(np.degrees(angle_difference(goal[4], start[4])))
    measured = f"median {np.median(moves):.0f} px and {np.median(turns):.0f} degrees"
    assert measured in " ".join(PushTEnv.__doc__.split())


def test_success_is_what_the_rule_says():
    for arguments in (
        {},
        {"goal": "trajectory"},
        {"goal": "trajectory", "goal_includes_agent": False},
    ):
        env = PushTEnv(terminate_on_success=False, **arguments)
        env.reset(seed=0)
        outcomes = set()
        for offset in np.linspace(0.0, 40.0, 21):
            near = env.goal_state + np.array([offset, 0.0, 0.8 * offset, 0.0, 0.003 * offset])
            env.simulation.set_task_state(near)
            info = env._info(env.task_state)
            assert info["is_success"] is bool(env.rule(env.task_state, env.goal_state))
            outcomes.add(info["is_success"])
        assert outcomes == {True, False}


def test_rewards_are_told_from_features():
    env = PushTEnv()
    assert env.predicts_reward and env.reward_reads == {"pose"}
    assert not PushTEnv(goal="random").predicts_reward
    assert np.isnan(env.reward_of({"pose": np.full((1, 3), np.nan)})).all()
    env.reset(options={"state": [100.0, 100.0, 262.0, 250.0, 0.7]})
    told = env.reward_of({"pose": np.tile(env.task_state[2:], (2, 3, 1))})
    assert told.shape == (2, 3)
    assert told == pytest.approx(env.step(env.hold_action())[1], abs=1e-9)


def test_actions_and_targets_are_one():
    env, raw = PushTEnv(), PushTEnv(action="pixels")
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 3, 2))
    assert np.allclose(env.normalised_action(env.raw_action(actions)), actions)
    assert np.array_equal(env.raw_action(np.array([-1.0, 1.0])), [0.0, 512.0])
    assert np.array_equal(raw.raw_action(actions), actions)
    for each in (env, raw):
        each.reset(options={"state": STATE})
        each.step(each.normalised_action(np.array([300.0, 100.0])))
    assert np.allclose(env.task_state, raw.task_state, rtol=0, atol=1e-9)


@pytest.mark.parametrize("action", ["normalized", "pixels"])
def test_the_hold_action_holds(action):
    env = PushTEnv(action=action)
    env.reset(options={"state": STATE})
    assert env.action_space.contains(env.hold_action())
    env.step(env.hold_action())
    assert np.allclose(env.task_state, STATE, rtol=0, atol=1e-4)


def test_the_rule_has_a_name():
    assert PushTEnv().success_rule == "coverage > 0.95"
    assert PushTEnv(goal="trajectory").success_rule == PoseRule().name
    assert "(block)" in PushTEnv(goal="trajectory", goal_includes_agent=False).success_rule


def test_a_trajectory_goal_from_a_given_start():
    env = PushTEnv(goal="trajectory")
    start = [150.0, 240.0, 256.0, 256.0, 0.1]
    _, info = env.reset(seed=0, options={"state": start})
    assert np.allclose(env.task_state, start, rtol=0, atol=1e-9)
    assert info["position_error"] >= 20.0 or info["angle_error"] >= np.pi / 9


def test_disturbances_change_the_frames_alone():
    frames = {}
    for name in (None, *DISTURBANCES):
        env = PushTEnv(observation=("state", "pixels"), disturbance=name)
        env.reset(seed=0)
        observation, reward, *_ = env.step(np.zeros(2))
        frames[name] = observation["pixels"].tobytes()
        if name is None:
            usual = observation["state"], reward
        assert np.array_equal(observation["state"], usual[0])
        assert reward == usual[1]
    assert len(set(frames.values())) == 10


def test_rendering():
    env = PushTEnv(render_mode="rgb_array", render_size=256)
    env.reset(seed=0)
    before = env.render()
    env.step(np.array([0.9, 0.9]))
    after = env.render()
    assert before.shape == after.shape == (256, 256, 3)
    assert ((after == (255, 0, 0)).all(-1)).any()  # the target
    assert not ((before == (255, 0, 0)).all(-1)).any()
    with pytest.warns(UserWarning, match="render_mode"):
        assert PushTEnv().render() is None


def test_the_window_shows_and_closes():
    pytest.importorskip("pygame")
    env = gym.make("dexworld/PushT-v0", render_mode="human")
    env.reset(seed=0)
    env.step(env.action_space.sample())
    env.close()
    env.close()


@pytest.mark.parametrize("action", [np.zeros(3), np.zeros((1, 2)), np.array([np.nan, 0.0])])
def test_bad_actions_are_errors_and_change_nothing(action):
    env = PushTEnv()
    env.reset(seed=0)
    before = env.get_state()
    with pytest.raises(ValueError, match="the action"):
        env.step(action)
    assert np.array_equal(env.get_state(), before)


def test_states_of_another_engine_are_refused():
    with pytest.raises(ValueError, match="another environment"):
        PushTEnv().set_state(PushTEnv(physics="pymunk").get_state())


def test_without_pymunk_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "pymunk", None)
    with pytest.raises(ImportError, match=r"dexworld\[pymunk\]"):
        gym.make("dexworld/PushT-v0", physics="pymunk")


def test_a_goal_where_every_start_is_ends_with_an_error():
    env = PushTEnv(goal="random")
    env._draw_goal_pose = lambda: np.array([250.0, 240.0, 0.4])  # type: ignore[method-assign]
    with pytest.raises(RuntimeError, match="succeed at once"):
        env.reset(seed=0, options={"state": STATE})


def test_predictions_tell_task_states():
    env = PushTEnv(observation=("state", "keypoints", "proprio"))
    states, points, agents = [], [], []
    for seed in range(3):
        observation, _ = env.reset(seed=seed)
        states.append(env.task_state)
        points.append(observation["keypoints"])
        agents.append(observation["proprio"][None])
    predicted = {"keypoints": np.stack(points), "agent": np.stack(agents), "latent": np.zeros(3)}
    told = env.task_state_of(predicted)
    assert np.abs(told[:, :4] - np.stack(states)[:, :4]).max() < 1e-3
    assert angle_difference(told[:, 4], np.stack(states)[:, 4]).max() < 1e-5
    exact = env.task_state_of({**predicted, "state": np.stack(states)})
    assert np.array_equal(exact, np.stack(states)), "what is predicted itself is not fitted"
    for missing in ("keypoints", "agent"):
        less = {key: value for key, value in predicted.items() if key != missing}
        assert env.task_state_of(less) is None


def test_a_prediction_far_from_the_board_is_drawn_outside():
    env = PushTEnv(render_mode="rgb_array", render_size=64)
    env.reset(seed=0)
    far = np.array([1e12, -1e12, 1e12, 1e9, 0.3])
    empty = env.draw(far, np.stack([far, -far]))
    outside = np.array([2000.0, 2000.0, 2000.0, 2000.0, 0.0])
    assert np.array_equal(empty, env.draw(outside, outside[None]))
