"""Heads that read off a latent what it is worth: the reward there, and all that can follow."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor, nn

from .layers import FourierFeatures, ResidualMLP

REWARD, VALUE = "reward", "value"
"""Predictions of a model with heads, a number each."""
_LONGEST = 4.0  # longest wave of the features; latents lie mostly between -1 and 1


@dataclass(frozen=True)
class HeadsConfig:
    """What heads are made of, and what the value is a value of."""

    discount: float = 0.95
    """Factor of a reward that comes one action of the model later."""
    width: int = 128
    """Width of the hidden layers."""
    depth: int = 2
    """Residual blocks."""
    octaves: int = 5
    """Frequencies of the Fourier features that latents are seen through, which sharpen peaks."""
    proposals: int = 8
    """Ways to go on that are imagined at every state in training; 0 for what was done alone."""
    ahead: int = 1
    """Actions of the model that they last."""
    expectile: float = 0.5
    """Which expectile of the returns a value is: 0.5 is their mean, towards 1 their greatest."""
    inertia: float = 0.95
    """Share of the old target in the new one, after every step of training."""

    def __post_init__(self) -> None:
        rules = {
            "discount": (0.0 <= self.discount < 1.0, "in [0, 1)"),
            "width": (self.width >= 1, "at least 1"),
            "depth": (self.depth >= 1, "at least 1"),
            "octaves": (self.octaves >= 0, "at least 0"),
            "proposals": (self.proposals >= 0, "at least 0"),
            "ahead": (self.ahead >= 1, "at least 1"),
            "expectile": (0.0 < self.expectile < 1.0, "in (0, 1)"),
            "inertia": (0.0 <= self.inertia < 1.0, "in [0, 1)"),
        }
        for name, (holds, rule) in rules.items():
            if not holds:
                raise ValueError(f"HeadsConfig({name}={getattr(self, name)}) must be {rule}.")


class Head(nn.Module):
    """One number of a latent: a residual perceptron beside Fourier features of the latent."""

    def __init__(self, config: HeadsConfig, latent: int) -> None:
        super().__init__()
        self.waves = FourierFeatures(_LONGEST, config.octaves)
        inputs = latent + self.waves.size(latent)
        self.network = ResidualMLP(inputs, 1, config.width, config.depth)
        nn.init.zeros_(self.network.skip.weight)
        nn.init.zeros_(self.network.skip.bias)

    def forward(self, latent: Float[Tensor, "*rows latent"]) -> Float[Tensor, "*rows"]:
        """Return the number, about 0 and of unit size."""
        number: Tensor = self.network(torch.cat([latent, self.waves(latent)], dim=-1))
        return number.squeeze(-1)


class Heads(nn.Module):
    """The reward of arriving at a latent, and the value of being there.

    `reward = m + s f(z)` is the environment's reward of the step that ends there, and
    `value = (m + s g(z)) / (1 - discount)` the discounted sum of those that follow, one for each
    action of the model: `V(z_t) = r_{t+1} + discount r_{t+2} + ...`, where it is gone on well (see
    `head_training`). `m` and `s` are mean and deviation of the rewards that were seen.

    Both are regressed as numbers, in units of `s`, by their squared error. Values are expectations
    of sums of rewards, which rewards must be expectations for: an absolute error would forget rare
    ones. Classification over bins (two-hot, as in Dreamer and TD-MPC2) is worth its bins where
    rewards of many scales share a network or scatter widely; here they are one task's, known in
    scale and nearly a function of the latent, and planners want gradients without steps.
    """

    mean: Tensor
    deviation: Tensor
    extremes: Tensor
    """Least and greatest reward that were seen, or none."""

    def __init__(self, config: HeadsConfig, latent: int) -> None:
        super().__init__()
        self.config = config
        self.reward_head = Head(config, latent)
        self.value_head = Head(config, latent)
        self.register_buffer("mean", torch.zeros(()))
        self.register_buffer("deviation", torch.ones(()))
        anything = torch.finfo(torch.float32)
        self.register_buffer("extremes", torch.tensor([anything.min, anything.max]))

    def fit(self, rewards: Float[Tensor, " rewards"]) -> None:
        """Take the units and bounds of reward and value from rewards that were seen."""
        self.mean.copy_(rewards.mean())
        spread = rewards.std(unbiased=False)
        self.deviation.copy_(spread if spread > 0 else torch.ones_like(spread))
        extremes = torch.stack([rewards.amin().clamp(max=0.0), rewards.amax().clamp(min=0.0)])
        self.extremes.copy_(extremes)

    def forward(
        self, latent: Float[Tensor, "*rows latent"], keys: Collection[str]
    ) -> dict[str, Tensor]:
        """Return those of `reward` and `value` that are among the keys, `[*rows]`."""
        found = {}
        if REWARD in keys:
            found[REWARD] = self.rewards(self.reward_head(latent))
        if VALUE in keys:
            found[VALUE] = self.values(self.value_head(latent))
        return found

    def rewards(self, numbers: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return numbers of the reward head in units of the reward."""
        return self.mean + self.deviation * numbers

    def values(self, numbers: Float[Tensor, "*rows"]) -> Float[Tensor, "*rows"]:
        """Return numbers of the value head in units of the reward."""
        return self.rewards(numbers) / (1.0 - self.config.discount)
