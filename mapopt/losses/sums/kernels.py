"""The two passes over all scores that `Bins` makes, compiled by numba: several times faster, with the same bits.

Nothing imports this module at the top, because numba costs 0.4 s to import and seconds to compile the first time; see
`mapopt.losses.sums.engines`. Floating point stays strict (no fastmath), and sums run in the order of the scores as
torch's `bincount` does them.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mapopt.compiling import compiled


@compiled
def locate(
    scores: NDArray[np.floating],
    counts: NDArray[np.bool_],
    edges: NDArray[np.float64],
    before: NDArray[np.int64],
    low: NDArray[np.float64],
    scale: NDArray[np.float64],
    widest: float,
    bins: NDArray[np.int32],
    totals: NDArray[np.float64],
    offsets: NDArray[np.float64],
) -> None:
    """Finds each score's bin, and sums the scores' number and offsets by bin.

    Args:
        scores: ``[lists, m]``, not NaN.
        counts: ``[lists, m]``; a score that does not count goes to bin 0 with offset 0, and is summed there.
        edges: ``[lists, E]`` ascending.
        before: ``[lists, cells + 1]`` edges in earlier cells of the grid.
        low: ``[lists, 1]`` where the grid begins.
        scale: ``[lists, 1]`` cells per unit.
        widest: the largest offset.
        bins: ``[lists, m]``, written.
        totals: ``[lists, E + 1]`` of zeros, added to.
        offsets: the same.
    """
    lists, size = scores.shape
    last = before.shape[1] - 2
    for row in range(lists):
        start, cells_per_unit = low[row, 0], scale[row, 0]
        for column in range(size):
            if not counts[row, column]:
                bins[row, column] = 0
                totals[row, 0] += 1.0
                continue
            score = np.float64(scores[row, column])
            cell = int(min(max((score - start) * cells_per_unit, 0.0), float(last)))
            first, end = before[row, cell], before[row, cell + 1]
            while first < end:
                middle = (first + end) >> 1
                if edges[row, middle] <= score:
                    first = middle + 1
                else:
                    end = middle
            bins[row, column] = first
            totals[row, first] += 1.0
            offsets[row, first] += min(max(score - edges[row, max(first - 1, 0)], 0.0), widest)


@compiled
def spread(
    scores: NDArray[np.floating],
    bins: NDArray[np.int32],
    edges: NDArray[np.float64],
    widest: float,
    slope: NDArray[np.float64],
    value: NDArray[np.float64],
    result: NDArray[np.floating],
) -> None:
    """Writes value + slope x offset of each score's bin, ``[lists, m]``, in the scores' type."""
    lists, size = scores.shape
    for row in range(lists):
        for column in range(size):
            bin_ = bins[row, column]
            offset = min(max(np.float64(scores[row, column]) - edges[row, max(bin_ - 1, 0)], 0.0), widest)
            result[row, column] = slope[row, bin_] * offset + value[row, bin_]
