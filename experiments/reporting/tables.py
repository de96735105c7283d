"""From stored runs to what figures show: curves with bands, trajectories of knobs, final scores, pictures with boxes.

A run that ended early keeps its last tune AP for the rest of its method's curve; leaving it out would show the
survivors only. Its knobs end with it: they have no value any more.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mapopt.drawing.rows import Curve, FinalScore, OverallScore, Picture, PictureRow, Trajectory
from mapopt.experiments.comparison.store import StoredRun
from mapopt.experiments.reporting.report import MethodSummary, Summary, TaskSummary
from mapopt.metrics.statistics import Estimate, bootstrap_interval, interquartile_mean
from mapopt.training import Knobs, Round, ranges

_STRIPES = 2  # methods that one line can show as stripes; of more, one stands for all
_WITHIN = 8  # points that a knob's move within a round is drawn with: it is linear, which a log axis bends


def leading(task: TaskSummary, reference: str | None, *, count: int) -> TaskSummary:
    """Returns a task with its `count` best methods and the reference only; one more method than that fits as well."""
    if len(task.methods) <= count + 1:
        return task
    kept = [one for place, one in enumerate(task.methods) if place < count or one.method == reference]
    return replace(task, methods=tuple(kept))


def learning_curves(
    runs: Sequence[StoredRun], task: TaskSummary, *, against: Literal["images", "seconds"]
) -> list[Curve]:
    """Returns tune AP against images or seconds: interquartile means with bootstrap bands, the best method first."""
    curves = []
    for one in task.methods:
        chosen = [run for run in _of(runs, task.task, one.method) if run.rounds]
        if not chosen:
            continue
        grid = _grid(chosen, against)
        points = np.array(
            [
                np.interp(grid, [getattr(r, against) for r in run.rounds], [r.val.ap for r in run.rounds])
                for run in chosen
            ]
        ).T
        low, high = bootstrap_interval(points, interquartile_mean, seed=0)
        curves.append(
            Curve(method=one.method, label=one.label, x=grid, middle=interquartile_mean(points), low=low, high=high)
        )
    return curves


def trajectories(runs: Sequence[StoredRun], task: TaskSummary) -> list[Trajectory]:
    """Returns every knob that moved in any run: medians with the middle half of the runs that were still going.

    Where many methods do the same with every knob, the best of them stands for all, with all their names.
    """
    chosen = {one.method: [run for run in _of(runs, task.task, one.method) if run.rounds] for one in task.methods}
    going = [one for one in task.methods if chosen[one.method]]
    rounds = [run.rounds for group in chosen.values() for run in group]
    every = dict.fromkeys([*ranges(), *(name for played in rounds for name in played[0].knobs.own)])
    moved = [name for name in every if any(_moved(played, name) for played in rounds)]
    curves = [[_knob_curve(chosen[one.method], name, one.method, one.label) for name in moved] for one in going]
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
    return [
        Trajectory(
            knob=name,
            log=name in ranges() and ranges()[name].log,
            curves=tuple(mine[place] for mine in shown if not np.isnan(mine[place].middle).all()),
        )
        for place, name in enumerate(moved)
    ]


def final_scores(runs: Sequence[StoredRun], task: TaskSummary, *, reference: str | None) -> list[FinalScore]:
    """Returns every method's test APs, the best first."""
    return [
        _score(
            one,
            one.ap,
            None if one.versus is None else one.versus.difference,
            {run.seed: run.test.ap for run in _of(runs, task.task, one.method) if run.status != "diverged"},
            reference,
        )
        for one in task.methods
    ]


def rarest_scores(runs: Sequence[StoredRun], task: TaskSummary, *, reference: str | None) -> list[FinalScore]:
    """Returns every method's test APs of the rarest category, the best first; none where they are unknown."""
    rows = []
    for one in task.methods:
        if task.rarest is None or one.rarest is None or one.rarest.value < 0:
            continue
        place = task.categories.index(task.rarest)
        sound = [run for run in _of(runs, task.task, one.method) if run.status != "diverged"]
        values = {run.seed: run.test.per_category[place] for run in sound}
        difference = None if one.versus is None else one.versus.rarest
        rows.append(_score(one, one.rarest, difference, values, reference))
    return sorted(rows, key=lambda row: -row.ap.value)


