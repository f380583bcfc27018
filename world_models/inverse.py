"""The inverse model: what to do now, in order to be somewhere some steps later."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from .configuration import to_json
from .data.windows import Windows
from .latent import LATENT, LatentWorldModel
from .layers import FourierFeatures, ResidualMLP
from .open_loop import STEPS
from .planar_contact import PlanarContactPredictor, fit_frame, turn, turn_back
from .points import PointLayout
from .pretrained import Pretrained

_LONGEST_WAVE = 1.5625  # of the features of a pusher seen from the body, as in planar_contact
_OCTAVES = 5


@dataclass(frozen=True)
class InverseConfig:
    """Everything that an inverse model is made from; `of_world_model` knows the first half."""

    reads: str
    """Fingerprint of the latents that it reads."""
    points: PointLayout
    """Keypoints with which a reading begins."""
    features: int
    """Numbers of a reading that follow them."""
    action_low: tuple[float, ...]
    """Least action of the environment."""
    action_high: tuple[float, ...]
    """Greatest action of the environment."""
    hold_point: str | None = None
    """Point set of one point whose place is the action that keeps still."""
    history: int = 8
    """Past actions that are looked at."""
    body: bool = False
    """Whether the points are a pusher and a rigid body; all is then seen from the body."""
    chunk: int = 5
    """Actions that are given at once."""
    longest: int = 50
    """Most steps to a goal."""
    width: int = 256
    """Width of the hidden layers."""
    depth: int = 3
    """Residual blocks."""
    beta: float = 0.01
    """Error of an action below which the loss is quadratic [action units]."""

    def __post_init__(self) -> None:
        for name in ("history", "chunk", "longest", "width", "depth"):
            if getattr(self, name) < 1:
                raise ValueError(
                    f"InverseConfig({name}) must be at least 1, got {getattr(self, name)}."
                )
        if not self.beta > 0:
            raise ValueError(f"InverseConfig(beta) must be positive, got {self.beta}.")

    @property
    def reading_size(self) -> int:
        """Numbers in a reading."""
        return 2 * self.points.count + self.features


def of_world_model(model: LatentWorldModel) -> dict[str, Any]:
    """Return the settings of an inverse model that follow from the world model, as JSON."""
    config = model.config
    planar = isinstance(model.predictors[0], PlanarContactPredictor)
    return {
        "reads": latents_fingerprint(model),
        "points": to_json(config.points),
        "features": config.features if config.points_in_latent else config.latent_size,
        "action_low": list(config.action_low),
        "action_high": list(config.action_high),
        "hold_point": config.hold_point,
        "history": config.predictor.history,
        "body": planar,
    }


def latents_fingerprint(model: LatentWorldModel) -> str:
    """Return what changes whenever an observation would be read as other numbers."""
    config = model.config
    parts = [config.observes, config.encoder, config.points, config.points_in_latent]
    digest = hashlib.sha256(json.dumps([to_json(part) for part in parts]).encode())
    # An encoder that learns nothing copies points, and what it has measured plays no part.
    learned = ("encoder.", "readout.") if any(True for _ in model.encoder.parameters()) else ()
    for name, tensor in model.state_dict().items():
        if name.startswith(learned):
            digest.update(name.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]


def read(
    model: LatentWorldModel, latent: Float[Tensor, "*rows latent"]
) -> Float[Tensor, "*rows reading"]:
    """Return normalised points, and after them the other numbers of a latent."""
    if model.readout is None:
        return latent
    return torch.cat([model.points(latent).flatten(-2), latent], dim=-1)


class InverseModel(Pretrained, nn.Module):
    """Regresses the actions that led from one latent to another, so many steps later.

    `a_1 .. a_k = hold(z) + f(z, z_goal, steps, past actions)`: a residual perceptron on readings of
    frozen latents. It is taught by hindsight: whatever came of the actions of a dataset was their
    goal. Of a pusher and a body, both readings are seen from the body as it is now, and so are the
    actions: what works somewhere works everywhere, but for the walls.

    Planning is worth its time where it beats this, which is one pass through a small network.
    """

    config_class: ClassVar[type[Any]] = InverseConfig
    template: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, config: InverseConfig) -> None:
        super().__init__()
        self.config = config
        self.action_size = len(config.action_low)
        self.register_buffer("low", torch.tensor(config.action_low), persistent=False)
        self.register_buffer("high", torch.tensor(config.action_high), persistent=False)
        count = config.points.count
        self.waves = FourierFeatures(_LONGEST_WAVE, _OCTAVES)
        if config.body:
            self.register_buffer("template", torch.zeros(count - 1, 2))
        shown = self._inputs(
            torch.zeros(1, config.reading_size),
            torch.zeros(1, config.reading_size),
            torch.ones(1, dtype=torch.int64),
            torch.zeros(1, config.history, self.action_size),
        )[0]
        outputs = config.chunk * self.action_size
        self.network = ResidualMLP(shown.shape[1], outputs, config.width, config.depth)

    def fit(self, model: LatentWorldModel) -> None:
        """Take the shape of the body from the world model."""
        if self.config.body:
            predictor = model.predictors[0]
            assert isinstance(predictor, PlanarContactPredictor)
            self.template.copy_(predictor.template)

    def hold_action(self, reading: Float[Tensor, "rows reading"]) -> Float[Tensor, "rows action"]:
        """Return the environment action that keeps still: that of the hold point, or zero."""
        config = self.config
        if config.hold_point is None:
            return reading.new_zeros(len(reading), self.action_size)
        place = self._points(reading)[:, config.points.part(config.hold_point)]
        return torch.clamp(place[:, 0], self.low, self.high)

    def forward(
        self,
        reading: Float[Tensor, "rows reading"],
        goal: Float[Tensor, "rows reading"],
        steps: Int[Tensor, " rows"],
        past: Float[Tensor, "rows history action"],
    ) -> Float[Tensor, "rows chunk action"]:
        """Return the next actions, which may lie outside the bounds.

        Args:
            reading: where things are.
            goal: where they shall be.
            steps: how many steps later; actions beyond them have no meaning.
            past: environment actions before, newest last.
        """
        inputs, axes = self._inputs(reading, goal, steps, past)
        change = torch.unflatten(self.network(inputs).float(), 1, (self.config.chunk, -1))
        if axes is not None:
            change = turn(change, axes[:, None])
        return self.hold_action(reading)[:, None] + change

    def act(
        self,
        reading: Float[Tensor, "rows reading"],
        goal: Float[Tensor, "rows reading"],
        steps: Int[Tensor, " rows"],
        past: Float[Tensor, "rows history action"],
    ) -> Float[Tensor, "rows chunk action"]:
        """Return the next actions, inside the bounds; steps beyond the longest are not counted."""
        with torch.no_grad():
            actions: Tensor = self(reading, goal, steps.clamp(1, self.config.longest), past)
            return torch.clamp(actions, self.low, self.high)

    def _points(self, reading: Tensor) -> Float[Tensor, "rows points 2"]:
        return torch.unflatten(reading[:, : 2 * self.config.points.count], 1, (-1, 2))

    def _inputs(
        self, reading: Tensor, goal: Tensor, steps: Tensor, past: Tensor
    ) -> tuple[Float[Tensor, "rows inputs"], Float[Tensor, "rows 2 2"] | None]:
        """Return what the network is shown, and the body's axes where it is seen from the body."""
        left = steps[:, None].to(reading)
        pace = self.config.chunk / left
        soon = torch.cat([left / self.config.longest, pace], dim=1)
        if not self.config.body:
            past = (past - self.hold_action(reading)[:, None]).flatten(1)
            shown = [reading, goal, goal - reading, pace * (goal - reading), past, soon]
            return torch.cat(shown, dim=1), None
        points, aim = self._points(reading), self._points(goal)
        both = torch.stack([points, aim])
        origins, axes = fit_frame(both[:, :, 1:], self.template)
        # Pusher now and at the goal, both seen from the body now and from the body at the goal.
        pushers = both[:, :, 0].transpose(0, 1) - origins[:, :, None]
        seen = turn_back(pushers, axes[:, :, None]).transpose(0, 1).flatten(1)
        ways = torch.cat([aim - points, past - points[:, :1]], dim=1)
        local = turn_back(ways, axes[0, :, None]).flatten(1)
        moves, before = local[:, : aim[0].numel()], local[:, aim[0].numel() :]
        places = torch.cat([origins, axes[:, :, 0]], dim=2).transpose(0, 1).flatten(1)
        features = [each[:, 2 * self.config.points.count :] for each in (reading, goal)]
        waves = self.waves(seen)
        shown = [5.0 * seen, waves, 5.0 * moves, 5.0 * pace * moves, 5.0 * before, soon]
        return torch.cat([*shown, places, *features], dim=1), axes[0]

    # Training

    def training_loss(
        self, windows: Windows, progress: float
    ) -> tuple[Float[Tensor, ""], dict[str, Float[Tensor, ""]]]:
        """Return the smooth L1 error of actions: every row's goal is a random later frame."""
        readings = windows.frames[LATENT]
        rows = torch.arange(len(readings), device=readings.device)
        frame = torch.randint(1, readings.shape[1], (len(rows),), device=readings.device)
        steps = frame * windows.actions.shape[2]
        taken = windows.actions.flatten(1, 2)[:, : self.config.chunk]
        told = self(readings[:, 0], readings[rows, frame], steps, self.past(windows))
        error = functional.smooth_l1_loss(
            told[:, : taken.shape[1]], taken, beta=self.config.beta, reduction="none"
        ).mean(2)
        before = torch.arange(taken.shape[1], device=rows.device) < steps[:, None]
        loss = (error * before).sum() / before.sum()
        return loss, {"actions": loss}

    def past(self, windows: Windows) -> Float[Tensor, "batch history action"]:
        """Return the actions before windows; those that were not taken are those that hold still."""
        latest = windows.past.shape[1] - self.config.history
        hold = self.hold_action(windows.frames[LATENT][:, 0])[:, None]
        known = windows.past_known[:, latest:, None]
        return torch.where(known, windows.past[:, latest:], hold)


@torch.no_grad()
def action_errors(
    model: InverseModel, windows: Windows, steps: Sequence[int] = STEPS
) -> dict[str, float]:
    """Return mean distances between actions taken and predicted, for goals so many steps later.

    `action_<n>` is the model's, in units of the actions, and `action_<n>_hold` that of holding
    still.

    Args:
        model: what predicts.
        windows: readings one step apart, `[B, L, ...]`; steps beyond them are left out.
        steps: numbers of environment steps to the goal.
    """
    readings, actions = windows.frames[LATENT], windows.actions.flatten(1, 2)
    hold = model.hold_action(readings[:, 0])[:, None]
    errors = {}
    for step in steps:
        if step > min(actions.shape[1], model.config.longest):
            continue
        taken = actions[:, : min(step, model.config.chunk)]
        ahead = torch.full((len(actions),), step, device=readings.device)
        told = model.act(readings[:, 0], readings[:, step], ahead, model.past(windows))
        errors[f"action_{step}"] = float((told[:, : taken.shape[1]] - taken).norm(dim=2).mean())
        errors[f"action_{step}_hold"] = float((hold - taken).norm(dim=2).mean())
    return errors
