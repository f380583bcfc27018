"""A polite end: the first signal is remembered until the work in hand is done."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@dataclass
class Interruption:
    """Whether somebody wants the work to end."""

    requested: bool = False


@contextlib.contextmanager
def polite_end() -> Iterator[Interruption]:
    """While this context is open, Ctrl-C and SIGTERM are a request; a second one ends at once.

    What was to happen on these signals before happens again afterwards. Python delivers signals
    to the main thread alone: in another one this changes nothing.
    """
    interruption = Interruption()

    def request(number: int, frame: FrameType | None) -> None:
        if interruption.requested:
            raise KeyboardInterrupt
        interruption.requested = True

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {number: signal.signal(number, request) for number in SIGNALS if in_main_thread}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
