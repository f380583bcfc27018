"""A world model as a vector environment: exact with a simulator, seeded, reset as declared."""

from __future__ import annotations

import ctypes
import gc
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers.vector import DictInfoToList, RecordEpisodeStatistics
from torch import Tensor

from dexworld.envs.gymnasium_model import GymnasiumModel
from dexworld.envs.imagination import ImaginationVectorEnv
from dexworld.envs.imagined_env import ImaginationEnv
from dexworld.envs.push_t.env import FIXED_GOAL
from dexworld.envs.push_t.geometry import KEYPOINTS, coverage, placed
from dexworld.envs.push_t.success import CoverageRule, PoseRule
from dexworld.envs.push_t.twin import PushTTwin
from dexworld.envs.simulator_model import SimulatorModel
from dexworld.envs.stable_baselines import ImaginationVecEnv
from dexworld.world_models.actions import Chain, Chunks, Hold, Increments, Interpolate
from dexworld.world_models.base import Mapped, Observation, State
from dexworld.world_models.body_frame import SeenFromBody
from dexworld.world_models.data.lerobot import DatasetWriter, Feature
from dexworld.world_models.data.start_states import DatasetStarts
from dexworld.world_models.latent import LatentWorldModel

PUSH_T, GOAL = "dexworld/PushT-v0", "dexworld/PushTGoal-v0"
NEXT_STEP, SAME_STEP, DISABLED = (
    AutoresetMode.NEXT_STEP,
    AutoresetMode.SAME_STEP,
    AutoresetMode.DISABLED,
)


class Walk:
    """A point on a plane that actions move; its members disagree in proportion to x.

    It predicts NaN beyond x = 5. `reward` is its x.
    """

    action_space = Box(-1.0, 1.0, (2,), np.float32)
    observes = frozenset({"place"})
    differentiable = True
    device = torch.device("cpu")

    def __init__(self, *hidden: str) -> None:
        self.predicts = frozenset({"latent", "reward", "disagreement"}) - set(hidden)

    def encode(
        self,
        observation: Observation,
        previous: State | None = None,
        actions: Tensor | None = None,
        episode_start: Tensor | None = None,
    ) -> State:
        return self._state(torch.as_tensor(observation["place"]).float())

    def step(self, state: State, actions: Tensor) -> State:
        return self._state(state["latent"] + actions)

    def rollout(self, state: State, actions: Tensor, keys: Any = None) -> dict[str, Tensor]:
        found = self._state(state["latent"][:, None, None] + actions.cumsum(2))
        return {key: found[key] for key in keys or self.predicts}

    def _state(self, place: Tensor) -> State:
        x = place[..., 0]
        known = place.where((x <= 5.0)[..., None], torch.nan)
        state = {"latent": known, "reward": x, "disagreement": x.abs() / 10}
        return {key: state[key] for key in self.predicts}

    def pictures(self, latent: Tensor) -> Tensor:
        shade = (100 + 10 * latent[:, 0]).byte()
        return shade[:, None, None, None].expand(-1, 4, 6, 3)


