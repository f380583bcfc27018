"""How heads learn: rewards by regression, values by what is best to come of every state."""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .data.windows import Windows
from .heads import REWARD, Heads, HeadsConfig
from .latent import LATENT, LatentConfig, LatentWorldModel
from .latent_loss import Terms, total
from .latent_training import encode_windows

TERMINAL = "terminal"
"""Key of training frames: whether the episode ended there, so that nothing follows."""


class HeadTraining(nn.Module):
    """Teaches the heads of a latent world model, and leaves everything else of it as it is.

    The reward head regresses the rewards of a dataset. The value head learns from every window of
    `n` actions of the model by fitted value iteration with a slowly moving target `V'`:

        R_k = sum_{i<k} discount^i r_{i+1} + discount^k V'(z_k),    target = max R_k

    over `k = 1 .. n` and over several ways to go on from the first frame. One is what was done; its
    rewards and latents are the dataset's. The others are imagined, with the rewards of the reward
    head: keeping still, and what was done in other windows, moved to where this one holds still. So
    the improvement is a search of a few random plans in the model, which proposes what the model
    was trained on, and the value that of a policy that searches so in every state: no actor is
    needed, and none can exploit the value. The value is an expectile of the targets: 0.5, their
    mean, where ways are imagined, since the maximum is the improvement; without them, a high one
    improves on the actions that were taken (implicit Q-learning, Kostrikov et al. 2021). Targets
    stay between the least and the greatest reward for ever.

    Where an episode ended (`terminal`) nothing follows, and the value is zero.

    Windows hold the frames that the model observes or `latent`, and `reward` and `terminal` of the
    actions before the frames. Heads that learn from latents that nobody teaches cannot harm them.
    """

    def __init__(self, model: LatentWorldModel) -> None:
        super().__init__()
        self.model = model.requires_grad_(False)
        self.heads.requires_grad_(True)
        self.target = copy.deepcopy(self.heads.value_head).requires_grad_(False)

    @property
    def heads(self) -> Heads:
        """What learns; raises `ValueError` where there are none."""
        if self.model.heads is None:
            raise ValueError("this model has no heads to train; make one with model.heads={}.")
        return self.model.heads

    @property
    def config(self) -> LatentConfig:
        """The model's."""
        config: LatentConfig = self.model.config
        return config

    def train(self, mode: bool = True) -> HeadTraining:
        """Set the mode of the heads; the rest of the model predicts as it does in use."""
        super().train(mode)
        self.model.eval()
        self.heads.train(mode)
        return self

    def training_loss(self, windows: Windows, progress: float) -> tuple[Float[Tensor, ""], Terms]:
        """Return the loss of windows, and its terms; moves the target.

        Raises:
            KeyError: the windows hold no rewards.
            ValueError: their frames are not one action of the model apart.
        """
        check_windows(windows, self.config)
        settings = self.heads.config
        self._move_target(settings.inertia)
        latents = encode_windows(self.model, windows.frames).detach()
        rewards, ended = windows.frames[REWARD][:, 1:].float(), endings(windows)
        told = self.heads.rewards(self.heads.reward_head(latents[:, 1:]))
        terms = {"reward": ((told - rewards) / self.heads.deviation).square().mean()}
        with torch.no_grad():
            taken = self._best(latents[:, 1:], rewards, ended[:, 1:])[:, None]
            imagined = self._imagined(latents[:, 0], windows, settings)
            best = torch.cat([taken, imagined], dim=1).amax(1)
            best = torch.where(ended[:, 0], torch.zeros_like(best), best)
        terms["value"] = self._value_error(latents[:, 0], best)
        if TERMINAL in windows.frames:
            # Nobody goes on from an end, but plans lead there: it is worth nothing.
            last = self.heads.values(self.heads.value_head(latents[:, 1:]))
            terms["ended"] = (ended[:, 1:] * (last / self._value_scale).square()).mean()
        return total(terms), terms

    @property
    def _value_scale(self) -> Tensor:
        return self.heads.deviation / (1.0 - self.heads.config.discount)

    def _value_error(self, latent: Tensor, best: Tensor) -> Float[Tensor, ""]:
        """Return the asymmetric squared error whose least is the expectile of the targets."""
        value = self.heads.values(self.heads.value_head(latent))
        error = (best - value) / self._value_scale
        expectile = self.heads.config.expectile
        weight = torch.where(error > 0, expectile, 1.0 - expectile)
        return 2.0 * (weight * error.square()).mean()

    def _best(
        self,
        latents: Float[Tensor, "*rows ahead latent"],
        rewards: Float[Tensor, "*rows ahead"],
        ended: Bool[Tensor, "*rows ahead"],
    ) -> Float[Tensor, "*rows"]:
        """Return the greatest of the returns `R_k`, to the end of the episode where it has one."""
        discount = self.heads.config.discount
        powers = discount ** torch.arange(rewards.shape[-1] + 1, device=rewards.device)
        goes_on = (~ended).cumprod(-1)
        earned = torch.ones_like(goes_on)
        earned[..., 1:] = goes_on[..., :-1]
        sums = (powers[:-1] * rewards * earned).cumsum(-1)
        after = self.heads.values(self.target(latents))
        least, greatest = self.heads.extremes / (1.0 - discount)
        return (sums + powers[1:] * goes_on * after).clamp(least, greatest).amax(-1)

    def _imagined(
        self, latent: Tensor, windows: Windows, settings: HeadsConfig
    ) -> Float[Tensor, "batch proposals"]:
        """Return the greatest return of keeping still, and of each way that others went, from here."""
        model, rows = self.model, len(latent)
        if settings.proposals == 0:
            return latent.new_zeros(rows, 0)
        hold = model.hold_action(latent)[:, None]
        moves = windows.actions[:, : settings.ahead].flatten(1, 2) - hold
        others = [torch.randperm(rows, device=latent.device) for _ in range(settings.proposals - 1)]
        ways = torch.stack([torch.zeros_like(moves), *(moves[rows] for rows in others)], dim=1)
        low, high = map(latent.new_tensor, (self.config.action_low, self.config.action_high))
        actions = torch.clamp(hold[:, None] + ways, low, high)  # (B, N, ahead * chunk, A)
        actions = torch.unflatten(actions, 2, (-1, self.config.chunk)).flatten(3)
        found = model.rollout(model.belief(latent, windows), actions, {LATENT, REWARD})
        never = torch.zeros_like(found[REWARD], dtype=torch.bool)
        return self._best(found[LATENT], found[REWARD], never)

    @torch.no_grad()
    def _move_target(self, inertia: float) -> None:
        slow: list[Tensor] = list(self.target.parameters())
        fast: list[Tensor] = list(self.heads.value_head.parameters())
        torch._foreach_lerp_(slow, fast, 1.0 - inertia)


def endings(windows: Windows) -> Bool[Tensor, "batch frames"]:
    """Return whether the episode ended at a frame; nowhere, where the windows do not say."""
    frames: Mapping[str, Tensor] = windows.frames
    if TERMINAL in frames:
        return frames[TERMINAL].bool()
    return torch.zeros_like(frames[REWARD], dtype=torch.bool)


def check_windows(windows: Windows, config: LatentConfig) -> None:
    """Raise unless windows have rewards, and frames one action of the model apart.

    Raises:
        KeyError, ValueError: as `HeadTraining.training_loss`.
    """
    if REWARD not in windows.frames:
        raise KeyError(
            f"windows without '{REWARD}'; they hold {sorted(windows.frames)}. Draw them from a "
            "dataset with rewards."
        )
    if windows.actions.shape[2] != config.chunk:
        raise ValueError(
            f"windows whose frames are {windows.actions.shape[2]} steps apart, but values are "
            f"learned one action of the model ahead, {config.chunk} steps: give "
            f"data.gaps=[{config.chunk}, {config.chunk}]."
        )
