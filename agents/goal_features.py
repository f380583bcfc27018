"""What a policy makes of numbers and their goals before its first layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from gymnasium.spaces import Dict
from jaxtyping import Float
from torch import Tensor, nn

from ..world_models.base import GOAL_PREFIX

CLOSE = 8.0
"""How much larger differences are shown a second time, cut off at one."""


class GoalFeatures(nn.Module):
    """Normalises each observation, and adds how far it is from its goal, twice: from far and near.

    A features extractor of stable-baselines3, for a `Dict` of arrays of numbers. With an
    observation `x` of normalised value `z = (x - centre) / scale`, and `d = z_goal - z`, the
    features are `z`, `z_goal`, `d` and `clip(8 d, -1, 1)`: near the goal a small difference decides.

    Args:
        space: what is observed.
        centre: by key of an observation, what becomes 0; `goal_<key>` has that of its key.
        scale: by key, what becomes a difference of 1.

    Raises:
        KeyError: an observation has no centre or no scale.
    """

    def __init__(
        self,
        space: Dict,
        centre: Mapping[str, Sequence[float]],
        scale: Mapping[str, Sequence[float]],
    ) -> None:
        super().__init__()
        self.keys = [key for key in space.spaces if not key.startswith(GOAL_PREFIX)]
        unknown = sorted(set(self.keys) - (set(centre) & set(scale)))
        if unknown:
            raise KeyError(f"GoalFeatures has no centre or scale of {unknown}: give both.")
        self.with_goals = [key for key in self.keys if GOAL_PREFIX + key in space.spaces]
        for key in self.keys:
            self.register_buffer(f"centre_{key}", torch.tensor(centre[key]).float())
            self.register_buffer(f"scale_{key}", torch.tensor(scale[key]).float())
        sizes = {key: int(torch.tensor(space.spaces[key].shape).prod()) for key in self.keys}
        self.features_dim = sum(sizes.values()) + 3 * sum(sizes[key] for key in self.with_goals)
        """How many there are; stable-baselines3 asks for it."""

    def forward(self, observations: Mapping[str, Tensor]) -> Float[Tensor, "rows features"]:
        """Return the features of a batch."""
        features = []
        for key in self.keys:
            here = self._normalised(key, observations[key])
            features.append(here)
            if key in self.with_goals:
                goal = self._normalised(key, observations[GOAL_PREFIX + key])
                away = goal - here
                features += [goal, away, torch.clamp(CLOSE * away, -1.0, 1.0)]
        return torch.cat(features, dim=1)

    def _normalised(self, key: str, values: Tensor) -> Tensor:
        flat = values.flatten(1).float()
        centre, scale = self.get_buffer(f"centre_{key}"), self.get_buffer(f"scale_{key}")
        return (flat - centre) / scale


def measured(observations: Mapping[str, Any]) -> dict[str, dict[str, list[float]]]:
    """Return centre and scale of a batch of observations `[B, ...]`: mean and deviation.

    All numbers of a key share one scale, so that directions stay what they are.
    """
    centre, scale = {}, {}
    for key, values in observations.items():
        if key.startswith(GOAL_PREFIX):
            continue
        flat = torch.as_tensor(values).flatten(1).double()
        centre[key] = flat.mean(0).tolist()
        spread = float(flat.std(0, unbiased=False).mean())
        scale[key] = [spread if spread > 0 else 1.0] * flat.shape[1]
    return {"centre": centre, "scale": scale}
