"""Films of episodes as pictures that move, which a README can show."""

from __future__ import annotations

from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Frame = NDArray[np.uint8]


def moving_picture(film: Path, output: Path, height: int = 240, share: float = 1.0) -> int:
    """Write the film as a WebP that repeats, and return how many frames it has.

    Args:
        film: what `dexworld-plan` wrote to `videos/`, or any other.
        output: `*.webp`.
        height: of the picture [px].
        share: how much of the width is kept, from the left: half of it, where the prediction beside
            what was executed is not to be shown.

    Raises:
        ValueError: a size or a name that cannot be, or a film without frames.
        FileNotFoundError: there is no such film.
    """
    if not film.exists():
        raise FileNotFoundError(f"there is no film {film}: dexworld-plan videos=1 makes some.")
    if output.suffix.lower() != ".webp":
        raise ValueError(f"--output {output}: a picture that moves is a WebP, *.webp.")
    if height < 2 or not 0.0 < share <= 1.0:
        raise ValueError(f"height={height}, share={share}: at least 2 px, and a share in (0, 1].")
    with av.open(str(film)) as container:
        rate = container.streams.video[0].average_rate
        frames = [
            _scaled(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), height, share)
            for frame in container.decode(video=0)
        ]
    if not frames:
        raise ValueError(f"the film {film} has no frames.")
    output.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(output), "w", options={"loop": "0"}) as container:
        stream = container.add_stream(
            "libwebp_anim", rate=rate, options={"quality": "60", "compression_level": "6"}
        )
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())
    return len(frames)


def _scaled(frame: Frame, height: int, share: float) -> Frame:
    """Return the left part of a frame, `height` high, of even sides."""
    kept = frame[:, : max(1, round(share * frame.shape[1]))]
    height -= height % 2
    width = max(2, 2 * round(kept.shape[1] * height / len(kept) / 2))
    return np.asarray(cv2.resize(kept, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
