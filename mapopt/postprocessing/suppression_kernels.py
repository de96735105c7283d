"""Post-processing compiled by numba, on overlaps that were computed once.

Nothing imports this module at the top, because numba costs 0.4 s to import and seconds to compile the first time.
Candidates stand by class, image and falling score; "group" is one image and class. Floating point stays strict, so what
is reported is what `mapopt.postprocessing.suppress` reports, bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_DIGIT = 11  # bits that one pass of the sort looks at


@compiled
def report(
    bounds: NDArray[np.int64],
    group_class: NDArray[np.int64],
    scores: NDArray[np.float32],
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    image_bounds: NDArray[np.int64],
    image_order: NDArray[np.int64],
    nms_iou: float,
    sigma: float,
    thresholds: NDArray[np.float32],
    class_limits: NDArray[np.int64],
    limit: int,
    floor: float,
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Post-processes all candidates.

    Args:
        bounds: ``[g + 1]`` where groups begin, and the end.
        group_class: ``[g]`` a group's class.
        scores: ``[n]``
        first: of `overlap_kernels.overlap_lists`, like the next two.
        others: See there.
        ious: See there.
        image_bounds: ``[images + 1]`` where an image begins in the order that follows, and the end.
        image_order: ``[n]`` candidates by image, then as hard suppression ranks them: by falling score, for Soft-NMS by
            class and place.
        nms_iou: of two boxes that overlap more, the weaker is dropped.
        sigma: above 0, Soft-NMS.
        thresholds: ``[k]`` smallest score reported.
        class_limits: ``[k]`` boxes per image and class.
        limit: boxes per image.
        floor: see `mapopt.postprocessing.soft_nms.FLOOR`.
        final: ``[n]`` is filled with the scores of what is reported.
        kept: ``[n]`` is filled with True for what is reported.
        sequence: ``[n]`` is filled with each group's boxes before the limits, by falling final score.
        counts: ``[g]`` is filled with how many those are.
    """
    kept[:] = False
    if sigma > 0:
        _soft(bounds, group_class, scores, first, others, ious, sigma, thresholds, floor, final, kept, sequence, counts)
    else:
        final[:] = scores
        _hard(bounds, group_class, scores, first, others, ious, nms_iou, thresholds, kept, sequence, counts)
    for group in range(len(counts)):
        most = class_limits[group_class[group]]
        for place in range(bounds[group] + most, bounds[group] + counts[group]):
            kept[sequence[place]] = False
    chosen, spare = np.empty(len(scores), np.int64), np.empty(len(scores), np.int64)
    for image in range(len(image_bounds) - 1):
        count = 0
        for place in range(image_bounds[image], image_bounds[image + 1]):
            i = image_order[place]
            if kept[i]:
                chosen[count] = i
                count += 1
        if count > limit:
            if sigma > 0:
                sort_by_score(chosen, spare, count, final.view(np.int32))
            for place in range(limit, count):
                kept[chosen[place]] = False


@compiled
def _hard(
    bounds: NDArray[np.int64],
    group_class: NDArray[np.int64],
    scores: NDArray[np.float32],
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    nms_iou: float,
    thresholds: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    dropped = np.zeros(len(scores), np.bool_)
    for group in range(len(counts)):
        size = bounds[group]
        for i in range(bounds[group], bounds[group + 1]):
            if scores[i] < thresholds[group_class[group]]:
                break
            if dropped[i]:
                continue
            kept[i] = True
            sequence[size] = i
            size += 1
            for entry in range(first[i], first[i + 1]):
                if ious[entry] <= nms_iou:
                    break
                dropped[others[entry]] = True
        counts[group] = size - bounds[group]


@compiled
def _soft(
    bounds: NDArray[np.int64],
    group_class: NDArray[np.int64],
    scores: NDArray[np.float32],
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    sigma: float,
    thresholds: NDArray[np.float32],
    floor: float,
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    decay = np.ones(len(scores))
    waiting = np.empty(len(scores), np.int64)
    for group in range(len(counts)):
        size = bounds[group]
        lowest = thresholds[group_class[group]]
        count = 0
        for i in range(bounds[group], bounds[group + 1]):
            if scores[i] < lowest:
                break
            waiting[count] = i
            count += 1
        past = bounds[group] + count
        while count > 0:
            best, most = 0, -1.0
            for place in range(count):
                i = waiting[place]
                if np.float64(scores[i]) <= most:  # nor can those that follow, which began weaker, be stronger
                    break
                now = np.float64(scores[i]) * decay[i]
                if now > most:
                    best, most = place, now
            chosen = waiting[best]
            count -= 1
            for place in range(best, count):
                waiting[place] = waiting[place + 1]
            if decay[chosen] < floor:
                continue
            final[chosen] = most
            if final[chosen] < lowest:
                break
            kept[chosen] = True
            # In float32 equal scores may stand the wrong way round.
            place = size
            while place > bounds[group] and (
                final[sequence[place - 1]] < final[chosen]
                or (final[sequence[place - 1]] == final[chosen] and sequence[place - 1] > chosen)
            ):
                sequence[place] = sequence[place - 1]
                place -= 1
            sequence[place] = chosen
            size += 1
            for entry in range(first[chosen], first[chosen + 1]):
                if others[entry] < past and not kept[others[entry]]:
                    decay[others[entry]] *= math.exp(-ious[entry] * ious[entry] / sigma)
        counts[group] = size - bounds[group]


@compiled
def sort_by_score(order: NDArray[np.int64], spare: NDArray[np.int64], size: int, bits: NDArray[np.int32]) -> None:
    """Sorts by falling score, stably; the bits of scores, none of them negative, sort as they do."""
    if size <= 64:
        for place in range(1, size):
            i = order[place]
            rank = place
            while rank > 0 and bits[order[rank - 1]] < bits[i]:
                order[rank] = order[rank - 1]
                rank -= 1
            order[rank] = i
        return
    starts = np.empty((1 << _DIGIT) + 1, np.int64)
    source, target = order, spare
    for shift in (0, _DIGIT, 2 * _DIGIT):
        starts[:] = 0
        for place in range(size):
            starts[((0x7FFFFFFF - bits[source[place]]) >> shift & ((1 << _DIGIT) - 1)) + 1] += 1
        for digit in range(1 << _DIGIT):
            starts[digit + 1] += starts[digit]
        for place in range(size):
            digit = (0x7FFFFFFF - bits[source[place]]) >> shift & ((1 << _DIGIT) - 1)
            target[starts[digit]] = source[place]
            starts[digit] += 1
        source, target = target, source
    order[:size] = spare[:size]  # after three passes
