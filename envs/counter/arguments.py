"""What the counter is asked for: scenes and reset options, checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from ..arguments import check_choice, checked_numbers
from .layouts import LAYOUTS
from .objects import TARGETS, THINGS
from .scene import Scene
from .simulation import ACTIONS, STATE_SIZE
from .styles import STYLES

RANDOM: Final = "random"
"""The name of a layout, a style or an object that is drawn anew for every episode."""

OPTIONS: Final = ("layout", "style", "object", "distractors", "state", "goal")


@dataclass(frozen=True)
class SceneChoice:
    """Which scenes episodes may have."""

    layout: str = RANDOM
    style: str = RANDOM
    object: str = RANDOM
    distractors: int | tuple[str, ...] = 2
    """How many of the things, or which of them."""

    def __post_init__(self) -> None:
        check_choice("layout", self.layout, (RANDOM, *LAYOUTS))
        check_choice("style", self.style, (RANDOM, *STYLES))
        check_choice("object", self.object, (RANDOM, *TARGETS))
        if isinstance(self.distractors, int):
            check_choice("distractors", self.distractors, range(len(THINGS)))
            return
        for name in self.distractors:
            check_choice("distractors", name, [name for name in THINGS if name != self.object])

    def draw(self, rng: np.random.Generator) -> Scene:
        """Draw a scene."""
        names = {
            name: str(rng.choice(list(known))) if chosen == RANDOM else chosen
            for name, chosen, known in (
                ("layout", self.layout, LAYOUTS),
                ("style", self.style, STYLES),
                ("target", self.object, TARGETS),
            )
        }
        if isinstance(self.distractors, int):
            others = rng.permutation([name for name in THINGS if name != names["target"]])
            chosen = frozenset(others[: self.distractors].tolist())
        else:
            chosen = frozenset(self.distractors) - {names["target"]}
        return Scene(**names, others=chosen)


def distractors_of(value: object) -> int | tuple[str, ...]:
    """Return the argument `distractors` as a number or as names.

    Raises `ValueError` for what is neither: a truth value, a fraction, a name that is not in a list.
    """
    if isinstance(value, int | np.integer) and not isinstance(value, bool):
        return int(value)
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return tuple(value)
    raise ValueError(
        f"distractors={value!r}: give how many other things stand on the counter, 0 to "
        f"{len(THINGS) - 1}, or a list of their names, of {list(THINGS)}."
    )


def checked_options(options: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the reset options, states as arrays; raise `ValueError` for what cannot be one."""
    checked = dict(options or {})
    for name in checked:
        check_choice("the reset option", name, OPTIONS)
    if "distractors" in checked:
        checked["distractors"] = distractors_of(checked["distractors"])
    for name in {"state", "goal"} & set(checked):
        meaning = "a task state: joints and velocities, poses and velocities of all things"
        checked[name] = checked_numbers(checked, name, STATE_SIZE, meaning)
        poses = checked[name][2 * ACTIONS :][: 7 * len(THINGS)].reshape(-1, 7)
        if (np.abs(np.linalg.norm(poses[:, 3:], axis=1) - 1.0) > 1e-3).any():
            raise ValueError(
                f"options[{name!r}] has quaternions that are not of length 1 among the poses of "
                f"{list(THINGS)}."
            )
    return checked
