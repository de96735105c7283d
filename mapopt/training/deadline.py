"""When a run has to end, by the clock; it is asked after every step and before every round."""

from __future__ import annotations

from time import monotonic

from mapopt.errors import TimeUp


class Deadline:
    """When a run has to end, counted from now.

    Args:
        hours: by the clock.
    """

    def __init__(self, hours: float) -> None:
        self._end = monotonic() + hours * 3600

    def check(self, coming: float = 0.0) -> None:
        """Raises TimeUp where what is coming, in seconds, would end too late."""
        if monotonic() + coming > self._end:
            raise TimeUp("the time limit of the run is reached")
