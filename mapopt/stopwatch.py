"""Two clocks: the one on the wall, and the processor's, which no neighbor on the machine can stretch."""

from __future__ import annotations

import time


class Stopwatch:
    """Measures from when it is made.

    >>> clock, processor = Stopwatch().split(2)
    >>> clock >= 0 and processor >= 0
    True
    """

    def __init__(self) -> None:
        self._clock, self._processor = time.perf_counter(), time.process_time()

    @property
    def clock(self) -> float:
        """Seconds on the wall."""
        return time.perf_counter() - self._clock

    @property
    def processor(self) -> float:
        """Seconds of the processor that this process has used, on all its cores."""
        return time.process_time() - self._processor

    def split(self, parts: int) -> tuple[float, float]:
        """Returns one part's seconds, of the clock and of the processor; none counts as one."""
        return self.clock / max(1, parts), self.processor / max(1, parts)


def duration(seconds: float) -> str:
    """Returns a time in the unit that reads best.

    >>> duration(4.25), duration(75), duration(5400)
    ('4.2 s', '75 s', '90 min')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
