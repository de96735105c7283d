"""Signals end what is done as Ctrl-C does, unless somebody else has said what they do."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator

import pytest

from mapopt.processes import Interrupted, signals_interrupt, without_interrupts


@pytest.fixture(autouse=True)
def same_handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_is_an_interruption_with_its_own_status(number: signal.Signals, status: int) -> None:
    signal.signal(number, signal.SIG_DFL)
    with pytest.raises(KeyboardInterrupt) as end, signals_interrupt():
        os.kill(os.getpid(), number)
    assert isinstance(end.value, Interrupted)
    assert end.value.status == status
    assert signal.getsignal(number) is signal.SIG_DFL, "afterwards it does what it did"


def test_what_ignores_a_signal_goes_on_ignoring_it() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)


def test_outside_of_the_main_thread_nothing_is_changed() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    seen: list[object] = []

    def look() -> None:
        with signals_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


def test_an_interruption_while_workers_start_comes_a_moment_later() -> None:
    reached: list[bool] = []
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt_inside(reached)
    finally:
        signal.signal(signal.SIGINT, before)
    assert reached


def test_an_interruption_that_another_thread_receives_comes_later_too() -> None:
    waiting = threading.Event()
    reached: list[bool] = []
    thread = threading.Thread(target=waiting.wait, daemon=True)
    thread.start()  # before the signal is held back in the main thread, so that it is not held back in this one
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            interrupt_inside(reached)
    finally:
        signal.signal(signal.SIGINT, before)
        waiting.set()
    assert reached


def interrupt_inside(reached: list[bool]) -> None:
    with without_interrupts():
        os.kill(os.getpid(), signal.SIGINT)
        reached.append(True)
