"""What the commands show: a bar or lines while runs are trained, then tables and figures."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from mapopt.experiments.comparison.executors import WorkerDied
from mapopt.experiments.comparison.jobs import Plan, Progress
from mapopt.experiments.reporting.places import SELECTIONS, SUMMARY
from mapopt.experiments.reporting.terminal import print_summary
from mapopt.losses import make_loss
from mapopt.waiting import Waiting

if TYPE_CHECKING:
    from mapopt.drawing.styles import Family
    from mapopt.experiments.comparison.stored_run import StoredRun
    from mapopt.experiments.reporting.summary import Summary
    from mapopt.training import Recipe


class TerminalProgress:
    """Shows what a comparison reports; a context in which its bars are there."""

    def __init__(self) -> None:
        self._console = _console()
        self._bars = Bars(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=self._console,
            disable=not self._console.is_terminal,
        )
        self._jobs: dict[tuple[str, str, tuple[int, ...]], TaskID] = {}
        self._plan: Plan | None = None
        self._total: TaskID | None = None
        self._began = time.perf_counter()
        self._waiting: Waiting | None = None
        self._played: dict[tuple[str, str, tuple[int, ...]], int] = {}

    def __enter__(self) -> TerminalProgress:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()
        if self._waiting is not None:
            self._waiting.__exit__(kind, error, trace)
        if kind is None and self._plan is not None and self._plan.missing:
            seconds = time.perf_counter() - self._began
            self._console.print(f"trained and tested {self._plan.missing} runs in {seconds:.0f} s")

    def __call__(self, event: Any) -> None:
        """Shows an event."""
        if isinstance(event, Plan):
            self._begin(event)
        elif isinstance(event, Progress):
            self._advance(event)
        elif isinstance(event, WorkerDied):
            self._console.print(str(event), highlight=False)

    def _begin(self, plan: Plan) -> None:
        stored = plan.runs - plan.missing
        replaced = f", {plan.replaced} stored ones of other settings make room" if plan.replaced else ""
        self._console.print(
            f"{plan.experiment}: {plan.runs} runs, {stored} of them in {plan.store}, {plan.missing} to do{replaced}"
        )
        if plan.note:
            self._console.print(plan.note, highlight=False)
        self._plan = plan
        if plan.missing:
            self._waiting = Waiting(
                "training",
                total=plan.missing * plan.rounds,
                unit="rounds",
                expected=plan.seconds,
                stream=self._console.file,
            ).__enter__()
            self._total = self._bars.add_task("runs", total=plan.missing)

    def _advance(self, progress: Progress) -> None:
        job = progress.job
        seeds = f"{job.seeds[0]}-{job.seeds[-1]}"
        label = f"{job.task} {job.method} seeds {seeds}: val AP {progress.val_ap:.3f}"
        name = (job.task, job.method, job.seeds)
        if name not in self._jobs:
            self._jobs[name] = self._bars.add_task(label, total=job.budget.rounds)
        self._bars.update(self._jobs[name], completed=progress.rounds, description=label)
        self._played[name] = progress.rounds * len(job.seeds)
        if self._waiting is not None:
            self._waiting.advance(sum(self._played.values()), said=progress.done)
        if progress.done:
            self._bars.remove_task(self._jobs.pop(name))
            if self._total is not None:
                self._bars.advance(self._total, len(job.seeds))
            if not self._console.is_terminal:
                left = self._waiting.remaining() if self._waiting is not None else ""
                self._console.print(f"{label}, {left}" if left else label)


def print_and_draw(summary: Summary, runs: Sequence[StoredRun], folder: Path, recipes: Mapping[str, Recipe]) -> None:
    """Prints the tables of a comparison and draws its figures.

    Args:
        summary: of the runs.
        runs: what the figures show.
        folder: gets the figures.
        recipes: of the methods, which are colored by the kind of their loss.
    """
    from mapopt.experiments.reporting.figures import draw_all

    console = _console()
    print_summary(summary, console)
    families = {method: _family(recipe) for method, recipe in recipes.items()}
    figures = draw_all(runs, folder, summary, families=families)
    if folder.parent.name == SELECTIONS:
        whole = folder.parent.parent / SUMMARY
        console.print(f"{whole} covers runs that this report leaves out, so it stays, and this one has its own folder")
    console.print(f"wrote {folder / 'summary.json'} and {len(figures)} figures in {folder}")


def _family(recipe: Recipe) -> Family:
    """Returns which kind of loss a recipe trains with; a detector's own losses are pointwise."""
    pointwise = recipe.is_detectors_own or make_loss(recipe.loss, recipe.loss_settings).pointwise
    return "pointwise" if pointwise else "ranking"


def _console() -> Console:
    return Console(soft_wrap=not sys.stdout.isatty())
