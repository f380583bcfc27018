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

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Handle a signal: the first is a request, a second one raises `KeyboardInterrupt`."""
        if self.requested:
            raise KeyboardInterrupt
        self.requested = True


@contextlib.contextmanager
def polite_end() -> Iterator[Interruption]:
    """While this context is open, Ctrl-C and SIGTERM are a request; a second one ends at once.

    What was to happen on these signals before happens again afterwards. Work within other work ends
    with it: a context inside another one has the same interruption. Python delivers signals to the
    main thread alone: in another one this changes nothing.
    """
    in_main_thread = threading.current_thread() is threading.main_thread()
    around = signal.getsignal(SIGNALS[0]) if in_main_thread else None
    interruption = around if isinstance(around, Interruption) else Interruption()
    before = {number: signal.signal(number, interruption) for number in SIGNALS if in_main_thread}
    try:
        yield interruption
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
