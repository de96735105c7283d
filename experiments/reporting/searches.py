"""What `mapopt search` shows: how far it is, every rung as it is climbed, and what was chosen at what cost."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mapopt.evaluation.numbers import duration, short
from mapopt.evaluation.text_tables import new_table, print_table
from mapopt.experiments.comparison.executors import WorkerDied
from mapopt.experiments.searching.candidates import described
from mapopt.experiments.searching.climbing import SearchEnd, SearchPlan, SearchProgress
from mapopt.experiments.searching.outcome import RungOutcome, SearchOutcome, Tried
from mapopt.waiting import Waiting

SHOWN = 3
"""Settings of a rung that are printed before the last one, of which all are."""


class SearchTerminal:
    """Shows what a search reports; a context in which its bar is there."""

    def __init__(self) -> None:
        self._console = Console(soft_wrap=not sys.stdout.isatty())
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:,.0f} of {task.total:,.0f} images"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._plan: SearchPlan | None = None
        self._waiting: Waiting | None = None
        self._bar = self._bars.add_task("searching", total=None, visible=False)

    def __enter__(self) -> SearchTerminal:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        self._end_waiting()

    def __call__(self, event: Any) -> None:
        """Shows an event."""
        if isinstance(event, SearchPlan):
            self._plan = event
            self._print(
                f"{event.experiment}: {_count(event.searches, 'search', 'searches')} of "
                f"{_count(event.settings, 'setting')}, {event.images:,} images in all; runs are kept in {event.folder}"
            )
        elif isinstance(event, SearchProgress):
            self._advance(event)
        elif isinstance(event, RungOutcome):
            self._print_rung(event)
        elif isinstance(event, SearchOutcome):
            self._print_outcome(event)
        elif isinstance(event, SearchEnd):
            self._end_waiting()
            self._print_end(event)
        elif isinstance(event, WorkerDied):
            self._print(str(event))

    def _advance(self, progress: SearchProgress) -> None:
        assert self._plan is not None
        if self._waiting is None:
            if not progress.missing:
                return  # everything is there
            left = 1 - progress.images / self._plan.images
            self._waiting = Waiting(
                "searching",
                total=self._plan.images,
                done=progress.images,
                unit="images",
                expected=None if self._plan.seconds is None else self._plan.seconds * left,
                stream=self._console.file,
            ).__enter__()
        self._bars.update(self._bar, total=self._plan.images, completed=progress.images, visible=True)
        if progress.fleet is None:
            self._waiting.advance(progress.images)
            self._print(
                f"{_count(progress.runs, 'run')} needed now, {progress.missing} missing, in "
                f"{_count(progress.fleets, 'fleet')}"
            )
            return
        done = progress.fleet.done
        self._waiting.advance(progress.images, said=done and not self._console.is_terminal)
        if done and not self._console.is_terminal:
            job, count = progress.fleet.fleet.jobs[0], len(progress.fleet.fleet.jobs)
            outlook = self._waiting.remaining()
            self._print(
                f"{_count(count, 'run')} of {job.recipe.optimizer}, {job.recipe.loss}, batch {job.recipe.batch_size}: "
                f"best val AP {short(progress.fleet.val_ap)}{', ' + outlook if outlook else ''}"
            )

    def _print_rung(self, rung: RungOutcome) -> None:
        last = rung.number == rung.rungs
        heading = (
            f"{_name(rung.method, rung.tasks)}: rung {rung.number} of {rung.rungs}, "
            f"{_count(len(rung.tried), 'setting')}, {_count(rung.seeds, 'seed')}, {rung.images:,} images a run"
        )
        shown = rung.tried if last else rung.tried[:SHOWN]
        self._print(f"{heading}:" if last else f"{heading}; the best:")
        table = new_table("")
        table.add_column("score", justify="right")
        for task in rung.tasks:
            table.add_column(f"val AP\n{task}", justify="right")
        if any(tried.diverged for tried in shown):
            table.add_column("di-\nverged", justify="right")
        table.add_column("setting")
        for tried in shown:
            lost = [str(tried.diverged or "")] if any(each.diverged for each in shown) else []
            table.add_row(
                short(tried.score), *(_reached(tried, task) for task in rung.tasks), *lost, described(tried.setting)
            )
        print_table(table, self._console)

    def _print_outcome(self, outcome: SearchOutcome) -> None:
        spent = outcome.processor_seconds
        clock, processor = f"{duration(outcome.seconds)} by the clock", f"{duration(spent or 0.0)} of the processor"
        self._print(
            f"{_name(outcome.method, outcome.tasks)}: {outcome.runs} runs, {outcome.images:,} images, "
            f"{clock if spent is None else processor}; chosen: "
            f"{described(outcome.best.setting)}"
        )
        for task in outcome.tasks if len(outcome.tasks) > 1 else ():
            best = outcome.best_on(task)
            if best is outcome.best:
                self._print(f"  {task}: val AP {_reached(best, task)}, the best of this task, too")
            else:
                self._print(
                    f"  {task}: val AP {_reached(outcome.best, task)}; of this task alone {_reached(best, task)} with "
                    f"{described(best.setting)}"
                )

    def _print_end(self, end: SearchEnd) -> None:
        for path in end.paths:
            self._print(f"wrote {path}")
        if end.unread:
            self._print(
                f"The configuration has other settings of {', '.join(end.unread)}, which go before these: remove them "
                "from its section `searched`, or search with --beside-config where they are in a file beside it."
            )

    def _end_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.__exit__(None, None, None)
            self._waiting = None

    def _print(self, text: str) -> None:
        self._console.print(text, highlight=False, markup=False)


def _name(method: str, tasks: Sequence[str]) -> str:
    return f"{method} on {tasks[0]}" if len(tasks) == 1 else f"{method} on {len(tasks)} tasks"


def _count(number: int, word: str, words: str = "") -> str:
    return f"{number} {word if number == 1 else words or word + 's'}"


def _reached(tried: Tried, task: str) -> str:
    """Returns the mean val AP on a task with its interval, as far as one is known."""
    ends = tried.interval(task)
    return short(tried.mean(task)) + ("" if ends is None else f" [{short(ends[0])}, {short(ends[1])}]")
