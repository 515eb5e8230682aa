"""Ctrl-C waits for the step in hand; a second one does not."""

from __future__ import annotations

import signal
import threading

import pytest

from facekeep.lab.train.loop import stop_gently


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_noted(number: signal.Signals):
    with stop_gently() as stop:
        assert not stop.asked
        signal.raise_signal(number)
        assert stop.asked


def test_the_second_signal_acts_at_once():
    with stop_gently():
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_launcher_may_repeat_itself():
    with stop_gently(patient=True) as stop:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGTERM)
        assert stop.asked


def test_afterwards_signals_act_as_before():
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    with stop_gently():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


def test_elsewhere_than_in_the_main_thread_nothing_changes():
    found = []

    def work() -> None:
        with stop_gently() as stop:
            found.append((stop.asked, signal.getsignal(signal.SIGINT)))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [(False, signal.getsignal(signal.SIGINT))]
