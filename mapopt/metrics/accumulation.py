"""Counts matches into precision and recall, looking at matched detections only.

The precision after a true positive needs the number of false positives before it: all detections that count, less
the matched ones. The first is one running sum for every area range; the second a running sum over the matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.layout import Layout, stable_order
from mapopt.metrics.matching import Matches
from mapopt.metrics.settings import RECALLS, Settings


@dataclass(frozen=True, eq=False)
class Curves:
    """Precision and recall of every class; -1 where a class has no ground truth that counts.

    They are stored with the recalls innermost, one contiguous row for every curve; the report shows them in
    pycocotools' order of dimensions.

    Attributes:
        precision: ``[m, a, t, k, 101]`` best precision at that recall or more.
        recall: ``[m, a, t, k]`` recall of all detections together.
        scores: ``[m, a, t, k, 101]`` the score at which that recall is reached.
    """

    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    scores: NDArray[np.float64]


def accumulate(layout: Layout, settings: Settings, ignored: NDArray[np.bool_], matches: list[Matches]) -> Curves:
    """Counts matches.

    Args:
        layout: The detections and ground truths.
        settings: What is measured.
        ignored: ``[a, g]`` ground truths that do not count in a range.
        matches: The matches; element i holds the i-th part of the ranges (see `range_parts`).
    """
    thresholds, ranges = len(settings.iou_thresholds), len(settings.area_names)
    positives = count_positives(layout, ignored)
    entry_range, entry_threshold, position, truth = _unpack(matches, settings)
    inside = ~settings.outside(layout.box_area)  # [a, d]
    class_first = np.searchsorted(layout.classes, np.arange(layout.classes_total))
    curves = empty_curves(layout, settings, positives)
    for number, limit in enumerate(settings.max_detections):
        allowed = layout.rank < limit
        chosen = np.flatnonzero(allowed[position])
        a, t, at = entry_range[chosen], entry_threshold[chosen], position[chosen]
        counted = np.zeros((ranges, len(allowed) + 1), np.int64)
        np.cumsum(inside & allowed, axis=1, out=counted[:, 1:])
        category = layout.classes[at]
        segment = (a * thresholds + t) * layout.classes_total + category
        hit = ~ignored[a, truth[chosen]]
        # Detections that count, up to this one and in its class, less the matched among them.
        kept = counted[a, at + 1] - counted[a, class_first[category]]
        kept -= _running_count(inside[a, at], segment)
        true = np.flatnonzero(hit)
        hits = _running_count(hit, segment)[true].astype(np.float64)
        _fill(
            curves,
            number,
            positives,
            segment=segment[true],
            precision=hits / (kept[true] + hits + np.spacing(1)),
            scores=layout.scores[at[true]],
        )
    return curves


def count_positives(layout: Layout, ignored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns ``[a, k]``: the ground truths of every class that count in a range."""
    return np.stack([np.bincount(layout.truth_class[~row], minlength=layout.classes_total) for row in ignored])


def empty_curves(layout: Layout, settings: Settings, positives: NDArray[np.int64]) -> Curves:
    """Returns the curves of detections that match nothing: 0, or -1 where undefined.

    At recall 0 the score is that of the best detection, matched or not.
    """
    curves = unfilled_curves(settings, layout.classes_total)
    nothing = np.where(positives == 0, -1.0, 0.0)[:, None, :]
    curves.recall[:] = nothing
    curves.precision[:] = nothing[..., None]
    best = np.zeros(layout.classes_total)
    present, first = np.unique(layout.classes, return_index=True)
    best[present] = layout.scores[first]
    lowest = np.repeat(nothing[..., None], len(RECALLS), axis=-1)
    lowest[..., 0] = np.where(positives == 0, -1.0, best)[:, None, :]
    curves.scores[:] = lowest
    return curves


def unfilled_curves(settings: Settings, classes: int) -> Curves:
    """Returns room for curves, with no numbers in it yet.

    Precisions and scores are one block: of two that are freed, the system takes one back, and gives it anew page by
    page at the next evaluation, which costs more than the counting.
    """
    shape = (len(settings.max_detections), len(settings.area_names), len(settings.iou_thresholds), classes)
    precision, scores = np.empty((2, *shape, len(RECALLS)))
    return Curves(precision, np.empty(shape), scores)


