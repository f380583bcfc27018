"""What a DexWM is made from, and the sizes of its paper."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from .cdit import CDiTConfig
from .configuration import added
from .hand_keypoints import FLEXIONS_AND_TIP, HANDS, PHALANXES
from .keypoint_head import KeypointHeadConfig

SIZES = {"S": (384, 12, 6), "B": (768, 12, 12), "L": (1024, 24, 16), "XL": (1024, 32, 16)}
"""Width, depth, heads of the paper's predictors: 31, 104, 344 and 456 million parameters on 448 patches of
1024 numbers."""
TINY = CDiTConfig(
    width=128, depth=4, heads=4, context=4, positions="rotary", residual=True, action_scale=10.0
)
"""A predictor that one core trains in half an hour (`recipe=counter_dexwm`), 1.6 million parameters on
112 patches of 64 numbers."""


@dataclass(frozen=True)
class DexWMConfig:
    """Sizes of the networks, and what the model observes; the defaults are the paper's."""

    predictor: CDiTConfig = field(default_factory=CDiTConfig)
    """The transformer."""
    head: KeypointHeadConfig | None = field(default_factory=KeypointHeadConfig)
    """What reads keypoints off features; none where null."""
    grid: tuple[int, int] = (16, 28)
    """Rows and columns of patches."""
    patch: int = 14
    """Side of a patch [px]."""
    encoder: str | None = None
    """Name of the encoder whose features are predicted, perhaps with `*` for a part of it; the first one
    attached where null."""
    frames: str = "pixels_torso"
    """Observation that holds frames, `[B, height, width, 3]` uint8."""
    carries: tuple[str, ...] = ()
    """Observations that are kept in the belief as they are (the camera's calibration, say)."""
    joints: int = 0
    """Joint targets at the end of an action, which become the command and the predicted joints."""
    command: str = "proprio"
    """Observation that holds the joints, in units of the targets, where there are some."""
    hand: str = "right"
    """Whose keypoints are predicted."""
    feeds_actions: bool = True
    """Whether actions between frames that were seen are known to the model; DexWM's own controller
    keeps them zero."""
    furthest: float = 3.2
    """Bound of the movements of keypoints in an action [m], and of the camera's turn [rad]: half a
    turn, and more than from one end of a Franka's reach to the other."""
    least_peak: float = 0.15
    """Mean height of heatmaps below which a goal is taken to show no hand; 0: any will do. Heads,
    published ones too, learn to draw 1 at a keypoint and 0 elsewhere; `counter_dexwm` draws .45 to
    .73 of frames with its hand, and .02 to .13 of plain ones."""
    memory: float = 2.0
    """Memory that a rollout may take, about [GiB]: more candidates are computed one after another."""
    finger: tuple[str, ...] = added(FLEXIONS_AND_TIP)
    """What of a robot's finger stands for its four keypoints, as the model was trained: see
    `hand_keypoints`; published models know `LINK_ORIGINS`."""

    def __post_init__(self) -> None:
        if self.grid[0] * self.grid[1] != self.predictor.patches:
            raise ValueError(
                f"DexWMConfig(grid={self.grid}) has {self.grid[0] * self.grid[1]} patches, and the "
                f"predictor {self.predictor.patches}."
            )
        if self.hand not in HANDS:
            raise ValueError(f"DexWMConfig(hand={self.hand!r}): one of {list(HANDS)}.")
        if len(self.finger) != len(PHALANXES):
            raise ValueError(
                f"DexWMConfig(finger={self.finger}): four parts of a finger, as {FLEXIONS_AND_TIP}."
            )
        if self.joints < 0 or not self.furthest > 0 or not self.memory > 0:
            raise ValueError(
                "DexWMConfig: joints must not be negative, furthest and memory must be positive; "
                f"got {self.joints}, {self.furthest}, {self.memory}."
            )

    @property
    def maps(self) -> tuple[int, ...]:
        """Heatmaps of the hand that acts: the first or the second half."""
        half = (0 if self.head is None else self.head.maps) // len(HANDS)
        first = HANDS.index(self.hand) * half
        return tuple(range(first, first + half))


def dexwm_size(name: str, *, features: int = 1024, patches: int = 448) -> CDiTConfig:
    """Return the predictor of a size of the paper, S, B, L or XL, or our own `tiny` one.

    Raises:
        ValueError: there is no such size.
    """
    if name == "tiny":
        return replace(TINY, features=features, patches=patches)
    if name not in SIZES:
        raise ValueError(f"there is no size {name!r} of DexWM; there are {['tiny', *SIZES]}.")
    width, depth, heads = SIZES[name]
    return CDiTConfig(features=features, patches=patches, width=width, depth=depth, heads=heads)
