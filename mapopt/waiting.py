"""What a long command says while it works: at its start about how long, then what is left, and a sign of life.

On a terminal a bar moves. Where the output is piped, a line comes at least every half minute, so that nobody has to
guess whether a job hangs.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import IO, ClassVar, Self

from mapopt.stopwatch import duration

EVERY = 25.0
"""Seconds without a line after which one is printed."""

_FIRST_PART = 0.05
"""Fraction of a step from which on it tells how long all of them take."""


class Waiting:
    """Says how a piece of work goes; a context. An inner one speaks for those around it.

    Args:
        what: is done, as a line begins that says so.
        total: how many steps there are; None where nobody knows.
        done: how many of them were done before.
        unit: what a step is called, in the plural.
        expected: about how many seconds it will take, where something tells.
        stream: where to print; the standard output by default. On a terminal only the first line is printed.
        announce: whether to say at the start about how long it will take.
        quiet: print nothing while it works, as where a terminal shows something else.
    """

    _current: ClassVar[list[Waiting]] = []

    def __init__(
        self,
        what: str,
        *,
        total: int | None = None,
        done: int = 0,
        unit: str = "rounds",
        expected: float | None = None,
        stream: IO[str] | None = None,
        announce: bool = True,
        quiet: bool = False,
    ) -> None:
        self._what, self._unit = what, unit
        self._total, self._first, self._done = total, done, done
        self._expected, self._stream, self._announce = expected, stream, announce
        self._part, self._note = 0.0, ""
        self._quiet = quiet
        self._began = self._said = time.monotonic()
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        """Says about how long it will take, and begins to watch the time."""
        self._began = time.monotonic()
        if self._announce and (self._total is None or self._total > self._done):
            self._print(self.outlook())
        self._said = time.monotonic()
        Waiting._current.append(self)
        if not self._quiet and not self._out.isatty():
            threading.Thread(target=self._watch, name="mapopt waiting", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends; whatever is around it may speak again."""
        self._ended.set()
        if self in Waiting._current:
            Waiting._current.remove(self)
        for outer in Waiting._current:
            outer._said = time.monotonic()

    def advance(self, done: int, *, said: bool = True) -> None:
        """Notes how many steps are done, and whether a line was printed about it."""
        self._done, self._part, self._note = done, 0.0, ""
        if said:
            self._said = time.monotonic()

    def within(self, part: float, note: str) -> None:
        """Notes how far the step is that is being done: which fraction of it, and in words."""
        self._part, self._note = part, note

    @classmethod
    def watched(cls) -> bool:
        """Says whether some work is watched, as that of a command is."""
        return bool(Waiting._current)

    @property
    def gone(self) -> float:
        """How many seconds it has taken so far."""
        return time.monotonic() - self._began

    @property
    def left(self) -> float | None:
        """About how many seconds are left; None where nothing tells."""
        gone, steps = self.gone, self._done - self._first + self._part
        if self._total is not None and steps >= _FIRST_PART:
            return gone / steps * (self._total - self._done - self._part)
        # What takes longer than was expected takes nobody knows how long.
        return None if self._expected is None or self._expected <= gone else self._expected - gone

    def outlook(self) -> str:
        """Says about how long it will take."""
        if self._expected is None:
            return f"how long this takes is known after the first of the {self._unit}"
        return f"this takes about {duration(max(1.0, self._expected))}"

    def remaining(self) -> str:
        """Says how much time is left; empty where nothing tells or all is done."""
        left = self.left
        return f"about {duration(left)} left" if left is not None and self._done != self._total else ""

    def describe(self) -> str:
        """Says how it goes."""
        parts = [] if self._total is None else [f"{self._done} of {self._total} {self._unit}"]
        parts += [self._note] if self._note else []
        parts.append(f"{duration(self.gone)} gone")
        return f"{self._what}: " + ", ".join([*parts, *([self.remaining()] if self.remaining() else [])])

    @property
    def _out(self) -> IO[str]:
        return self._stream or sys.stdout

    def _watch(self) -> None:
        while not self._ended.wait(min(1.0, EVERY / 4)):
            if Waiting._current[-1:] == [self] and time.monotonic() - self._said >= EVERY:
                self._said = time.monotonic()
                self._print(self.describe())

    def _print(self, text: str) -> None:
        try:
            print(text, file=self._out, flush=True)
        except (OSError, ValueError):
            # Whoever read it has left; the work itself notices that where it is expected.
            self._ended.set()