def range_parts(settings: Settings) -> list[tuple[slice, slice]]:
    """Cuts area ranges and thresholds into parts of at most 64 tracks each."""
    thresholds = len(settings.iou_thresholds)
    if thresholds > 64:
        cuts = [slice(first, min(first + 64, thresholds)) for first in range(0, thresholds, 64)]
        return [(slice(a, a + 1), cut) for a in range(len(settings.area_names)) for cut in cuts]
    step = 64 // thresholds
    whole = slice(0, thresholds)
    return [(slice(a, a + step), whole) for a in range(0, len(settings.area_names), step)]


def _unpack(
    matches: list[Matches], settings: Settings
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Returns area range, threshold, detection and ground truth of every match, sorted in this order."""
    columns = []
    for part, (ranges, thresholds) in zip(matches, range_parts(settings), strict=True):
        width = len(settings.iou_thresholds[thresholds])
        tracks = len(settings.area_names[ranges]) * width
        order = stable_order(part.detection, int(part.detection.max(initial=0)) + 1)
        detection, truth = part.detection[order], part.truth[order]
        # Little-endian bytes unpack to the tracks in order.
        words = part.tracks[order].astype("<u8").view(np.uint8).reshape(-1, 8)
        bits = np.unpackbits(words, axis=1, count=tracks, bitorder="little")
        track, pair = np.nonzero(np.ascontiguousarray(bits.T))
        columns.append((track // width + ranges.start, track % width + thresholds.start, detection[pair], truth[pair]))
    area, threshold, detection, truth = (np.concatenate(column) for column in zip(*columns, strict=True))
    return area, threshold, detection, truth


def _running_count(flags: NDArray[np.bool_], segment: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the number of flags set up to and including each entry, within its segment."""
    total = np.cumsum(flags)
    starts = np.flatnonzero(np.append(True, segment[1:] != segment[:-1]))[: len(segment)]
    lengths = np.diff(np.append(starts, len(segment)))
    return total - np.repeat(total[starts] - flags[starts], lengths)


def hits_needed(positives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns ``[..., 101]``: the smallest n with n / positives >= recall, in float64 as it is computed."""
    total = np.maximum(positives, 1)[..., None]
    needed = np.maximum(np.floor(RECALLS * total).astype(np.int64) - 1, 0)
    for _ in range(3):  # the product is off by less than one hit
        needed += needed / total < RECALLS
    return needed


def _fill(
    curves: Curves,
    number: int,
    positives: NDArray[np.int64],
    *,
    segment: NDArray[np.int64],
    precision: NDArray[np.float64],
    scores: NDArray[np.float64],
) -> None:
    """Reads precision and score at the 101 recalls, for the ``number``-th limit.

    Args:
        curves: Filled where a segment has a true positive; left alone elsewhere.
        number: Which limit.
        positives: ``[a, k]`` ground truths that count.
        segment: ``[n]`` (range * thresholds + threshold) * classes + class of every true positive, ascending.
        precision: ``[n]`` its precision.
        scores: ``[n]`` its score.
    """
    if len(segment) == 0:
        return
    starts = np.flatnonzero(np.append(True, segment[1:] != segment[:-1]))
    ends = np.append(starts[1:], len(segment))
    rows = segment[starts]
    thresholds, classes = curves.recall.shape[2:]
    counts = positives[rows // (thresholds * classes), rows % classes]
    curves.recall[number].reshape(-1)[rows] = (ends - starts) / counts
    sizes, which = np.unique(counts, return_inverse=True)
    needed = hits_needed(sizes)[which]  # [s, r]
    reached = needed <= (ends - starts)[:, None]
    # Chunk r runs from the hit that reaches recall r to the one that reaches the next recall, or to the segment's end.
    # Empty chunks read their first hit, which belongs to them and to the following ones alike.
    begin = np.where(reached, starts[:, None] + np.maximum(needed, 1) - 1, ends[:, None])
    best = np.maximum.reduceat(np.append(precision, 0.0), begin.ravel()).reshape(begin.shape)
    best = np.where(reached, best, 0.0)
    curves.precision[number].reshape(-1, len(RECALLS))[rows] = np.maximum.accumulate(best[:, ::-1], axis=1)[:, ::-1]
    at = np.where(reached, np.append(scores, 0.0)[begin], 0.0)
    at[:, 0] = curves.scores[number].reshape(-1, len(RECALLS))[rows, 0]  # the best detection's, matched or not
    curves.scores[number].reshape(-1, len(RECALLS))[rows] = at
