"""From stored runs to what figures show: curves with bands, trajectories of knobs, final scores, pictures with boxes.

A run that ended early keeps its last val AP for the rest of its method's curve; leaving it out would show the
survivors only. Its knobs end with it: they have no value any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mapopt.drawing.rows import Curve, FinalScore, OverallScore, Picture, PictureRow, Trajectory
from mapopt.experiments.comparison.stored_run import StoredRun
from mapopt.experiments.reporting.summary import SEED, MethodSummary, Summary, TaskSummary
from mapopt.metrics.statistics import Estimate, bootstrap_interval, interquartile_mean
from mapopt.training import Knobs, Round, ranges

_STRIPES = 2  # methods that one line can show as stripes; of more, one stands for all
_WITHIN = 8  # points that a knob's move within a round is drawn with: it is linear, which a log axis bends
_JUMP = 1e-6  # fraction of a round that a jump takes in a figure


def leading(task: TaskSummary, reference: str | None, *, count: int) -> TaskSummary:
    """Returns a task with its `count` best methods and the reference only; one more method than that fits as well."""
    if len(task.methods) <= count + 1:
        return task
    kept = [method for place, method in enumerate(task.methods) if place < count or method.method == reference]
    return replace(task, methods=tuple(kept))


def learning_curves(
    runs: Sequence[StoredRun], task: TaskSummary, *, against: Literal["images", "seconds"]
) -> list[Curve]:
    """Returns val AP against images or seconds: interquartile means with bootstrap bands, the best method first."""
    curves = []
    value = clock_of(runs, task) if against == "seconds" else against
    for method in task.methods:
        chosen = [run for run in _of(runs, task.task, method.method) if run.rounds]
        if not chosen:
            continue
        grid = _grid(chosen, value)
        points = np.array(
            [
                np.interp(
                    grid,
                    [getattr(played, value) for played in run.rounds],
                    [played.val.ap for played in run.rounds],
                )
                for run in chosen
            ]
        ).T
        low, high = bootstrap_interval(points, interquartile_mean, seed=0, bounds=(0.0, 1.0))
        curves.append(
            Curve(
                method=method.method, label=method.label, x=grid, middle=interquartile_mean(points), low=low, high=high
            )
        )
    return curves


def clock_of(runs: Sequence[StoredRun], task: TaskSummary) -> Literal["seconds", "processor_seconds"]:
    """Returns which seconds a task's methods are drawn over: the processor's, where all its runs on the CPU have them.

    On a GPU the processor only hands out work, so there it is the clock's.
    """
    shown = [run for method in task.methods for run in _of(runs, task.task, method.method)]
    measured = all(played.processor_seconds is not None for run in shown for played in run.rounds)
    return "processor_seconds" if measured and all(run.device.startswith("cpu") for run in shown) else "seconds"


def trajectories(runs: Sequence[StoredRun], task: TaskSummary) -> list[Trajectory]:
    """Returns every knob that moved in any run: medians with the middle half of the runs that were still going.

    Where many methods do the same with every knob, the best of them stands for all, with all their names.
    """
    chosen = {
        method.method: [run for run in _of(runs, task.task, method.method) if run.rounds] for method in task.methods
    }
    going = [method for method in task.methods if chosen[method.method]]
    rounds = [run.rounds for group in chosen.values() for run in group]
    every = dict.fromkeys([*ranges(), *(name for played in rounds for name in played[0].knobs.own)])
    moved = [name for name in every if any(_moved(played, name) for played in rounds)]
    curves = [
        [_knob_curve(chosen[method.method], name, method.method, method.label) for name in moved] for method in going
    ]
    groups: list[list[list[Curve]]] = []
    for mine in curves:
        same = next((group for group in groups if all(map(_identical, group[0], mine))), None)
        if same is None:
            groups.append([mine])
        else:
            same.append(mine)
    shown: list[list[Curve]] = []
    for group in groups:
        names = ", ".join(mine[0].label for mine in group) if moved else ""
        shown += group if len(group) <= _STRIPES else [[replace(curve, label=names) for curve in group[0]]]
    trajectories = []
    for place, name in enumerate(moved):
        drawn = tuple(mine[place] for mine in shown if not np.isnan(mine[place].middle).all())
        # A knob that some method has off, at 0, is on no logarithmic scale.
        log = name in ranges() and ranges()[name].log and all(np.nanmin(curve.low) > 0 for curve in drawn)
        trajectories.append(Trajectory(knob=name, log=log, curves=drawn))
    return trajectories


def final_scores(runs: Sequence[StoredRun], task: TaskSummary, *, reference: str | None) -> list[FinalScore]:
    """Returns every method's test APs, the best first."""
    return [
        _score(
            method,
            method.ap,
            None if method.versus is None else method.versus.difference,
            {run.seed: run.test.ap for run in _of(runs, task.task, method.method) if run.status != "diverged"},
            reference,
        )
        for method in task.methods
    ]


