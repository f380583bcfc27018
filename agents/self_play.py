"""Self-play: an explorer that heads for the object, through it and around it, at varied speeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space
from numpy.typing import NDArray

from .base import Actions, BatchedObservation, restarted, rows_of

_TINY = 1e-12
Points = NDArray[np.float64]
"""Positions in the units of the workspace, `(..., D)`."""


@dataclass(frozen=True)
class SelfPlaySettings:
    """How `SelfPlay` plays; lengths are shares of the workspace's mean width.

    The workspace and the two observation keys are PushT's by default.
    """

    object_key: str = "keypoints"
    """Observation of points on the object, `(K, D)`."""
    agent_key: str = "proprio"
    """Observation of the agent's position, `(D,)`."""
    low: tuple[float, ...] = (0.0, 0.0)
    """The workspace's corner that the lowest action commands, in units of the observations."""
    high: tuple[float, ...] = (512.0, 512.0)
    """The corner that the highest action commands."""
    margin: float = 0.03
    """Targets stay this far inside the workspace."""
    border: float = 0.24
    """An object whose middle is nearer to the border than this is brought back inwards."""
    slowest: float = 0.01
    """Least distance that the target moves in a step."""
    fastest: float = 0.07
    """Most of it."""
    longest: int = 10
    """Steps after which the agent looks again, at the latest."""
    random_share: float = 0.06
    """Share of the legs that head anywhere."""
    reverse_share: float = 0.05
    """Share of the legs that go back to where the last one began."""
    pause_share: float = 0.04
    """Share of the legs that stand still."""

    def __post_init__(self) -> None:
        if len(self.low) != len(self.high) or not np.all(np.less(self.low, self.high)):
            raise ValueError(
                f"the workspace from low={tuple(self.low)} to high={tuple(self.high)} is empty: "
                "give corners of the same length, low below high."
            )
        if not 0 < self.slowest <= self.fastest:
            raise ValueError(
                f"slowest={self.slowest}, fastest={self.fastest}: choose 0 < slowest <= fastest."
            )
        if not 0 <= self.margin < 0.5 or not 0 <= self.border < 0.5:
            raise ValueError(
                f"margin={self.margin}, border={self.border}: both are shares below 0.5."
            )
        if self.longest < 1:
            raise ValueError(f"longest={self.longest}: a leg lasts at least 1 step.")
        shares = (self.random_share, self.reverse_share, self.pause_share)
        if min(shares) < 0 or sum(shares) > 1:
            raise ValueError(
                f"random_share, reverse_share and pause_share are {shares}: choose shares of at "
                "least 0 that add to at most 1; the rest of the legs push."
            )


@dataclass(frozen=True)
class SelfPlayState:
    """The leg that each row is on: a quadratic Bezier curve of the commanded target."""

    seeds: NDArray[np.int64]
    """Seed of the episode, `(B,)`."""
    legs: NDArray[np.int64]
    """Legs begun in the episode, `(B,)`."""
    age: NDArray[np.int64]
    """Steps taken of the leg, `(B,)`."""
    steps: NDArray[np.int64]
    """Steps that the leg lasts, `(B,)`."""
    curve: Points
    """Where the leg begins, the point it bends towards and where it ends, `(B, 3, D)`."""


