"""Films become pictures that move."""

from __future__ import annotations

import sys
from pathlib import Path

import av
import numpy as np
import pytest

from dexworld.experiments import render
from dexworld.experiments.filming import write_video
from dexworld.experiments.moving_picture import moving_picture


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Of six frames, which get brighter on the left and are black on the right."""
    frames = [np.zeros((40, 120, 3), np.uint8) for _ in range(6)]
    for time, frame in enumerate(frames):
        frame[:, :60] = 40 * time
    path = tmp_path / "film.mp4"
    write_video(path, frames)
    return path


def _chunks(path: Path) -> list[bytes]:
    data, found, place = path.read_bytes(), [], 12
    while place < len(data):
        found.append(data[place : place + 4])
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        place += 8 + size + size % 2
    return found


def test_every_frame_is_there_and_it_repeats(film: Path, tmp_path: Path) -> None:
    output = tmp_path / "pictures" / "film.webp"
    assert moving_picture(film, output, height=20) == 6
    chunks = _chunks(output)
    assert chunks[0] == b"VP8X" and chunks.count(b"ANMF") >= 6
    data = output.read_bytes()
    loops = data[data.index(b"ANIM") + 12 :][:2]
    assert int.from_bytes(loops, "little") == 0  # for ever
    width, height = (1 + int.from_bytes(data[place : place + 3], "little") for place in (24, 27))
    assert (width, height) == (60, 20)


def test_the_right_can_be_left_out(
    film: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "left.webp"
    given = [str(film), "--size", "20", "--share", "0.5", "--output", str(output)]
    monkeypatch.setattr(sys, "argv", ["dexworld-render", *given])
    render.main()
    data = output.read_bytes()
    assert 1 + int.from_bytes(data[24:27], "little") == 30


@pytest.mark.parametrize(
    ("film_name", "output", "share", "complaint"),
    [
        ("film.mp4", "here.png", 1.0, "WebP"),
        ("film.mp4", "here.webp", 0.0, "share=0"),
        ("other.mp4", "here.webp", 1.0, "no film"),
    ],
)
def test_what_cannot_be(
    film: Path, tmp_path: Path, film_name: str, output: str, share: float, complaint: str
) -> None:
    with pytest.raises((ValueError, FileNotFoundError), match=complaint):
        moving_picture(tmp_path / film_name, tmp_path / output, share=share)


def test_the_film_is_one_that_plays(film: Path) -> None:
    with av.open(str(film)) as container:
        assert sum(1 for _ in container.decode(video=0)) == 6
