"""Hard and soft suppression compiled by numba, the one loop for detectors and for `Scorer`.

Nothing imports this module at the top, because numba costs 0.4 s to import and seconds to compile the first time.
A "group" is one image and class; candidates stand by group and falling score. Overlaps are computed where they are
needed, or were computed once for a set of candidates that is suppressed thousands of times. Floating point stays
strict: the arithmetic of an overlap is that of `torchvision.ops.nms`, and every number is that of
`mapopt.postprocessing.plain_kernels`, bit for bit.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled


@compiled
def suppress_groups(
    boxes: NDArray[np.float64],
    scores: NDArray[np.float32],
    bounds: NDArray[np.int64],
    rows: NDArray[np.int64],
    nms_iou: NDArray[np.float64],
    sigma: NDArray[np.float64],
    thresholds: NDArray[np.float32],
    floor: float,
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Suppresses all groups, each by the row of settings that it names.

    Args:
        boxes: ``[n, 4]`` xyxy.
        scores: ``[n]``, not negative, falling inside a group.
        bounds: ``[g + 1]`` where groups begin, and the end.
        rows: ``[g]`` a group's row in the next three.
        nms_iou: ``[r]``; of two boxes that overlap more, the weaker is dropped.
        sigma: ``[r]``; above 0, Soft-NMS stands in for that.
        thresholds: ``[r]`` smallest score reported.
        floor: the part of its score under which Soft-NMS drops a box.
        first: of `overlap_lists`, like the next two, or all three empty: overlaps are then computed on the way.
        others: See there.
        ious: See there.
        final: ``[n]`` is filled with the scores of what is kept.
        kept: ``[n]`` is filled with True for what is kept.
        sequence: ``[n]`` is filled, from a group's beginning on, with what it keeps, by falling final score.
        counts: ``[g]`` is filled with how many those are.
    """
    areas = np.empty(0)
    if len(first) == 0:
        areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    kept[:] = False
    # Each runs over all groups and takes its own: a call for every group would cost more than what it does.
    _keep_strongest(
        boxes,
        areas,
        scores,
        bounds,
        rows,
        nms_iou,
        sigma,
        thresholds,
        first,
        others,
        ious,
        final,
        kept,
        sequence,
        counts,
    )
    if (sigma > 0).any():
        _soften(
            boxes,
            areas,
            scores,
            bounds,
            rows,
            sigma,
            thresholds,
            floor,
            first,
            others,
            ious,
            final,
            kept,
            sequence,
            counts,
        )


