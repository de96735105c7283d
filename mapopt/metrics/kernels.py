"""The two inner loops of AP compiled: matching and counting, with the bits of their numpy twins.

They allocate nothing, so that they are loaded without numba; see `mapopt.native`. Floating point stays strict (no
fastmath): every operation is the one that numpy and pycocotools do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.metrics.accumulation import Curves, count_positives, hits_needed, range_parts, unfilled_curves
from mapopt.metrics.layout import Layout
from mapopt.metrics.matching import Matches, tracks_up_to_level
from mapopt.metrics.settings import Settings
from mapopt.native import native

# As in `mapopt.metrics.matching` and `numpy.spacing`; here because machine code is kept for this file alone.
SLACK, SMALLEST, SPACING = 1 - 1e-9, 5e-324, 2.0**-52


def match_pairs(layout: Layout, thresholds: NDArray[np.float64], ignored: NDArray[np.uint64], ranges: int) -> Matches:
    """Does what `mapopt.metrics.matching.match_pairs` does, one detection after the other."""
    reached = tracks_up_to_level(len(thresholds), ranges)
    largest = layout.turn_count.max(initial=1)
    candidates = np.empty((3, largest), np.uint64)
    ious, order = np.empty(largest), np.empty(largest, np.int64)
    room = 4 * len(layout.truth_crowd) + 64
    while True:
        pairs, tracks = np.empty((2, room), np.int64), np.empty(room, np.uint64)
        size = _match(
            layout.boxes,
            layout.source,
            layout.turn,
            layout.turn_start,
            layout.turn_count,
            layout.truth_corners,
            layout.truth_box_area,
            layout.truth_crowd,
            ignored,
            thresholds,
            reached,
            np.zeros(len(layout.truth_crowd), np.uint64),
            ious,
            order,
            candidates,
            pairs,
            tracks,
        )
        if size <= room:
            return Matches(pairs[0, :size].copy(), pairs[1, :size].copy(), tracks[:size].copy())
        room = size


def accumulate(layout: Layout, settings: Settings, ignored: NDArray[np.bool_], matches: list[Matches]) -> Curves:
    """Does what `mapopt.metrics.accumulation.accumulate` does, one class after the other."""
    positives = count_positives(layout, ignored)
    curves = unfilled_curves(settings, layout.classes_total)
    sizes, which = np.unique(positives, return_inverse=True)
    needed, which = hits_needed(sizes), which.reshape(positives.shape)
    bounds = np.searchsorted(layout.classes, np.arange(layout.classes_total + 1))
    inside = ~settings.outside(layout.box_area)
    limits = np.array(settings.max_detections)
    for part, (ranges, thresholds) in zip(matches, range_parts(settings), strict=True):
        rows, columns = inside[ranges].shape[0], len(settings.iou_thresholds[thresholds])
        width = max(1, int(positives[ranges].max(initial=0)))
        _accumulate(
            bounds,
            layout.rank,
            layout.scores,
            inside[ranges],
            ignored[ranges],
            part.detection,
            part.truth,
            part.tracks,
            limits,
            positives[ranges],
            needed,
            which[ranges],
            ranges.start,
            thresholds.start,
            columns,
            np.zeros((2, len(layout.rank)), np.uint64),
            np.empty((columns, width)),
            np.empty((columns, width), np.int64),
            np.empty((2, columns), np.int64),
            np.empty((len(part.tracks), 1 + rows), np.int64),
            np.empty(layout.classes_total + 1, np.int64),
            np.empty(rows, np.int64),
            curves.precision,
            curves.recall,
            curves.scores,
        )
    return curves


@native(
    "f8[:,:] i8[:] i8[:] i8[:] i8[:] f8[:,:] f8[:] b1[:] u8[:] f8[:] u8[:] u8[:] f8[:] i8[:] u8[:,:] i8[:,:] u8[:]",
)
def _match(
    boxes: NDArray[np.float64],
    source: NDArray[np.int64],
    turn: NDArray[np.int64],
    turn_start: NDArray[np.int64],
    turn_count: NDArray[np.int64],
    truth_corners: NDArray[np.float64],
    truth_box_area: NDArray[np.float64],
    crowd: NDArray[np.bool_],
    ignored: NDArray[np.uint64],
    thresholds: NDArray[np.float64],
    reached_tracks: NDArray[np.uint64],
    used: NDArray[np.uint64],
    ious: NDArray[np.float64],
    names: NDArray[np.int64],
    words: NDArray[np.uint64],
    pairs: NDArray[np.int64],
    tracks: NDArray[np.uint64],
) -> int:
    """Returns how many pairs there are; those beyond the room for them are left out."""
    none = np.uint64(0)
    # Candidates of one detection, best first.
    reached, gains = words[0], words[1]
    size = 0
    for place in range(len(turn)):
        if turn_count[place] == 0:
            continue
        box = boxes[source[turn[place]]]
        left, top = box[0], box[1]
        area = (box[2] - left) * (box[3] - top)
        right, bottom = left + (box[2] - left), top + (box[3] - top)
        # An IoU is at most the part of the detection's width, or of its height, that is covered: that excludes nearly
        # all pairs by one jump, which the processor foresees.
        wide = max((box[2] - left) * (thresholds[0] * SLACK), SMALLEST)
        high = max((box[3] - top) * (thresholds[0] * SLACK), SMALLEST)
        rivals = 0
        for truth in range(turn_start[place], turn_start[place] + turn_count[place]):
            x1, y1, x2, y2 = (
                truth_corners[0, truth],
                truth_corners[1, truth],
                truth_corners[2, truth],
                truth_corners[3, truth],
            )
            width = (right if right < x2 else x2) - (left if left > x1 else x1)
            height = (bottom if bottom < y2 else y2) - (top if top > y1 else y1)
            if not ((width >= wide) & (height >= high)):
                continue
            intersection = width * height
            iou = intersection / (area if crowd[truth] else area + truth_box_area[truth] - intersection)
            if iou < thresholds[0]:
                continue
            rank = rivals
            while rank > 0 and ious[rank - 1] <= iou:  # of two equals the later goes first
                ious[rank], names[rank] = ious[rank - 1], names[rank - 1]
                rank -= 1
            ious[rank], names[rank] = iou, truth
            rivals += 1
        if rivals == 0:
            continue
        served = none
        for rank in range(rivals):
            truth = names[rank]
            reached[rank] = reached_tracks[np.searchsorted(thresholds, ious[rank], side="right")]
            gains[rank] = reached[rank] & ~(ignored[truth] | used[truth] | served)
            served |= gains[rank]
            if not crowd[truth]:
                used[truth] |= gains[rank]
        for rank in range(rivals):
            truth = names[rank]
            spare = reached[rank] & ignored[truth] & ~(used[truth] | served)
            served |= spare
            if not crowd[truth]:  # a crowd is never used up
                used[truth] |= spare
            won = gains[rank] | spare
            if won == none:
                continue
            if size < len(tracks):
                pairs[0, size], pairs[1, size], tracks[size] = turn[place], truth, won
            size += 1
    return size


def _count(
    word: np.uint64,
    true: np.uint64,
    detected: int,
    within: bool,
    detection: int,
    hits: NDArray[np.int64],
    misses: NDArray[np.int64],
    precision: NDArray[np.float64],
    position: NDArray[np.int64],
) -> None:
    """Adds one matched detection at every threshold: a true positive, or one that neither counts for nor against."""
    bit = np.uint64(1)
    for t in range(len(hits)):
        if (word >> np.uint64(t)) & bit:
            misses[t] += within
            if (true >> np.uint64(t)) & bit:
                number = hits[t] + 1
                hits[t] = number
                position[t, number - 1] = detection
                precision[t, number - 1] = number / (float(detected - misses[t]) + float(number) + SPACING)


def _read(
    needed: NDArray[np.int64],
    hits: int,
    precision: NDArray[np.float64],
    position: NDArray[np.int64],
    scores: NDArray[np.float64],
    precision_row: NDArray[np.float64],
    scores_row: NDArray[np.float64],
) -> None:
    """Reads one curve at the 101 recalls: the best precision from the hit on that reaches it, and that hit's score."""
    reached = np.searchsorted(needed, hits, side="right") if hits > 0 else 0
    precision_row[reached:] = 0.0
    scores_row[reached:] = 0.0
    best = 0.0
    for r in range(reached - 1, -1, -1):
        start = max(needed[r], 1)
        while hits >= start:
            best = max(best, precision[hits - 1])
            hits -= 1
        precision_row[r] = best
        scores_row[r] = scores[position[start - 1]]


