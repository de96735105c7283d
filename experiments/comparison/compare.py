"""Compares methods of training, from Python as from the command: every method on every task at equal budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Unpack

from mapopt.errors import StoreError
from mapopt.experiments.comparison.config import Experiment
from mapopt.experiments.comparison.data import splits_of
from mapopt.experiments.comparison.executors import run_jobs
from mapopt.experiments.comparison.expected import expected_seconds
from mapopt.experiments.comparison.jobs import Job, Plan, all_jobs, train_job
from mapopt.experiments.comparison.options import (
    Config,
    Methods,
    Options,
    about_stored,
    device_of,
    make_experiment,
    workers_of,
)
from mapopt.experiments.comparison.standing import missing_jobs, stored_runs
from mapopt.experiments.comparison.store import Store
from mapopt.experiments.reporting.places import SUMMARY, report_folder
from mapopt.experiments.reporting.report import summarize
from mapopt.experiments.reporting.summary import Summary
from mapopt.files import write_json
from mapopt.locks import lock_folder
from mapopt.wording import speaks_python

Listener = Callable[[Any], None]


@speaks_python
def compare(
    config: Config = "default", *, methods: Methods = (), out: str | Path = "runs", **options: Unpack[Options]
) -> Summary:
    """Trains every method on every task with every seed at equal budget, tests once, and returns what came of it.

    Runs that the store already has are not trained again; a comparison that was stopped goes on where it was. What
    other code made is refused unless the options accept it or have it done again. What `search` chose for a method is
    read from ``OUT/EXPERIMENT/searched.yaml`` where the experiment says nothing of it. The summary is also written to
    ``OUT/EXPERIMENT/summary.json``, or of some of the runs to a folder in ``OUT/EXPERIMENT/selections``. A script that
    takes more than one worker calls this below ``if __name__ == "__main__":``, because workers import the script.

    Args:
        config: the experiment.
        methods: names of those of the experiment's methods that are compared; or all that are compared by name, each a
            `MethodConfig`, a `Recipe`, a controller, a mapping as in a file, or None for the experiment's own.
        out: the store.
        options: tasks, data, seeds, agent, reference, accept_stored, redo, workers, device, progress, report; see
            `Options`.

    Raises:
        MapoptError: what was asked cannot be done, and why.

    Example:
        ``compare(methods={"baseline": None, "hinge": Recipe(loss="mine:HingeLoss")}, seeds=4, workers=2)``
    """
    experiment = make_experiment(config, methods, options, out=out)
    device, workers = device_of(options), workers_of(options)
    store, jobs = Store(Path(out)), all_jobs(experiment, device=device)
    with lock_folder(store.root / experiment.name):
        store.sweep(experiment.name)
        missing, standing = missing_jobs(jobs, store, lanes=experiment.lanes, **about_stored(options))
        with _listening(options) as report:
            report(
                Plan(
                    experiment=experiment.name,
                    rounds=experiment.budget.rounds,
                    runs=sum(len(job.seeds) for job in jobs),
                    missing=sum(len(job.seeds) for job in missing),
                    store=store.root,
                    replaced=len(standing.other),
                    note="" if options.get("redo") else standing.note,
                    seconds=expected_seconds(missing, [*standing.today, *standing.older], workers=workers),
                )
            )
            run_jobs(partial(train_job, store=store, device=device), missing, report, workers=workers)
        return _summarize(experiment, jobs, store, options, any_device=False)


@speaks_python
def plot(
    config: Config = "default", *, methods: Methods = (), out: str | Path = "runs", **options: Unpack[Options]
) -> Summary:
    """Summarizes a comparison's stored runs without training; ``report=True`` prints and draws them.

    Runs that other code made are among them, and `Summary.notes` says so. A report on some of the runs goes into a
    folder of its own, so that it does not take the place of the report on all of them.

    Args:
        config: the experiment.
        methods: as for `compare`.
        out: the store.
        options: as for `compare`.

    Raises:
        StoreError: the store holds no runs of this experiment as it is configured now.
    """
    experiment = make_experiment(config, methods, options, out=out)
    return _summarize(experiment, all_jobs(experiment), Store(Path(out)), options, any_device=True)


@contextmanager
def _listening(options: Options) -> Iterator[Listener]:
    """Yields what is to be called with whatever there is to report."""
    listeners: list[Listener] = []
    progress = options.get("progress")
    if progress is not None:
        listeners.append(progress)

    def report(event: Any) -> None:
        for listener in listeners:
            listener(event)

    if options.get("report"):
        from mapopt.experiments.reporting.progress import TerminalProgress

        with TerminalProgress() as shown:
            listeners.append(shown)
            yield report
    else:
        yield report


def _summarize(
    experiment: Experiment, jobs: Sequence[Job], store: Store, options: Options, *, any_device: bool
) -> Summary:
    """Summarizes the runs of some jobs, and writes, prints and draws that."""
    folder = store.root / experiment.name
    standing = stored_runs(jobs, store.runs(experiment.name), any_device=any_device)
    runs = sorted([*standing.today, *standing.older], key=lambda run: (run.task, run.method, run.seed))
    if not runs:
        raise StoreError(
            f"{folder} holds no runs of this experiment as it is configured now: run `mapopt compare` first"
        )
    if all(run.method != experiment.reference for run in runs):
        raise StoreError(
            f"{folder} holds no runs of the reference method '{experiment.reference}': run `mapopt compare` first, or "
            "name another with --reference"
        )
    objects = {name: splits_of(task, 0).train.annotations.counts.tolist() for name, task in experiment.tasks.items()}
    place = report_folder(folder, {(job.task, job.method): job.seeds for job in jobs})
    notes = [standing.note] if standing.older else []
    if standing.other:
        notes.append(
            f"{len(standing.other)} stored runs were asked for with other settings, images or agents: left out"
        )
    summary = replace(summarize(runs, reference=experiment.reference, objects=objects), notes=tuple(notes))
    write_json(place / SUMMARY, summary.as_dict())
    if options.get("report"):
        from mapopt.experiments.reporting.progress import print_and_draw

        print_and_draw(summary, runs, place, {name: method.recipe for name, method in experiment.methods.items()})
    return summary
