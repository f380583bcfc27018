"""The first signal is a wish, the second an order."""

from __future__ import annotations

import signal
import threading

import pytest

from dexworld.world_models.interruption import SIGNALS, polite_end


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_remembered_and_the_second_raises(number: signal.Signals) -> None:
    before = [signal.getsignal(each) for each in SIGNALS]
    with polite_end() as interruption:
        assert not interruption.requested
        signal.raise_signal(number)
        assert interruption.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert [signal.getsignal(each) for each in SIGNALS] == before


def test_work_within_other_work_ends_with_it() -> None:
    with polite_end() as outer:
        with polite_end() as inner:
            signal.raise_signal(signal.SIGINT)
            assert inner.requested
        assert outer.requested
        with polite_end() as late:
            assert late.requested, "what was wished before it began"
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGTERM)
    with polite_end() as other:
        assert not other.requested


def test_in_another_thread_it_changes_nothing() -> None:
    seen = []

    def work() -> None:
        with polite_end() as interruption:
            seen.append((interruption.requested, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [(False, signal.getsignal(signal.SIGINT))]
