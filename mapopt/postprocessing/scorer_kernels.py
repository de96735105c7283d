"""The scoring of what post-processing reports, compiled by numba: matches, precision at recalls, and counts.

Nothing imports this module at the top, because numba costs 0.4 s to import and seconds to compile the first time.
Candidates stand by class, image and falling score; "group" is one image and class. Floating point stays strict, so the
numbers are those of `mapopt.metrics`, bit for bit.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_DIGIT = 11  # bits that one pass of the sort looks at


@compiled
def apply_limits(
    bounds: NDArray[np.int64],
    group_class: NDArray[np.int64],
    class_limits: NDArray[np.int64],
    counts: NDArray[np.int64],
    sequence: NDArray[np.int64],
    image_bounds: NDArray[np.int64],
    image_order: NDArray[np.int64],
    image_limit: int,
    resort: bool,
    final: NDArray[np.float32],
    kept: NDArray[np.bool_],
) -> None:
    """Drops what is beyond the limits of a class and of an image.

    Args:
        bounds: ``[g + 1]`` where groups begin, and the end.
        group_class: ``[g]`` a group's class.
        class_limits: ``[k]`` boxes per image and class.
        counts: of `suppression_kernels.suppress_groups`, like the next.
        sequence: See there.
        image_bounds: ``[images + 1]`` where an image begins in the order that follows, and the end.
        image_order: ``[n]`` candidates by image, then by falling score; where scores have changed, as equal ones are
            ordered.
        image_limit: boxes per image.
        resort: whether scores have changed.
        final: ``[n]`` scores of what is kept.
        kept: ``[n]``; what is beyond a limit becomes False.
    """
    for group in range(len(counts)):
        for place in range(bounds[group] + class_limits[group_class[group]], bounds[group] + counts[group]):
            kept[sequence[place]] = False
    chosen, spare = np.empty(len(kept), np.int64), np.empty(len(kept), np.int64)
    for image in range(len(image_bounds) - 1):
        count = 0
        for place in range(image_bounds[image], image_bounds[image + 1]):
            i = image_order[place]
            if kept[i]:
                chosen[count] = i
                count += 1
        if count > image_limit:
            if resort:
                sort_by_score(chosen, spare, count, final.view(np.int32))
            for place in range(image_limit, count):
                kept[chosen[place]] = False


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
        counts: of `suppression_kernels.suppress_groups`, like the next two.
        sequence: See there.
        kept: ``[n]``; what is beyond the limit of its group becomes False.
        first: of `truth_kernels.truth_lists`, like the next two.
        truths: See there.
        ious: See there.
        reached: ``[p]`` the thresholds that a pair reaches.
        ignored: ``[t]`` True for a ground truth that counts neither way.
        crowd: ``[t]`` True for a crowd, which is never used up.
        limit: boxes per group that are matched.
        matched: ``[n]`` is filled with the thresholds at which a box took a ground truth.
        correct: ``[n]`` is filled with those at which that counts.
        errors: ``[n]`` is filled with 1 - IoU of the ground truth that was taken at the first threshold.
    """
    none, first_bit = np.uint64(0), np.uint64(1)
    matched[:] = none
    correct[:] = none
    used = np.zeros(len(crowd), np.uint64)
    for group in range(len(counts)):
        seen = 0
        for place in range(bounds[group], bounds[group] + counts[group]):
            i = sequence[place]
            if not kept[i]:
                continue
            if seen == limit:
                kept[i] = False
                continue
            seen += 1
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
                        if won & first_bit:
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
        final: of `suppression_kernels.suppress_groups`, like the next.
        kept: See there.
        inside: ``[n]`` False for a box so large that it counts only where it is right.
        matched: of `match`, like the next two.
        correct: See there.
        errors: See there.
        needed: ``[k, 101]`` hits that reach a recall; the first is -1 in a class without ground truth.
        precision_out: ``[t, 101, classes with ground truth]`` is filled.
        tallies: ``[k, 3]`` is filled with hits and what counts at the first threshold, and boxes reported.
        misplaced: ``[k]`` is filled with the hits' sum of 1 - IoU at the first threshold.
    """
    first_bit, spacing, steps = np.uint64(1), np.spacing(1.0), precision_out.shape[0]
    longest = 1
    for k in range(len(needed)):
        longest = max(longest, class_bounds[k + 1] - class_bounds[k])
    precision, hits, misses = np.empty((steps, longest)), np.empty(steps, np.int64), np.empty(steps, np.int64)
    order, spare, wrong = np.empty(longest, np.int64), np.empty(longest, np.int64), np.empty(longest)
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
        counted = tied = 0
        for place in range(size):
            i = order[place]
            counted += inside[i]
            if place > 0 and final[i] != final[order[place - 1]]:
                tied = hits[0]
            if matched[i] == 0:
                continue
            for t in range(steps):
                if (matched[i] >> np.uint64(t)) & first_bit:
                    misses[t] += inside[i]
                    if (correct[i] >> np.uint64(t)) & first_bit:
                        if t == 0:  # equal scores by rising error, as `f1_and_lrp` sums them
                            rank = hits[0]
                            while rank > tied and wrong[rank - 1] > errors[i]:
                                wrong[rank] = wrong[rank - 1]
                                rank -= 1
                            wrong[rank] = errors[i]
                        hits[t] += 1
                        precision[t, hits[t] - 1] = hits[t] / (float(counted - misses[t]) + float(hits[t]) + spacing)
        tallies[k, 0], tallies[k, 1], tallies[k, 2] = hits[0], counted - misses[0] + hits[0], size
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
