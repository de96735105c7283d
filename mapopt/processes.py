"""What a process does about signals, and a worker about the end of its parent.

SIGTERM (a scheduler, `kill`) and SIGHUP (a terminal that is closed) end a command as Ctrl-C does: through `finally`
blocks that end its workers, with a line that says what is kept. Workers end with their parent, however it ends.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from mapopt.errors import ConfigError

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))


class Interrupted(KeyboardInterrupt):
    """A signal ended what is done, as Ctrl-C would."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = 128 + number
        """What the process ends with, as shells have it."""


@contextmanager
def signals_interrupt() -> Iterator[None]:
    """Lets SIGTERM and SIGHUP raise `Interrupted` meanwhile, where nobody else has said what they do.

    A command under `nohup` goes on when its terminal is closed.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    free = [number for number in _ENDINGS if signal.getsignal(number) is signal.SIG_DFL]
    for number in free:
        signal.signal(number, _interrupt)
    try:
        yield
    finally:
        for number in free:
            signal.signal(number, signal.SIG_DFL)


def _interrupt(number: int, frame: Any) -> None:
    raise Interrupted(number)


@contextmanager
def without_interrupts() -> Iterator[None]:
    """Starts workers that Ctrl-C does not reach, from their first moment on; this process gets it a moment later."""
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    in_main = threading.current_thread() is threading.main_thread()
    came: list[int] = []
    # The mask is what workers inherit. Here another thread may still receive the signal, so it is noted and kept.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, frame: came.append(number)) if in_main else None
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        if in_main:
            signal.signal(signal.SIGINT, signal.SIG_DFL if handler is None else handler)
            if came:
                signal.raise_signal(signal.SIGINT)


def end_with_parent() -> None:
    """Lets a worker end, in the middle of whatever it does, as soon as its parent has; files are written in one step.

    A parent that was killed cannot end its workers, and they would write into folders that the next run has.
    """
    # Here, because every command imports this module.
    import multiprocessing
    from multiprocessing.connection import wait

    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="parent").start()


NAMES = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
"""Variables of the environment that processes which train together find each other by, torchrun's."""


def announced(environment: Mapping[str, str] = os.environ) -> tuple[int, int]:
    """Returns which of the processes that train together this is, and of how many.

    Raises:
        ConfigError: what the environment says cannot be.

    >>> announced({})
    (0, 1)
    >>> announced({"RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"})
    (1, 2)
    """
    if not all(environment.get(name) for name in NAMES):
        return 0, 1
    index, count = (environment[name] for name in NAMES[:2])
    if not (index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise ConfigError(
            f"RANK is '{index}' and WORLD_SIZE '{count}' in the environment: expected whole numbers, the first below "
            "the second, as torchrun sets them"
        )
    return int(index), int(count)


def speaks() -> bool:
    """Says whether this process prints: of several that train together only the first does."""
    try:
        return announced()[0] == 0
    except ConfigError:
        return True


def describe_exit(code: int | None) -> str:
    """Says how a process ended.

    >>> describe_exit(-9), describe_exit(5)
    ('killed by SIGKILL, as systems do when memory runs out', 'exit status 5')
    """
    if code is None or code >= 0:
        return f"exit status {code}"
    name = signal.Signals(-code).name
    return f"killed by {name}" + (", as systems do when memory runs out" if name == "SIGKILL" else "")
