"""A comparison in numbers: for every task and method how good it was, how sure that is, and what it cost.

What is uncertain carries its interval and every result stands next to its whole cost, the search for its settings and
the training of its agent included. A diverged run counts as AP 0; leaving it out would reward methods for failing.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mapopt.errors import ConfigError, StoreError, unknown_name
from mapopt.experiments.comparison.store import Cost, StoredRun
from mapopt.metrics.statistics import (
    LEVEL,
    RESAMPLES,
    Estimate,
    estimate,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from mapopt.training import Scores

VERSION = 2
_SEED = 0  # of the resampling: a comparison is summarised to the same digits wherever it is read


@dataclass(frozen=True, kw_only=True)
class Versus:
    """A method beside the reference method."""

    difference: Estimate | None
    """In test AP, on the seeds that both have; None if they share none."""
    rarest: Estimate | None
    """The same in the AP of the task's rarest category; None where that is unknown, and over several tasks."""
    pairs: int
    """How many seeds those are."""
    improvement: Estimate
    """Probability that a run of the method beats a run of the reference."""


@dataclass(frozen=True, kw_only=True)
class MethodSummary:
    """One method on one task. Numbers without an interval are interquartile means over the seeds."""

    method: str
    label: str
    seeds: tuple[int, ...]
    diverged: int
    stopped: int
    """Runs that ended early by their own decision."""
    ap: Estimate
    """On the test split."""
    ap50: Estimate
    ap75: Estimate
    ar100: Estimate
    per_category: tuple[float, ...]
    rarest: Estimate | None
    """Test AP of the task's rarest category, where that is known."""
    val_ap: Estimate
    gap: Estimate
    """Tune - test AP of the same weights, over the runs that did not diverge."""
    images: float
    """Trained on, mean over the runs."""
    evaluated: float
    """Images evaluated, mean over the runs."""
    seconds: float
    """Mean over the runs."""
    step_seconds: float
    """Median over all rounds of all runs of what a training step took; NaN for runs that are in no store."""
    search: Cost
    training: Cost
    devices: tuple[str, ...]
    versus: Versus | None
    """None for the reference itself, and where there is none."""


@dataclass(frozen=True, kw_only=True)
class TaskSummary:
    """All methods on one task, the best test AP first."""

    task: str
    categories: tuple[str, ...]
    rarest: str | None
    """Name of the category with the fewest training objects, where they are known."""
    objects: tuple[int, ...] | None
    """Training objects per category, where they are known."""
    methods: tuple[MethodSummary, ...]

    @property
    def imbalanced(self) -> bool:
        """Whether the rarest category has less than half of the objects of the average one."""
        return self.objects is not None and min(self.objects) < sum(self.objects) / len(self.objects) / 2


