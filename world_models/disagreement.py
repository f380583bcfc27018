"""How much the members of an ensemble disagree where the world is as it was in the data."""

from __future__ import annotations

import torch

from .base import WorldModel, check_keys
from .data.windows import Windows

DISAGREEMENT = "disagreement"


@torch.no_grad()
def disagreement_quantile(model: WorldModel, windows: Windows, quantile: float = 0.95) -> float:
    """Return the disagreement that a share of predictions of held-out data stays below.

    Each window is predicted from its first frame to its end, as imagined episodes are, and every
    step on the way counts. What disagrees more is unlike the data, and not to be trusted.

    Args:
        model: an ensemble, whose actions are one or several environment actions in a row.
        windows: of episodes that it was not trained on.
        quantile: the share, in (0, 1).

    Raises:
        KeyError: the model predicts no disagreement.
        ValueError: a share out of bounds, windows shorter than an action of the model, or actions
            that are not those of the windows.
    """
    check_keys({DISAGREEMENT}, model, "disagreement_quantile")
    actions = windows.actions.flatten(1, 2)
    chunk, rest = divmod(model.action_space.shape[0], actions.shape[2])
    steps = 0 if rest else actions.shape[1] // chunk
    if not 0 < quantile < 1 or not steps:
        raise ValueError(
            f"quantile={quantile} of windows with actions {tuple(actions.shape)}: it must be in "
            f"(0, 1), and they must hold an action of the model, {model.action_space.shape[0]} "
            "numbers of whole environment actions."
        )
    taken = actions[:, : steps * chunk].reshape(len(actions), 1, steps, -1)
    first = model.encode({key: windows.frames[key][:, 0] for key in model.observes})
    found = model.rollout(first, taken.to(model.device), {DISAGREEMENT})[DISAGREEMENT]
    return float(found.double().quantile(quantile))
