"""The judgement of what post-processing reports, compiled by numba: matches, precision at recalls, and counts.

Nothing imports this module at the top, because numba costs 0.4 s to import and seconds to compile the first time.
Candidates stand by class, image and falling score; "group" is one image and class. Floating point stays strict, so the
numbers are those of `mapopt.metrics`, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.postprocessing.suppression_kernels import sort_by_score


@compiled
def match(
    bounds: NDArray[np.int64],
    counts: NDArray[np.int64],
    sequence: NDArray[np.int64],
    kept: NDArray[np.bool_],
    first: NDArray[np.int64],
    truths: NDArray[np.int64],
    ious: NDArray[np.float64],
    reached: NDArray[np.uint64],
    ignored: NDArray[np.bool_],
    crowd: NDArray[np.bool_],
    limit: int,
    matched: NDArray[np.uint64],
    correct: NDArray[np.uint64],
    errors: NDArray[np.float64],
) -> None:
    """Matches what is reported to the ground truth; one bit of a word is one IoU threshold.

    Args:
        bounds: ``[g + 1]`` where groups begin, and the end.
        counts: of `suppression_kernels.report`, like the next two.
        sequence: See there.
        kept: ``[n]``; what is beyond the limit of its group becomes False.
        first: of `overlap_kernels.truth_lists`, like the next two.
        truths: See there.
        ious: See there.
        reached: ``[p]`` the thresholds that a pair reaches.
        ignored: ``[t]`` True for a ground truth that counts neither way.
        crowd: ``[t]`` True for a crowd, which is never used up.
        limit: boxes per group that are judged.
        matched: ``[n]`` is filled with the thresholds at which a box took a ground truth.
        correct: ``[n]`` is filled with those at which that counts.
        errors: ``[n]`` is filled with 1 - IoU of the ground truth that was taken at the first threshold.
    """
    none, one = np.uint64(0), np.uint64(1)
    matched[:] = none
    correct[:] = none
    used = np.zeros(len(crowd), np.uint64)
    for group in range(len(counts)):
        judged = 0
        for place in range(bounds[group], bounds[group] + counts[group]):
            i = sequence[place]
            if not kept[i]:
                continue
            if judged == limit:
                kept[i] = False
                continue
            judged += 1
            served = none
            for spare in range(2):  # ignored ground truths only where no regular one is left
                for entry in range(first[i], first[i + 1]):
                    truth = truths[entry]
                    if ignored[truth] != (spare == 1):
                        continue
                    won = reached[entry] & ~(used[truth] | served)
                    if won == none:
                        continue
                    served |= won
                    if not crowd[truth]:
                        used[truth] |= won
                    if spare == 0:
                        correct[i] |= won
                        if won & one:
                            errors[i] = 1 - ious[entry]
            matched[i] = served


@compiled
def count(
    class_bounds: NDArray[np.int64],
    class_order: NDArray[np.int64],
    resort: bool,
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
    inside: NDArray[np.bool_],
    matched: NDArray[np.uint64],
    correct: NDArray[np.uint64],
    errors: NDArray[np.float64],
    needed: NDArray[np.int64],
    precision_out: NDArray[np.float64],
    tallies: NDArray[np.int64],
    misplaced: NDArray[np.float64],
) -> None:
    """Reads precision at the 101 recalls, and counts what F1 and LRP need.

    Args:
        class_bounds: ``[k + 1]`` where classes begin, and the end.
        class_order: ``[n]`` candidates by class and falling score.
        resort: whether scores have changed, so that this order no longer holds.
        final: of `suppression_kernels.report`, like the next.
        kept: See there.
        inside: ``[n]`` False for a box so large that it counts only where it is right.
        matched: of `match`, like the next two.
        correct: See there.
        errors: See there.
        needed: ``[k, 101]`` hits that reach a recall; the first is -1 in a class without ground truth.
        precision_out: ``[t, 101, classes with ground truth]`` is filled.
        tallies: ``[k, 3]`` is filled with hits and claims at the first threshold, and boxes reported.
        misplaced: ``[k]`` is filled with the hits' sum of 1 - IoU at the first threshold.
    """
    one, spacing, steps = np.uint64(1), np.spacing(1.0), precision_out.shape[0]
    most = 1
    for k in range(len(needed)):
        most = max(most, class_bounds[k + 1] - class_bounds[k])
    precision, hits, misses = np.empty((steps, most)), np.empty(steps, np.int64), np.empty(steps, np.int64)
    order, spare, wrong = np.empty(most, np.int64), np.empty(most, np.int64), np.empty(most)
    column = 0
    for k in range(len(needed)):
        size = 0
        for place in range(class_bounds[k], class_bounds[k + 1]):
            i = place if resort else class_order[place]
            if kept[i]:
                order[size] = i
                size += 1
        if resort:
            sort_by_score(order, spare, size, final.view(np.int32))
        hits[:] = 0
        misses[:] = 0
        claims = tied = 0
        for place in range(size):
            i = order[place]
            claims += inside[i]
            if place > 0 and final[i] != final[order[place - 1]]:
                tied = hits[0]
            if matched[i] == 0:
                continue
            for t in range(steps):
                if (matched[i] >> np.uint64(t)) & one:
                    misses[t] += inside[i]
                    if (correct[i] >> np.uint64(t)) & one:
                        if t == 0:  # equal scores by rising error, as `f1_and_lrp` sums them
                            rank = hits[0]
                            while rank > tied and wrong[rank - 1] > errors[i]:
                                wrong[rank] = wrong[rank - 1]
                                rank -= 1
                            wrong[rank] = errors[i]
                        hits[t] += 1
                        precision[t, hits[t] - 1] = hits[t] / (float(claims - misses[t]) + float(hits[t]) + spacing)
        tallies[k, 0], tallies[k, 1], tallies[k, 2] = hits[0], claims - misses[0] + hits[0], size
        misplaced[k] = 0.0
        for rank in range(hits[0]):
            misplaced[k] += wrong[rank]
        if needed[k, 0] < 0:
            continue
        for t in range(steps):
            reached = np.searchsorted(needed[k], hits[t], side="right") if hits[t] > 0 else 0
            best, last = 0.0, hits[t]
            for r in range(precision_out.shape[1] - 1, -1, -1):
                if r < reached:
                    start = max(needed[k, r], 1)
                    while last >= start:
                        best = max(best, precision[t, last - 1])
                        last -= 1
                precision_out[t, r, column] = best
        column += 1
