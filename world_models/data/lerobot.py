"""LeRobot dataset v3.0: the public door to writing and reading it.

Conventions of datasets of this package: row t of an episode holds the observation before action t
and the action then taken; the observation after the last action is a final row, whose action
repeats the last one.
"""

from __future__ import annotations

from .features import Feature
from .images import decode_png, encode_png
from .reader import Dataset
from .videos import encode_mp4
from .writer import DatasetWriter, recover

__all__ = [
    "Dataset",
    "DatasetWriter",
    "Feature",
    "decode_png",
    "encode_mp4",
    "encode_png",
    "recover",
]