def overall_scores(summary: Summary) -> list[OverallScore]:
    """Returns the test APs on every task of the methods that ran on all, the best over all tasks first."""
    found = {(task.task, one.method): one.ap for task in summary.tasks for one in task.methods}
    return [
        OverallScore(
            method=one.method,
            label=one.label,
            by_task=tuple(found[task.task, one.method] for task in summary.tasks),
            overall=one.ap,
            difference=None if one.versus is None else one.versus.difference,
            reference=one.method == summary.reference,
        )
        for one in summary.overall
    ]


def picture_rows(runs: Sequence[StoredRun], task: TaskSummary) -> tuple[int, list[PictureRow]] | None:
    """Returns a seed and its pictures, the truth first, then the best method; None where no run kept pictures.

    The seed is the first that most methods share.
    """
    methods = {one.method for one in task.methods}
    kept = [run for run in runs if run.task == task.task and run.method in methods and run.drawn is not None]
    if not kept:
        return None
    seeds = [run.seed for run in kept]
    seed = max(sorted(set(seeds)), key=seeds.count)
    by_method = {run.method: run for run in kept if run.seed == seed}
    chosen = [by_method[one.method] for one in task.methods if one.method in by_method]
    first = chosen[0].drawn
    assert first is not None
    truth = {"boxes": first["truth_boxes"], "labels": first["truth_labels"], "images": first["truth_images"]}
    rows = [PictureRow(label="truth", note="", pictures=_pictures(first["pixels"], truth))]
    for run in chosen:
        assert run.drawn is not None
        note = "diverged" if run.status == "diverged" else f"AP {run.test.ap:.2f}"
        rows.append(PictureRow(label=run.label, note=note, pictures=_pictures(run.drawn["pixels"], run.drawn)))
    return seed, rows


def _score(
    one: MethodSummary, ap: Estimate, difference: Estimate | None, values: dict[int, float], reference: str | None
) -> FinalScore:
    return FinalScore(
        method=one.method,
        label=one.label,
        ap=ap,
        values=tuple(values.values()),
        diverged=one.diverged,
        difference=difference,
        reference=one.method == reference,
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
    settings = [knobs for played in rounds for knobs in (played.ramp_from or played.knobs, played.knobs)]
    values = [_knob(knobs, name) for knobs in settings]
    return max(values) - min(values) > 1e-9 * max(map(abs, values))


def _knob_curve(runs: Sequence[StoredRun], name: str, method: str, label: str) -> Curve:
    ends = _grid(runs, "images")
    begins = np.concatenate([[0.0], ends[:-1]])
    fraction = np.linspace(0, 1, _WITHIN)
    x = (begins[:, None] + fraction * (ends - begins)[:, None]).ravel()
    values = np.full((len(runs), len(ends), _WITHIN), np.nan)
    for place, run in enumerate(runs):
        for index, one in enumerate(run.rounds):
            start, end = _knob(one.ramp_from or one.knobs, name), _knob(one.knobs, name)
            values[place, index] = start + fraction * (end - start)
    if np.isnan(values).all():  # another method's own knob
        low = middle = high = values[0].ravel()
    else:
        # Some run is still going in every round, or the grid would end before it.
        low, middle, high = np.nanquantile(values.reshape(len(runs), -1), (0.25, 0.5, 0.75), axis=0)
    return Curve(method=method, label=label, x=x, middle=middle, low=low, high=high)


def _knob(knobs: Knobs, name: str) -> float:
    """Returns a knob's value; NaN for an own knob of another method."""
    return knobs.as_dict().get(name, math.nan)


def _pictures(pixels: np.ndarray, found: dict[str, np.ndarray]) -> tuple[Picture, ...]:
    scores = found.get("scores")
    strongest = np.zeros(len(found["labels"]), dtype=bool)
    if scores is not None:
        strongest[np.argsort(-scores, kind="stable")[: len(found["truth_labels"])]] = True
    pictures = []
    for place in range(len(pixels)):
        shown = found["images"] == place
        if scores is not None:
            shown = shown & strongest
        pictures.append(
            Picture(
                pixels=np.moveaxis(pixels[place], 0, -1),
                boxes=found["boxes"][shown].reshape(-1, 4),
                labels=found["labels"][shown],
                scores=None if scores is None else scores[shown],
            )
        )
    return tuple(pictures)
