"""Which ground truths each candidate may match, compiled by numba: what no setting of post-processing changes.

Nothing imports this module at the top, because numba costs 0.4 s to import. The arithmetic is pycocotools', bit for
bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled


@compiled
def truth_lists(
    corners: NDArray[np.float64],
    areas: NDArray[np.float64],
    bounds: NDArray[np.int64],
    truth_start: NDArray[np.int64],
    truth_count: NDArray[np.int64],
    truth_corners: NDArray[np.float64],
    truth_areas: NDArray[np.float64],
    crowd: NDArray[np.bool_],
    minimum: float,
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Returns for every candidate the ground truths that it may match, best first, as the evaluator prefers them.

    Args:
        corners: ``[4, n]`` candidates in the ground truth's pixels, as pycocotools rounds them.
        areas: ``[n]`` their areas.
        bounds: ``[g + 1]`` where groups begin, and the end.
        truth_start: ``[g]`` a group's first ground truth.
        truth_count: ``[g]`` and how many it has.
        truth_corners: ``[4, t]`` ground truths.
        truth_areas: ``[t]`` their areas.
        crowd: ``[t]`` True for a crowd.
        minimum: the smallest IoU of a match.

    Returns:
        ``[n + 1]`` where a candidate's list begins, ``[p]`` ground truths, ``[p]`` IoUs.
    """
    first = np.zeros(corners.shape[1] + 1, np.int64)
    truths, ious = np.empty(0, np.int64), np.empty(0)
    for turn in range(2):  # first to count, then to fill
        size = 0
        for group in range(len(bounds) - 1):
            for i in range(bounds[group], bounds[group + 1]):
                begin = size
                for truth in range(truth_start[group], truth_start[group] + truth_count[group]):
                    wide = min(corners[2, i], truth_corners[2, truth]) - max(corners[0, i], truth_corners[0, truth])
                    high = min(corners[3, i], truth_corners[3, truth]) - max(corners[1, i], truth_corners[1, truth])
                    if wide <= 0 or high <= 0:
                        continue
                    shared = wide * high
                    iou = shared / (areas[i] if crowd[truth] else areas[i] + truth_areas[truth] - shared)
                    if iou < minimum:
                        continue
                    if turn == 1:
                        place = size
                        while place > begin and ious[place - 1] <= iou:  # of two equals the later goes first
                            truths[place], ious[place] = truths[place - 1], ious[place - 1]
                            place -= 1
                        truths[place], ious[place] = truth, iou
                    size += 1
                first[i + 1] = size
        if turn == 0:
            truths, ious = np.empty(size, np.int64), np.empty(size)
    return first, truths, ious
