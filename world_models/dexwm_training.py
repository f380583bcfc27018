"""How a DexWM learns: features of later frames, and where the hand is in them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from .cameras import Camera
from .cdit_rollout import Context, closed_loop
from .data.windows import Windows
from .dexwm import DexWM, DexWMConfig
from .frame_encoder import FEATURES
from .hand_actions import camera_only, wrists_and_camera
from .hand_keypoints import WRIST_AND_TIPS, hand_action
from .heatmaps import correct_keypoints, draw_heatmaps, hand_consistency, hard_argmax
from .kinematics import Kinematics

ACTIONS = {"hands": lambda moved: moved, "wrists": wrists_and_camera, "camera": camera_only}
"""What a model hears of actions: all; wrists and camera, as PEVA does; the camera, as NWM does."""


@dataclass(frozen=True)
class DexWMTrainingConfig:
    """A model, and what it learns from."""

    model: DexWMConfig = field(default_factory=DexWMConfig)
    """The model."""
    joints: str = "proprio"
    """Observation of the robot's joints [rad], of which kinematics make keypoints."""
    camera: str = "camera_torso"
    """Observation of the calibration of the camera that took the frames."""
    actions: str = "hands"
    """What the model hears of actions: hands, wrists (PEVA's), or camera (NWM's)."""
    hand: float = 100.0
    """Weight of the hand consistency: the squared error of heatmaps."""
    empty: bool = True
    """Whether that is a mean over all maps, so that those of keypoints outside of the image learn to
    stay empty: a head then tells where there is no hand (`least_peak`). The mean over the keypoints in
    the image alone, where false, is DexWM's."""
    sigma: float = 2.0
    """Width of true heatmaps [cells]."""
    closed_loop: int = 0
    """Frames that are predicted one from another, from the first one alone; 0: each is predicted
    from true ones only."""

    def __post_init__(self) -> None:
        if self.actions not in ACTIONS:
            raise ValueError(
                f"DexWMTrainingConfig(actions={self.actions!r}): one of {list(ACTIONS)}."
            )
        if self.hand < 0 or self.closed_loop < 0 or not self.sigma > 0:
            raise ValueError(
                "DexWMTrainingConfig: hand and closed_loop must not be negative, sigma must be "
                f"positive; got {self.hand}, {self.closed_loop}, {self.sigma}."
            )


@dataclass(frozen=True)
class _Lesson:
    """What windows teach."""

    features: Float[Tensor, "batch frames patches features"]
    moved: Float[Tensor, "batch transitions condition"]
    pixels: Float[Tensor, "batch frames points 2"]
    visible: Bool[Tensor, "batch frames points"]


