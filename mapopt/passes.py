"""Work of which nobody knows at first how long it takes: said once a part is done, then what is left.

A library says nothing unasked: there are lines where a command runs, which is where a `Waiting` is around the work.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import IO, Any, Protocol

from mapopt.stopwatch import duration
from mapopt.waiting import Waiting

LONG = 5.0
"""Seconds from which on a pass is worth a line."""


class Counter(Protocol):
    """What a pass tells how far it is."""

    def advance(self, done: int) -> None:
        """Notes how many steps are done."""


@contextmanager
def steps(what: str, total: int | None, unit: str) -> Iterator[Counter]:
    """Watches a pass over many like things, where a command runs; elsewhere nothing is said.

    Args:
        what: is done, as a line begins.
        total: how many things there are; None where nobody knows.
        unit: what they are called.
    """
    if not Waiting.watched():
        yield _Silent()
        return
    with Steps(what, total=total, unit=unit) as work:
        yield work


class _Silent:
    def advance(self, done: int) -> None:
        """Says nothing."""


class Steps(Waiting):
    """Many steps of one kind: about how long they take is said once the second are done, if it is `LONG`.

    On a terminal a bar shows from then on what is left.

    Args:
        what: is done, as a line begins.
        total: how many steps there are; None where nobody knows.
        unit: what they are called.
        stream: where to print; the standard error by default, because the standard output is for results.
    """

    def __init__(self, what: str, *, total: int | None, unit: str, stream: IO[str] | None = None) -> None:
        super().__init__(what, total=total, unit=unit, stream=stream or sys.stderr, announce=False)
        self._announced = False
        self._start: tuple[int, float] | None = None  # what was done first, and when it was
        self._bar: Any = None

    @property
    def left(self) -> float | None:
        """About how many seconds are left, as far as all but the first steps tell: those do what is done once, too."""
        if self._start is None or self._done == self._start[0] or self._total is None:
            return super().left
        done, seconds = self._done - self._start[0], self.gone - self._start[1]
        return seconds / done * (self._total - self._done)

    def advance(self, done: int, *, said: bool = False) -> None:
        """Notes how many steps are done."""
        super().advance(done, said=said)
        left = self.left
        if self._start is None:
            self._start = done, self.gone
        elif not self._announced and left and self.gone + left >= LONG:
            self._announced = True
            self._print(f"{self._what} {self._total} {self._unit} takes about {duration(self.gone + left)}")
            if self._out.isatty():
                self._bar = _new_bar(self._out, self._total)
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=done)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends, and takes the bar down."""
        if self._bar is not None:
            self._bar.stop()
        super().__exit__(kind, error, trace)


class Parts(Waiting):
    """A few unlike parts, of which it is about known how they compare.

    At the start it is said how long all of them take, and after each but the last how much is left, as far as those
    that are done were faster or slower than expected.

    Args:
        what: is done, as a line begins.
        seconds: name of each part and about how many seconds it takes.
        stream: where to print; the standard error by default.
    """

    def __init__(self, what: str, seconds: Mapping[str, float], *, stream: IO[str] | None = None) -> None:
        self._seconds, self._finished, self._clock = dict(seconds), list[str](), 0.0
        super().__init__(
            what, total=len(seconds), unit="parts", expected=sum(seconds.values()), stream=stream or sys.stderr
        )

    @property
    def left(self) -> float | None:
        """About how many seconds are left."""
        rest = sum(seconds for part, seconds in self._seconds.items() if part not in self._finished)
        expected = sum(self._seconds[part] for part in self._finished)
        # A small first part, of which much is the beginning, says little about the others.
        doubt = 0.2 * sum(self._seconds.values()) + 1e-9
        speed = (self._clock + doubt) / (expected + doubt)
        left = rest * speed - (self.gone - self._clock)
        return left if left > 0 else None

    def outlook(self) -> str:
        """Says about how long it takes, and what comes."""
        return f"{super().outlook()}: {', '.join(self._seconds)}"

    def done(self, part: str) -> None:
        """Notes that a part is done, and says how much is left."""
        self._finished.append(part)
        self._clock = self.gone
        self.advance(len(self._finished))
        if self._done != self._total:
            self._print(self.describe())


def _new_bar(stream: IO[str], total: int | None) -> Any:
    """Puts a bar up, which goes when its work ends."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    bar = Progress(
        BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), console=Console(file=stream), transient=True
    )
    bar.add_task("", total=total)
    bar.start()
    return bar
