"""What the compiled whole of an error-driven loss begins and ends with: sums over pairs, and the scores' gradient.

Arrays are contiguous, and lists have room for P positives, the most that one has.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled
from mapopt.losses.sums.kernels import cut, locate, mass, spread, weigh
from mapopt.losses.sums.list_kernels import tabulate

_Floating = NDArray[np.floating]
_Doubles = NDArray[np.float64]
_Indices = NDArray[np.int32]
_Numbers = NDArray[np.int64]
_Flags = NDArray[np.bool_]


@compiled
def rank_positives(
    scores: _Floating,
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
) -> tuple[_Doubles, _Doubles, _Doubles, _Doubles, _Indices]:
    """Tabulates the positives, cuts the axis of scores, and sums what is above each positive.

    Args:
        scores: ``[lists, n]``.
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

    Returns:
        The scores of the positives ``[lists, P]``; 1 where there is one; the mass of the positives above each, half of
        itself among it; that of the negatives; and ``[2, lists, P]``, the first bin of each ramp and the one after the
        last.
    """
    lists, width = columns.shape
    thresholds, present, filled = np.empty((lists, width)), np.empty((lists, width)), np.empty((lists, width), np.bool_)
    tabulate(scores, positive, thresholds, filled, present, columns)
    places, number = np.empty((2, lists, width), np.int32), np.empty(lists, np.int64)
    cut(thresholds, present, np.full(lists, delta), number, edges, order, places, active, length)
    ramps, totals = np.full(lists, 2.0 * delta), np.empty((2, lists, 2 * width + 1))
    locate(scores, negative, number, edges, ramps, bins, totals)
    above = np.empty((lists, width))
    mass(totals, number, active, length, places, ramps, above)
    locate(thresholds, filled, number, edges, ramps, np.empty((lists, width), np.int32), totals)
    below = np.empty((lists, width))
    mass(totals, number, active, length, places, ramps, below)
    return thresholds, present, below, above, places


@compiled
def weighted_mass(
    thresholds: _Doubles,
    count: _Numbers,
    edges: _Doubles,
    active: _Flags,
    length: _Doubles,
    places: _Indices,
    ramps: _Doubles,
    weights: _Doubles,
) -> _Doubles:
    """Returns the weights of the positives above each positive ``[lists, P]``, half of its own among them.

    Args:
        thresholds: the positives' scores ``[lists, P]``.
        count: positives ``[lists]``.
        edges: as in `rank_positives`, and so are the next three.
        active: the same.
        length: the same.
        places: the same.
        ramps: their width ``[lists]``.
        weights: ``[lists, P]``.
    """
    lists, width = thresholds.shape
    totals, bins = np.empty((2, lists, 2 * width + 1)), np.empty((lists, width), np.int32)
    filled = np.empty((lists, width), np.bool_)
    for row in range(lists):
        for slot in range(width):
            filled[row, slot] = slot < count[row]
    locate(thresholds, filled, count, edges, ramps, bins, totals)
    weigh(thresholds, bins, weights, edges, ramps, totals)
    result = np.empty((lists, width))
    mass(totals, count, active, length, places, ramps, result)
    return result


@compiled
def quality_of(labels: _Floating, columns: _Numbers, present: _Doubles) -> _Doubles:
    """Returns the labels of the positives ``[lists, P]``, 0 where there is none."""
    result = np.empty(columns.shape)
    for row in range(columns.shape[0]):
        for slot in range(columns.shape[1]):
            result[row, slot] = np.float64(labels[row, columns[row, slot]]) * present[row, slot]
    return result


@compiled
def update(
    scores: _Floating,
    count: _Numbers,
    columns: _Numbers,
    bins: _Indices,
    edges: _Doubles,
    order: _Indices,
    active: _Flags,
    length: _Doubles,
    delta: float,
    moves: _Doubles,
    spreads: _Doubles,
    upstream: _Doubles,
    gradient: _Floating,
) -> None:
    """Writes the gradient of the scores ``[lists, n]``, from upstream ``[components, lists]``; see `rank_positives`.

    Args:
        scores: the same, and so is what follows.
        count: the same.
        columns: the same.
        bins: the same.
        edges: the same.
        order: the same.
        active: the same.
        length: the same.
        delta: the same.
        moves: what moves each positive ``[components, lists, P]``.
        spreads: what moves the negatives above each positive ``[components that do, lists, P]``.
        upstream: gradient of each component that has an update; of lists without a positive it is ignored.
        gradient: written.
    """
    lists, width = columns.shape
    positives, negatives = np.empty((lists, width)), np.empty((lists, width))
    for row in range(lists):
        for slot in range(width):
            for component in range(moves.shape[0]):
                weight = upstream[component, row] if count[row] > 0 else 0.0
                moved = weight * moves[component, row, slot]
                positives[row, slot] = moved if component == 0 else positives[row, slot] + moved
                if component < spreads.shape[0]:
                    moved = weight * spreads[component, row, slot]
                    negatives[row, slot] = moved if component == 0 else negatives[row, slot] + moved
    ramps = np.full(lists, 2.0 * delta)
    spread(negatives, scores, bins, count, edges, order, active, length, ramps, False, gradient)
    rounded = np.empty(1, gradient.dtype)
    for row in range(lists):
        for slot in range(width):
            rounded[0] = positives[row, slot]  # in the scores' type before it is added, as torch does
            gradient[row, columns[row, slot]] += rounded[0]
