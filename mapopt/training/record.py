"""What a run leaves for people: a file of its rounds to plot, and its progress on the terminal.

Both are observers of `run`. The files are rewritten whole after every round, so that a run that is killed leaves all
of its finished rounds and never half a line.
"""

from __future__ import annotations

import csv
import io
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mapopt.files import write_text
from mapopt.settings import flatten
from mapopt.training.budget import Budget
from mapopt.training.history import JSON_LINES, Round
from mapopt.training.run_files import TABLE
from mapopt.waiting import Waiting


class Recorder:
    """Writes the rounds of one lane into a folder, after every round.

    Args:
        folder: where `JSON_LINES` and `TABLE` go.
        history: rounds that were played before, by the run that is resumed.
        categories: their names, for the columns of AP per category; by default they are numbered from 0.
        lane: whose rounds are kept.
    """

    def __init__(
        self, folder: Path, *, history: Sequence[Round] = (), categories: Sequence[str] = (), lane: int = 0
    ) -> None:
        self._folder, self._rounds = folder, list(history)
        self._categories, self._lane = list(categories), lane

    def __call__(self, lane: int, played: Round) -> None:
        """Adds a round and rewrites the files."""
        if lane == self._lane:
            self._rounds.append(played)
            self.write()

    def write(self) -> None:
        """Writes the files as they should be now.

        Raises:
            StoreError: a file cannot be written.
        """
        lines = [json.dumps(played.as_dict()) + "\n" for played in self._rounds]
        write_text(self._folder / JSON_LINES, "".join(lines))
        write_text(self._folder / TABLE, self._table())

    def _table(self) -> str:
        records = [flatten(self._named(played.as_dict())) for played in self._rounds]
        # A round whose knobs stood still has no `ramp_from`: its cells stay empty.
        rows = [{name: value for name, value in record.items() if value is not None} for record in records]
        columns = list(dict.fromkeys(name for row in sorted(rows, key=len, reverse=True) for name in row))
        buffer = io.StringIO()
        writer = csv.DictWriter(buffer, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        return buffer.getvalue()

    def _named(self, record: dict[str, Any]) -> dict[str, Any]:
        values = record["val"].pop("per_category")
        names = self._categories or [str(position) for position in range(len(values))]
        record["val"]["category"] = dict(zip(names, values, strict=True))
        if "via" in record:
            points = enumerate(record.pop("via"), start=1)
            record["via"] = {str(number): {"fraction": at, **knobs} for number, (at, knobs) in points}
        return record


_TRAINING = 0.9
"""Fraction of a round's time that is training and not evaluation, guessed before there is a round."""


class ProgressPrinter:
    """Shows a run as it goes: one line a round, and below them on a terminal a bar with the time that is left.

    The bar moves inside a round, too, by the images that are trained and then by the evaluation; elsewhere a line says
    at least every half minute how far it is.

    Args:
        budget: how long the run may be.
        history: rounds that were played before, by the run that is resumed.
        stream: where to print; the standard output by default.
        expected: about how many seconds an image takes, where something tells.

    Use it as a context, so that the bar is taken down however the run ends.
    """

    def __init__(
        self,
        budget: Budget,
        *,
        history: Sequence[Round] = (),
        stream: TextIO | None = None,
        expected: float | None = None,
    ) -> None:
        self._budget, self._done = budget, len(history)
        self._waiting = Waiting(
            "training",
            total=budget.rounds,
            done=len(history),
            expected=None if expected is None else expected * budget.interval * (budget.rounds - len(history)),
            stream=stream,
        )
        self._trained = sum(played.interval.seconds for played in history)
        self._training = self._trained / history[-1].seconds if history and history[-1].seconds > 0 else _TRAINING
        self._best = max((played.val.ap for played in history), default=-1.0)
        self._stream = stream or sys.stdout
        self._progress: Progress | None = None
        console = Console(file=self._stream)
        if console.is_terminal:
            self._progress = Progress(
                TextColumn("best val AP {task.fields[best]}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("rounds"),
                TextColumn("{task.fields[inside]}"),
                TimeElapsedColumn(),
                TimeRemainingColumn(),
                console=console,
            )
            self._bar = self._progress.add_task(
                "", total=budget.rounds, completed=self._done, best=self._shown_best(), inside=""
            )

    def __enter__(self) -> ProgressPrinter:
        """Says about how long it will take, and puts the bar up."""
        self._waiting.__enter__()
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Takes the bar down; the lines stay."""
        self._waiting.__exit__(kind, error, trace)
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, lane: int, played: Round) -> None:
        """Shows a round."""
        self._done, self._best = self._done + 1, max(self._best, played.val.ap)
        self._trained += played.interval.seconds
        self._training = self._trained / played.seconds if played.seconds > 0 else _TRAINING
        line = describe_round(played, self._budget)
        self._waiting.advance(self._done)
        if self._progress is None:
            left = self._waiting.remaining()
            print(f"{line}  {left}" if left else line, file=self._stream, flush=True)
            return
        self._progress.console.print(line, highlight=False, markup=False, soft_wrap=True)
        self._progress.update(self._bar, completed=self._done, best=self._shown_best(), inside="")

    def step(self, images: int) -> None:
        """Notes how many images of the round are trained."""
        whole = self._budget.interval
        note = f"image {images} of {whole}" if images < whole else "evaluating"
        part = min(1.0, self._training) * min(1.0, images / whole)
        self._waiting.within(part, f"{note} in round {self._done + 1}")
        if self._progress is not None:
            self._progress.update(self._bar, completed=self._done + part, inside=note)

    def say(self, text: str) -> None:
        """Shows lines of text below the rounds so far."""
        if self._progress is None:
            print(text, file=self._stream, flush=True)
        else:
            self._progress.console.print(text, highlight=False, markup=False, soft_wrap=True)

    def _shown_best(self) -> str:
        return f"{self._best:.4f}" if self._best >= 0 else "-"


def describe_round(played: Round, budget: Budget) -> str:
    """Returns a round as a line of text."""
    width = len(str(budget.rounds))
    interval = played.interval
    if interval.diverged:
        return f"round {played.index + 1:{width}}/{budget.rounds}  images {played.images}  diverged: not finite"
    return (
        f"round {played.index + 1:{width}}/{budget.rounds}  images {played.images:{len(str(budget.images))}}  "
        f"val AP {played.val.ap:.4f}  AP50 {played.val.ap50:.4f}  lr {played.knobs.get('lr'):.3g}  "
        f"loss {interval.class_loss + interval.box_loss:.4f}  gradient {interval.gradient_norm:.3g}  "
        f"{played.seconds:.1f} s"
    )
