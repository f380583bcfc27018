"""Trained policies as agents: anything with stable-baselines3's `predict`."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
from gymnasium.spaces import Dict, Space
from numpy.typing import NDArray

from .base import Actions, BatchedObservation


@runtime_checkable
class Policy(Protocol):
    """What stable-baselines3's algorithms and policies have in common."""

    observation_space: Space[Any]
    action_space: Space[Any]

    def predict(
        self,
        observation: Any,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[Any], Any]:
        """Return a batch of actions for a batch of observations, and the next state."""
        ...


class PolicyAgent:
    """Acts as a trained policy does; what the policy remembers is the agent's state.

    Args:
        policy: any object with stable-baselines3's `predict`.
        observes: observation keys that it is given. A policy over a `Dict` gets them by name; one
            over an array gets the array of the one key, or of several keys flattened and joined in
            this order, as `gymnasium.wrappers.FlattenObservation` does. The policy's own keys where
            empty.

    Raises:
        ValueError: no keys are given, and the policy names none.
    """

    def __init__(self, policy: Policy, observes: Sequence[str] = ()) -> None:
        space = policy.observation_space
        self._by_name = isinstance(space, Dict)
        self.keys = tuple(observes) or (tuple(space.spaces) if isinstance(space, Dict) else ())
        if not self.keys:
            raise ValueError(
                f"the policy observes an array, {space}: name the observation keys that it holds."
            )
        self.policy = policy

    @property
    def observes(self) -> frozenset[str]:
        """The keys that the policy is given."""
        return frozenset(self.keys)

    def start(self, seeds: Sequence[int]) -> None:
        """A policy begins with no memory; its episodes do not depend on seeds."""

    def take(self, state: Any, rows: NDArray[np.intp]) -> Any:
        """Return the given rows of a recurrent policy's arrays `(layers, B, ...)`."""
        if state is None:
            return None
        return tuple(np.asarray(part)[:, rows] for part in state)

    def predict(
        self,
        observation: BatchedObservation,
        state: Any = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, Any]:
        """Return the policy's actions; raise `KeyError` for what is not observed."""
        missing = sorted(self.observes - set(observation))
        if missing:
            raise KeyError(f"the observation lacks {missing}; it has {sorted(observation)}.")
        parts = {key: np.asarray(observation[key]) for key in self.keys}
        seen: Any = parts
        if not self._by_name:
            (first, *others) = parts.values()
            seen = first
            if others:
                flat = [part.reshape(len(part), -1) for part in parts.values()]
                seen = np.concatenate(flat, axis=1)
        return self.policy.predict(seen, state, episode_start, deterministic)


def load_policy(path: str, algorithm: str, device: str = "auto") -> Policy:
    """Return a policy that stable-baselines3 has saved.

    Such a zip file holds pickled Python objects (cloudpickle), which can run any code when they are
    loaded: load only files whose origin you trust.

    Args:
        path: the zip file.
        algorithm: class of stable-baselines3 that saved it, e.g. `PPO`, `SAC`, `TD3`, `DQN`.
        device: where the policy computes.

    Raises:
        ImportError: stable-baselines3 is not installed.
        ValueError: it has no such algorithm.
        FileNotFoundError: there is no such file.
    """
    kind = algorithm_class(algorithm)
    if not any(Path(name).is_file() for name in (path, f"{path}.zip")):
        raise FileNotFoundError(f"{path} is no file: give the zip that stable-baselines3 saved.")
    policy: Policy = kind.load(path, device=device)
    return policy


def algorithm_class(name: str) -> Any:
    """Return an algorithm of stable-baselines3 by the name of its class.

    Raises:
        ImportError: stable-baselines3 is not installed.
        ValueError: it has no such algorithm.
    """
    try:
        library = importlib.import_module("stable_baselines3")
    except ImportError as error:
        raise ImportError(
            "policies of stable-baselines3 need it: pip install 'dexworld[sb3]'."
        ) from error
    kind = getattr(library, name, None)
    if not hasattr(kind, "load"):
        known = sorted(each for each in dir(library) if hasattr(getattr(library, each), "load"))
        raise ValueError(f"stable-baselines3 has no algorithm {name!r}. Valid: {known}.")
    return kind
