"""Frozen encoders of frames: a grid of features for every frame, computed once and cached."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, UInt8
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from .data.cache import Transform

FEATURES = "features"
"""Key of training frames: what an encoder made of them, `[B, L, P, E]`."""
ENCODED_AT_ONCE = 64
"""Frames that an encoder is given at once where all of a dataset are encoded."""


@runtime_checkable
class FrameEncoder(Protocol):
    """Turns frames into a grid of features, and never learns from what is made of them."""

    image_size: tuple[int, int]
    """Height and width of frames [px]."""
    grid: tuple[int, int]
    """Rows and columns of patches."""
    width: int
    """Numbers of a patch, E."""

    @property
    def name(self) -> str:
        """All that features depend on: family, weights, layer, size.

        Two encoders of one name give the same features, up to rounding.
        """
        ...

    def features(
        self, frames: UInt8[Tensor, "rows height width 3"]
    ) -> Float[Tensor, "rows patches numbers"]:
        """Return the features of RGB frames, row by row of the grid, without gradient.

        Raises:
            ValueError: the frames have another size.
        """
        ...


def check_frames(encoder: FrameEncoder, frames: Tensor) -> None:
    """Raise `ValueError` for frames of another size than an encoder takes."""
    height, width = encoder.image_size
    if frames.shape[1:3] != (height, width):
        given = " x ".join(str(size) for size in frames.shape[1:3])
        raise ValueError(
            f"frames of {given} pixels, but the encoder {encoder.name!r} takes {height} x {width}: "
            "make it for the size of the frames, or bring them to its size with `fitted`."
        )


def fitted(
    frames: UInt8[Tensor, "rows height width 3"], image_size: tuple[int, int]
) -> UInt8[Tensor, "rows other_height other_width 3"]:
    """Return frames scaled until they cover the size, and then cropped to it around the centre.

    Scaling is bicubic, with antialiasing. Frames of 1080 x 1920 become 224 x 398 and lose three
    columns on each side for 224 x 392.
    """
    height, width = image_size
    scale = max(height / frames.shape[1], width / frames.shape[2])
    size = [max(round(frames.shape[1] * scale), height), max(round(frames.shape[2] * scale), width)]
    pictures = frames.movedim(-1, 1)
    if size != list(frames.shape[1:3]):
        pictures = functional.interpolate(
            pictures.float(), size, mode="bicubic", align_corners=False, antialias=True
        )
        pictures = pictures.round().clamp(0, 255).to(torch.uint8)
    top, left = (size[0] - height) // 2, (size[1] - width) // 2
    return pictures[:, :, top : top + height, left : left + width].movedim(1, -1).contiguous()


def feature_key(encoder: FrameEncoder) -> str:
    """Return the name under which a cache holds an encoder's features, beside those of others."""
    return f"features_{_digest(encoder.name)[:12]}"


def feature_transform(encoder: FrameEncoder, column: str, *, fit: bool = False) -> Transform:
    """Return what encodes the pictures of a dataset once, for `data.cache.Cache.open`.

    The cache then holds features `(F, P, E)`, float16, mapped into memory.

    Args:
        encoder: What encodes.
        column: The dataset's column of pictures, `observation.images.torso` for instance.
        fit: Bring pictures of other sizes to the encoder's with `fitted`, instead of refusing them.
    """

    def compute(frames: NDArray[Any]) -> NDArray[Any]:
        encoded = []
        for part in torch.split(torch.from_numpy(np.ascontiguousarray(frames)), ENCODED_AT_ONCE):
            sized = fitted(part, encoder.image_size) if fit else part
            encoded.append(encoder.features(sized).cpu().half())
        return torch.cat(encoded).numpy()

    told = f"{encoder.name}, fitted" if fit else encoder.name
    return Transform(column, compute, _digest(told)[:16], "float16")


def load_frame_encoder(
    source: str | Path,
    *,
    image_size: tuple[int, int] | None = None,
    precision: str = "float32",
    official: bool = False,
    device: torch.device | str = "cpu",
) -> FrameEncoder:
    """Return an encoder: one of our own (a folder of `save_pretrained`), or one of `transformers`.

    Args:
        source: A folder, or a name on the Hugging Face hub.
        image_size: Height and width of the frames, for encoders that take several.
        precision: What encoders of `transformers` compute in, float32 or bfloat16.
        official: Features of DINOv2 as DexWM's published weights know them; see `FrozenEncoder`.
        device: Where the weights go.

    Raises:
        FileNotFoundError, ImportError, ValueError: As the loaders of the two, or an encoder of our
            own was made for frames of another size.
    """
    from .frozen_encoders import FrozenEncoder
    from .patch_encoder import TinyEncoder

    if not _is_ours(source):
        return FrozenEncoder.from_pretrained(
            source, image_size=image_size, precision=precision, official=official, device=device
        )
    encoder = TinyEncoder.from_pretrained(source, device)
    if image_size not in (None, encoder.image_size):
        raise ValueError(
            f"{source} was trained on frames of {encoder.image_size[0]} x {encoder.image_size[1]} "
            f"pixels, and is asked for {image_size}. Leave the size out, or train anew."
        )
    return encoder


def _is_ours(source: str | Path) -> bool:
    from .pretrained import CONFIG, shipped_checkpoints

    if str(source) in shipped_checkpoints():
        return True
    path = Path(source) / CONFIG
    return path.is_file() and '"class"' in path.read_text(encoding="utf-8")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
