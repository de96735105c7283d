"""Computes what is said about a comparison from its stored runs.

What is uncertain carries its interval, and every result stands next to its whole cost, the search for its settings and
the training of its agent included. A diverged run counts as AP 0; leaving it out would reward methods for failing.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import numpy as np

from mapopt.errors import ConfigError, StoreError, unknown_name
from mapopt.experiments.comparison.stored_run import Cost, StoredRun
from mapopt.experiments.reporting.summary import SEED, MethodSummary, OverallSummary, Summary, TaskSummary, Versus
from mapopt.metrics.statistics import (
    Estimate,
    bootstrap_interval,
    estimate,
    interquartile_mean,
    paired_difference,
    probability_of_improvement,
)
from mapopt.training import Scores

_UNDEFINED = Estimate(math.nan, math.nan, math.nan)
_AP = (0.0, 1.0)
"""What AP, and so its interval, lies between."""
_GAIN = (-1.0, 1.0)
"""The same of a difference of two."""


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
        raise StoreError("there is no run to summarize: expected at least one stored run; run `mapopt compare` first")
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
    rarest = None if objects is None else np.argsort(objects, kind="stable")[: math.ceil(len(objects) / 3)].tolist()
    summaries = [
        _method(runs, None if method == reference else against, rarest) for method, runs in sorted(methods.items())
    ]
    ordered = tuple(sorted(summaries, key=lambda method: -method.ap.value))
    return TaskSummary(
        task=name,
        categories=categories,
        rarest=None if rarest is None else categories[rarest[0]],
        objects=None if objects is None else tuple(int(count) for count in objects),
        methods=ordered,
        limit=_limit(next((method for method in ordered if method.method == reference), ordered[0])),
    )


def _limit(method: MethodSummary) -> Literal["box", "class"] | None:
    boxes, ranking = method.perfect_boxes.value, method.perfect_ranking.value
    if math.isnan(boxes) or math.isnan(ranking):
        return None
    return "box" if boxes >= ranking else "class"


def _method(runs: list[StoredRun], against: list[StoredRun] | None, rarest: Sequence[int] | None) -> MethodSummary:
    def tested(number: Callable[[Scores], float]) -> Estimate:
        return _estimate([number(run.test) for run in runs])

    sound = [run for run in runs if run.status != "diverged"]
    return MethodSummary(
        method=runs[0].method,
        label=runs[0].label,
        seeds=tuple(run.seed for run in runs),
        diverged=len(runs) - len(sound),
        stopped=sum(run.status == "stopped" for run in runs),
        ap=tested(lambda test: test.ap),
        ap50=tested(lambda test: test.ap50),
        ap75=tested(lambda test: test.ap75),
        ar100=tested(lambda test: test.ar100),
        per_category=tuple(
            _middle([run.test.per_category[position] for run in runs]) for position in range(len(runs[0].categories))
        ),
        rarest=None if rarest is None else tested(lambda test: test.per_category[rarest[0]]),
        rarest_third=None if rarest is None else tested(lambda test: _mean_ap(test, rarest)),
        perfect_boxes=tested(lambda test: test.ap_perfect_boxes),
        perfect_ranking=tested(lambda test: test.ap_perfect_ranking),
        class_loss=_middle([run.test.class_loss for run in runs]),
        val_ap=estimate([run.val.ap for run in runs], seed=SEED, bounds=_AP),
        gap=estimate([run.val.ap - run.test.ap for run in sound], seed=SEED, bounds=_GAIN) if sound else _UNDEFINED,
        images=float(np.mean([run.images for run in runs])),
        evaluated=float(np.mean([run.evaluated for run in runs])),
        seconds=float(np.mean([run.seconds for run in runs])),
        step_seconds=_step_seconds(runs, "seconds"),
        processor_seconds=_mean([run.processor_seconds for run in runs]),
        step_processor_seconds=_step_seconds(runs, "processor_seconds"),
        search=_common_cost([run.search for run in runs]),
        training=_common_cost([run.training for run in runs]),
        devices=tuple(sorted({run.device for run in runs})),
        versus=None if against is None else _versus([runs], [against], rarest),
    )


def _mean_ap(test: Scores, categories: Sequence[int]) -> float:
    """Returns the mean AP of some categories; -1 where one of them has none."""
    values = [test.per_category[category] for category in categories]
    return -1.0 if _undefined(values) else float(np.mean(values))


def _undefined(values: Sequence[float]) -> bool:
    """Returns whether a number is undefined for some run, and so for all: that does not depend on the run."""
    return not all(value >= 0 for value in values)  # -1 in files, and NaN


def _middle(values: Sequence[float]) -> float:
    return math.nan if _undefined(values) else float(interquartile_mean(values))


def _estimate(values: Sequence[float]) -> Estimate:
    """Returns the interquartile mean with its interval."""
    return _UNDEFINED if _undefined(values) else estimate(values, seed=SEED, bounds=_AP)


def _mean(values: Sequence[float | None]) -> float:
    """Returns the mean; NaN if one value is not known."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if len(known) == len(values) else math.nan


