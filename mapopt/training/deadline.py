"""When a run has to end, by the clock; it is asked after every step and before every round."""

from __future__ import annotations

from time import monotonic

from mapopt.collectives import ALONE, Processes
from mapopt.errors import TimeUp


class Deadline:
    """When a run has to end, counted from now.

    Args:
        hours: by the clock.
        processes: that train together, and end together when it is time for the first.
    """

    def __init__(self, hours: float, processes: Processes = ALONE) -> None:
        self._end, self._processes = monotonic() + hours * 3600, processes

    def check(self, coming: float = 0.0) -> None:
        """Raises TimeUp where what is coming, in seconds, would end too late."""
        if self._processes.agree(monotonic() + coming > self._end):
            raise TimeUp("the time limit of the run is reached")
