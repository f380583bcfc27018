"""How far the rewards and values that heads read off latents are from those that came."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from .data.windows import Windows
from .head_training import endings
from .heads import REWARD, VALUE, Heads
from .latent import LatentWorldModel
from .open_loop import encode_frames, moments, predict


@torch.no_grad()
def head_errors(
    model: LatentWorldModel, windows: Windows, steps: Sequence[int]
) -> dict[str, float]:
    """Return the errors of rewards and values.

    For each number of steps `n`, in the unit of the reward:

    - `reward_<n>`: mean absolute error of the reward read off the latent predicted `n` steps ahead,
      and `reward_<n>_static`, that of the reward read off the first frame;
    - `value_<n>`: mean absolute difference of the value of the first frame from the return that was
      obtained, `G = sum_k discount^k r + discount^(n/chunk) V(z_n)`, and `value_<n>_excess`, the mean
      difference `V - G`. A value of going on better than was done exceeds these returns.
    - `value_<n>_slope`: of `G` over `V`, by least squares, and `value_<n>_correlation`: both 1 for a
      value that foretells all that will be obtained.

    Rewards count that come at the end of an action of the model.

    Args:
        model: one with heads.
        windows: frames one step apart, `[B, L, ...]`, with rewards; steps beyond them are left out.
        steps: numbers of environment steps, rounded up to multiples of the model's chunk.

    Raises:
        ValueError: as `moments`, or the model has no heads.
    """
    if model.heads is None:
        raise ValueError("this model has no heads to measure; train some with kind=heads.")
    looks, chunk = moments(model, windows, steps), model.config.chunk
    every = list(range(0, looks[-1] + 1, chunk))
    latents = encode_frames(model, windows, every)
    rewards, ended = windows.frames[REWARD].float(), endings(windows)
    values = model.heads(latents, {VALUE})[VALUE]
    now = model.heads(latents[:, 0], {REWARD})[REWARD]
    predicted = model.heads(predict(model, latents[:, 0], windows, looks), {REWARD})[REWARD]
    errors: dict[str, float] = {}
    for place, look in enumerate(looks):
        there = rewards[:, look]
        errors[f"reward_{look}"] = float((predicted[:, place] - there).abs().mean())
        errors[f"reward_{look}_static"] = float((now - there).abs().mean())
        frames = every[: look // chunk + 1]
        gained = obtained(
            model.heads, rewards[:, frames], ended[:, frames], values[:, look // chunk]
        )
        errors |= {
            f"value_{look}{name}": found for name, found in _compared(values[:, 0], gained).items()
        }
    return errors


def obtained(
    heads: Heads,
    rewards: Float[Tensor, "batch frames"],
    ended: Tensor,
    after: Float[Tensor, " batch"],
) -> Float[Tensor, " batch"]:
    """Return the discounted sum of the rewards after the first frame, and of the value after all.

    Nothing counts that comes after an end.
    """
    discount = heads.config.discount
    powers = discount ** torch.arange(rewards.shape[1], device=rewards.device)
    goes_on = (~ended).cumprod(1)
    return (powers[:-1] * rewards[:, 1:] * goes_on[:, :-1]).sum(1) + powers[-1] * (
        goes_on[:, -1] * after
    )


def _compared(values: Tensor, gained: Tensor) -> dict[str, float]:
    difference = values - gained
    about, other = values - values.mean(), gained - gained.mean()
    shared, spread, spread_other = (about * other).sum(), about.square().sum(), other.square().sum()
    tiny = torch.finfo(values.dtype).tiny
    return {
        "": float(difference.abs().mean()),
        "_excess": float(difference.mean()),
        "_slope": float(shared / spread.clamp(min=tiny)),
        "_correlation": float(shared / (spread * spread_other).sqrt().clamp(min=tiny)),
    }
