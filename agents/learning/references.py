"""The reference runs of a training: each is played once, in one process, and kept in the training's folder.

Trainings of the same agent in folders ``seed-N`` beside each other go on with them, because a reference run depends on
nothing that is learned.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mapopt.agents.learning.cost import CostLedger
from mapopt.envs.sb3 import FleetVecEnv
from mapopt.errors import AgentError
from mapopt.files import read_record, write_record

REFERENCES = "references.json"
"""Name of the file in a training's folder."""

_VERSION = 1
_REMEDY = "Delete it to have the reference runs played again."
_DECIDES = ("family", "budget", "reward", "cost_per_image", "reference", "action")
"""The settings that reference runs depend on."""

Key = tuple[int, int]


class ReferenceRuns:
    """Reference runs in a file.

    Args:
        folder: where the file is.
        described: the settings of the training, as plain values.
        ledger: counts what is played.

    Raises:
        AgentError: the file is damaged, or of a training with other settings.
    """

    def __init__(self, folder: Path, described: Mapping[str, Any], ledger: CostLedger) -> None:
        self._path, self._ledger = folder / REFERENCES, ledger
        self._settings = {name: described[name] for name in _DECIDES}
        self._known: dict[Key, tuple[float, ...]] = {}
        if self._path.is_file():
            self._known = _read(self._path, self._settings)
        elif folder.name.startswith("seed-"):
            for path in sorted(folder.parent.glob(f"seed-*/{REFERENCES}")):
                self._known |= _read(path, self._settings)

    def begin(self, fleets: FleetVecEnv) -> None:
        """Gives the environments what was played before."""
        if self._known:
            fleets.take_references(self._known)

    def play(self, fleets: FleetVecEnv) -> None:
        """Plays what the present episodes need and nobody has played; counts it before, and keeps it after."""
        missing = fleets.missing_references()
        if missing:
            self._ledger.count(references=len(missing))
            self._keep(fleets.play_references(missing))

    def collect(self, fleets: FleetVecEnv) -> None:
        """Counts and keeps what was played meanwhile, for episodes that began by themselves."""
        known = fleets.take_references({})
        new = known.keys() - self._known.keys()
        if new:
            self._ledger.count(references=len(new))
            self._keep(fleets.take_references(known))

    def _keep(self, known: Mapping[Key, tuple[float, ...]]) -> None:
        self._known = dict(sorted(known.items()))
        runs = [[number, seed, list(rewards)] for (number, seed), rewards in self._known.items()]
        write_record(self._path, {"version": _VERSION, "settings": self._settings, "runs": runs})


def _read(path: Path, settings: Mapping[str, Any]) -> dict[Key, tuple[float, ...]]:
    record = read_record(
        path, what="the reference runs of an agent's training", version=_VERSION, remedy=_REMEDY, error=AgentError
    )
    if record.get("settings") != settings:
        raise AgentError(f"{path} is of a training with other settings. {_REMEDY}")
    try:
        runs = [(int(number), int(seed), tuple(map(float, rewards))) for number, seed, rewards in record["runs"]]
    except (KeyError, TypeError, ValueError):
        raise AgentError(f"{path}: runs are no lists of instance, seed and rewards. {_REMEDY}") from None
    return {(number, seed): rewards for number, seed, rewards in runs}