def _step_seconds(runs: Sequence[StoredRun], clock: Literal["seconds", "processor_seconds"]) -> float:
    played = [played.interval for run in runs if run.folder is not None for played in run.rounds]
    intervals = [interval for interval in played if interval.steps]
    seconds = [getattr(interval, clock) for interval in intervals]
    if not seconds or None in seconds:
        return math.nan
    return float(np.median([value / interval.steps for value, interval in zip(seconds, intervals, strict=True)]))


def _common_cost(costs: Sequence[Cost]) -> Cost:
    """Returns what was spent once for all runs of a method: each of them carries the same number."""
    return max(costs, key=lambda cost: cost.images)


def _versus(
    runs: Sequence[list[StoredRun]], against: Sequence[list[StoredRun]], rarest: Sequence[int] | None = None
) -> Versus:
    """Compares a method with the reference, task by task."""
    ours = [{run.seed: run.test.ap for run in task} for task in runs]
    theirs = [{run.seed: run.test.ap for run in task} for task in against]
    return Versus(
        difference=paired_difference(ours, theirs, seed=SEED, bounds=_GAIN),
        rarest=None if rarest is None else _rarest_difference(runs[0], against[0], rarest[:1]),
        rarest_third=None if rarest is None else _rarest_difference(runs[0], against[0], rarest),
        pairs=sum(len(mine.keys() & other.keys()) for mine, other in zip(ours, theirs, strict=True)),
        improvement=probability_of_improvement(
            [np.array(list(task.values())) for task in ours],
            [np.array(list(task.values())) for task in theirs],
            seed=SEED,
        ),
    )


def _rarest_difference(
    runs: Sequence[StoredRun], against: Sequence[StoredRun], rarest: Sequence[int]
) -> Estimate | None:
    ours, theirs = ({run.seed: _mean_ap(run.test, rarest) for run in group} for group in (runs, against))
    if _undefined((*ours.values(), *theirs.values())):
        return None
    return paired_difference(ours, theirs, seed=SEED, bounds=_GAIN)


def _overall(tasks: Sequence[dict[str, list[StoredRun]]], reference: str | None) -> tuple[OverallSummary, ...]:
    everywhere = sorted(set.intersection(*(set(task) for task in tasks)))
    best = [_best([task[method] for method in everywhere]) for task in tasks]
    summaries = []
    for method in everywhere:
        runs = [task[method] for task in tasks]
        behind = [
            [(run.test.ap, top[run.seed]) for run in task if run.seed in top]
            for task, top in zip(runs, best, strict=True)
        ]
        fractions = [np.array([ap / top if top > 0 else 1.0 for ap, top in task]) for task in behind if task]
        compared = reference in everywhere and method != reference
        summaries.append(
            OverallSummary(
                method=method,
                label=runs[0][0].label,
                runs=sum(len(task) for task in runs),
                ap=estimate([np.array([run.test.ap for run in task]) for task in runs], seed=SEED, bounds=_AP),
                versus=_versus(runs, [task[str(reference)] for task in tasks]) if compared else None,
                of_best=_pooled_mean(fractions) if fractions else _UNDEFINED,
                regret=max((top - ap for task in behind for ap, top in task), default=math.nan),
            )
        )
    return tuple(sorted(summaries, key=lambda summary: -summary.ap.value))


def _best(methods: Sequence[list[StoredRun]]) -> dict[int, float]:
    """Returns the best test AP of each seed that all methods have."""
    by_method = [{run.seed: run.test.ap for run in runs} for runs in methods]
    shared = set.intersection(*(set(runs) for runs in by_method))
    return {seed: max(runs[seed] for runs in by_method) for seed in shared}


def _pooled_mean(values: Sequence[np.ndarray]) -> Estimate:
    """Returns the mean over all runs of all tasks, with its interval."""
    low, high = bootstrap_interval(values, lambda drawn: drawn.mean(axis=-1), seed=SEED, bounds=_AP)
    return Estimate(float(np.concatenate(values).mean()), float(low), float(high))
