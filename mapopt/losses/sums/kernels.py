"""The passes that ranking losses are made of, compiled by numba, with the bits of torch's operations: those over bins.

Nothing imports this module at the top, because numba costs 0.4 s to import and seconds to compile the first time; see
`mapopt.losses.sums.engines`. Floating point stays strict (no fastmath), and sums run in the order in which torch's
`bincount` and `cumsum` run: over scores in the order of the list, over bins from the top.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.losses.sums.list_kernels import pairs_above as pairs_above
from mapopt.losses.sums.list_kernels import pairs_below as pairs_below
from mapopt.losses.sums.list_kernels import survey as survey
from mapopt.losses.sums.list_kernels import tabulate as tabulate

_Floating = NDArray[np.floating]
_Doubles = NDArray[np.float64]
_Indices = NDArray[np.int32]
_Flags = NDArray[np.bool_]

_CELLS_PER_EDGE = 4  # of the grid that says about where a score is among the edges


@compiled
def cut(
    thresholds: _Doubles,
    present: _Doubles,
    delta: _Doubles,
    number: NDArray[np.int64],
    edges: _Doubles,
    order: _Indices,
    places: _Indices,
    active: _Flags,
    length: _Doubles,
) -> None:
    """Cuts the score axis of each list where a positive's ramp begins or ends.

    Args:
        thresholds: ``[lists, P]`` ascending, where there is a positive.
        present: ``[lists, P]``, 1 for a positive and then 0.
        delta: half the width of the ramps ``[lists]``.
        number: positives of each list ``[lists]``, written.
        edges: ``[lists, 2 P]`` ascending, written.
        order: ``[lists, 2 P]``, written: which positive an edge belongs to, from P on to the ends of ramps.
        places: ``[2, lists, P]``, written: the first bin of each ramp and the one after the last.
        active: ``[lists, 2 P + 1]``, written: bins in which a ramp is running.
        length: ``[lists, 2 P + 1]``, written: of these, 0 for others.
    """
    width = thresholds.shape[1]
    for row in range(thresholds.shape[0]):
        count = 0
        while count < width and present[row, count] > 0.0:
            count += 1
        number[row] = count
        opened, closed, before = 0, 0, 0.0
        for place in range(2 * count):
            # Where one ramp begins and another ends, the beginning comes first.
            begins = opened < count and thresholds[row, opened] - delta[row] <= thresholds[row, closed] + delta[row]
            edge = thresholds[row, opened] - delta[row] if begins else thresholds[row, closed] + delta[row]
            active[row, place] = opened > closed
            length[row, place] = edge - before if opened > closed else 0.0
            edges[row, place] = before = edge
            if begins:
                order[row, place] = opened
                places[0, row, opened] = place + 1
                opened += 1
            else:
                order[row, place] = width + closed
                places[1, row, closed] = place + 1
                closed += 1
        active[row, 2 * count], length[row, 2 * count] = False, 0.0


@compiled
def locate(
    scores: _Floating,
    counts: _Flags,
    number: NDArray[np.int64],
    edges: _Doubles,
    width: _Doubles,
    bins: _Indices,
    totals: _Doubles,
) -> None:
    """Finds each score's bin, and sums the scores' number and offsets by bin.

    Args:
        scores: ``[lists, m]``, not NaN.
        counts: ``[lists, m]``; a score that does not count goes to bin 0, as those below every edge do.
        number: positives of each list ``[lists]``.
        edges: ``[lists, 2 P]`` ascending.
        width: of the ramps ``[lists]``, the largest offset.
        bins: ``[lists, m]``, written.
        totals: ``[2, lists, 2 P + 1]``, written; nothing is summed in bin 0.
    """
    before = np.zeros(_CELLS_PER_EDGE * edges.shape[1] + 1, np.int32)
    for row in range(scores.shape[0]):
        size = 2 * number[row]
        totals[0, row], totals[1, row] = 0.0, 0.0
        if size == 0:
            bins[row] = 0
            continue
        ends, largest = edges[row, :size], width[row]
        start = ends[0]
        # A grid of equal cells over the edges says how many edges lie in earlier cells. The cell is a monotone function
        # of the score, in floating point too; a few bisection steps settle the order within it.
        cells = _CELLS_PER_EDGE * size
        last = cells - 1.0
        span = ends[size - 1] - start
        per_unit = min(cells / span, 1.7e308) if span > 0.0 else 0.0
        before[: cells + 1] = 0
        for place in range(size):
            before[int(min((ends[place] - start) * per_unit, last)) + 1] += 1
        for cell in range(cells):
            before[cell + 1] += before[cell]
        for column in range(scores.shape[1]):
            score = np.float64(scores[row, column])
            if not counts[row, column] or score < start:
                bins[row, column] = 0
                continue
            cell = int(min((score - start) * per_unit, last))
            first, end = before[cell], before[cell + 1]
            while first < end:
                middle = (first + end) >> 1
                if ends[middle] <= score:
                    first = middle + 1
                else:
                    end = middle
            bins[row, column] = first
            totals[0, row, first] += 1.0
            totals[1, row, first] += min(max(score - ends[first - 1], 0.0), largest)


@compiled
def weigh(
    scores: _Floating,
    bins: _Indices,
    weights: _Floating,
    edges: _Doubles,
    width: _Doubles,
    totals: _Doubles,
) -> None:
    """Sums located scores' weights and weighted offsets by bin, ``[2, lists, 2 P + 1]``, as `locate` does ones."""
    for row in range(scores.shape[0]):
        totals[0, row], totals[1, row] = 0.0, 0.0
        for column in range(scores.shape[1]):
            place = bins[row, column]
            if place == 0:
                continue
            weight = np.float64(weights[row, column])
            offset = min(max(np.float64(scores[row, column]) - edges[row, place - 1], 0.0), width[row])
            totals[0, row, place] += weight
            totals[1, row, place] += weight * offset


