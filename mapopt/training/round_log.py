"""Sends the rounds of a run to a package that shows them, and goes on there when the run is resumed.

An observer like the files of rounds: a package that fails, for want of a network as a rule, ends its log and not the
training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from mapopt.data.files import read_json
from mapopt.files import write_json
from mapopt.settings import flatten
from mapopt.trackers import Tracker, open_tracker
from mapopt.training.history import Round
from mapopt.training.run_files import LOG


def numbers_of(played: Round, categories: Sequence[str]) -> dict[str, float]:
    """Returns what a log has of a round: knobs, training, val split and work by names with a group before them."""
    interval, val = played.interval, played.val
    numbers: dict[str, Any] = {f"knobs/{name}": value for name, value in played.knobs.as_dict().items()}
    numbers |= {f"train/{name}": value for name, value in vars(interval).items() if name != "components"}
    numbers |= {f"train/loss/{name}": value for name, value in interval.components.items()}
    numbers |= {f"val/{name}": value for name, value in vars(val).items() if name not in ("components", "per_category")}
    numbers |= {f"val/loss/{name}": value for name, value in val.components.items()}
    names = categories or [str(place) for place in range(len(val.per_category))]
    numbers |= {f"category/{name}": value for name, value in zip(names, val.per_category, strict=True)}
    numbers |= {f"work/{name}": getattr(played, name) for name in ("images", "evaluated", "seconds")}
    # What is undefined is -1 in scores, and would be a line at -1 in a chart.
    return {
        name: float(value)
        for name, value in numbers.items()
        if isinstance(value, int | float) and math.isfinite(value) and not (name.startswith(_SCORES) and value == -1)
    }


_SCORES = ("val/", "category/")


class RoundLog:
    """Logs the rounds of a run; a context, and an observer of `mapopt.training.run`.

    Args:
        log: a name in `mapopt.trackers.TRACKERS`.
        folder: of the run.
        history: rounds that were played before, by the run that is resumed.
        categories: their names.
        config: the run's settings.
    """

    def __init__(
        self, log: str, folder: Path, *, history: Sequence[Round], categories: Sequence[str], config: Mapping[str, Any]
    ) -> None:
        self._log, self._folder, self._config = log, folder, config
        self._history, self._categories = list(history), list(categories)
        self._tracker: Tracker | None = None
        self._sent, self._key = 0, ""

    def __enter__(self) -> Self:
        """Opens the log, and sends what it does not have yet."""
        path = self._folder / LOG
        before = read_json(path) if self._history and path.is_file() else {}
        if before.get("log") == self._log:
            self._sent, self._key = min(before["rounds"], len(self._history)), before["key"]
        step = self._history[self._sent - 1].images if self._sent else 0
        settings = flatten(self._config)
        self._try(lambda: self._open(settings, step))
        for played in self._history[self._sent :]:
            self._send(played)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Closes it."""
        if self._tracker is not None:
            self._try(self._tracker.close)

    def __call__(self, lane: int, played: Round) -> None:
        """Sends a round."""
        self._send(played)

    def _open(self, config: Mapping[str, Any], step: int) -> None:
        self._tracker = open_tracker(self._log, self._folder, config=config, key=self._key, step=step)
        self._key = self._tracker.key

    def _send(self, played: Round) -> None:
        if self._tracker is None:
            return
        tracker, numbers = self._tracker, numbers_of(played, self._categories)
        self._try(lambda: tracker.log(numbers, played.images))
        if self._tracker is not None:
            self._sent += 1
            write_json(self._folder / LOG, {"log": self._log, "rounds": self._sent, "key": self._key})

    def _try(self, work: Any) -> None:
        """Does what another package may fail at; then nothing more is sent."""
        try:
            work()
        except Exception as error:
            self._tracker = None
            reason = " ".join(str(error).split()) or type(error).__name__
            print(f"--log {self._log} failed ({reason}): nothing more is sent there; the training goes on", flush=True)
