"""A world model as a vector environment: agents train inside it as in any other."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

import gymnasium as gym
import numpy as np
import torch
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import NDArray
from torch import Tensor

from ..world_models.base import (
    GOAL_PREFIX,
    REWARD,
    Observation,
    State,
    WorldModel,
    check_observation,
    name_of,
    take,
)
from .imagined_starts import GivenStarts, StartStates
from .imagined_view import LATENT, Arrays, Pictures, View, space_of, to_array

DISAGREEMENT = "disagreement"
SUCCESS = "is_success"
"""Info: whether the goal is reached."""
DISAGREED, NOT_FINITE = "disagreed", "not_finite"
"""Info: whether the model was left because its members disagreed, or predicted NaN."""
RESET_MASK = "reset_mask"
"""Option of `reset`, named by Gymnasium: the copies that begin anew."""

Reward = Callable[[State, Tensor, State, State | None], Tensor]
"""From states before, actions `[B, A]`, states after and goals to rewards `[B]`."""
Success = Callable[[State, State | None], Tensor]
"""From states and goals to booleans `[B]`."""


class ImaginationVectorEnv(VectorEnv[Arrays, NDArray[Any], NDArray[Any]]):
    """Copies of a world, all imagined by one model in one batch.

    With `SimulatorModel` as the model it is the simulator, its physics equal to the last bit: the
    same code trains an agent in either.

    An action is what the model takes: with `Mapped(model, action_map)`, a decision; a predicted
    reward is then the sum of all that makes it up, and success is looked for at its end: a goal that
    is only passed through on the way, where an environment ends, is not noticed. Actions out of
    bounds are clipped. Observations are a `Dict`, float32: each of `observes`, and where episodes
    have goals also `goal_<key>` of the encoded goal. `pixels`, uint8, are decoded.

    An episode terminates on success. It is truncated, since the world would go on and only its
    imagination ends, after `horizon` actions; where the members of an ensemble disagree by more
    than `max_disagreement`, and success is not believed either; and where the model predicts
    numbers that are not finite. Those reach nobody: the copy stays where it was, for a reward of 0.

    `info` holds arrays `(num_envs,)`: `is_success` where `success` is given, `disagreement` where it
    is predicted, `disagreed` and `not_finite` where copies were truncated for that, and
    `reward_<name>` where `reward` names its terms.

    All starts are drawn from one stream, in the order of the copies: the same seed and actions
    give the same episodes, whatever happened before. No copy influences the running episode of
    another.

    Args:
        model: the world.
        num_envs: copies of it.
        start_states: draws starts, and goals; or a batch of observations, with `goal_<key>` where
            there are goals, to draw from (`GivenStarts`). It is asked for one when the environment is
            made, with a generator of its own, to learn shapes.
        horizon: actions in an episode.
        reward: the reward, or its terms by name, which are added; None takes what the model
            predicts.
        success: whether a state reaches the goal; none does where None.
        observes: keys of the states, or `pixels`.
        max_disagreement: greatest disagreement that is trusted, for example the
            `dexworld.world_models.disagreement.disagreement_quantile` of held-out data.
        terminate_on_success: whether success ends an episode.
        autoreset_mode: what happens after the end of an episode, as Gymnasium defines it.
        render_mode: `rgb_array`, or None.
        pictures: draws states; None lets the model decode its latents.

    Raises:
        ValueError: no copies, no horizon, no reward, an unknown render mode; a reward or success
            that needs goals where there are none, or is not a number for every copy.
        KeyError: the states do not hold what is observed, or the starts not what the model observes.
        TypeError: pixels, or rendering, of a model that draws none.
    """

    metadata: ClassVar[dict[str, Any]] = {"render_modes": ["rgb_array"], "render_fps": 10}  # type: ignore[misc]

    def __init__(
        self,
        model: WorldModel,
        num_envs: int,
        start_states: StartStates | Observation,
        *,
        horizon: int,
        reward: Reward | Mapping[str, Reward] | None = None,
        success: Success | None = None,
        observes: Sequence[str] = (LATENT,),
        max_disagreement: float | None = None,
        terminate_on_success: bool = True,
        autoreset_mode: AutoresetMode = AutoresetMode.SAME_STEP,
        render_mode: str | None = None,
        pictures: Pictures | None = None,
    ) -> None:
        if num_envs < 1 or horizon < 1 or not observes:
            raise ValueError(
                f"num_envs={num_envs}, horizon={horizon}, observes={list(observes)}: at least one."
            )
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(
                f"render_mode={render_mode!r}: choose one of {self.metadata['render_modes']}, or None."
            )
        if max_disagreement is not None and DISAGREEMENT not in model.predicts:
            raise ValueError(
                f"max_disagreement={max_disagreement}, but {name_of(model)} predicts no "
                "disagreement: train an ensemble (model.predictor.members), or leave it out."
            )
        self.model, self.num_envs = model, num_envs
        self.start_states: StartStates = (
            GivenStarts(start_states) if isinstance(start_states, Mapping) else start_states
        )
        self.horizon, self.success = horizon, success
        self.max_disagreement, self.terminate_on_success = max_disagreement, terminate_on_success
        self.autoreset_mode, self.render_mode = autoreset_mode, render_mode
        self.metadata = {**self.metadata, "autoreset_mode": autoreset_mode}  # type: ignore[misc]
        self.reward_terms = _terms(reward, model)
        self.view = View(model, observes, pictures)
        self.single_observation_space = space_of(self._example())
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.single_action_space: Box = model.action_space
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.state: State | None = None
        """What the model carries for every copy; None before the first reset."""
        self.goal: State | None = None
        """The goal of every copy; None where there are none."""
        self.steps = np.zeros(num_envs, np.int64)
        """Actions taken in the episode of every copy."""
        self._ended = np.zeros(num_envs, np.bool_)
        self._seen: Arrays = {}
        self._seen_goal: Arrays = {}

    # Episodes

    @torch.no_grad()
    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Arrays, dict[str, Any]]:
        """Begin new episodes, in all copies or in those of `options["reset_mask"]`.

        A seed makes all draws from then on repeat.

        Raises:
            TypeError, ValueError: another option; or a mask that is no boolean array with an entry
                for every copy, at least one of them true, or one before the first reset.
        """
        super().reset(seed=seed)
        mask = self._checked_mask(options or {})
        self._restart(mask.nonzero()[0])
        self._ended = self._ended & ~mask
        return self._observation(), {}

    @torch.no_grad()
    def step(
        self, actions: NDArray[Any]
    ) -> tuple[Arrays, NDArray[Any], NDArray[Any], NDArray[Any], dict[str, Any]]:
        """Imagine one action `(num_envs, A)` further.

        Raises:
            RuntimeError: there was no reset, or, where nothing is reset automatically, an episode
                has ended.
            ValueError: actions of another shape, or that are not finite.
        """
        before, chosen = self._checked_actions(actions)
        state = self.model.step(before, chosen)
        lost = ~_finite(state)
        if lost.any():  # back to where it was, so that rewards and the like see no such numbers
            rows = lost.nonzero()[0]
            state = _replaced(state, rows, take(before, torch.from_numpy(rows)))
        rewards, info = self._rewards(before, chosen, state, self.goal)
        lost |= ~np.isfinite(rewards)
        if DISAGREEMENT in state:
            info[DISAGREEMENT] = to_array(state[DISAGREEMENT], np.float64)
        self.steps += 1
        truncated = lost | (self.steps >= self.horizon)
        terminated = np.zeros(self.num_envs, np.bool_)
        if self.max_disagreement is not None:
            info[DISAGREED] = info[DISAGREEMENT] > self.max_disagreement
            truncated |= info[DISAGREED]
        if self.success is not None:
            believed = ~(lost | info.get(DISAGREED, False))
            info[SUCCESS] = believed & to_array(self.success(state, self.goal), np.bool_)
            terminated |= info[SUCCESS] & self.terminate_on_success
        if lost.any():
            for values in (rewards, *info.values()):
                values[lost] = 0
            info[NOT_FINITE] = lost
        self.state, self._seen = state, self.view(state)
        if self.autoreset_mode is AutoresetMode.NEXT_STEP and self._ended.any():
            self._begin_waiting((rewards, terminated, truncated), info)
        self._ended = terminated | truncated
        if self.autoreset_mode is AutoresetMode.SAME_STEP and self._ended.any():
            self._begin_ended(info)
        return self._observation(), rewards, terminated, truncated, info

    def _begin_waiting(self, returned: Sequence[NDArray[Any]], info: dict[str, Any]) -> None:
        """Begin the episodes of copies that ended in the step before; their action is ignored."""
        self._restart(self._ended.nonzero()[0])
        for values in (*returned, *info.values()):
            values[self._ended] = 0
        info.update({f"_{key}": ~self._ended for key in list(info)})

    def _begin_ended(self, info: dict[str, Any]) -> None:
        """Begin new episodes where they have ended, and put into the info how they did."""
        ended, last = self._ended, self._observation()
        rows = ended.nonzero()[0]
        final = np.full(self.num_envs, None, object)
        for row in rows:
            final[row] = {key: values[row] for key, values in last.items()}
        told = {**info, **{f"_{key}": ended for key in info}}
        info.update({f"_{key}": ~ended for key in list(info)})
        info.update(final_obs=final, _final_obs=ended, final_info=told, _final_info=ended)
        self._restart(rows)

    def _restart(self, rows: NDArray[np.int64]) -> None:
        """Draw and encode starts for some copies; those of the others are left as they are."""
        state, goal = self._begin(len(rows), self.np_random)
        seen, seen_goal = self.view(state), self._view_goal(goal)
        if not (_finite(state).all() and _finite(goal or {}).all()):
            raise ValueError(
                f"{name_of(self.model)} encodes a start as numbers that are not finite: are those "
                "that start_states draws?"
            )
        self.steps[rows] = 0
        if self.state is None or len(rows) == self.num_envs:
            self.state, self.goal, self._seen, self._seen_goal = state, goal, seen, seen_goal
            return
        self.state = _replaced(self.state, rows, state)
        if self.goal is not None and goal is not None:
            self.goal = _replaced(self.goal, rows, goal)
        for kept, new in ((self._seen, seen), (self._seen_goal, seen_goal)):
            for key, values in kept.items():
                values[rows] = new[key]

    def _begin(self, count: int, rng: np.random.Generator) -> tuple[State, State | None]:
        """Return states and goals of so many new episodes."""
        drawn = self.start_states(count, rng)
        check_observation(drawn, self.model)
        for key, values in drawn.items():
            if len(values) != count:
                raise ValueError(
                    f"start_states was asked for {count} starts, and {key!r} has {len(values)}."
                )
        goals = {key: GOAL_PREFIX + key for key in self.model.observes}
        given = {key: drawn[goals[key]] for key in goals if goals[key] in drawn}
        if given and len(given) < len(goals):
            raise KeyError(
                f"start_states draws {sorted(drawn)}; to encode a goal {name_of(self.model)} needs "
                f"all of {sorted(goals.values())}."
            )
        return self.model.encode(drawn), self.model.encode(given) if given else None

    # Observation, reward, frames

    def _observation(self) -> Arrays:
        """Return what is seen; whoever gets it may keep and change it."""
        return {key: values.copy() for key, values in (self._seen | self._seen_goal).items()}

    def _view_goal(self, goal: State | None) -> Arrays:
        seen = {} if goal is None else self.view(goal)
        return {GOAL_PREFIX + key: values for key, values in seen.items()}

    def _rewards(
        self, before: State, actions: Tensor, after: State, goal: State | None
    ) -> tuple[NDArray[np.float64], dict[str, Any]]:
        """Return the sum of the terms, and the terms that have a name."""
        total, told = np.zeros(len(actions)), {}
        for name, term in self.reward_terms.items():
            values = to_array(term(before, actions, after, goal), np.float64)
            _check_rows("reward", values, len(actions))
            total += values
            if name:
                told[f"{REWARD}_{name}"] = values
        return total, told

    @torch.no_grad()
    def render(self) -> tuple[NDArray[np.uint8], ...] | None:
        """Return a frame of every copy, as the model imagines it."""
        if self.render_mode is None:
            gym.logger.warn("render() without a render_mode: choose 'rgb_array'.")
            return None
        if self.state is None:
            raise RuntimeError("call reset() before render().")
        return tuple(self.view.frames(self.state))

    # Checks

    @torch.no_grad()
    def _example(self) -> Arrays:
        """Return an observation of one copy, having tried on it all that was given."""
        state, goal = self._begin(1, np.random.default_rng(0))
        space = self.model.action_space
        action = np.clip(np.zeros((1, *space.shape)), space.low, space.high).astype(space.dtype)
        try:
            self._rewards(state, torch.from_numpy(action).to(self.model.device), state, goal)
            if self.success is not None:
                _check_rows("success", to_array(self.success(state, goal), np.bool_), 1)
        except (TypeError, KeyError, AttributeError) as error:
            if goal is not None:
                raise
            raise ValueError(
                f"reward and success cannot be told without a goal ({error!r}): let start_states "
                f"draw {sorted(GOAL_PREFIX + key for key in self.model.observes)} too."
            ) from error
        if self.render_mode is not None:
            self.view.frames(state)
        return self.view(state) | self._view_goal(goal)

    def _checked_actions(self, actions: NDArray[Any]) -> tuple[State, Tensor]:
        if self.state is None:
            raise RuntimeError("call reset() before step().")
        if self.autoreset_mode is AutoresetMode.DISABLED and self._ended.any():
            raise RuntimeError(
                f"the episodes of the copies {self._ended.nonzero()[0].tolist()} have ended: "
                f"reset(options={{'{RESET_MASK}': ended}}) before the next step."
            )
        given, space = np.asarray(actions), self.single_action_space
        if given.shape != self.action_space.shape:
            raise ValueError(
                f"actions of shape {given.shape}; {self} takes {self.action_space.shape}."
            )
        finite = np.isfinite(given)
        if not finite.all():
            copies = (~finite).any(axis=1).nonzero()[0].tolist()
            raise ValueError(f"the actions of the copies {copies} are not finite.")
        inside = np.clip(given, space.low, space.high).astype(space.dtype, copy=False)
        return self.state, torch.from_numpy(inside).to(self.model.device)

    def _checked_mask(self, options: Mapping[str, Any]) -> NDArray[np.bool_]:
        unknown = sorted(set(options) - {RESET_MASK})
        if unknown:
            raise ValueError(
                f"reset takes no options {unknown}, only {RESET_MASK!r}: start_states says where "
                "episodes begin."
            )
        mask = options.get(RESET_MASK)
        if mask is None:
            return np.ones(self.num_envs, np.bool_)
        if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_:
            raise TypeError(f"options['{RESET_MASK}'] must be a boolean array, not {mask!r}.")
        if mask.shape != (self.num_envs,) or not mask.any():
            raise ValueError(
                f"options['{RESET_MASK}'] must have shape ({self.num_envs},) and be true somewhere; "
                f"it is {mask}."
            )
        if self.state is None and not mask.all():
            raise ValueError(f"options['{RESET_MASK}']: the first reset must be of all copies.")
        return mask


def predicted_reward(model: WorldModel) -> Reward:
    """Return the reward that a model predicts; raise `ValueError` where it predicts none."""
    if REWARD not in model.predicts:
        raise ValueError(
            f"{name_of(model)} predicts no reward (but {sorted(model.predicts)}): give reward=, "
            "a function of states and goals, or a model that has learned the environment's."
        )
    return lambda before, actions, after, goal: after[REWARD]


def _terms(reward: Reward | Mapping[str, Reward] | None, model: WorldModel) -> dict[str, Reward]:
    """Return the terms of the reward by name; a single one has none."""
    if reward is None:
        return {"": predicted_reward(model)}
    terms = dict(reward) if isinstance(reward, Mapping) else {"": reward}
    if not terms:
        raise ValueError("reward={}: name at least one term of the reward.")
    return terms


def _check_rows(name: str, values: NDArray[Any], rows: int) -> None:
    if values.shape != (rows,):
        raise ValueError(
            f"{name} of a batch of {rows} has shape {values.shape}; it must be ({rows},), a number "
            "for every copy."
        )


def _finite(state: State) -> NDArray[np.bool_]:
    """Return which rows are finite in all that a state holds."""
    finite = [value.isfinite().reshape(len(value), -1).all(dim=1) for value in state.values()]
    return torch.stack(finite).all(dim=0).cpu().numpy() if finite else np.ones(1, np.bool_)


def _replaced(state: State, rows: NDArray[np.int64], fresh: State) -> State:
    """Return a state with some rows replaced; what only one of both carries is left out."""
    index = torch.from_numpy(rows)
    return {
        key: values.index_copy(0, index.to(values.device), fresh[key].to(values))
        for key, values in state.items()
        if key in fresh
    }