@compiled
def _keep_strongest(
    boxes: NDArray[np.float64],
    areas: NDArray[np.float64],
    scores: NDArray[np.float32],
    bounds: NDArray[np.int64],
    rows: NDArray[np.int64],
    nms_iou: NDArray[np.float64],
    sigma: NDArray[np.float64],
    thresholds: NDArray[np.float32],
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Keeps the boxes that no stronger one of their group, which is kept itself, overlaps too much."""
    listed, dropped = len(first) > 0, np.zeros(len(scores), np.bool_)
    for group in range(len(rows)):
        row = rows[group]
        if sigma[row] > 0:
            continue
        lowest, limit, size = thresholds[row], nms_iou[row], bounds[group]
        for i in range(bounds[group], bounds[group + 1]):
            if scores[i] < lowest:
                break
            if dropped[i]:
                continue
            kept[i], final[i], sequence[size] = True, scores[i], i
            size += 1
            if listed:
                for entry in range(first[i], first[i + 1]):
                    if ious[entry] <= limit:
                        break
                    dropped[others[entry]] = True
                continue
            left, top, right, bottom, area = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3], areas[i]
            for j in range(i + 1, bounds[group + 1]):
                if not dropped[j] and _overlap(boxes, areas, j, left, top, right, bottom, area) > limit:
                    dropped[j] = True
        counts[group] = size - bounds[group]


@compiled
def _soften(
    boxes: NDArray[np.float64],
    areas: NDArray[np.float64],
    scores: NDArray[np.float32],
    bounds: NDArray[np.int64],
    rows: NDArray[np.int64],
    sigma: NDArray[np.float64],
    thresholds: NDArray[np.float32],
    floor: float,
    first: NDArray[np.int64],
    others: NDArray[np.int64],
    ious: NDArray[np.float64],
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    sequence: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Lets scores decay for every stronger box of their group, strongest first, and keeps what stays high enough."""
    listed, decay, waiting = len(first) > 0, np.ones(len(scores)), np.empty(len(scores), np.int64)
    for group in range(len(rows)):
        row = rows[group]
        if sigma[row] <= 0:
            continue
        lowest, width, begin, count = thresholds[row], sigma[row], bounds[group], 0
        for i in range(begin, bounds[group + 1]):
            if scores[i] < lowest:
                break
            waiting[count] = i
            count += 1
        size, past = begin, begin + count
        while count > 0:
            best, highest = 0, -1.0
            for place in range(count):  # of equal scores the earlier box goes first
                i = waiting[place]
                if np.float64(scores[i]) <= highest:  # nor can those that follow, which began weaker, be stronger
                    break
                now = np.float64(scores[i]) * decay[i]
                if now > highest:
                    best, highest = place, now
            chosen = waiting[best]
            count -= 1
            for place in range(best, count):
                waiting[place] = waiting[place + 1]
            if decay[chosen] < floor:
                continue
            final[chosen] = highest
            if final[chosen] < lowest:
                break
            kept[chosen] = True
            # In single precision equal scores may stand the wrong way round.
            place = size
            while place > begin and (
                final[sequence[place - 1]] < final[chosen]
                or (final[sequence[place - 1]] == final[chosen] and sequence[place - 1] > chosen)
            ):
                sequence[place] = sequence[place - 1]
                place -= 1
            sequence[place] = chosen
            size += 1
            if listed:
                for entry in range(first[chosen], first[chosen + 1]):
                    if others[entry] < past and not kept[others[entry]]:
                        decay[others[entry]] *= math.exp(-ious[entry] * ious[entry] / width)
                continue
            left, top, right, bottom = boxes[chosen, 0], boxes[chosen, 1], boxes[chosen, 2], boxes[chosen, 3]
            for place in range(count):
                iou = _overlap(boxes, areas, waiting[place], left, top, right, bottom, areas[chosen])
                if iou > 0:
                    decay[waiting[place]] *= math.exp(-iou * iou / width)
        counts[group] = size - begin


@compiled
def overlap_lists(
    boxes: NDArray[np.float64], bounds: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns for every candidate those of its group that it overlaps, the largest overlap first.

    Args:
        boxes: ``[n, 4]`` in the pixels in which suppression compares.
        bounds: ``[g + 1]`` where groups begin, and the end.

    Returns:
        ``[n + 1]`` where a candidate's list begins, ``[p]`` the others, ``[p]`` their IoUs.
    """
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    first = np.zeros(len(boxes) + 1, np.int64)
    others, ious = np.empty(0, np.int64), np.empty(0)
    for turn in range(2):  # first to count, then to fill
        size = 0
        for group in range(len(bounds) - 1):
            for i in range(bounds[group], bounds[group + 1]):
                begin = size
                left, top, right, bottom, area = boxes[i, 0], boxes[i, 1], boxes[i, 2], boxes[i, 3], areas[i]
                for j in range(bounds[group], bounds[group + 1]):
                    if i == j:
                        continue
                    iou = _overlap(boxes, areas, j, left, top, right, bottom, area)
                    if iou <= 0:
                        continue
                    if turn == 1:
                        place = size
                        while place > begin and ious[place - 1] < iou:
                            others[place], ious[place] = others[place - 1], ious[place - 1]
                            place -= 1
                        others[place], ious[place] = j, iou
                    size += 1
                first[i + 1] = size
        if turn == 0:
            others, ious = np.empty(size, np.int64), np.empty(size)
    return first, others, ious


@compiled
def _overlap(
    boxes: NDArray[np.float64],
    areas: NDArray[np.float64],
    other: int,
    left: float,
    top: float,
    right: float,
    bottom: float,
    area: float,
) -> float:
    """Returns the IoU of one of the boxes with a box of these coordinates and this area."""
    wide = min(right, boxes[other, 2]) - max(left, boxes[other, 0])
    high = min(bottom, boxes[other, 3]) - max(top, boxes[other, 1])
    if wide <= 0 or high <= 0:
        return 0.0
    shared = wide * high
    return float(shared / (area + areas[other] - shared))
