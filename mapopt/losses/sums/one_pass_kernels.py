"""Error-driven losses compiled whole: from the lists to the values, and to what `update` makes a gradient of.

They are the losses' own formulas between the passes of `kernels` and `list_kernels`, operation by operation in the
order in which the members of the family compute them with torch: the bits are the same. Arrays are contiguous, and
lists have room for P positives, the most that one has; what is said of places without a positive is what torch's
operations say of them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.losses.sums.axis_kernels import quality_of, rank_positives, weighted_mass
from mapopt.losses.sums.axis_kernels import update as update
from mapopt.losses.sums.list_kernels import pairs_above, pairs_below

_Floating = NDArray[np.floating]
_Doubles = NDArray[np.float64]
_Indices = NDArray[np.int32]
_Numbers = NDArray[np.int64]
_Flags = NDArray[np.bool_]


@compiled
def average_precision(
    scores: _Floating,
    labels: _Floating,
    positive: _Flags,
    negative: _Flags,
    count: _Numbers,
    columns: _Numbers,
    bins: _Indices,
    edges: _Doubles,
    order: _Indices,
    active: _Flags,
    length: _Doubles,
    delta: float,
    interpolate: float,
    values: _Doubles,
    moves: _Doubles,
    spreads: _Doubles,
) -> None:
    """Computes AP-loss; see `mapopt.losses.APLoss`.

    Args:
        scores: ``[lists, n]``.
        labels: ``[lists, n]``.
        positive: ``[lists, n]``.
        negative: ``[lists, n]``.
        count: positives ``[lists]``.
        columns: ``[lists, P]``, written, as by `tabulate`.
        bins: of the negatives ``[lists, n]``, written, as by `locate`.
        edges: ``[lists, 2 P]``, written, as by `cut`, and so are the next three.
        order: the same.
        active: the same.
        length: the same.
        delta: half the width of the ramp.
        interpolate: 0 or 1.
        values: ``[components, lists]``, written.
        moves: what moves each positive ``[components, lists, P]``, written.
        spreads: what moves the negatives above each positive ``[components that do, lists, P]``, written.
    """
    axis = rank_positives(scores, positive, negative, count, columns, bins, edges, order, active, length, delta)
    present, below, above = axis[1], axis[2], axis[3]
    for row in range(scores.shape[0]):
        number = max(np.float64(count[row]), 1.0)
        smallest, total = np.inf, 0.0
        for slot in range(columns.shape[1]):
            here, there = above[row, slot], below[row, slot] + 0.5 + above[row, slot]
            error = here / there
            passed_on = present[row, slot] / (there * number)
            if interpolate > 0.0:
                smallest = min(smallest, error)
                passed_on *= smallest / error if smallest < error else 1.0
                error = smallest
            error *= present[row, slot]
            total += error * present[row, slot]
            moves[0, row, slot] = -error / number
            spreads[0, row, slot] = passed_on
        values[0, row] = total / number


@compiled
def rank_and_sort(
    scores: _Floating,
    labels: _Floating,
    positive: _Flags,
    negative: _Flags,
    count: _Numbers,
    columns: _Numbers,
    bins: _Indices,
    edges: _Doubles,
    order: _Indices,
    active: _Flags,
    length: _Doubles,
    delta: float,
    smallest_mass: float,
    values: _Doubles,
    moves: _Doubles,
    spreads: _Doubles,
) -> None:
    """Computes Rank & Sort, see `mapopt.losses.RankSortLoss`; arguments as in `average_precision`.

    Args:
        scores: the same, and so is what follows.
        labels: the same.
        positive: the same.
        negative: the same.
        count: the same.
        columns: the same.
        bins: the same.
        edges: the same.
        order: the same.
        active: the same.
        length: the same.
        delta: the same.
        smallest_mass: mass below which there is nothing to distribute an error to.
        values: the same.
        moves: the same.
        spreads: the same.
    """
    lists, width = columns.shape
    axis = rank_positives(scores, positive, negative, count, columns, bins, edges, order, active, length, delta)
    thresholds, present, below, above, places = axis
    ramps = np.full(lists, 2.0 * delta)
    quality = quality_of(labels, columns, present)
    weights, wrong = np.empty((2, lists, width)), np.empty((2, lists, width))
    for row in range(lists):
        for slot in range(width):
            weights[0, row, slot] = present[row, slot]
            weights[1, row, slot] = (1.0 - quality[row, slot]) * present[row, slot]
    pairs_above(thresholds, quality, count, ramps, False, weights, wrong)
    errors = weighted_mass(thresholds, count, edges, active, length, places, ramps, weights[1])
    blamed, received = np.empty((1, lists, width)), np.empty((1, lists, width))
    for row in range(lists):
        number = max(np.float64(count[row]), 1.0)
        ranked = misplaced = 0.0
        for slot in range(width):
            here = present[row, slot]
            total = max(below[row, slot] + above[row, slot], 0.5)
            error = above[row, slot] / total * here
            pushed = (1.0 if above[row, slot] > smallest_mass else 0.0) * here / number
            moves[0, row, slot] = -error * pushed
            spreads[0, row, slot] = pushed / total
            ranked += error * here
            current = errors[row, slot] / max(below[row, slot], 0.5)
            rest = max(below[row, slot] - wrong[0, row, slot], 0.5)
            sorting = current - (errors[row, slot] - wrong[1, row, slot]) / rest
            misplaced += sorting * here
            pushed = sorting * (1.0 if wrong[0, row, slot] > smallest_mass else 0.0) * here / number
            moves[1, row, slot] = pushed
            blamed[0, row, slot] = pushed / max(wrong[0, row, slot], smallest_mass)
        values[0, row], values[1, row] = ranked / number, misplaced / number
    pairs_below(thresholds, quality, count, ramps, False, blamed, received)
    for row in range(lists):
        for slot in range(width):
            moves[1, row, slot] = received[0, row, slot] * present[row, slot] - moves[1, row, slot]


@compiled
def localization_recall_precision(
    scores: _Floating,
    labels: _Floating,
    positive: _Flags,
    negative: _Flags,
    count: _Numbers,
    columns: _Numbers,
    bins: _Indices,
    edges: _Doubles,
    order: _Indices,
    active: _Flags,
    length: _Doubles,
    delta: float,
    smallest_mass: float,
    values: _Doubles,
    moves: _Doubles,
    spreads: _Doubles,
) -> None:
    """Computes aLRP, see `mapopt.losses.ALRPLoss`; arguments as in `rank_and_sort`.

    Args:
        scores: the same, and so is what follows.
        labels: the same.
        positive: the same.
        negative: the same.
        count: the same.
        columns: the same.
        bins: the same.
        edges: the same.
        order: the same.
        active: the same.
        length: the same.
        delta: the same.
        smallest_mass: the same.
        values: the same.
        moves: the same.
        spreads: the same.
    """
    lists, width = columns.shape
    axis = rank_positives(scores, positive, negative, count, columns, bins, edges, order, active, length, delta)
    thresholds, present, below, above, places = axis
    errors = quality_of(labels, columns, present)
    for row in range(lists):
        for slot in range(width):
            errors[row, slot] = (1.0 - errors[row, slot]) / 0.5 * present[row, slot]
    weighted = weighted_mass(thresholds, count, edges, active, length, places, np.full(lists, 2.0 * delta), errors)
    running = np.zeros(width + 1)
    for row in range(lists):
        number = max(np.float64(count[row]), 1.0)
        for slot in range(width):
            running[slot + 1] = running[slot] + errors[row, slot]
        classified = located = 0.0
        first, end = 0, 0  # of the positives tied with this one
        for slot in range(width):
            here, mass_above = present[row, slot], above[row, slot]
            if end <= slot:
                first = end = slot
                while end < width and thresholds[row, end] == thresholds[row, slot]:
                    end += 1
            rank = below[row, slot] + 0.5 + mass_above
            others = weighted[row, slot] - 0.5 * errors[row, slot]
            pushed = (1.0 if mass_above > smallest_mass else 0.0) * here / number / rank
            classified += mass_above / rank * here
            tied = running[end] - running[first]
            errors_above = running[width] - running[end] + 0.5 * (tied + errors[row, slot])
            located += errors_above / rank * here
            moves[0, row, slot] = -mass_above * pushed
            spreads[0, row, slot] = pushed
            moves[1, row, slot] = -others * pushed
            spreads[1, row, slot] = others * pushed / max(mass_above, smallest_mass)
        values[0, row], values[1, row] = classified / number, located / number


@compiled
def mean_average_precision(
    scores: _Floating,
    labels: _Floating,
    positive: _Flags,
    negative: _Flags,
    count: _Numbers,
    columns: _Numbers,
    bins: _Indices,
    edges: _Doubles,
    order: _Indices,
    active: _Flags,
    length: _Doubles,
    delta: float,
    floor: float,
    values: _Doubles,
    moves: _Doubles,
    spreads: _Doubles,
) -> None:
    """Computes the mean of AP over thresholds, see `mapopt.losses.MeanAPLoss`; arguments as in `average_precision`.

    Args:
        scores: the same, and so is what follows.
        labels: the same.
        positive: the same.
        negative: the same.
        count: the same.
        columns: the same.
        bins: the same.
        edges: the same.
        order: the same.
        active: the same.
        length: the same.
        delta: the same.
        floor: weight of the threshold that every positive reaches.
        values: of localization, which moves no score, rank and sort.
        moves: of the last two.
        spreads: of rank.
    """
    lists, width = columns.shape
    axis = rank_positives(scores, positive, negative, count, columns, bins, edges, order, active, length, delta)
    thresholds, present, below, above, _ = axis
    ramps = np.full(lists, 2.0 * delta)
    quality = quality_of(labels, columns, present)
    weights, worse = np.empty((2, lists, width)), np.empty((2, lists, width))
    for row in range(lists):
        for slot in range(width):
            reached = floor + (1.0 - floor) * min(quality[row, slot], 1.0)
            quality[row, slot] = reached * present[row, slot]
            weights[0, row, slot], weights[1, row, slot] = present[row, slot], quality[row, slot]
    pairs_above(thresholds, quality, count, ramps, False, weights, worse)
    received = np.empty((2, lists, width))
    for row in range(lists):
        number = max(np.float64(count[row]), 1.0)
        ranked = misplaced = missed = 0.0
        for slot in range(width):
            here, own = present[row, slot], quality[row, slot]
            total = below[row, slot] + 0.5 + above[row, slot]
            part = here / (total * number)
            false = own * above[row, slot]
            wrong = own * worse[0, row, slot] - worse[1, row, slot]
            ranked += false / total * here
            misplaced += wrong / total * here
            missed += (1.0 - own) * here
            moves[0, row, slot], moves[1, row, slot] = -false * part, wrong * part
            spreads[0, row, slot] = own * part
            weights[0, row, slot], weights[1, row, slot] = own * part, part
        values[0, row], values[1, row], values[2, row] = missed / number, ranked / number, misplaced / number
    pairs_below(thresholds, quality, count, ramps, False, weights, received)
    for row in range(lists):
        for slot in range(width):
            by_number = quality[row, slot] * received[1, row, slot]
            moves[1, row, slot] = (received[0, row, slot] - by_number) * present[row, slot] - moves[1, row, slot]