def rarest_scores(runs: Sequence[StoredRun], task: TaskSummary, *, reference: str | None) -> list[FinalScore]:
    """Returns every method's test APs of the rarest category, the best first; none where they are unknown."""
    rows = []
    for method in task.methods:
        if task.rarest is None or method.rarest is None or math.isnan(method.rarest.value):
            continue
        place = task.categories.index(task.rarest)
        sound = [run for run in _of(runs, task.task, method.method) if run.status != "diverged"]
        values = {run.seed: run.test.per_category[place] for run in sound}
        difference = None if method.versus is None else method.versus.rarest
        rows.append(_score(method, method.rarest, difference, values, reference))
    return sorted(rows, key=lambda row: -row.ap.value)


def overall_scores(summary: Summary) -> list[OverallScore]:
    """Returns the test APs on every task of the methods that ran on all, the best over all tasks first."""
    scores = {(task.task, method.method): method.ap for task in summary.tasks for method in task.methods}
    return [
        OverallScore(
            method=method.method,
            label=method.label,
            by_task=tuple(scores[task.task, method.method] for task in summary.tasks),
            overall=method.ap,
            difference=None if method.versus is None else method.versus.difference,
            reference=method.method == summary.reference,
        )
        for method in summary.overall
    ]


def profiles(runs: Sequence[StoredRun], summary: Summary, *, count: int) -> list[Curve]:
    """Returns for what fraction of its runs each method reaches a fraction of the best method's test AP.

    The best is that on the same task and seed, among the methods that ran on all tasks; bands are the intervals of the
    fraction, for which runs are redrawn within their task. There are the `count` best methods and the reference.

    Reference: R. Agarwal et al., "Deep Reinforcement Learning at the Edge of the Statistical Precipice", NeurIPS 2021,
    section 4.2, whose scores are relative to a fixed one.
    """
    everywhere = [method.method for method in summary.overall]
    by_task = [
        [{run.seed: run.test.ap for run in _of(runs, task.task, name)} for name in everywhere] for task in summary.tasks
    ]
    seeds = [sorted(set.intersection(*(set(each) for each in task))) for task in by_task]
    if not all(seeds):
        return []
    grid = np.linspace(0, 1, 51)
    curves = []
    for place, method in enumerate(summary.overall):
        if place >= count and method.method != summary.reference:
            continue
        reached = []
        for task, common in zip(by_task, seeds, strict=True):
            best = np.array([max(each[seed] for each in task) for seed in common])
            own = np.array([task[place][seed] for seed in common])
            fractions = np.divide(own, best, out=np.ones_like(best), where=best > 0)
            reached.append((fractions >= grid[:, None] - 1e-12).astype(float))
        low, high = bootstrap_interval(reached, lambda drawn: drawn.mean(axis=-1), seed=SEED, bounds=(0.0, 1.0))
        middle = np.concatenate(reached, axis=1).mean(axis=1)
        curves.append(Curve(method=method.method, label=method.label, x=grid, middle=middle, low=low, high=high))
    return curves


def picture_rows(runs: Sequence[StoredRun], task: TaskSummary) -> tuple[int, list[PictureRow]] | None:
    """Returns a seed and its pictures, the ground truth first, then the best method; None where no run kept pictures.

    The seed is the first that most methods share.
    """
    methods = {method.method for method in task.methods}
    kept = [run for run in runs if run.task == task.task and run.method in methods and run.drawn is not None]
    if not kept:
        return None
    seeds = [run.seed for run in kept]
    seed = max(sorted(set(seeds)), key=seeds.count)
    by_method = {run.method: run for run in kept if run.seed == seed}
    chosen = [by_method[method.method] for method in task.methods if method.method in by_method]
    first = chosen[0].drawn
    assert first is not None
    truth = {"boxes": first["truth_boxes"], "labels": first["truth_labels"], "images": first["truth_images"]}
    rows = [PictureRow(label="ground truth", note="", pictures=_pictures(first["pixels"], truth))]
    for run in chosen:
        assert run.drawn is not None
        note = "diverged" if run.status == "diverged" else f"AP {run.test.ap:.2f}"
        rows.append(PictureRow(label=run.label, note=note, pictures=_pictures(run.drawn["pixels"], run.drawn)))
    return seed, rows