@native(
    "i8[:] i8[:] f8[:] b1[:,:] b1[:,:] i8[:] i8[:] u8[:] i8[:] i8[:,:] i8[:,:] i8[:,:] i8 i8 i8 "
    "u8[:,:] f8[:,:] i8[:,:] i8[:,:] i8[:,:] i8[:] i8[:] f8[:,:,:,:,:] f8[:,:,:,:] f8[:,:,:,:,:]",
    helpers=(_count, _read),
)
def _accumulate(
    bounds: NDArray[np.int64],
    rank: NDArray[np.int64],
    scores: NDArray[np.float64],
    inside: NDArray[np.bool_],
    ignored: NDArray[np.bool_],
    pair_detection: NDArray[np.int64],
    pair_truth: NDArray[np.int64],
    pair_tracks: NDArray[np.uint64],
    limits: NDArray[np.int64],
    positives: NDArray[np.int64],
    needed: NDArray[np.int64],
    needed_row: NDArray[np.int64],
    first_range: int,
    first_threshold: int,
    thresholds: int,
    words: NDArray[np.uint64],
    precision: NDArray[np.float64],
    position: NDArray[np.int64],
    counts: NDArray[np.int64],
    matched_rows: NDArray[np.int64],
    starts: NDArray[np.int64],
    running: NDArray[np.int64],
    precision_out: NDArray[np.float64],
    recall_out: NDArray[np.float64],
    scores_out: NDArray[np.float64],
) -> int:
    ranges, classes = positives.shape
    all_thresholds = ~np.uint64(0) >> np.uint64(64 - thresholds)
    matched, counted = words[0], words[1]
    hits, misses = counts[0], counts[1]
    # Of the detections that are within the limit, the matched ones, and how many count up to each in its class.
    took, detected = matched_rows[:, 0], matched_rows[:, 1:]
    for pair in range(len(pair_tracks)):
        regular = pair_tracks[pair]
        matched[pair_detection[pair]] |= regular
        for a in range(ranges):
            if ignored[a, pair_truth[pair]]:
                regular &= ~(all_thresholds << np.uint64(a * thresholds))
        counted[pair_detection[pair]] |= regular
    for m in range(len(limits)):
        size = 0
        for category in range(classes):
            starts[category] = size
            running[:] = 0
            for detection in range(bounds[category], bounds[category + 1]):
                if rank[detection] >= limits[m]:
                    continue
                for a in range(ranges):
                    running[a] += inside[a, detection]
                if matched[detection] != 0:
                    took[size] = detection
                    for a in range(ranges):
                        detected[size, a] = running[a]
                    size += 1
        starts[classes] = size
        # Curves of one limit and range lie together in memory, and are written one after the other.
        for a in range(ranges):
            shift = np.uint64(a * thresholds)
            for category in range(classes):
                if positives[a, category] == 0:
                    for t in range(first_threshold, first_threshold + thresholds):
                        recall_out[m, first_range + a, t, category] = -1.0
                        precision_out[m, first_range + a, t, category][:] = -1.0
                        scores_out[m, first_range + a, t, category][:] = -1.0
                    continue
                hits[:] = 0
                misses[:] = 0  # matched detections among those that would count against
                for entry in range(starts[category], starts[category + 1]):
                    detection = took[entry]
                    word = (matched[detection] >> shift) & all_thresholds
                    if word != 0:
                        _count(
                            word,
                            counted[detection] >> shift,
                            detected[entry, a],
                            inside[a, detection],
                            detection,
                            hits,
                            misses,
                            precision,
                            position,
                        )
                row = needed[needed_row[a, category]]
                first, last = bounds[category], bounds[category + 1]
                for t in range(thresholds):
                    at = m, first_range + a, first_threshold + t, category
                    recall_out[at] = hits[t] / positives[a, category]
                    _read(row, hits[t], precision[t], position[t], scores, precision_out[at], scores_out[at])
                    # At recall 0 the score is that of the best detection, matched or not.
                    scores_out[at][0] = scores[first] if first < last else 0.0
    return 0
