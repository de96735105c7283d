"""What an agent's training has cost, over all its parts: iterations that were begun and lost were trained, too."""

from __future__ import annotations

from pathlib import Path

from mapopt.errors import AgentError
from mapopt.files import read_record, write_record

COST = "cost.json"
"""Name of the file in a training's folder."""

_VERSION = 1
_REMEDY = "Delete it to count the finished iterations alone."


class CostLedger:
    """Counts episodes, in a file that outlives a killed training.

    Args:
        folder: of the training.
        finished: iterations that the training goes on after; 0 for one that begins.

    Attributes:
        episodes: that every lane has begun.
        references: runs that rewards are relative to.

    Raises:
        AgentError: the file is damaged.
    """

    def __init__(self, folder: Path, *, finished: int) -> None:
        self._path, self.episodes, self.references = folder / COST, finished, 0
        if self._path.is_file():
            record = read_record(
                self._path,
                what="what an agent's training has cost",
                version=_VERSION,
                remedy=_REMEDY,
                error=AgentError,
            )
            self.episodes = max(finished, self._read(record, "episodes"))
            self.references = self._read(record, "references", missing=0)

    def begin(self) -> None:
        """Counts an episode of every lane, before it is played."""
        self.count(episodes=1)

    def count(self, *, episodes: int = 0, references: int = 0) -> None:
        """Counts episodes of every lane and single reference runs, before they are played."""
        self.episodes, self.references = self.episodes + episodes, self.references + references
        counted = {"episodes": self.episodes, "references": self.references}
        write_record(self._path, {"version": _VERSION, **counted})

    def _read(self, record: dict, name: str, *, missing: int | None = None) -> int:
        counted = record.get(name, missing)
        if type(counted) is not int or counted < 0:
            raise AgentError(f"{self._path}: {name} is not a whole number from 0. {_REMEDY}")
        return counted