def _score(
    method: MethodSummary, ap: Estimate, difference: Estimate | None, values: dict[int, float], reference: str | None
) -> FinalScore:
    return FinalScore(
        method=method.method,
        label=method.label,
        ap=ap,
        values=tuple(values.values()),
        diverged=method.diverged,
        difference=difference,
        reference=method.method == reference,
    )


def _identical(first: Curve, second: Curve) -> bool:
    """Says whether two curves and their bands are the same."""
    return first.x.shape == second.x.shape and all(
        np.allclose(getattr(first, name), getattr(second, name), rtol=1e-3, atol=1e-9, equal_nan=True)
        for name in ("x", "middle", "low", "high")
    )


def _of(runs: Sequence[StoredRun], task: str, method: str) -> list[StoredRun]:
    return sorted((run for run in runs if run.task == task and run.method == method), key=lambda run: run.seed)


def _grid(runs: Sequence[StoredRun], against: str) -> np.ndarray:
    """Returns ``[rounds]``: where the rounds of these runs end, in the median of those that got there."""
    longest = max(len(run.rounds) for run in runs)
    return np.array(
        [
            np.median([getattr(run.rounds[place], against) for run in runs if len(run.rounds) > place])
            for place in range(longest)
        ]
    )


def _moved(rounds: Sequence[Round], name: str) -> bool:
    values = [_knob(knobs, name) for played in rounds for _, knobs in played.points]
    return max(values) - min(values) > 1e-9 * max(map(abs, values))


def _knob_curve(runs: Sequence[StoredRun], name: str, method: str, label: str) -> Curve:
    ends = _grid(runs, "images")
    begins = np.concatenate([[0.0], ends[:-1]])
    fraction = _fractions(runs)
    x = (begins[:, None] + fraction * (ends - begins)[:, None]).ravel()
    values = np.full((len(runs), len(ends), len(fraction)), np.nan)
    for place, run in enumerate(runs):
        for index, played in enumerate(run.rounds):
            places, way = zip(*((at, _knob(knobs, name)) for at, knobs in played.points), strict=True)
            values[place, index] = np.interp(fraction, places, way)
    if np.isnan(values).all():  # another method's own knob
        low = middle = high = values[0].ravel()
    else:
        # Some run is still going in every round, or the grid would end before it.
        low, middle, high = np.nanquantile(values.reshape(len(runs), -1), (0.25, 0.5, 0.75), axis=0)
    return Curve(method=method, label=label, x=x, middle=middle, low=low, high=high)


def _fractions(runs: Sequence[StoredRun]) -> np.ndarray:
    """Returns the fractions of a round that lines are drawn through: evenly spaced, and both sides of every bend."""
    bends = {at for run in runs for played in run.rounds for at, _ in played.via}
    return np.unique([*np.linspace(0, 1, _WITHIN), *bends, *(max(0.0, at - _JUMP) for at in bends)])


def _knob(knobs: Knobs, name: str) -> float:
    """Returns a knob's value; NaN for an own knob of another method."""
    return knobs.as_dict().get(name, math.nan)


def _pictures(pixels: np.ndarray, boxes: dict[str, np.ndarray]) -> tuple[Picture, ...]:
    scores = boxes.get("scores")
    strongest = np.zeros(len(boxes["labels"]), dtype=bool)
    if scores is not None:
        strongest[np.argsort(-scores, kind="stable")[: len(boxes["truth_labels"])]] = True
    pictures = []
    for place in range(len(pixels)):
        shown = boxes["images"] == place
        if scores is not None:
            shown = shown & strongest
        pictures.append(
            Picture(
                pixels=np.moveaxis(pixels[place], 0, -1),
                boxes=boxes["boxes"][shown].reshape(-1, 4),
                labels=boxes["labels"][shown],
                scores=None if scores is None else scores[shown],
            )
        )
    return tuple(pictures)