@dataclass(frozen=True, kw_only=True)
class OverallSummary:
    """One method over all tasks; runs are redrawn within their task."""

    method: str
    label: str
    runs: int
    ap: Estimate
    versus: Versus | None


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A whole comparison."""

    experiment: str
    reference: str | None
    """The method that the others are compared with."""
    tasks: tuple[TaskSummary, ...]
    overall: tuple[OverallSummary, ...]
    """Methods that ran on every task, the best first; empty for a single task."""

    def as_dict(self) -> dict[str, Any]:
        """Returns the content of ``summary.json``; what is not known is None."""
        return {
            "version": VERSION,
            "experiment": self.experiment,
            "reference": self.reference,
            "statistic": "interquartile mean",
            "interval": {"kind": "stratified bootstrap", "level": LEVEL, "resamples": RESAMPLES, "seed": _SEED},
            "tasks": [
                {
                    "task": task.task,
                    "categories": list(task.categories),
                    "rarest": task.rarest,
                    "objects": None if task.objects is None else dict(zip(task.categories, task.objects, strict=True)),
                    "methods": [_method_dict(one, task) for one in task.methods],
                }
                for task in self.tasks
            ],
            "overall": [
                {
                    "method": one.method,
                    "label": one.label,
                    "runs": one.runs,
                    "test": {"ap": _known(one.ap)},
                    "versus_reference": _known(one.versus),
                }
                for one in self.overall
            ],
        }


def summarize(
    runs: Sequence[StoredRun], *, reference: str | None = None, objects: Mapping[str, Sequence[int]] | None = None
) -> Summary:
    """Computes everything that is said about a comparison.

    Args:
        runs: of one experiment.
        reference: the method that the others are compared with.
        objects: per task the number of training objects of each of its categories.

    Raises:
        StoreError: there is no run.
        ConfigError: no run is of the reference method, or a task's categories and numbers of objects do not agree.
    """
    if not runs:
        raise StoreError("there is no run to summarise: expected at least one stored run; run `mapopt compare` first")
    methods = {run.method for run in runs}
    if reference is not None and reference not in methods:
        raise ConfigError(unknown_name("reference method", reference, methods))
    tasks = sorted({run.task for run in runs})
    by_task = {task: _group([run for run in runs if run.task == task]) for task in tasks}
    return Summary(
        experiment=runs[0].experiment,
        reference=reference,
        tasks=tuple(_task(task, by_task[task], reference, (objects or {}).get(task)) for task in tasks),
        overall=_overall([by_task[task] for task in tasks], reference) if len(tasks) > 1 else (),
    )


def _group(runs: Sequence[StoredRun]) -> dict[str, list[StoredRun]]:
    """Returns the runs of each method, by seed."""
    ordered = sorted(runs, key=lambda run: run.seed)
    return {method: [run for run in ordered if run.method == method] for method in {run.method for run in ordered}}


def _task(
    name: str, methods: Mapping[str, list[StoredRun]], reference: str | None, objects: Sequence[int] | None
) -> TaskSummary:
    against = methods.get(reference) if reference is not None else None
    categories = next(iter(methods.values()))[0].categories
    if objects is not None and len(objects) != len(categories):
        raise ConfigError(
            f"numbers of objects of {name} are {tuple(objects)}: expected one per category, {len(categories)}"
        )
    rarest = None if objects is None else int(np.argmin(objects))
    summaries = [
        _method(runs, None if method == reference else against, rarest) for method, runs in sorted(methods.items())
    ]
    return TaskSummary(
        task=name,
        categories=categories,
        rarest=None if rarest is None else categories[rarest],
        objects=None if objects is None else tuple(int(count) for count in objects),
        methods=tuple(sorted(summaries, key=lambda one: -one.ap.value)),
    )


def _method(runs: list[StoredRun], against: list[StoredRun] | None, rarest: int | None) -> MethodSummary:
    def sure(number: Callable[[Scores], float]) -> Estimate:
        return _estimate([number(run.test) for run in runs])

    sound = [run for run in runs if run.status != "diverged"]
    return MethodSummary(
        method=runs[0].method,
        label=runs[0].label,
        seeds=tuple(run.seed for run in runs),
        diverged=len(runs) - len(sound),
        stopped=sum(run.status == "stopped" for run in runs),
        ap=sure(lambda test: test.ap),
        ap50=sure(lambda test: test.ap50),
        ap75=sure(lambda test: test.ap75),
        ar100=sure(lambda test: test.ar100),
        per_category=tuple(
            _middle([run.test.per_category[position] for run in runs]) for position in range(len(runs[0].categories))
        ),
        rarest=None if rarest is None else _estimate([run.test.per_category[rarest] for run in runs]),
        val_ap=estimate([run.val.ap for run in runs], seed=_SEED),
        gap=estimate([run.val.ap - run.test.ap for run in sound], seed=_SEED)
        if sound
        else Estimate(math.nan, math.nan, math.nan),
        images=float(np.mean([run.images for run in runs])),
        evaluated=float(np.mean([run.evaluated for run in runs])),
        seconds=float(np.mean([run.seconds for run in runs])),
        step_seconds=_step_seconds(runs),
        search=_shared_cost([run.search for run in runs]),
        training=_shared_cost([run.training for run in runs]),
        devices=tuple(sorted({run.device for run in runs})),
        versus=None if against is None else _versus([runs], [against], rarest),
    )


def _middle(values: Sequence[float]) -> float:
    """Returns the interquartile mean, or -1 where a number is undefined, which does not depend on the run."""
    return -1.0 if min(values) < 0 else float(interquartile_mean(values))


def _estimate(values: Sequence[float]) -> Estimate:
    """Returns the interquartile mean with its interval; an undefined number has none."""
    return Estimate(-1.0, math.nan, math.nan) if min(values) < 0 else estimate(values, seed=_SEED)


def _step_seconds(runs: Sequence[StoredRun]) -> float:
    intervals = [one.interval for run in runs if run.folder is not None for one in run.rounds]
    steps = [one.seconds / one.steps for one in intervals if one.steps]
    return float(np.median(steps)) if steps else math.nan


def _shared_cost(costs: Sequence[Cost]) -> Cost:
    """Returns what was spent once for all runs of a method: each of them carries the same number."""
    return max(costs, key=lambda cost: cost.images)


def _versus(runs: Sequence[list[StoredRun]], against: Sequence[list[StoredRun]], rarest: int | None = None) -> Versus:
    """Compares a method with the reference, task by task."""
    ours = [{run.seed: run.test.ap for run in task} for task in runs]
    theirs = [{run.seed: run.test.ap for run in task} for task in against]
    return Versus(
        difference=paired_difference(ours, theirs, seed=_SEED),
        rarest=None if rarest is None else _rarest_difference(runs[0], against[0], rarest),
        pairs=sum(len(one.keys() & other.keys()) for one, other in zip(ours, theirs, strict=True)),
        improvement=probability_of_improvement(
            [np.array(list(task.values())) for task in ours],
            [np.array(list(task.values())) for task in theirs],
            seed=_SEED,
        ),
    )


def _rarest_difference(runs: Sequence[StoredRun], against: Sequence[StoredRun], rarest: int) -> Estimate | None:
    ours, theirs = ({run.seed: run.test.per_category[rarest] for run in side} for side in (runs, against))
    if min((*ours.values(), *theirs.values())) < 0:
        return None
    return paired_difference(ours, theirs, seed=_SEED)


def _overall(tasks: Sequence[dict[str, list[StoredRun]]], reference: str | None) -> tuple[OverallSummary, ...]:
    everywhere = sorted(set.intersection(*(set(task) for task in tasks)))
    rows = []
    for method in everywhere:
        runs = [task[method] for task in tasks]
        compared = reference in everywhere and method != reference
        rows.append(
            OverallSummary(
                method=method,
                label=runs[0][0].label,
                runs=sum(len(task) for task in runs),
                ap=estimate([np.array([run.test.ap for run in task]) for task in runs], seed=_SEED),
                versus=_versus(runs, [task[str(reference)] for task in tasks]) if compared else None,
            )
        )
    return tuple(sorted(rows, key=lambda one: -one.ap.value))


def _method_dict(one: MethodSummary, task: TaskSummary) -> dict[str, Any]:
    return {
        "method": one.method,
        "label": one.label,
        "seeds": list(one.seeds),
        "diverged": one.diverged,
        "stopped": one.stopped,
        "test": {
            "ap": _known(one.ap),
            "ap50": _known(one.ap50),
            "ap75": _known(one.ap75),
            "ar100": _known(one.ar100),
            "per_category": dict(zip(task.categories, one.per_category, strict=True)),
            "rarest": _known(one.rarest),
        },
        "val": {"ap": _known(one.val_ap)},
        "gap": _known(one.gap),
        "images": one.images,
        "evaluated": one.evaluated,
        "seconds": one.seconds,
        "step_seconds": _known(one.step_seconds),
        "search": dataclasses.asdict(one.search),
        "training": dataclasses.asdict(one.training),
        "devices": list(one.devices),
        "versus_reference": _known(one.versus),
    }


def _known(value: Any) -> Any:
    """Returns dataclasses as dictionaries, and None for what is not a number, as strict JSON has it."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _known(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return None if isinstance(value, float) and math.isnan(value) else value