def places(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    return {"place": rng.normal(0.0, 0.3, (count, 2)).astype(np.float32)}


def with_goals(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
    goal = rng.normal(2.0, 0.1, (count, 2)).astype(np.float32)
    return {**places(count, rng), "goal_place": goal}


def make(copies: int = 3, starts: Any = places, model: Any = None, **settings: Any) -> Any:
    return ImaginationVectorEnv(model or Walk(), copies, starts, **{"horizon": 4, **settings})


def right(copies: int, speed: float = 0.5) -> np.ndarray:
    return np.tile(np.float32([speed, 0.0]), (copies, 1))


def near(state: State, goal: State | None) -> Tensor:
    assert goal is not None
    return (state["latent"] - goal["latent"]).norm(dim=-1) < 0.5


# The simulator as the model


STEPS = 15
"""Of an episode; then its time is over."""
DOWN = np.array([-1.0, 1.0]) / np.sqrt(2.0)
"""Along the stem of a T in the orientation of the goal."""
HOME = np.array(FIXED_GOAL[:2]) - 13.0 * DOWN
"""Where the pusher pushes the block home."""


def real_episodes(env_id: str, seeds: list[int]) -> tuple[list[Any], list[list[Any]], np.ndarray]:
    """Return what the real environment returns of resets and steps, and the actions taken."""
    rng = np.random.default_rng(0)
    starts, episodes = [], []
    actions = rng.uniform(-0.5, 0.5, (STEPS, len(seeds) + 1, 2)).astype(np.float32)
    block = np.array(FIXED_GOAL[:2]) - 30.0 * DOWN
    actions[:, -1] = HOME / 256.0 - 1.0
    pushed = {"state": [*(block - 40.0 * DOWN), *block, FIXED_GOAL[2]]}
    if env_id == GOAL:
        # Numbers that an exact state, in other units, gives back to the last bit.
        twin = PushTTwin()
        pushed["goal"] = twin.task_state(twin.physics(np.array([[*HOME, *FIXED_GOAL]])))[0]
    observed = ("physics", "state", "keypoints", "proprio")
    for copy, seed in enumerate([*seeds, 0]):
        env = gym.make(env_id, observation=observed, max_episode_steps=STEPS)
        starts.append(env.reset(seed=seed, options=pushed if copy == len(seeds) else None))
        episodes.append([env.step(action) for action in actions[:, copy]])
    return starts, episodes, actions


def solved(state: State, goal: State | None) -> Tensor:
    now = state["state"].numpy()
    if goal is not None:
        return torch.from_numpy(PoseRule()(now, goal["state"].numpy()))
    return torch.from_numpy(CoverageRule()(now, np.array([0.0, 0.0, *FIXED_GOAL])))


def covered(before: State, actions: Tensor, after: State, goal: State | None) -> Tensor:
    assert goal is not None
    share = coverage(after["pose"].numpy(), goal["pose"].numpy())
    return torch.from_numpy(np.minimum(share / 0.95, 1.0))


@pytest.mark.parametrize(
    ("env_id", "python"),
    [(PUSH_T, False), (GOAL, False), (PUSH_T, True)],
    ids=["SimulatorModel", "SimulatorModel with goals", "GymnasiumModel"],
)
def test_an_episode_imagined_by_the_simulator_is_the_real_one(env_id: str, python: bool) -> None:
    starts, episodes, actions = real_episodes(env_id, [3, 4])
    copies = len(starts)
    drawn: dict[str, Any] = {k: np.stack([s[k] for s, _ in starts]) for k in ("physics", "state")}
    if env_id == GOAL:
        drawn["goal_physics"] = np.stack([info["goal"]["physics"] for _, info in starts])

    def real(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {key: values[:count] for key, values in drawn.items()}

    model: Any = SimulatorModel(env_id, threads=1)
    # What it is called there: what the environment observes. MuJoCo adds keypoints up in another
    # order, 1e-13 px away, and observations are rounded to 3e-5 px.
    names = {"state": "state", "keypoints": "keypoints", "agent": "proprio"}
    if python:  # not batched; it steps the environment itself
        made = lambda: gym.make(env_id, observation=("physics", "state")).unwrapped
        model, names = GymnasiumModel(made, compared=("state",)), {"state": "state"}
    env = ImaginationVectorEnv(
        model,
        copies,
        real,
        horizon=STEPS,
        reward=covered if env_id == GOAL else None,
        success=solved,
        observes=tuple(names),
        autoreset_mode=DISABLED,
    )
    observation, _ = env.reset(seed=0)

    def compare(imagined: Any, copy: int, seen: Any, prefix: str = "") -> None:
        for name, key in names.items():
            found = imagined[prefix + name][copy]
            np.testing.assert_array_equal(found.reshape(seen[key].shape), seen[key])

    touched, alive = 0, np.ones(copies, bool)
    for copy, (first, info) in enumerate(starts):
        compare(observation, copy, first)
        if env_id == GOAL:
            compare(observation, copy, info["goal"], "goal_")
    for time in range(STEPS):
        observation, rewards, terminated, truncated, info = env.step(actions[time])
        assert env.state is not None
        for copy in alive.nonzero()[0]:
            seen, *returned, told = episodes[copy][time]
            np.testing.assert_array_equal(env.state["physics"][copy], seen["physics"])
            compare(observation, copy, seen)
            assert [rewards[copy], terminated[copy], truncated[copy]] == returned
            assert info["is_success"][copy] == told["is_success"]
            touched += returned[0] > 0
        alive &= ~terminated
        if terminated.any() and time < STEPS - 1:  # the others go on
            env.reset(options={"reset_mask": terminated})
    assert alive.tolist() == [True, True, False], "the last one is pushed home"
    assert truncated.tolist()[:2] == [True, True], "the time of the others is over"
    assert touched > 10


# Gymnasium's rules


@pytest.mark.filterwarnings("ignore:.*A Box observation space m.*infinity")
@pytest.mark.parametrize("starts", [places, with_goals])
def test_one_copy_passes_the_checks_of_gymnasium(starts: Any) -> None:
    with pytest.warns(UserWarning, match="not having a spec"):
        check_env(
            ImaginationEnv(make(1, starts, autoreset_mode=DISABLED, render_mode="rgb_array")),
            skip_render_check=False,
        )


def test_spaces_hold_what_is_observed() -> None:
    env = make(3, with_goals, observes=("latent", "reward", "pixels"))
    assert isinstance(env.single_observation_space, Dict)
    assert set(env.single_observation_space) == {
        *("latent", "reward", "pixels"),
        *("goal_latent", "goal_reward", "goal_pixels"),
    }
    assert env.single_observation_space["pixels"] == Box(0, 255, (4, 6, 3), np.uint8)
    observation, _ = env.reset(seed=0)
    for _ in range(6):
        assert env.observation_space.contains(observation)
        observation, rewards, terminated, truncated, _ = env.step(env.action_space.sample())
        assert rewards.dtype == np.float64 and terminated.dtype == truncated.dtype == np.bool_
        assert rewards.shape == terminated.shape == truncated.shape == (3,)


def test_the_same_seed_gives_the_same_episodes_whatever_happened_before() -> None:
    def play(env: Any, seed: int) -> list[Any]:
        rng, seen = np.random.default_rng(1), [env.reset(seed=seed)[0]]
        for _ in range(9):
            seen.append(env.step(rng.uniform(-1, 1, (3, 2)))[0])
        return [each["latent"] for each in seen]

    first, other = make(starts=with_goals), make(starts=with_goals)
    expected = play(first, 7)
    other.reset(seed=1)
    for _ in range(5):
        other.step(right(3))
    for one, two in zip(expected, play(other, 7), strict=True):
        np.testing.assert_array_equal(one, two)
    assert not np.array_equal(expected[0], play(other, 8)[0])
    assert len(np.unique(expected[0][:, 0])) == 3, "copies begin differently"
    unseeded = first.reset()[0]["latent"]
    assert not np.array_equal(unseeded, first.reset()[0]["latent"])


def test_copies_do_not_influence_one_another() -> None:
    env, other = make(horizon=9), make(horizon=9)
    env.reset(seed=0), other.reset(seed=0)
    for step in range(8):
        actions = np.random.default_rng(step).uniform(-1, 1, (3, 2)).astype(np.float32)
        changed = actions.copy()
        changed[1] = 1.0  # walks off to where the model predicts NaN
        one, two = env.step(actions)[0]["latent"], other.step(changed)[0]["latent"]
        np.testing.assert_array_equal(one[[0, 2]], two[[0, 2]])


# Episodes and how they end


def test_same_step_returns_the_next_episode_and_keeps_the_last_observation() -> None:
    env = make(starts=with_goals, horizon=3, success=near, autoreset_mode=SAME_STEP)
    assert env.metadata["autoreset_mode"] is SAME_STEP
    env.reset(seed=0)
    env.state["latent"][1] = env.goal["latent"][1] - torch.tensor([1.2, 0.0])
    goals = env.goal["latent"].numpy().copy()
    _, _, terminated, truncated, info = env.step(right(3))
    assert not (terminated | truncated).any() and set(info) == {"is_success", "disagreement"}
    before = env.state["latent"].numpy().copy()
    observation, rewards, terminated, truncated, info = env.step(right(3))
    assert terminated.tolist() == [False, True, False] and not truncated.any()
    np.testing.assert_array_equal(rewards, before[:, 0] + 0.5)
    assert info["_final_obs"].tolist() == info["_final_info"].tolist() == [False, True, False]
    assert info["final_obs"][0] is None and info["final_obs"][2] is None
    np.testing.assert_array_equal(info["final_obs"][1]["latent"], before[1] + right(1)[0])
    np.testing.assert_array_equal(info["final_obs"][1]["goal_latent"], goals[1])
    assert info["final_info"]["is_success"][1] and info["final_info"]["_is_success"][1]
    assert info["_is_success"].tolist() == [True, False, True]
    np.testing.assert_array_equal(observation["latent"][[0, 2]], before[[0, 2]] + right(2))
    assert abs(observation["latent"][1]).max() < 1.5, "a new start"
    assert not np.array_equal(observation["goal_latent"][1], goals[1]), "and a new goal"
    np.testing.assert_array_equal(observation["goal_latent"][[0, 2]], goals[[0, 2]])
    np.testing.assert_array_equal(env.goal["latent"], observation["goal_latent"])
    np.testing.assert_array_equal(env.state["latent"], observation["latent"])
    *_, truncated, info = env.step(right(3))
    assert truncated.tolist() == [True, False, True], "their horizon is over, the second goes on"


def test_next_step_ignores_the_action_after_the_end() -> None:
    env = make(horizon=2, autoreset_mode=NEXT_STEP)
    env.reset(seed=0)
    env.reset(options={"reset_mask": np.array([False, True, False])})
    env.steps[1] = 1
    last, _, _, truncated, info = env.step(right(3))
    assert truncated.tolist() == [False, True, False] and "final_obs" not in info
    observation, rewards, terminated, truncated, info = env.step(right(3))
    assert rewards[1] == 0 and (rewards[[0, 2]] != 0).all()
    assert truncated.tolist() == [True, False, True] and not terminated.any()
    assert not np.allclose(observation["latent"][1], last["latent"][1] + [0.5, 0.0])
    np.testing.assert_array_equal(observation["latent"][0], last["latent"][0] + right(1)[0])
    assert info["_disagreement"].tolist() == [True, False, True]
    assert env.steps.tolist() == [2, 0, 2]
    observation, _, _, truncated, _ = env.step(right(3))
    assert truncated.tolist() == [False, False, False] and env.steps.tolist() == [0, 1, 0]


def test_disabled_leaves_resets_to_the_user() -> None:
    env = make(horizon=2, autoreset_mode=DISABLED)
    env.reset(seed=0)
    env.step(right(3))
    env.steps[:] = [1, 0, 1]
    last, _, _, truncated, _ = env.step(right(3))
    assert truncated.tolist() == [True, False, True]
    with pytest.raises(RuntimeError, match=r"copies \[0, 2\] have ended: reset\(options="):
        env.step(right(3))
    options = {"reset_mask": truncated}
    observation, _ = env.reset(options=options)
    assert options == {"reset_mask": truncated}, "wrappers read it again"
    np.testing.assert_array_equal(observation["latent"][1], last["latent"][1])
    assert not np.isclose(observation["latent"][[0, 2]], last["latent"][[0, 2]]).any()
    *_, truncated, _ = env.step(right(3))
    assert truncated.tolist() == [False, True, False]


def test_success_need_not_end_an_episode() -> None:
    env = make(1, with_goals, success=lambda state, goal: state["latent"][:, 0] > -9, horizon=2)
    assert env.reset(seed=0) and env.step(right(1))[2].all()
    env = make(
        1,
        with_goals,
        success=lambda state, goal: state["latent"][:, 0] > -9,
        horizon=2,
        terminate_on_success=False,
    )
    env.reset(seed=0)
    _, _, terminated, truncated, info = env.step(right(1))
    assert info["is_success"].all() and not terminated.any() and not truncated.any()


def test_where_the_ensemble_disagrees_the_episode_is_cut_and_success_not_believed() -> None:
    env = make(
        2,
        success=lambda state, goal: state["latent"][:, 0] > 1,
        max_disagreement=0.3,
        autoreset_mode=DISABLED,
    )
    env.reset(seed=0)
    env.state["latent"][:] = torch.tensor([[2.9, 0.0], [1.0, 0.0]])
    _, rewards, terminated, truncated, info = env.step(right(2))
    np.testing.assert_allclose(info["disagreement"], [0.34, 0.15])
    assert info["disagreed"].tolist() == truncated.tolist() == [True, False]
    assert info["is_success"].tolist() == terminated.tolist() == [False, True]
    np.testing.assert_allclose(rewards, [3.4, 1.5])


def strict(state: State, goal: State | None = None) -> Tensor:
    """Raise where a number is not finite, as singular value decompositions do."""
    assert state["latent"].isfinite().all()
    return state["latent"][:, 0] > 9


@pytest.mark.parametrize("mode", [SAME_STEP, DISABLED])
def test_what_is_not_finite_reaches_nobody(mode: AutoresetMode) -> None:
    env = make(
        2,
        reward={"x": lambda b, a, s, g: s["latent"][:, 0]},
        success=strict,
        autoreset_mode=mode,
        horizon=9,
    )
    env.reset(seed=0)
    env.state["latent"][:] = torch.tensor([[4.2, 0.0], [0.0, 0.0]])
    kept, *_ = env.step(right(2))
    observation, rewards, terminated, truncated, info = env.step(right(2))
    assert truncated.tolist() == [True, False] and not terminated.any()
    np.testing.assert_array_equal(rewards, [0.0, 1.0])
    if mode is SAME_STEP:
        assert info["final_info"]["not_finite"].tolist() == [True, False]
        np.testing.assert_array_equal(info["final_obs"][0]["latent"], kept["latent"][0])
        assert abs(observation["latent"][0, 0]) < 2, "it has begun anew"
        assert np.isfinite(env.step(right(2))[0]["latent"]).all()
    else:
        np.testing.assert_array_equal(observation["latent"][0], kept["latent"][0])
        assert info["not_finite"].tolist() == [True, False]
    told = info.get("final_info", info)
    assert all(np.isfinite(values).all() for values in told.values())


def test_a_reward_that_is_not_finite_cuts_the_episode_too() -> None:
    env = make(2, reward=lambda b, a, s, g: s["latent"][:, 0].sqrt(), autoreset_mode=DISABLED)
    env.reset(seed=0)
    env.state["latent"][:] = torch.tensor([[-4.0, 0.0], [0.5, 0.0]])
    observation, rewards, _, truncated, info = env.step(right(2))
    assert rewards.tolist() == [0.0, 1.0]
    assert truncated.tolist() == info["not_finite"].tolist() == [True, False]
    np.testing.assert_array_equal(observation["latent"][:, 0], [-3.5, 1.0])


def test_an_action_is_a_decision_of_a_mapped_model() -> None:
    model = Mapped(Walk(), Hold(Walk.action_space, 3))
    env = make(2, model=model, render_mode="rgb_array")
    start, _ = env.reset(seed=0)
    observation, *_ = env.step(right(2, 0.25))
    np.testing.assert_allclose(observation["latent"], start["latent"] + [0.75, 0.0], rtol=1e-6)
    frames = env.render()
    assert len(frames) == 2 and frames[0].shape == (4, 6, 3) and frames[0].dtype == np.uint8
    assert frames[0][0, 0, 0] == int(100 + 10 * observation["latent"][0, 0])


def test_actions_are_clipped_and_terms_of_the_reward_are_told() -> None:
    terms = {
        "place": lambda before, actions, after, goal: after["latent"][:, 0],
        "effort": lambda before, actions, after, goal: -actions.abs().sum(1),
    }
    env = make(2, reward=terms)
    start, _ = env.reset(seed=0)
    observation, rewards, _, _, info = env.step(right(2, 7.0))
    np.testing.assert_allclose(observation["latent"], start["latent"] + [1.0, 0.0], rtol=1e-6)
    np.testing.assert_array_equal(info["reward_effort"], [-1.0, -1.0])
    np.testing.assert_allclose(rewards, observation["latent"][:, 0] - 1.0)
    np.testing.assert_array_equal(rewards, info["reward_place"] + info["reward_effort"])


@pytest.mark.parametrize("mode", [SAME_STEP, NEXT_STEP])
def test_wrappers_of_gymnasium_understand_it(mode: AutoresetMode) -> None:
    env = DictInfoToList(RecordEpisodeStatistics(make(2, horizon=3, autoreset_mode=mode)))
    start = env.reset(seed=0)[0]["latent"][:, 0]
    for _ in range(3):
        *_, infos = env.step(right(2))
    for copy, info in enumerate(infos):
        assert info["episode"]["l"] == 3
        assert info["episode"]["r"] == pytest.approx(3 * start[copy] + 3.0, abs=1e-5)
    if mode is SAME_STEP:
        assert set(infos[0]) >= {"final_obs", "final_info"} and "disagreement" not in infos[0]
        assert set(infos[0]["final_info"]) == {"disagreement"}


def test_what_is_returned_belongs_to_the_user() -> None:
    env, other = make(starts=with_goals), make(starts=with_goals)
    for each in (env, other):
        observation, _ = each.reset(seed=0)
        for _ in range(6):
            if each is env:
                for values in observation.values():
                    values[:] = 99.0
            observation, rewards, _, truncated, info = each.step(right(3))
            if each is env:
                rewards[:], truncated[:], info["disagreement"][:] = 99, True, 99
    np.testing.assert_array_equal(
        env.step(right(3))[0]["latent"], other.step(right(3))[0]["latent"]
    )


# Bad input

BAD_SETTINGS: dict[str, tuple[dict[str, Any], type[Exception], str]] = {
    "no copies": ({"copies": 0}, ValueError, "num_envs=0, horizon=4.*at least one"),
    "no horizon": ({"horizon": 0}, ValueError, "horizon=0.*at least one"),
    "nothing observed": ({"observes": ()}, ValueError, r"observes=\[\].*at least one"),
    "unknown key": (
        {"observes": ("keys",)},
        KeyError,
        r"states of Walk hold no \['keys'\].*'latent'",
    ),
    "no reward": (
        {"model": Walk("reward")},
        ValueError,
        r"Walk predicts no reward \(but \['disagreement', 'latent'\]\): give reward=.*or a model",
    ),
    "no terms": ({"reward": {}}, ValueError, "at least one term"),
    "no ensemble": (
        {"model": Walk("disagreement"), "max_disagreement": 0.1},
        ValueError,
        "max_disagreement=0.1, but Walk predicts no disagreement: train an ensemble",
    ),
    "no goal for success": (
        {"success": lambda state, goal: (state["latent"] - goal["latent"])[:, 0] > 0},
        ValueError,
        r"cannot be told without a goal.*let start_states draw \['goal_place'\]",
    ),
    "no goal for reward": (
        {"reward": lambda before, actions, after, goal: goal["latent"][:, 0]},
        ValueError,
        r"cannot be told without a goal",
    ),
    "no goal to observe": ({"observes": ("goal_latent",)}, KeyError, "is observed of itself"),
    "a reward for all": (
        {"reward": lambda before, actions, after, goal: after["latent"].sum()},
        ValueError,
        r"reward of a batch of 1 has shape \(\); it must be \(1,\)",
    ),
    "render mode": ({"render_mode": "human"}, ValueError, r"render_mode='human'.*rgb_array"),
    "starts without keys": (
        {"starts": lambda count, rng: {"position": np.zeros((count, 2))}},
        KeyError,
        r"lacks \['place'\]",
    ),
    "too few starts": (
        {"starts": lambda count, rng: {"place": np.zeros((5, 2))}},
        ValueError,
        "asked for 1 starts, and 'place' has 5",
    ),
}


@pytest.mark.parametrize(("settings", "error", "said"), BAD_SETTINGS.values(), ids=BAD_SETTINGS)
def test_bad_settings_are_told_when_it_is_made(
    settings: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        make(**settings)


def test_half_a_goal_is_none() -> None:
    class Two(Walk):
        observes = frozenset({"place", "colour"})

    def starts(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {**with_goals(count, rng), "colour": np.zeros((count, 1))}

    with pytest.raises(KeyError, match=r"draws .*'goal_place'.*needs all of \['goal_colour'"):
        make(model=Two(), starts=starts)


def test_pictures_of_a_model_that_draws_none() -> None:
    model = SimulatorModel(PUSH_T, threads=1)
    physics = model.simulation.get_state()

    def starts(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"physics": np.tile(physics, (count, 1))}

    with pytest.raises(TypeError, match=r"SimulatorModel draws no pictures.*give pictures="):
        make(model=model, starts=starts, observes=("pixels",))
    drawn: Callable[[State], Tensor] = lambda state: torch.zeros(
        (len(state["pose"]), 2, 2, 3), dtype=torch.uint8
    )
    env = make(2, starts, model, observes=("pixels",), pictures=drawn)
    assert env.reset()[0]["pixels"].shape == (2, 2, 2, 3)


def shipped(name: str, frame: str | None = None) -> tuple[LatentWorldModel, Any]:
    """Return a learned model of PushT, and it behind what decisions mean to agents."""
    model = LatentWorldModel.from_pretrained(name)
    space = model.env_action_space
    maps = [Increments(space, 0.3), Interpolate(space, 5), Chunks(space, 5)]
    decided: Any = Mapped(model, Chain(maps))
    return model, decided if frame is None else SeenFromBody(decided, frame)


def test_frames_of_a_model_whose_decisions_are_seen_from_a_body() -> None:
    model, decided = shipped("push_t_pixels", "keypoints")
    starts = {"pixels": np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3)).astype(np.uint8)}
    reward = lambda before, actions, after, goal: actions[:, 0]
    env = make(3, starts, decided, reward=reward, observes=("pixels",), render_mode="rgb_array")
    env.reset(seed=0)
    seen, *_ = env.step(right(3))
    drawn = model.pictures(env.state["latent"]).numpy()
    np.testing.assert_array_equal(seen["pixels"], drawn)
    np.testing.assert_array_equal(np.stack(env.render()), drawn)


def test_a_model_pays_the_reward_that_it_has_learned() -> None:
    _, decided = shipped("push_t_value")
    goal = np.array(FIXED_GOAL)
    poses = goal + np.array([0.0, 20.0, 50.0, 150.0])[:, None] * [1.0, 0.0, 0.0]
    points = placed(KEYPOINTS, poses).astype(np.float32).reshape(4, 8)
    starts = {"keypoints": points, "proprio": np.full((4, 2), 400, np.float32)}
    rows = lambda count, rng: {key: each[:count] for key, each in starts.items()}
    env = make(4, rows, decided)
    env.reset(seed=0)
    _, rewards, *_ = env.step(
        np.zeros((4, 2), np.float32)
    )  # the pusher stays, and so does the block
    np.testing.assert_array_equal(rewards, env.state["reward"].numpy())
    np.testing.assert_allclose(rewards, np.minimum(coverage(poses, goal) / 0.95, 1.0), atol=0.15)


@pytest.mark.parametrize(
    ("actions", "said"),
    [
        (np.zeros((2, 2)), r"actions of shape \(2, 2\).*takes \(3, 2\)"),
        (np.zeros(2), r"actions of shape \(2,\)"),
        (np.array([[0, 0], [np.nan, 0], [0, np.inf]]), r"copies \[1, 2\] are not finite"),
    ],
)
def test_bad_actions(actions: np.ndarray, said: str) -> None:
    env = make()
    with pytest.raises(RuntimeError, match=r"call reset\(\) before step\(\)"):
        env.step(right(3))
    env.reset()
    with pytest.raises(ValueError, match=said):
        env.step(actions)


@pytest.mark.parametrize(
    ("mask", "error"),
    [
        ([True, False, False], TypeError),
        (np.array([1, 0, 0]), TypeError),
        (np.array([True, False]), ValueError),
        (np.zeros(3, bool), ValueError),
    ],
)
def test_bad_masks(mask: Any, error: type[Exception]) -> None:
    env = make()
    with pytest.raises(ValueError, match="first reset must be of all copies"):
        env.reset(options={"reset_mask": np.array([True, False, False])})
    env.reset()
    with pytest.raises(error, match="reset_mask"):
        env.reset(options={"reset_mask": mask})


def test_options_that_there_are_not() -> None:
    env = make(1, autoreset_mode=DISABLED)
    for each in (env, ImaginationEnv(env)):
        with pytest.raises(ValueError, match=r"no options \['state'\], only 'reset_mask'"):
            each.reset(options={"state": [0.0]})
        each.reset(options={"reset_mask": np.array([True])})
        with pytest.raises(ValueError, match="be true somewhere"):
            each.reset(options={"reset_mask": np.array([False])})


def test_starts_may_be_a_batch() -> None:
    batch = {
        "place": np.float32([[0, 0], [1, 0], [2, 0]]),
        "goal_place": np.ones((3, 2), np.float32),
    }
    env = make(200, batch)
    seen, _ = env.reset(seed=0)
    assert set(seen["latent"][:, 0]) == {0.0, 1.0, 2.0}, "any of them, again and again"
    assert (seen["goal_latent"] == 1).all()
    np.testing.assert_array_equal(env.reset(seed=0)[0]["latent"], seen["latent"])
    for wrong in ({}, {"place": np.zeros((0, 2))}, {**batch, "goal_place": np.zeros((2, 2))}):
        with pytest.raises(ValueError, match="give as many of each, at least one"):
            make(2, wrong)


def test_starts_of_a_dataset_that_run_out(tmp_path: Path) -> None:
    with DatasetWriter(
        tmp_path / "data",
        {"observation.place": Feature("float32", (2,)), "action": Feature("float32", (2,))},
        10,
        robot_type="toy",
    ) as writer:
        frames = np.float32([[0.0, 0.0], [0.1, 0.0], [0.2, 0.0], [0.3, 0.0]])
        writer.add_episode(
            {"observation.place": frames, "action": np.zeros((4, 2), np.float32)}, task="walk"
        )
    starts = DatasetStarts(tmp_path / "data", {"place": "observation.place"}, replace=False)
    env = make(2, starts, horizon=1)
    drawn = [env.reset(seed=0)[0]["latent"], env.step(right(2))[0]["latent"]]
    assert len(np.unique(np.concatenate(drawn)[:, 0])) == 4, "each frame once"
    with pytest.raises(
        ValueError, match=r"2 starts are wanted, and 0 of the 4 frames .* replace=True"
    ):
        env.step(right(2))


def test_a_start_that_cannot_be_encoded() -> None:
    def starts(count: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        return {"place": np.full((count, 2), 9.0 if count > 1 else 0.0)}

    with pytest.raises(ValueError, match="Walk encodes a start as numbers that are not finite"):
        make(starts=starts).reset()


def test_one_copy_is_one_and_does_not_reset_itself() -> None:
    for env in (make(2, autoreset_mode=DISABLED), make(1)):
        with pytest.raises(
            ValueError, match=r"num_envs=1 and autoreset_mode=AutoresetMode.DISABLED"
        ):
            ImaginationEnv(env)
    assert ImaginationEnv(make(1, autoreset_mode=DISABLED)).render_mode is None


@pytest.mark.slow
def test_nothing_grows_over_a_hundred_thousand_steps() -> None:
    """Neither gradients nor tensors nor memory, with a network that has gradients.

    Half of the steps are of `ImaginationVectorEnv`, half of it behind its adapter.
    """
    pytest.importorskip("stable_baselines3")

    class Learned(Walk, torch.nn.Module):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            Walk.__init__(self)
            self.layer = torch.nn.Linear(4, 2)

        def step(self, state: State, actions: Tensor) -> State:
            return self._state(torch.tanh(self.layer(torch.cat([state["latent"], actions], 1))))

    env = make(10, with_goals, Learned(), horizon=7, success=near)
    actions = np.random.default_rng(0).uniform(-1, 1, (50, 10, 2)).astype(np.float32)

    def census() -> tuple[int, int]:
        """Return tensors there are, and the bytes that the process holds now, not at its peak."""
        gc.collect()
        ctypes.CDLL(None).malloc_trim(0)  # else what was freed before hides what is kept now
        tensors = sum(issubclass(type(each), Tensor) for each in gc.get_objects())
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return tensors, pages * resource.getpagesize()

    for form in (env, ImaginationVecEnv(env)):
        form.reset()
        counted = None
        for step in range(6_000):
            form.step(actions[step % 50])
            if step == 999:
                counted = census()
        assert counted is not None and env.state is not None
        assert not any(each.requires_grad for each in (env.state | (env.goal or {})).values())
        tensors, held = census()
        assert tensors == counted[0]
        assert held - counted[1] < 1_000_000, f"{held - counted[1]} bytes in 50 000 steps"
