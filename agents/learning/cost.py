"""What an agent's training has cost, over all its parts: iterations that were begun and lost were trained, too."""

from __future__ import annotations

from pathlib import Path

from mapopt.errors import AgentError
from mapopt.files import read_record, write_record

COST = "cost.json"
"""Name of the file in a training's folder."""

_VERSION = 1


class CostLedger:
    """Counts the episodes that every lane has begun, in a file that outlives a killed training.

    Args:
        folder: of the training.
        finished: iterations that the training goes on after; 0 for one that begins.

    Raises:
        AgentError: the file is damaged.
    """

    def __init__(self, folder: Path, *, finished: int) -> None:
        self._path, self.episodes = folder / COST, finished
        if self._path.is_file():
            record = read_record(
                self._path,
                what="what an agent's training has cost",
                version=_VERSION,
                remedy="Delete it to count the finished iterations alone.",
                error=AgentError,
            )
            counted = record.get("episodes")
            if type(counted) is not int or counted < 0:
                raise AgentError(
                    f"{self._path}: episodes is not a whole number from 0. Delete it to count the finished iterations "
                    "alone."
                )
            self.episodes = max(finished, counted)

    def begin(self) -> None:
        """Counts an episode, before it is played."""
        self.episodes += 1
        write_record(self._path, {"version": _VERSION, "episodes": self.episodes})
