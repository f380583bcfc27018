"""What a latent world model is made from, and the names of what it predicts and carries."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from .base import COMMAND
from .decoder import DecoderConfig
from .encoders import ENCODERS, EncoderConfig
from .heads import REWARD, VALUE, HeadsConfig
from .latent_loss import LossConfig
from .planar_contact import PlanarContactPredictor
from .points import PointLayout
from .predictors import PREDICTORS, PredictorConfig

LATENT = "latent"
"""Prediction, and key of training frames that a frozen encoder has already encoded."""
DISAGREEMENT = "disagreement"
"""Prediction of an ensemble: variance between its members."""
LATENTS, PAST = "latents", "past_actions"
"""What a state carries beside its predictions and the last command."""


@dataclass(frozen=True)
class LatentConfig:
    """Everything that a latent world model is made from.

    Raises:
        ValueError: settings that cannot be, or not together.
    """

    observes: dict[str, tuple[int, ...]]
    """Shape of each observation; those of one dimension are flattened."""
    action_low: tuple[float, ...]
    """Least action of the environment."""
    action_high: tuple[float, ...]
    """Greatest action of the environment."""
    chunk: int = 1
    """Environment actions that make up one action of the model."""
    features: int = 16
    """Learned numbers of a latent, beside its points."""
    points: PointLayout = field(default_factory=PointLayout)
    """Keypoints that latents must give back."""
    points_in_latent: bool = True
    """Whether a latent begins with its points, or a readout has to find them in its features."""
    hold_point: str | None = None
    """Point set of one point whose normalised place is the action that keeps still."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    predictor: PredictorConfig = field(default_factory=PredictorConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    decoder: DecoderConfig | None = None
    """How latents become pictures; not at all where None."""
    heads: HeadsConfig | None = None
    """How reward and value are read off latents; not at all where None."""

    def __post_init__(self) -> None:
        bounds = list(zip(self.action_low, self.action_high, strict=False))
        _require(bool(self.observes), "observes must name at least one observation")
        _require(
            0 < len(bounds) == len(self.action_low) == len(self.action_high)
            and all(-math.inf < low < high < math.inf for low, high in bounds),
            f"action_low={self.action_low} and action_high={self.action_high} must be equally many "
            "finite numbers, each of the first below that of the second",
        )
        _require(self.chunk >= 1, f"chunk={self.chunk} must be at least 1")
        _require(self.features >= 0, f"features={self.features} must be at least 0")
        _require(self.latent_size >= 1, "features=0 leaves nothing where latents hold no points")
        _require_kind("encoder", self.encoder.kind, ENCODERS)
        _require_kind("predictor", self.predictor.kind, PREDICTORS)
        self._check_points()

    def _check_points(self) -> None:
        counts = {each.name: each.count for each in self.points.sets}
        taken = sorted({LATENT, DISAGREEMENT, LATENTS, PAST, COMMAND, REWARD, VALUE} & set(counts))
        _require(not taken, f"points.sets need other names than {taken}, which are taken")
        _require(
            self.points_in_latent or PREDICTORS[self.predictor.kind] is not PlanarContactPredictor,
            "predictor.kind='planar_contact' moves points, and needs points_in_latent=True",
        )
        _require(
            self.loss.consistency > 0 or self.points_size == 0,
            "with loss.consistency=0 nothing teaches the points of latents: choose "
            "points_in_latent=False, where a readout finds them",
        )
        if self.hold_point is not None:
            _require(
                counts.get(self.hold_point) == 1 and len(self.action_low) == 2,
                f"hold_point={self.hold_point!r} must be a set of one point, where actions are two "
                f"numbers; there are {counts} points, and actions of {len(self.action_low)}",
            )

    @property
    def points_size(self) -> int:
        """Numbers of a latent that are coordinates of points."""
        return 2 * self.points.count if self.points_in_latent else 0

    @property
    def latent_size(self) -> int:
        """Numbers in a latent."""
        return self.points_size + self.features


def _require(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(f"LatentConfig: {problem}.")


def _require_kind(part: str, kind: str, kinds: Mapping[str, object]) -> None:
    _require(kind in kinds, f"{part}.kind={kind!r} must be one of {sorted(kinds)}")