@compiled
def mass(
    totals: _Doubles,
    number: NDArray[np.int64],
    active: _Flags,
    length: _Doubles,
    places: _Indices,
    width: _Doubles,
    result: _Doubles,
) -> None:
    """Writes the integral over each positive's ramp of the weight that lies above, per unit of width, ``[lists, P]``.

    It is 0 where there is no positive.
    """
    running = np.empty(totals.shape[2] + 1, np.float64)
    for row in range(totals.shape[1]):
        bins = 2 * number[row] + 1
        above, total = 0.0, 0.0
        running[bins] = 0.0
        for place in range(bins - 1, -1, -1):
            # Including the bin's own and then without, as torch has it: this is what rounds.
            above += totals[0, row, place]
            value = (above - totals[0, row, place]) * length[row, place]
            value += totals[1, row, place] if active[row, place] else 0.0
            total += value
            running[place] = total
        _over_ramps(running, places[:, row], number[row], width[row], result[row])


@compiled
def density(totals: _Doubles, number: NDArray[np.int64], places: _Indices, width: _Doubles, result: _Doubles) -> None:
    """Writes the weight that lies in each positive's ramp per unit of its width, ``[lists, P]``."""
    running = np.empty(totals.shape[2] + 1, np.float64)
    for row in range(totals.shape[1]):
        bins = 2 * number[row] + 1
        total = 0.0
        running[bins] = 0.0
        for place in range(bins - 1, -1, -1):
            total += totals[0, row, place]
            running[place] = total
        _over_ramps(running, places[:, row], number[row], width[row], result[row])


@compiled
def _over_ramps(running: _Doubles, places: _Indices, number: int, width: float, result: _Doubles) -> None:
    """Writes differences of running sums between the ends of the ramps, per unit of width, and then zeros."""
    for slot in range(result.shape[0]):
        result[slot] = 0.0
        if slot < number:
            result[slot] = (running[places[0, slot]] - running[places[1, slot]]) / width


@compiled
def spread(
    weights: _Doubles,
    scores: _Floating,
    bins: _Indices,
    number: NDArray[np.int64],
    edges: _Doubles,
    order: _Indices,
    active: _Flags,
    length: _Doubles,
    width: _Doubles,
    slopes: bool,
    result: _Floating,
) -> None:
    """Writes the sum of the positives' weighted ramps (or of the ramps' slopes) at each located score, ``[lists, m]``.

    Args:
        weights: ``[lists, P]``.
        scores: ``[lists, m]``.
        bins: of the scores.
        number: as in `cut`, and so are the next four.
        edges: the same.
        order: the same.
        active: the same.
        length: the same.
        width: of the ramps ``[lists]``.
        slopes: whether the slopes are asked for.
        result: ``[lists, m]``, written in its own type.
    """
    positives = weights.shape[1]
    slope, value = np.empty(length.shape[1], np.float64), np.empty(length.shape[1], np.float64)
    for row in range(scores.shape[0]):
        total, reached = 0.0, 0.0
        slope[0] = value[0] = 0.0
        for place in range(1, 2 * number[row] + 1):
            item = order[row, place - 1]
            total += weights[row, item] if item < positives else -weights[row, item - positives]
            reached += slope[place - 1] * length[row, place - 1]
            slope[place] = total / width[row] if active[row, place] else 0.0
            value[place] = reached
        for column in range(scores.shape[1]):
            place = bins[row, column]
            if place == 0:
                result[row, column] = 0.0
            elif slopes:
                result[row, column] = slope[place]
            else:
                offset = min(max(np.float64(scores[row, column]) - edges[row, place - 1], 0.0), width[row])
                result[row, column] = slope[place] * offset + value[place]
