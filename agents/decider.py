"""What a trained policy decides, of what a world model believes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from ..world_models.base import GOAL_PREFIX, State, WorldModel, decoder_of, name_of
from ..world_models.body_frame import to_world
from .policy import Policy

LATENT, PIXELS = "latent", "pixels"
FRAME = "decision_frame"
"""Attribute of a policy: prediction with the points of the body that its decisions are seen from."""


class Decider:
    """Asks a policy of stable-baselines3 about beliefs of a model, a batch at a time.

    The policy sees what `ImaginationVectorEnv` showed it in training: parts of the state by key,
    `goal_<key>` of the encoded goal, and `pixels` decoded. Which, its observation space says, and
    whether the channels of pixels come first, as stable-baselines3 turns them. What a policy decides
    as seen from a body (its attribute `decision_frame`) is turned as the body is.

    Args:
        model: over decisions, where the policy decides (`Mapped`).
        policy: anything with stable-baselines3's `predict`, over a `Dict`.

    Raises:
        TypeError: it observes no `Dict`.
        ValueError: it decides in another space than the model's.
    """

    def __init__(self, model: WorldModel, policy: Policy) -> None:
        seen, decided = policy.observation_space, policy.action_space
        if not isinstance(seen, Dict):
            raise TypeError(
                f"the policy observes {seen}, and not parts of a model's state by name. It was not "
                "trained in a model (dexworld-train-agent); act with it by agent=sb3."
            )
        if decided != model.action_space:
            raise ValueError(
                f"the policy decides in {decided}, and the decisions of {model} are in "
                f"{model.action_space}: give the action map that it was trained with."
            )
        self.model, self.policy = model, policy
        self.frame: str | None = getattr(policy, FRAME, None)
        self.spaces: dict[str, Any] = dict(seen.spaces)
        low, high = model.action_space.low, model.action_space.high
        self.low = torch.from_numpy(low).to(model.device)
        self.high = torch.from_numpy(high).to(model.device)

    @property
    def needs_goal(self) -> bool:
        """Whether the policy was trained with goals."""
        return any(key.startswith(GOAL_PREFIX) for key in self.spaces)

    def __call__(
        self, state: State, goal: State, seeds: Sequence[int] | None = None
    ) -> Float[Tensor, "batch action"]:
        """Return the decisions, without the policy's own noise where no seeds are given.

        Args:
            state: what is believed.
            goal: what is to be reached; empty where there is no goal.
            seeds: of `P` problems whose rows follow one another, as many of each. The policy draws
                its decisions, those of a problem from a stream of its own.

        Raises:
            KeyError: the state lacks what the policy observes, or there is no goal.
            ValueError: something has another shape than in training.
        """
        seen = {key: self._seen(key, state, goal) for key in self.spaces}
        if seeds is None:
            decided, _ = self.policy.predict(seen, deterministic=True)
        else:
            decided = self._drawn(seen, seeds)
        decisions = torch.from_numpy(decided).to(self.low)
        if self.frame is not None:
            if self.frame not in state:
                raise KeyError(
                    f"the policy decides as seen from {self.frame!r}, and states of "
                    f"{name_of(self.model)} have no {self.frame!r}, but {sorted(state)}."
                )
            decisions = to_world(decisions, state[self.frame])
        return torch.clamp(decisions, self.low, self.high)

    def _drawn(self, seen: dict[str, NDArray[Any]], seeds: Sequence[int]) -> NDArray[Any]:
        """Return decisions that the policy draws, problem by problem."""
        parts = {key: np.split(values, len(seeds)) for key, values in seen.items()}
        drawn = []
        # Policies of stable-baselines3 draw from torch's own generator, which is left as it was.
        with torch.random.fork_rng([self.low.device] if self.low.is_cuda else []):
            for problem, seed in enumerate(seeds):
                torch.manual_seed(seed)
                own = {key: part[problem] for key, part in parts.items()}
                drawn.append(self.policy.predict(own, deterministic=False)[0])
        return np.concatenate(drawn)

    def _seen(self, key: str, state: State, goal: State) -> Any:
        name, of_goal = key.removeprefix(GOAL_PREFIX), key.startswith(GOAL_PREFIX)
        source = goal if of_goal else state
        if of_goal and not goal:
            raise KeyError(
                f"the policy was trained with goals ({key}), and none is observed: it needs "
                f"{sorted(GOAL_PREFIX + each for each in self.model.observes)}."
            )
        part = LATENT if name == PIXELS else name
        if part not in source:
            raise KeyError(
                f"the policy observes {sorted(self.spaces)}, and states of {name_of(self.model)} "
                f"have no {part!r}, but {sorted(source)}: give the model that it was trained in."
            )
        space = self.spaces[key]
        if name == PIXELS:
            value = decoder_of(self.model).pictures(source[part])
            first = value.permute(0, 3, 1, 2)
            value = first if tuple(first.shape[1:]) == space.shape else value
        else:
            value = source[part]
        if tuple(value.shape[1:]) != space.shape:
            raise ValueError(
                f"the policy observes {key} of shape {space.shape}, and that of "
                f"{name_of(self.model)} is {tuple(value.shape[1:])}: give the model that it was "
                "trained in."
            )
        return value.detach().cpu().numpy().astype(space.dtype)