class SelfPlay:
    """Moves its target along legs that touch the object often, wherever the object is.

    Most legs push: through a random point of the object and some way beyond; or, first, to the side
    of the object from which such a push leads where it shall. An object near the border is pushed
    inwards, from the side of the border where there is room. Other legs head anywhere, go back, or
    pause. Legs bend, begin where the last one ended, and have one speed each.

    Everything that a leg draws comes from a generator of its own, seeded with (episode seed, legs
    so far), so that `predict` changes nothing and the same state always gives the same action.

    Raises:
        TypeError: the actions are no bounded `Box` `(D,)` of target positions.
    """

    def __init__(
        self, action_space: Space[Any], settings: SelfPlaySettings | None = None, seed: int = 0
    ) -> None:
        self.settings = settings or SelfPlaySettings()
        self.low = np.array(self.settings.low, np.float64)
        self.high = np.array(self.settings.high, np.float64)
        if not isinstance(action_space, Box) or not action_space.is_bounded():
            raise TypeError(f"self-play commands targets in a bounded Box, not in {action_space}.")
        if action_space.shape != self.low.shape:
            raise TypeError(
                f"self-play in a workspace of {len(self.low)} dimensions needs as many actions, "
                f"not {action_space}."
            )
        self.action_space, self.seed = action_space, seed
        self._width = float((self.high - self.low).mean())
        room = self.settings.margin * self._width
        self._nearest, self._farthest = self.low + room, self.high - room

    @property
    def observes(self) -> frozenset[str]:
        """Where the agent and the object are."""
        return frozenset({self.settings.object_key, self.settings.agent_key})

    def start(self, seeds: Sequence[int]) -> SelfPlayState:
        """No leg has begun."""
        zeros = np.zeros(len(seeds), np.int64)
        curve = np.zeros((len(seeds), 3, len(self.low)))
        return SelfPlayState(np.asarray(seeds, np.int64), zeros, zeros, zeros, curve)

    def take(self, state: SelfPlayState, rows: NDArray[np.intp]) -> SelfPlayState:
        """Return the given rows."""
        return replace(
            state, **{part.name: getattr(state, part.name)[rows] for part in fields(state)}
        )

    def predict(
        self,
        observation: BatchedObservation,
        state: SelfPlayState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = True,
    ) -> tuple[Actions, SelfPlayState]:
        """Advance every row's target along its leg; raise `KeyError` for what is not observed."""
        missing = sorted(self.observes - set(observation))
        if missing:
            raise KeyError(f"the observation lacks {missing}; it has {sorted(observation)}.")
        rows = rows_of(observation)
        started = restarted(state, episode_start, rows)
        state = state or self.start([self.seed + row for row in range(rows)])
        agent = np.asarray(observation[self.settings.agent_key], np.float64)
        points = np.asarray(observation[self.settings.object_key], np.float64)
        points = points.reshape(rows, -1, agent.shape[1])

        legs, steps, curve = state.legs.copy(), state.steps.copy(), state.curve.copy()
        first = started | (legs == 0)
        age = state.age + 1
        due = first | (age > steps)
        age[due] = 1
        for row in np.flatnonzero(due):
            # An episode that starts over goes on drawing, and so is not the same again.
            legs[row] += 1
            rng = np.random.default_rng((int(state.seeds[row]), int(legs[row])))
            before = np.stack([agent[row]] * 3) if first[row] else curve[row]
            curve[row], steps[row] = self._leg(rng, before, agent[row], points[row])
        now = (age / steps)[:, None]
        begin, bend, end = curve[:, 0], curve[:, 1], curve[:, 2]
        target = (1 - now) ** 2 * begin + 2 * now * (1 - now) * bend + now**2 * end
        return self._action(target), SelfPlayState(state.seeds, legs, age, steps, curve)

    def _action(self, target: Points) -> Actions:
        """Return target positions `(B, D)` as actions."""
        space = self.action_space
        share = (target - self.low) / (self.high - self.low)
        action = space.low + share * (space.high - space.low)
        inside: Actions = np.clip(action, space.low, space.high).astype(np.float32)
        return inside

    def _leg(
        self, rng: np.random.Generator, before: Points, agent: Points, points: Points
    ) -> tuple[Points, int]:
        """Draw the next leg: its curve `(3, D)` and how many steps it lasts."""
        play, begin = self.settings, before[2]
        kind, pace, bent = rng.random(3).tolist()
        if kind < play.pause_share:
            return np.stack([begin] * 3), int(rng.integers(1, 9))
        kind -= play.pause_share
        speed = self._width * (play.slowest + pace * (play.fastest - play.slowest))
        if kind < play.reverse_share:
            end = before[0]
        elif kind < play.reverse_share + play.random_share:
            end = rng.uniform(self._nearest, self._farthest)
        else:
            end, hurried = self._push(rng, agent, points)
            if hurried:
                speed = max(speed, 0.8 * self._width * play.fastest)
        way = self._inside(end) - begin
        length = _norm(way)
        if length > play.longest * speed:
            way, length = way * (play.longest * speed / length), play.longest * speed
        sideways = rng.normal(size=len(way))
        sideways -= (sideways @ way) / max(length * length, _TINY) * way
        sideways *= 0.3 * bent * length / max(_norm(sideways), _TINY)
        bend = self._inside(begin + way / 2 + sideways)
        return np.stack([begin, bend, begin + way]), max(1, math.ceil(length / speed))

    def _push(self, rng: np.random.Generator, agent: Points, points: Points) -> tuple[Points, bool]:
        """Return where a leg that touches the object ends, and whether only to get near it."""
        width = self._width
        middle = points.sum(axis=0) / len(points)
        apart = points - middle
        radius = math.sqrt(float((apart * apart).sum(axis=1).max()))
        one, other = rng.integers(len(points), size=2).tolist()
        share, far = rng.random(2).tolist()
        through = points[one] + share * (points[other] - points[one])
        way = through - agent
        distance = _norm(way)
        border = self.settings.border * width
        inwards = 1.0 * (middle - self.low < border) - 1.0 * (self.high - middle < border)
        if inwards.any():
            inwards += rng.normal(0.0, 0.3, len(inwards))
            inwards /= max(_norm(inwards), _TINY)
            if float(way @ inwards) < 0.4 * distance:  # not on the side to push from
                return middle - (radius + 0.08 * far * width) * inwards, True
        elif distance > radius + 0.1 * width:
            # From afar, come near first: travelling at the speed of a push would take long.
            return agent + way * (1 - (0.6 * radius + 0.04 * width) / distance), True
        return through + way * ((0.05 + 0.35 * far) * width / max(distance, _TINY)), False

    def _inside(self, position: Points) -> Points:
        """Return the position, or the nearest one that keeps the margin."""
        return np.minimum(np.maximum(position, self._nearest), self._farthest)


def _norm(vector: Points) -> float:
    return math.sqrt(float(vector @ vector))
