"""What is seen of a model's states: arrays by key, and frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict
from numpy.typing import NDArray
from torch import Tensor

from ..world_models.base import GOAL_PREFIX, State, WorldModel, decoder_of, name_of

LATENT, PIXELS = "latent", "pixels"

Arrays = dict[str, NDArray[Any]]
Pictures = Callable[[State], Tensor]
"""From states to frames `[B, height, width, 3]`, uint8."""


class View:
    """Makes observations of states: some of their keys, float32, and `pixels`, uint8.

    Args:
        model: whose states they are.
        observes: keys of the states, or `pixels`.
        pictures: draws states; None lets the model decode its latents.
    """

    def __init__(
        self, model: WorldModel, observes: Sequence[str], pictures: Pictures | None = None
    ) -> None:
        self.model, self.observes, self.pictures = model, tuple(observes), pictures

    def __call__(self, state: State) -> Arrays:
        """Return the observation, `(B, ...)` for each key; nothing in it is shared.

        Raises:
            KeyError: the states do not hold a key.
            TypeError: pixels of a model that draws none.
        """
        missing = sorted(set(self.observes) - {PIXELS} - set(state))
        if missing:
            raise KeyError(
                f"observes={list(self.observes)}: states of {name_of(self.model)} hold no {missing}; "
                f"choose among {sorted(state)} and {PIXELS!r}. {GOAL_PREFIX}<key> is observed of "
                "itself, where starts come with goals."
            )
        return {
            key: self.frames(state) if key == PIXELS else to_array(state[key], np.float32)
            for key in self.observes
        }

    def frames(self, state: State) -> NDArray[np.uint8]:
        """Return frames `(B, height, width, 3)`.

        Raises:
            TypeError: the model draws none.
        """
        if self.pictures is None:
            decoder = decoder_of(self.model)
            self.pictures = lambda state: decoder.pictures(state[LATENT])
        return to_array(self.pictures(state), np.uint8)


def space_of(observation: Arrays) -> Dict:
    """Return the space of one row of a batch."""
    spaces = {}
    for key, values in observation.items():
        low, high = (0, 255) if values.dtype == np.uint8 else (-np.inf, np.inf)
        spaces[key] = Box(low, high, values.shape[1:], values.dtype.type)
    return Dict(spaces)  # type: ignore[arg-type]


def to_array(tensor: Tensor, kind: Any) -> NDArray[Any]:
    """Return a copy as an array of some type."""
    return np.array(tensor.detach().cpu().numpy(), kind)
