"""The compiled passes over lists and over pairs of positives; `kernels` has those over bins, and what holds for all.

Arrays are contiguous. Every list has room for P positives, the most that one has; only as many as it has are used.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled

_Floating = NDArray[np.floating]
_Doubles = NDArray[np.float64]
_Flags = NDArray[np.bool_]


@compiled
def survey(
    scores: _Floating,
    labels: _Floating,
    keep: _Flags,
    largest: float,
    top: float,
    positive: _Flags,
    negative: _Flags,
    count: NDArray[np.int64],
) -> bool:
    """Finds the positives and negatives of lists of ordinary numbers.

    Args:
        scores: ``[lists, n]``.
        labels: ``[lists, n]``.
        keep: ``[lists, n]``, or of length 0 where every entry counts.
        largest: every score has to be smaller, whatever its sign.
        top: no label may be larger, or below 0.
        positive: ``[lists, n]``, written.
        negative: the same.
        count: positives ``[lists]``, written.

    Returns:
        Whether all numbers are ordinary; else what was written means nothing.
    """
    ordinary = True
    for row in range(scores.shape[0]):
        number = 0
        for column in range(scores.shape[1]):
            score, label = scores[row, column], labels[row, column]
            # Written so that NaN is no ordinary number.
            ordinary &= (-largest < score) & (score < largest) & (label >= 0.0) & (label <= top)
            kept = True if keep.shape[0] == 0 else keep[row, column]
            positive[row, column] = kept & (label > 0.0)
            negative[row, column] = kept & (label == 0.0)
            number += positive[row, column]
        count[row] = number
    return ordinary


@compiled
def tabulate(
    scores: _Floating,
    positive: _Flags,
    thresholds: _Doubles,
    filled: _Flags,
    present: _Doubles,
    columns: NDArray[np.int64],
) -> None:
    """Writes the positives of each list ascending by score, equal ones in the order of the list.

    Args:
        scores: ``[lists, n]``, not NaN.
        positive: ``[lists, n]``.
        thresholds: ``[lists, P]``, written, infinite where there is none.
        filled: ``[lists, P]``, written: whether there is a positive.
        present: the same as 1 and 0.
        columns: ``[lists, P]``, written: where each comes from, 0 where there is none.
    """
    width = thresholds.shape[1]
    values, places = np.empty(width, np.float64), np.empty(width, np.int64)
    for row in range(scores.shape[0]):
        number = 0
        for column in range(scores.shape[1]):
            if positive[row, column]:
                thresholds[row, number] = scores[row, column]
                columns[row, number] = column
                number += 1
        _sort(thresholds[row], columns[row], number, values, places)
        filled[row, :number], present[row, :number] = True, 1.0
        filled[row, number:], present[row, number:] = False, 0.0
        thresholds[row, number:], columns[row, number:] = np.inf, 0


@compiled
def _sort(
    keys: _Doubles, items: NDArray[np.int64], number: int, other_keys: _Doubles, other_items: NDArray[np.int64]
) -> None:
    """Sorts the first so many keys and their items, stably, by merging ever longer runs; needs room for as many."""
    length = 1
    while length < number:
        for start in range(0, number, 2 * length):
            left, middle, end = start, min(start + length, number), min(start + 2 * length, number)
            right = middle
            for place in range(start, end):
                if right >= end or (left < middle and keys[left] <= keys[right]):
                    other_keys[place], other_items[place] = keys[left], items[left]
                    left += 1
                else:
                    other_keys[place], other_items[place] = keys[right], items[right]
                    right += 1
        keys[:number], items[:number] = other_keys[:number], other_items[:number]
        length *= 2


@compiled
def pairs_above(
    scores: _Doubles,
    labels: _Doubles,
    number: NDArray[np.int64],
    width: _Doubles,
    slopes: bool,
    values: _Doubles,
    result: _Doubles,
) -> None:
    """Writes sum_j W_ij values_j for every positive i: over the positives of a lower label, by how far they are above.

    Args:
        scores: of the positives ``[lists, P]``, ascending.
        labels: ``[lists, P]``.
        number: positives of each list ``[lists]``.
        width: of the ramps ``[lists]``.
        slopes: W is 1 where the ramp rises and 0 elsewhere, in place of the ramp.
        values: ``[c, lists, P]``.
        result: ``[c, lists, P]``, written, 0 where there is no positive.
    """
    weights = np.empty(scores.shape[1], np.float64)
    for row in range(scores.shape[0]):
        first, count = 0, number[row]
        for i in range(count):
            first = _first_above(scores[row], i, first, width[row])
            _weights(scores[row], labels[row], i, first, count, width[row], slopes, weights)
            for channel in range(values.shape[0]):
                total = 0.0
                for j in range(first, count):
                    total += values[channel, row, j] * weights[j]
                result[channel, row, i] = total
        result[:, row, count:] = 0.0


@compiled
def pairs_below(
    scores: _Doubles,
    labels: _Doubles,
    number: NDArray[np.int64],
    width: _Doubles,
    slopes: bool,
    values: _Doubles,
    result: _Doubles,
) -> None:
    """Writes sum_i W_ij values_i for every positive j; arguments as in `pairs_above`."""
    weights = np.empty(scores.shape[1], np.float64)
    result[:] = 0.0
    for row in range(scores.shape[0]):
        first, count = 0, number[row]
        for i in range(count):
            first = _first_above(scores[row], i, first, width[row])
            _weights(scores[row], labels[row], i, first, count, width[row], slopes, weights)
            for channel in range(values.shape[0]):
                value = values[channel, row, i]
                for j in range(first, count):
                    result[channel, row, j] += value * weights[j]


@compiled
def _first_above(scores: _Doubles, i: int, first: int, width: float) -> int:
    """Returns the first j from one on that is not below the ramp of i."""
    while first < i and (scores[first] - scores[i]) / width + 0.5 < 0.0:
        first += 1
    return first


@compiled
def _weights(
    scores: _Doubles,
    labels: _Doubles,
    i: int,
    first: int,
    end: int,
    width: float,
    slopes: bool,
    weights: _Doubles,
) -> None:
    """Writes W_ij for some j."""
    for j in range(first, end):
        place = (scores[j] - scores[i]) / width
        ramp, rises = min(max(place + 0.5, 0.0), 1.0), 1.0 if (place >= -0.5) & (place < 0.5) else 0.0
        weights[j] = (rises if slopes else ramp) if labels[j] < labels[i] else 0.0
