"""Counts matches into precision and recall, looking at matched detections only.

The precision after a true positive needs the number of false positives before it: all detections that count, less
the matched ones. The first is one running sum for every area range; the second a running sum over the matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.layout import Layout
from mapopt.metrics.matching import Matches
from mapopt.metrics.orders import stable_order
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


@dataclass(frozen=True, eq=False, kw_only=True)
class _Hits:
    """The true positives of every curve, one curve after the other.

    Attributes:
        count: ``[a, t, k]`` how many a curve has.
        first: ``[a, t, k]`` where they begin.
        pair: ``[n]`` which of the matches each is.
        precision: ``[n]`` the best precision from each on.
    """

    count: NDArray[np.int64]
    first: NDArray[np.int64]
    pair: NDArray[np.int64]
    precision: NDArray[np.float64]

    @classmethod
    def of(
        cls, true: NDArray[np.bool_], kept: NDArray[np.int32], before: NDArray[np.int32], cuts: NDArray[np.int64]
    ) -> _Hits:
        """Counts.

        Args:
            true: ``[a, t, p]`` which matches are true positives.
            kept: ``[a, t, p]`` false positives up to a match.
            before: ``[a, t, k]`` those of earlier classes.
            cuts: ``[k + 1]`` where the matches of every class begin.
        """
        pairs, curves = true.shape[2], true.shape[0] * true.shape[1]
        at = np.flatnonzero(true)
        bounds = np.searchsorted(at, (np.arange(curves)[:, None] * pairs + cuts).ravel()).reshape(curves, -1)
        first, count = bounds[:, :-1].ravel(), np.diff(bounds).ravel()
        number = np.arange(1, len(at) + 1) - np.repeat(first, count)
        false = kept.reshape(-1)[at] - np.repeat(before.ravel(), count)
        dense = np.zeros((curves, pairs))
        dense.reshape(-1)[at] = number / (false + number + np.spacing(1))
        for start, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True):
            backwards = dense[:, start:end][:, ::-1]
            np.maximum.accumulate(backwards, axis=1, out=backwards)
        return cls(
            count=count.reshape(before.shape),
            first=first.reshape(before.shape),
            pair=at % max(pairs, 1),
            precision=dense.reshape(-1)[at],
        )

    def read(
        self,
        values: NDArray[np.float64],
        needed: NDArray[np.int64],
        undefined: NDArray[np.bool_],
        *,
        out: NDArray[np.float64],
    ) -> None:
        """Reads one value a hit at the recalls: 0 where a recall is not reached, -1 where it is undefined.

        Args:
            values: ``[n]`` what is read.
            needed: ``[a, k, 101]`` the hit that reaches a recall, from 0.
            undefined: ``[a, 1, k]`` classes without ground truth that counts.
            out: ``[a, t, k, 101]`` where it goes.
        """
        # Behind the hits of a curve stands what holds where there is none.
        rows = np.arange(self.count.size)
        column = np.empty(len(values) + len(rows))
        column[np.arange(len(values)) + np.repeat(rows, self.count.ravel())] = values
        first = self.first + rows.reshape(self.first.shape)
        column[first + self.count] = np.where(undefined, -1.0, 0.0)
        index = np.minimum(needed[:, None], self.count[..., None])
        index += first[..., None]
        column.take(index, out=out, mode="clip")


def accumulate(layout: Layout, settings: Settings, ignored: NDArray[np.bool_], matches: list[Matches]) -> Curves:
    """Counts matches.

    Args:
        layout: The detections and ground truths.
        settings: What is measured.
        ignored: ``[a, g]`` ground truths that do not count in a range.
        matches: The matches; element i holds the i-th part of the ranges (see `range_parts`).
    """
    positives = count_positives(layout, ignored)
    needed = np.maximum(hits_needed(positives), 1) - 1
    bounds = np.searchsorted(layout.classes, np.arange(layout.classes_total + 1))
    best = np.append(layout.scores, 0.0)[bounds[:-1]]
    best[bounds[1:] == bounds[:-1]] = 0.0
    inside = ~settings.outside(layout.box_area)  # [a, d]
    parts = [
        (ranges, cut, *_unpack(match, len(settings.area_names[ranges]), len(settings.iou_thresholds[cut])))
        for match, (ranges, cut) in zip(matches, range_parts(settings), strict=True)
    ]
    curves = unfilled_curves(settings, layout.classes_total)
    for number, limit in enumerate(settings.max_detections):
        allowed = layout.rank < limit
        counted = np.zeros((len(inside), len(allowed) + 1), np.int32)
        np.cumsum(inside & allowed, axis=1, out=counted[:, 1:])
        for ranges, thresholds, position, truth, tracks in parts:
            chosen = np.flatnonzero(allowed[position])
            if len(chosen) < len(position):
                position, truth, tracks = position[chosen], truth[chosen], tracks[..., chosen]
            cuts = np.searchsorted(layout.classes[position], np.arange(layout.classes_total + 1))
            passed, true = tracks & inside[ranges, None, position], tracks & ~ignored[ranges, None, truth]
            # Detections that count, up to a match, less the matched among them: in all classes, then before each.
            misses = np.zeros((*passed.shape[:2], len(position) + 1), np.int32)
            np.cumsum(passed, axis=2, out=misses[:, :, 1:])
            kept = counted[ranges, None, position + 1] - misses[:, :, 1:]
            before = counted[ranges, None, bounds[:-1]] - misses[:, :, cuts[:-1]]
            hits = _Hits.of(true, kept, before, cuts)
            undefined = (positives[ranges] == 0)[:, None]
            where = number, ranges, thresholds
            curves.recall[where] = np.where(undefined, -1.0, hits.count / np.maximum(positives[ranges], 1)[:, None])
            hits.read(hits.precision, needed[ranges], undefined, out=curves.precision[where])
            hits.read(layout.scores[position[hits.pair]], needed[ranges], undefined, out=curves.scores[where])
            # At recall 0 the score is that of the best detection, matched or not.
            curves.scores[where][..., 0] = np.where(undefined, -1.0, best)
    return curves


def count_positives(layout: Layout, ignored: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Returns ``[a, k]``: the ground truths of every class that count in a range."""
    return np.stack([np.bincount(layout.truth_class[~row], minlength=layout.classes_total) for row in ignored])


