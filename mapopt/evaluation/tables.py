"""Rows of the findings, one per category, cause or difference: printed, stored and drawn from the same numbers.

Undefined numbers are NaN, also those that are -1 in a report of AP; files have null instead.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.evaluation.findings import Comparison, Findings
from mapopt.metrics import CAUSES, SPECIAL_CAUSES, GroundTruth, Performance
from mapopt.metrics.statistics import Estimate

MAIN = ("ap", "ap50", "ap75")
"""The numbers that have intervals."""

FEWEST_IMAGES = 5
"""Images that a category must be in to have an interval: with fewer the resamples are a handful of values, which say
nothing of other images; with one image all are the same, and look certain."""


@dataclass(frozen=True, kw_only=True)
class Working:
    """A category at one score threshold; NaN where undefined, the threshold where it is best to keep nothing."""

    threshold: float
    precision: float
    recall: float
    f1: float
    lrp: float
    lrp_localization: float
    lrp_false_positive: float
    lrp_false_negative: float


@dataclass(frozen=True, kw_only=True)
class CategoryRow:
    """One category.

    Attributes:
        category: Its id.
        position: Its position among the annotations' categories, which decides its color.
        name: Its name.
        objects: Annotated boxes without crowds.
        images: Images with such a box.
        detections: Predicted boxes, before any limit.
        ap: AP@[.5:.95] with its interval; none in fewer than `FEWEST_IMAGES`.
        ap50: AP at IoU .5.
        ap75: AP at IoU .75.
        best_f1: At the threshold with the best F1.
        optimal_lrp: At the threshold with the smallest localization recall precision error.
        calibration_error: Expected calibration error.
        voc: Pascal VOC's AP, 11-point and area.
    """

    category: int
    position: int
    name: str
    objects: int
    images: int
    detections: int
    ap: Estimate
    ap50: float
    ap75: float
    best_f1: Working
    optimal_lrp: Working
    calibration_error: float
    voc: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class CauseRow:
    """One cause of mistakes: how many, and what AP gains without them."""

    cause: str
    count: int
    delta_ap: float
    special: bool


@dataclass(frozen=True, kw_only=True)
class DifferenceRow:
    """One number of two detectors, and ours less the other with its interval."""

    name: str
    objects: int
    ours: float
    other: float
    difference: Estimate


@dataclass(frozen=True, eq=False, kw_only=True)
class ConfusionTable:
    """Counts of annotated against predicted categories, with rare categories put together.

    Attributes:
        names: Of the categories shown, the most frequent first.
        others: How many categories are put together in a last row and column, 0 for none.
        counts: ``[n + 1, n + 1]`` for the n names, the others among them: annotated in rows, predicted in columns; the
            last row is background, the last column nothing.
    """

    names: tuple[str, ...]
    others: int
    counts: NDArray[np.int64]


def main_numbers(findings: Findings) -> dict[str, Estimate]:
    """Returns AP, AP50 and AP75 with their intervals, whose ends are NaN where none was asked for."""
    report, intervals = findings.report, findings.intervals
    return {
        name: _estimate(getattr(report, name), None if intervals is None else getattr(intervals, name)) for name in MAIN
    }


def category_rows(findings: Findings) -> list[CategoryRow]:
    """Returns a row for every category, in the order of their ids."""
    report, analysis, truth = findings.report, findings.analysis, findings.truth
    points, calibration = analysis.operating_points, findings.calibration
    at75 = report.precision[:, :, :, report.area_names.index("all"), -1][np.isclose(report.iou_thresholds, 0.75)][0]
    detections = np.bincount(
        np.searchsorted(report.categories, findings.predictions.detections.labels), minlength=len(report.categories)
    )
    errors = (
        np.full(len(report.categories), np.nan)
        if calibration is None
        else calibration.category_expected_calibration_error
    )
    intervals = {} if findings.intervals is None else findings.intervals.per_category
    names, images, positions = truth.names, _images_with(truth.boxes), truth.category_ids.tolist()
    return [
        CategoryRow(
            category=category,
            position=positions.index(category),
            name=names[category],
            objects=int(points.positives[place]),
            images=int(images[place]),
            detections=int(detections[place]),
            ap=_estimate(
                report.per_category[category], intervals.get(category) if images[place] >= FEWEST_IMAGES else None
            ),
            ap50=defined(report.per_category50[category]),
            ap75=defined(float(at75[:, place].mean())),
            best_f1=_working(points.best_f1, place),
            optimal_lrp=_working(points.optimal_lrp, place),
            calibration_error=float(errors[place]),
            voc=(float(findings.voc[0].per_category[place]), float(findings.voc[1].per_category[place])),
        )
        for place, category in enumerate(report.categories.tolist())
    ]


def frequent(rows: Sequence[CategoryRow], count: int) -> list[CategoryRow]:
    """Returns the categories with the largest numbers of objects, in that order; those without any are left out."""
    present = [row for row in rows if row.objects]
    return sorted(present, key=lambda row: -row.objects)[:count]


def worst(rows: Sequence[CategoryRow], count: int) -> list[CategoryRow]:
    """Returns the categories with the smallest AP, smallest first."""
    return sorted((row for row in rows if not math.isnan(row.ap.value)), key=lambda row: row.ap.value)[:count]


def cause_rows(findings: Findings) -> list[CauseRow]:
    """Returns a row for every cause, then the two that stand for all false positives and all false negatives."""
    causes = findings.analysis.causes
    return [
        CauseRow(
            cause=name,
            count=causes.counts[name],
            delta_ap=causes.delta_average_precision[name],
            special=name in SPECIAL_CAUSES,
        )
        for name in (*CAUSES, *SPECIAL_CAUSES)
    ]


def difference_rows(comparison: Comparison) -> tuple[list[DifferenceRow], list[DifferenceRow]]:
    """Returns AP, AP50 and AP75 of two detectors, and AP of every category that has objects."""
    difference, ours, other = comparison.difference, main_numbers(comparison.ours), main_numbers(comparison.other)
    objects = int((~comparison.ours.truth.boxes.crowd).sum())
    main = [
        _difference(
            name,
            objects,
            ours[name].value,
            other[name].value,
            None if difference is None else getattr(difference, name),
        )
        for name in MAIN
    ]
    categories = [
        _difference(
            row.name,
            row.objects,
            row.ap.value,
            against.ap.value,
            None if difference is None or row.images < FEWEST_IMAGES else difference.per_category[row.category],
        )
        for row, against in zip(category_rows(comparison.ours), category_rows(comparison.other), strict=True)
        if row.objects
    ]
    return main, categories


def confusion_table(findings: Findings, *, limit: int) -> ConfusionTable:
    """Returns which category is taken for which; at most `limit` by name, those with the largest numbers of objects."""
    confusion, names = findings.analysis.confusion, findings.truth.names
    size = len(confusion.categories)
    objects = confusion.counts[:size].sum(axis=1)
    order = np.argsort(-objects, kind="stable")
    # A few others are no reason to hide them.
    shown = order if size <= limit + 1 else order[:limit]
    group = np.full(size + 1, len(shown))
    group[shown] = np.arange(len(shown))
    group[size] = len(shown) + (len(shown) < size)
    counts = np.zeros((group[size] + 1,) * 2, np.int64)
    np.add.at(counts, (group[:, None], group[None, :]), confusion.counts)
    return ConfusionTable(
        names=tuple(names[int(confusion.categories[place])] for place in shown),
        others=size - len(shown),
        counts=counts,
    )


def confusions(findings: Findings, count: int) -> list[tuple[str, str, int]]:
    """Returns the most frequent confusions: the annotated category, the predicted one, and how often."""
    confusion, names = findings.analysis.confusion, findings.truth.names
    counts = confusion.counts[:-1, :-1].copy()
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:count]
    pairs = [(int(place) // len(counts), int(place) % len(counts)) for place in order]
    ids = confusion.categories.tolist()
    return [(names[ids[a]], names[ids[b]], int(counts[a, b])) for a, b in pairs if counts[a, b]]


def defined(value: float) -> float:
    """Returns a number of a `Report`, NaN for the -1 that marks undefined ones there."""
    return math.nan if value == -1 else float(value)


def _images_with(truth: GroundTruth) -> NDArray[np.int64]:
    """Returns ``[k]``: in how many images each category has an object."""
    real = ~truth.crowd
    labels = np.searchsorted(truth.categories, truth.labels[real])
    pairs = np.unique(np.stack([labels, np.searchsorted(truth.images, truth.image_ids[real])]), axis=1)
    return np.bincount(pairs[0], minlength=len(truth.categories))


def _estimate(value: float, interval: Estimate | None) -> Estimate:
    if interval is None or math.isnan(defined(value)):
        return Estimate(defined(value), math.nan, math.nan)
    return Estimate(defined(value), interval.low, interval.high)


def _difference(name: str, objects: int, ours: float, other: float, interval: Estimate | None) -> DifferenceRow:
    low, high = (math.nan, math.nan) if interval is None else (interval.low, interval.high)
    return DifferenceRow(
        name=name, objects=objects, ours=ours, other=other, difference=Estimate(ours - other, low, high)
    )


def _working(performance: Performance, place: int) -> Working:
    threshold = float(performance.threshold[place])
    numbers = {name: float(getattr(performance, name)[place]) for name in Working.__dataclass_fields__}
    return Working(**numbers | {"threshold": threshold if math.isfinite(threshold) else math.nan})
