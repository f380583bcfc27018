"""Pictures as mp4: many small episodes in one file, each exactly addressable by its frames."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

_log = logging.getLogger(__name__)

KEYFRAME_EVERY = 2
"""Frames between two that decode alone: a seek never decodes more than this for nothing."""

_ENCODERS: dict[str, dict[str, str]] = {
    # No B frames: packets stand in the order of their pictures, so files are joined untouched.
    "libx264": {"crf": "20", "preset": "veryfast", "bf": "0", "threads": "1"},
    "libopenh264": {"b": "4000000"},
    "mpeg4": {"q:v": "3", "bf": "0"},
}
"""Tried in this order; the first is what players and readers handle best."""


def encode_mp4(frames: NDArray[np.uint8], fps: float) -> bytes:
    """Return RGB pictures `(T, height, width, 3)` as an mp4 file (lossy, yuv420p)."""
    file = io.BytesIO()
    name = _encoder()
    with av.open(file, "w", format="mp4") as container:
        stream: Any = container.add_stream(name, rate=_rate(fps), options=dict(_ENCODERS[name]))
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = 1 / _rate(fps)
        stream.codec_context.gop_size = KEYFRAME_EVERY
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts = index
            frame.time_base = 1 / _rate(fps)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def join_mp4(sources: Sequence[Path], target: Path, fps: float) -> None:
    """Write the pictures of some mp4 files, one after another, into a new one.

    The encoded pictures are copied as they are. Only files whose encoders differ (a dataset
    continued on another machine) are decoded and encoded again.
    """
    if len({_coding(source) for source in sources}) > 1:
        _log.warning("%s joins videos of different encoders, so they are encoded again.", target)
        pictures = [read_mp4(source, range(count_frames(source)), fps) for source in sources]
        target.write_bytes(encode_mp4(np.concatenate(pictures), fps))
        return
    tick = 1 / _rate(fps)
    with av.open(str(target), "w", format="mp4") as joined:
        stream: Any = None
        first = 0
        for source in sources:
            with av.open(str(source)) as container:
                template: Any = container.streams.video[0]
                if stream is None:
                    stream = joined.add_stream_from_template(template)
                    stream.time_base = tick
                count = 0
                for packet in container.demux(template):
                    if packet.size == 0:  # the end of the file
                        continue
                    packet.stream = stream
                    packet.time_base = tick
                    packet.pts = packet.dts = first + count
                    packet.duration = 1
                    joined.mux(packet)
                    count += 1
            first += count


def count_frames(source: Path | bytes) -> int:
    """Return how many pictures an mp4 file holds, by counting, without decoding them.

    Raises:
        ValueError: it is not a video.
    """
    name = source if isinstance(source, Path) else "the given video"
    try:
        with av.open(_opened(source)) as container:
            return sum(packet.size > 0 for packet in container.demux(video=0))
    except (av.FFmpegError, IndexError) as error:
        raise ValueError(f"{name} is not a readable video ({error}).") from error


def size_of(source: bytes) -> tuple[int, int]:
    """Return the height and the width of the pictures of an mp4 file."""
    with av.open(io.BytesIO(source)) as container:
        stream = container.streams.video[0]
        return stream.height, stream.width


def announced_frames(source: Path) -> int:
    """Return how many pictures the header of an mp4 file announces; 0 where it does not say."""
    with av.open(str(source)) as container:
        return int(container.streams.video[0].frames)


def codec() -> str:
    """Return how `encode_mp4` codes pictures here: `h264` if it can."""
    return "mpeg4" if _encoder() == "mpeg4" else "h264"


def read_mp4(source: Path | bytes, wanted: Sequence[int], fps: float) -> NDArray[np.uint8]:
    """Return some pictures of an mp4 file, `(T, height, width, 3)`.

    They are found by their number and not by comparing times: `round(time * fps)`.

    Args:
        source: the file.
        wanted: numbers of the pictures, ascending, at least one.
        fps: pictures per second.

    Raises:
        ValueError: the file does not hold them all.
    """
    frames: list[NDArray[np.uint8]] = []
    with av.open(_opened(source)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "SLICE"  # frame threads would have to be started for every seek
        base = stream.time_base or Fraction(1)
        start = stream.start_time or 0
        decoded: Iterator[Any] = iter(())
        position = -KEYFRAME_EVERY - 1
        for index in wanted:
            if index > position + KEYFRAME_EVERY:
                container.seek(start + round(index / Fraction(fps) / base), stream=stream)
                decoded = container.decode(stream)
            for frame in decoded:
                if frame.pts is None:
                    continue
                position = round(float((frame.pts - start) * base) * fps)
                if position >= index:
                    break
            else:
                break
            if position != index:
                break
            frames.append(frame.to_ndarray(format="rgb24"))
    if len(frames) != len(wanted):
        name = source if isinstance(source, Path) else "the given video"
        raise ValueError(f"{name} does not hold picture {wanted[len(frames)]}.")
    return np.stack(frames)


def _opened(source: Path | bytes) -> Any:
    return str(source) if isinstance(source, Path) else io.BytesIO(source)


def _coding(source: Path) -> tuple[str, bytes | None]:
    with av.open(str(source)) as container:
        context = container.streams.video[0].codec_context
        return context.name, context.extradata


def _rate(fps: float) -> Fraction:
    return Fraction(fps).limit_denominator(1001)


@cache
def _encoder() -> str:
    for name in _ENCODERS:
        if name in av.codecs_available:
            try:
                av.Codec(name, "w")
            except ValueError:
                continue
            return name
    raise RuntimeError(f"PyAV has none of the encoders {', '.join(_ENCODERS)}; reinstall `av`.")
