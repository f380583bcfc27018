"""Planning by gradient descent through a differentiable model."""

from __future__ import annotations

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from .candidates import Candidates
from .descent import Descent
from .noise import Streams
from .search import SearchPlanner, Strategy
from .settings import require_at_least, require_count, require_positive
from .start import Start


@dataclass(frozen=True)
class GradientPlanner(SearchPlanner):
    """Adam from many starting plans at once, through the model.

    The first plan descends from the mean undisturbed; the others start around it and are shaken
    by noise that fades. The best plan along all paths is returned.

    Raises:
        ValueError: A setting is out of its range; when planning, the model is not differentiable.
    """

    iterations: int = 60
    """Points of each path that are evaluated, a gradient step between one and the next; a time
    budget can end the search earlier."""
    restarts: int = 16
    """Plans that descend side by side."""
    learning_rate: float = 0.1
    """First step size, in coordinates `u` with `a = centre + half_range tanh(u)`."""
    gradient_clip: float | None = 1.0
    """Largest norm of the gradient of one plan; None does not clip."""
    initial_std: float = 0.5
    """Spread of the starting plans, as a fraction of half the range of the bounds."""
    noise: float = 0.02
    """Spread of the noise added after the first step, in coordinates; it fades linearly."""

    def __post_init__(self) -> None:
        super().__post_init__()
        require_count(self, "restarts")
        require_positive(self, "learning_rate")
        if self.gradient_clip is not None:
            require_positive(self, "gradient_clip")
        require_at_least(self, "initial_std", 0.0)
        require_at_least(self, "noise", 0.0)

    def strategy(self, candidates: Candidates, start: Start, streams: Streams) -> Strategy:
        """Return plans that descend."""
        return _Descending(self, candidates, start, streams)


class _Descending:
    std = None
    alternatives = None

    def __init__(
        self,
        settings: GradientPlanner,
        candidates: Candidates,
        start: Start,
        streams: Streams,
    ) -> None:
        candidates.check_differentiable()
        self._candidates = candidates
        self._streams = streams
        self._noise = settings.noise
        self._last, self._final = settings.iterations - 1, False
        self._gradients: Tensor | None = None
        self._shape = (settings.restarts, candidates.horizon, candidates.low.shape[0])
        spread = settings.initial_std * candidates.half_range
        actions = start.mean.unsqueeze(1) + spread * streams.normal(*self._shape)
        given = min(start.plans.shape[1], settings.restarts)
        actions[:, :given] = start.plans[:, :given]
        self._initial = candidates.clip(actions)
        self._descent = Descent(
            candidates,
            self._initial,
            steps=settings.iterations,
            learning_rate=settings.learning_rate,
            gradient_clip=settings.gradient_clip,
        )

    def propose(self, iteration: int) -> Float[Tensor, "batch candidates horizon action"]:
        # A step is made when its end is about to be evaluated, so that none is made for nothing.
        if self._gradients is not None:
            self._step(self._gradients)
        self._final = iteration >= self._last
        # Coordinates cannot express a plan on the bounds exactly, and a warm start often is one.
        return self._initial if iteration == 0 else self._descent.actions

    def learn(self, actions: Float[Tensor, "batch candidates horizon action"]) -> None:
        if self._final:  # no step follows, so there is no need of a gradient
            self._candidates.evaluate(actions)
            self._gradients = None
        else:
            _, self._gradients = self._candidates.evaluate_with_gradients(actions)

    def _step(self, gradients: Tensor) -> None:
        noise = None
        if self._noise > 0:
            scale = self._noise * self._descent.remaining
            noise = scale * self._streams.normal(*self._shape)
            noise[:, 0] = 0.0
        self._descent.step(gradients, noise)
