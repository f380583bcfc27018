import numpy as np
import pytest

from dexworld.world_models.data import videos
from dexworld.world_models.data.videos import (
    announced_frames,
    count_frames,
    encode_mp4,
    join_mp4,
    read_mp4,
    size_of,
)


def drawn(first: int, count: int) -> np.ndarray:
    """Pictures that say their number: a grey level each."""
    levels = 10 + 8 * np.arange(first, first + count)
    return np.broadcast_to(levels[:, None, None, None], (count, 32, 48, 3)).astype(np.uint8)


def number_of(frames: np.ndarray) -> list[int]:
    """The numbers that pictures say."""
    return [round((float(frame.mean()) - 10) / 8) for frame in frames]


@pytest.mark.parametrize("fps", [5, 10, 15, 29.97, 30])
def test_joined_videos_hold_every_picture_in_order(tmp_path, fps):
    lengths = [3, 1, 8, 5]
    parts = []
    for part, length in enumerate(lengths):
        parts.append(tmp_path / f"{part}.mp4")
        parts[-1].write_bytes(encode_mp4(drawn(sum(lengths[:part]), length), fps))
        assert count_frames(parts[-1]) == length
    joined = tmp_path / "joined.mp4"
    join_mp4(parts, joined, fps)
    assert count_frames(joined) == announced_frames(joined) == 17
    for first in range(17):
        for step in (1, 2, 3, 5, 16):
            wanted = range(first, 17, step)
            assert number_of(read_mp4(joined, wanted, fps)) == list(wanted)
    with pytest.raises(ValueError, match="does not hold picture 17"):
        read_mp4(joined, range(15, 18), fps)


def test_joining_copies_the_pictures_as_they_are_encoded(tmp_path):
    parts = []
    for part in range(2):
        parts.append(tmp_path / f"{part}.mp4")
        parts[-1].write_bytes(encode_mp4(drawn(5 * part, 5), 10))
    join_mp4(parts, tmp_path / "joined.mp4", 10)
    joined = read_mp4(tmp_path / "joined.mp4", range(10), 10)
    apart = np.concatenate([read_mp4(part, range(5), 10) for part in parts])
    np.testing.assert_array_equal(joined, apart)


def test_videos_of_different_encoders_are_joined_by_encoding_again(tmp_path, monkeypatch, caplog):
    first, second = tmp_path / "0.mp4", tmp_path / "1.mp4"
    first.write_bytes(encode_mp4(drawn(0, 4), 10))
    monkeypatch.setattr(videos, "_encoder", lambda: "mpeg4")
    second.write_bytes(encode_mp4(drawn(4, 4), 10))
    monkeypatch.undo()
    with caplog.at_level("WARNING"):
        join_mp4([first, second], tmp_path / "joined.mp4", 10)
    assert "different encoders" in caplog.text
    assert number_of(read_mp4(tmp_path / "joined.mp4", range(8), 10)) == list(range(8))


def test_pictures_survive_nearly(tmp_path):
    vertical, horizontal = np.meshgrid(np.linspace(0, 255, 96), np.linspace(0, 255, 96))
    frames = np.stack([np.stack([vertical, horizontal, 255 - vertical], -1)] * 6).astype(np.uint8)
    video = encode_mp4(frames, 10)
    assert size_of(video) == (96, 96)
    assert np.abs(read_mp4(video, range(6), 10).astype(int) - frames).mean() < 4


def test_other_bytes_are_no_video():
    with pytest.raises(ValueError, match="the given video is not a readable video"):
        count_frames(b"0123456789")