class DexWMTraining(nn.Module):
    """The loss of a DexWM: `L_state + hand * L_hand` (its section 3.3), open loop and closed.

    Each frame is predicted from the true ones before it; with `closed_loop` frames, those after the
    first are predicted from predictions too, from the first frame alone, as planning does. Heatmaps
    are drawn from predictions, and from true features, which goals are.

    Args:
        config: The model and the loss.
        kinematics: From joints to the 21 keypoints of the hand.
    """

    def __init__(self, config: DexWMTrainingConfig, kinematics: Kinematics) -> None:
        super().__init__()
        self.config, self.kinematics = config, kinematics
        self.model = DexWM(config.model)

    def training_loss(
        self, windows: Windows, progress: float
    ) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        """Return the loss of windows, and its terms.

        Raises:
            ValueError: windows are longer than the model's context, or than `closed_loop` allows.
        """
        lesson, weight = self._lesson(windows.frames), self.config.hand
        features, predictor = lesson.features, self.model.predictor
        if lesson.moved.shape[1] > predictor.config.context:
            raise ValueError(
                f"windows of {features.shape[1]} frames, and the model looks back on "
                f"{predictor.config.context}: choose data.frames up to that, and one more."
            )
        forced = predictor(features[:, :-1], lesson.moved)
        terms = {"state": (forced - features[:, 1:]).square().mean()}
        drawn = [(forced, slice(1, None)), (features, slice(None))]
        if self.config.closed_loop:
            rolled = self._rolled(lesson, self.config.closed_loop)
            steps = rolled.shape[1]
            terms["closed_loop"] = (rolled - features[:, 1 : steps + 1]).square().mean()
            drawn.append((rolled, slice(1, steps + 1)))
        if self.model.head is not None and weight > 0:
            terms["hand"] = weight * sum(
                (self._consistency(*each, lesson) for each in drawn), start=torch.zeros(())
            )
        total = torch.stack([*terms.values()]).sum()
        return total, {name: term.detach() for name, term in terms.items()}

    @torch.no_grad()
    def errors(self, windows: Windows) -> dict[str, float]:
        """Return errors by frames ahead, predicted one from another from the first frame alone.

        `latent` is the mean squared error of features, `still` that of the first frame, `shuffled`
        that of other windows' actions; `keypoints` the mean distance [px], and `pck20` the part
        within 20 px of an image 224 px high, of those that are in the image; `pck20_all` the same of
        all, those outside being missed, as DexWM's paper counts.
        """
        lesson = self._lesson(windows.frames)
        steps = lesson.moved.shape[1]
        rolled = self._rolled(lesson, steps)
        wrong = self._rolled(lesson, steps, lesson.moved.roll(1, 0))
        truth = lesson.features[:, 1:]
        found: dict[str, float] = {}
        for ahead in range(steps):
            name, then = str(ahead + 1), truth[:, ahead]
            found[f"latent_{name}"] = float((rolled[:, ahead] - then).square().mean())
            found[f"shuffled_{name}"] = float((wrong[:, ahead] - then).square().mean())
            found[f"still_{name}"] = float((lesson.features[:, 0] - then).square().mean())
            if self.model.head is None:
                continue
            heatmaps = self._heatmaps(rolled[:, ahead])
            places = hard_argmax(heatmaps, self.model.head.config.stride)
            visible, pixels = lesson.visible[:, ahead + 1], lesson.pixels[:, ahead + 1]
            distances = torch.linalg.vector_norm(places - pixels, dim=-1)
            found[f"keypoints_{name}"] = float(distances[visible].mean())
            height = self.model.config.grid[0] * self.model.config.patch
            shares = correct_keypoints(places, pixels, visible, height)
            found[f"pck20_{name}"] = float(shares.of_valid)
            found[f"pck20_all_{name}"] = float(shares.of_all)
        return found

    @torch.no_grad()
    def strip(self, windows: Windows, rows: int = 4) -> Tensor:
        """Return predicted heatmaps above true ones, a row of frames for every window, uint8."""
        lesson = self._lesson(windows.first(rows).frames)
        rolled = self._rolled(lesson, lesson.moved.shape[1])
        drawn = self._heatmaps(rolled).amax(2).clamp(0, 1)
        truth = self._truth(lesson, slice(1, None)).amax(2)
        both = torch.stack([drawn, truth], dim=1)  # [R, 2, T, H, W]
        picture = both.permute(0, 1, 3, 2, 4).flatten(3).flatten(0, 2)
        return (255 * picture[..., None].expand(-1, -1, 3)).round().byte().cpu()

    def _lesson(self, frames: Mapping[str, Tensor]) -> _Lesson:
        features = frames[FEATURES].to(self.model.predictor.positions)
        calibration = frames[self.config.camera][:, 0].to(features)
        keypoints = self.kinematics.positions(frames[self.config.joints].to(features))
        height, width = (cells * self.model.config.patch for cells in self.model.config.grid)
        camera = Camera.from_vector(calibration[:, None], height, width)
        moved = keypoints.diff(dim=1) @ camera.rotation
        seen = camera.project(keypoints[:, :, list(WRIST_AND_TIPS)])
        action = ACTIONS[self.config.actions](hand_action(moved, self.model.config.hand))
        return _Lesson(features, action, seen.pixels, seen.visible)

    def _rolled(self, lesson: _Lesson, steps: int, moved: Tensor | None = None) -> Tensor:
        """Return the frames that follow the first one alone, `[B, T, P, E]`."""
        size = self.model.predictor.config.context
        frames = lesson.features[:, :1].expand(-1, size, -1, -1)
        moved = (lesson.moved if moved is None else moved)[:, :steps]
        into = moved.new_zeros(len(moved), size, moved.shape[2])
        context = Context(frames, into, self.model.predictor, training=torch.is_grad_enabled())
        return closed_loop(self.model.predictor, context, moved[:, None])[:, 0]

    def _consistency(self, features: Tensor, frames: slice, lesson: _Lesson) -> Tensor:
        valid = None if self.config.empty else lesson.visible[:, frames]
        return hand_consistency(self._heatmaps(features), self._truth(lesson, frames), valid)

    def _heatmaps(self, features: Tensor) -> Tensor:
        assert self.model.head is not None
        drawn: Tensor = self.model.head(features, self.model.config.maps)
        return drawn

    def _truth(self, lesson: _Lesson, frames: slice) -> Tensor:
        assert self.model.head is not None
        return draw_heatmaps(
            lesson.pixels[:, frames],
            lesson.visible[:, frames],
            self.model.head.size,
            stride=self.model.head.config.stride,
            sigma=self.config.sigma,
        )
