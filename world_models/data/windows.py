"""Cuts training windows out of a cache: frames some steps apart, and the actions between them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from numpy.typing import NDArray
from torch import Tensor

from .cache import Cache

ACTION = "action"
"""Key of the actions in a dataset."""
OUTCOME = "next."
"""How the keys of what came of an action begin: its reward, whether it ended the episode."""


@dataclass(frozen=True)
class WindowSettings:
    """What a window is."""

    frames: int = 5
    """Observations in it, L."""
    gaps: tuple[int, int] = (5, 5)
    """Fewest and most steps from one frame to the next.

    One gap is drawn for every batch, so that predictions are corrected at many distances; or see
    `irregular`.
    """
    multiple: int = 1
    """Gaps are multiples of this: the steps that one action of the model lasts."""
    past: int = 8
    """Actions before the first frame, H."""
    irregular: bool = False
    """Whether every interval of every window has a gap of its own, as between DexWM's frames."""

    def __post_init__(self) -> None:
        """Raise `ValueError` for windows that cannot be cut."""
        least, most = self.gaps
        if self.frames < 2 or self.multiple < 1 or self.past < 0:
            raise ValueError(
                f"WindowSettings(frames={self.frames}, multiple={self.multiple}, "
                f"past={self.past}): at least 2, 1 and 0."
            )
        if not 1 <= least <= most or not len(self.choices):
            raise ValueError(
                f"WindowSettings(gaps={self.gaps}, multiple={self.multiple}): 1 <= fewest <= most, "
                "and a multiple between them."
            )

    @property
    def choices(self) -> NDArray[np.int64]:
        """Gaps that are drawn from."""
        least, most = self.gaps
        return np.arange(-(-least // self.multiple), most // self.multiple + 1) * self.multiple


@dataclass(frozen=True)
class Windows:
    """A batch of windows: B of them, L frames each, g steps apart, or up to g where `gaps` says so."""

    frames: dict[str, Tensor]
    """By key, `[B, L, ...]`, in the type of the cache.

    A key that begins with `next.` holds what came of the action before the frame; of the first
    frame of an episode, which no action led to, that is zero."""
    actions: Float[Tensor, "batch intervals gap action"]
    """`[B, L-1, g, A]`: what was done between a frame and the next; zero after it."""
    past: Float[Tensor, "batch history action"]
    """`[B, H, A]`: what was done before the first frame, the latest last."""
    past_known: Bool[Tensor, "batch history"]
    """`[B, H]`: which of it belongs to the episode; the rest is zero."""
    start: Int[Tensor, " batch"]
    """`[B]`: index in the dataset of the first frame."""
    gaps: Int[Tensor, "batch intervals"] | None = None
    """`[B, L-1]`: steps from a frame to the next, where they differ; always g where None."""

    def to(self, device: torch.device | str) -> Windows:
        """Return the windows on a device."""
        return self._each(lambda tensor: tensor.to(device))

    def first(self, rows: int) -> Windows:
        """Return the first so many windows."""
        return self._each(lambda tensor: tensor[:rows])

    def _each(self, change: Callable[[Tensor], Tensor]) -> Windows:
        return Windows(
            {key: change(value) for key, value in self.frames.items()},
            change(self.actions),
            change(self.past),
            change(self.past_known),
            change(self.start),
            None if self.gaps is None else change(self.gaps),
        )


class WindowSampler:
    """Draws batches of windows; each batch is a function of the seed and its number alone.

    So training resumes without a state of the sampler, and processes that train together each
    take their rows of the same batch. Gaps are drawn first, one for all or one for each interval, and
    then of all the windows with these gaps, each with the same probability; no window leaves its
    episode.
    """

    def __init__(
        self,
        cache: Cache,
        settings: WindowSettings,
        *,
        batch_size: int,
        seed: int,
        episodes: Sequence[int] | NDArray[np.int64] | None = None,
        keys: Sequence[str] | None = None,
    ) -> None:
        """Prepare to draw.

        Args:
            cache: what to draw from; it must hold `action`.
            settings: what a window is.
            batch_size: windows in a batch, over all processes.
            seed: chooses the windows; not negative.
            episodes: the episodes to draw from; None takes all.
            keys: the arrays to return; None takes all but the actions.

        Raises:
            KeyError: the cache does not hold a key.
            ValueError: no episode is long enough.
        """
        if batch_size < 1 or seed < 0:
            raise ValueError(f"batch_size={batch_size} and seed={seed}: at least 1, at least 0.")
        self.keys = [key for key in cache.arrays if key != ACTION] if keys is None else list(keys)
        missing = sorted({*self.keys, ACTION} - set(cache.arrays))
        if missing:
            raise KeyError(
                f"the cache {cache.folder} was opened without {missing}; it has "
                f"{sorted(cache.arrays)}."
            )
        self.cache = cache
        self.settings = settings
        self.batch_size = batch_size
        self.seed = seed
        chosen = np.arange(cache.episodes) if episodes is None else np.asarray(episodes, np.int64)
        self._starts, self._lengths = cache.starts[chosen], cache.lengths[chosen]
        spans = (settings.frames - 1) * settings.choices  # (G,)
        counts = np.maximum(cache.lengths[chosen] - spans[:, None], 0)  # (G, E)
        self.windows_by_gap: NDArray[np.int64] = counts.sum(axis=1)
        """How many different windows there are, by gap from the smallest."""
        if not len(chosen) or not self.windows_by_gap.all():
            longest = int(cache.lengths[chosen].max()) if len(chosen) else 0
            raise ValueError(
                f"{settings.frames} frames {settings.choices[-1]} steps apart need an episode of "
                f"{spans[-1] + 1} frames, and the longest of the {len(chosen)} has {longest}: "
                "choose smaller gaps or fewer frames, or collect longer episodes."
            )
        self._ends = counts.cumsum(axis=1)  # of all windows with a gap, where an episode's end

    def batch(self, index: int, rank: int = 0, world_size: int = 1) -> Windows:
        """Return batch number `index`, or the rows of it that process `rank` trains on.

        Raises:
            ValueError: the batch cannot be divided among the processes.
        """
        if self.batch_size % world_size or not 0 <= rank < world_size:
            raise ValueError(
                f"a batch of {self.batch_size} windows is not divided among {world_size} processes "
                f"(rank {rank}): choose a multiple."
            )
        gaps, first, start = self._drawn(index)
        share = self.batch_size // world_size
        rows = slice(rank * share, (rank + 1) * share)
        return self._cut(gaps[rows], first[rows], start[rows])

    def _drawn(self, index: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Return the gaps `(B, L-1)`, first frame and start of the episode `(B,)` of every window."""
        random = np.random.default_rng([self.seed, index])
        choices, size = self.settings.choices, (self.batch_size, self.settings.frames - 1)
        if self.settings.irregular:
            gaps = random.choice(choices, size)
            left = self._lengths - gaps.sum(axis=1, keepdims=True)
            ends = np.maximum(left, 0).cumsum(axis=1)  # (B, E)
            window = random.integers(0, ends[:, -1])
            episode = (ends <= window[:, None]).sum(axis=1)
            before = np.where(episode > 0, ends[np.arange(len(ends)), episode - 1], 0)
        else:
            row = int(random.integers(len(choices)))
            gaps = np.full(size, choices[row])
            window = random.integers(0, self.windows_by_gap[row], self.batch_size)
            episode = np.searchsorted(self._ends[row], window, side="right")
            before = np.where(episode > 0, self._ends[row][episode - 1], 0)
        start = self._starts[episode]
        return gaps, start + window - before, start

    def _cut(
        self, gaps: NDArray[np.int64], first: NDArray[np.int64], start: NDArray[np.int64]
    ) -> Windows:
        past, irregular = self.settings.past, self.settings.irregular
        rows = first[:, None] + np.pad(gaps.cumsum(axis=1), ((0, 0), (1, 0)))  # (B, L)
        most = int(self.settings.choices[-1]) if irregular else int(gaps[0, 0])
        steps = rows[:, :-1, None] + np.arange(most)  # (B, L-1, g)
        before = first[:, None] + np.arange(-past, 0)  # (B, H)
        known = before >= start[:, None]
        actions = self.cache.arrays[ACTION]
        # Behind the end of a gap any action will do, since it is not shown.
        taken = np.asarray(actions[np.minimum(steps, rows[:, -1:, None])])
        if irregular:
            taken = np.where((np.arange(most) < gaps[..., None])[..., None], taken, np.float32(0.0))
        earlier = np.where(known[..., None], actions[np.maximum(before, 0)], np.float32(0.0))
        return Windows(
            frames={key: torch.from_numpy(self._column(key, rows, start)) for key in self.keys},
            actions=torch.from_numpy(taken),
            past=torch.from_numpy(earlier),
            past_known=torch.from_numpy(known),
            start=torch.from_numpy(first),
            gaps=torch.from_numpy(gaps) if irregular else None,
        )

    def _column(self, key: str, rows: NDArray[np.int64], start: NDArray[np.int64]) -> NDArray[Any]:
        column: NDArray[Any] = self.cache.arrays[key]
        if not key.startswith(OUTCOME):
            chosen: NDArray[Any] = column[rows]
            return chosen
        before: NDArray[Any] = column[np.maximum(rows - 1, 0)]
        before[rows == start[:, None]] = 0
        return before


def split(
    episodes: int | Sequence[int] | NDArray[np.int64], validation_fraction: float, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the episodes to train on and the episodes to validate on, each in order.

    Whole episodes, so that validation never sees a neighbour of a frame that was trained on. At
    least one is validated on unless the fraction is 0, and at least one trained on.

    Args:
        episodes: how many, or which.
        validation_fraction: how many of them to validate on, in [0, 1).
        seed: chooses them.

    Raises:
        ValueError: the fraction is out of bounds, or there are too few episodes.
    """
    chosen = np.arange(episodes) if isinstance(episodes, int) else np.asarray(episodes, np.int64)
    if not 0 <= validation_fraction < 1:
        raise ValueError(f"validation_fraction is {validation_fraction}: it must be in [0, 1).")
    held_out = 0
    if validation_fraction > 0:
        held_out = max(1, round(validation_fraction * len(chosen)))
    if held_out >= len(chosen):
        raise ValueError(
            f"{len(chosen)} episodes are too few to validate on {validation_fraction:.0%} of them."
        )
    order = np.random.default_rng(seed).permutation(chosen)
    return np.sort(order[held_out:]), np.sort(order[:held_out])