def unfilled_curves(settings: Settings, classes: int) -> Curves:
    """Returns room for curves, with no numbers in it yet."""
    shape = (len(settings.max_detections), len(settings.area_names), len(settings.iou_thresholds), classes)
    return Curves(np.empty((*shape, len(RECALLS))), np.empty(shape), np.empty((*shape, len(RECALLS))))


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
    matches: Matches, ranges: int, thresholds: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
    """Returns ``[p]`` detections, ascending, ``[p]`` ground truths and ``[a, t, p]`` flags of the matches."""
    order = stable_order(matches.detection, int(matches.detection.max(initial=0)) + 1)
    # Little-endian bytes unpack to the tracks in order.
    words = matches.tracks[order].astype("<u8").view(np.uint8).reshape(-1, 8)
    bits = np.unpackbits(words, axis=1, count=ranges * thresholds, bitorder="little")
    flags = np.ascontiguousarray(bits.T).view(bool).reshape(ranges, thresholds, len(order))
    return matches.detection[order], matches.truth[order], flags


def hits_needed(positives: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns ``[..., 101]``: the smallest n with n / positives >= recall, in float64 as it is computed."""
    total = np.maximum(positives, 1)[..., None]
    needed = np.maximum(np.floor(RECALLS * total).astype(np.int64) - 1, 0)
    for _ in range(3):  # the product is off by less than one hit
        needed += needed / total < RECALLS
    return needed
