"""The sums of `Bins`, each in one compiled pass: for short lists an operation of torch costs more than what it does.

A list of 500 scores takes a microsecond or two, but a hundred operations of torch a millisecond. The numbers are those
of `Bins` to the last bit, whatever the number of lists and of positives, so that nobody notices which of the two works.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mapopt.losses.sums.lists import array_of


@dataclass(frozen=True)
class Summed:
    """Scores that know their bin, and what lies in the bins.

    Attributes:
        scores: ``[lists, m]``.
        bins: ``[lists, m]``, int32; 0 is below every edge, and where scores that do not count are put.
        totals: number of scores and sum of their offsets by bin, ``[2, lists, bins]``.
    """

    scores: Tensor
    bins: np.ndarray
    totals: np.ndarray


class CompiledBins:
    """The score axis of each list, cut where a positive's ramp begins or ends.

    Args:
        kernels: `mapopt.losses.sums.kernels`.
        thresholds: the positives' scores t, ``[lists, P]``, ascending, infinite where there is none.
        present: ``[lists, P]``, 1 for a positive and 0 for padding.
        delta: half the width of the ramp, a number or ``[lists, 1]``.
    """

    def __init__(self, kernels: ModuleType, thresholds: Tensor, present: Tensor, delta: float | Tensor) -> None:
        self.width = 2.0 * delta
        lists, size = thresholds.shape
        self._kernels = kernels
        self._widths, half = one_per_list(self.width, lists), one_per_list(delta, lists)
        self._number = np.empty(lists, np.int64)
        self._edges, self._order = np.empty((lists, 2 * size)), np.empty((lists, 2 * size), np.int32)
        self._places = np.empty((2, lists, size), np.int32)
        self._active, self._length = np.empty((lists, 2 * size + 1), np.bool_), np.empty((lists, 2 * size + 1))
        cut = (self._number, self._edges, self._order, self._places, self._active, self._length)
        kernels.cut(array_of(thresholds), array_of(present), half, *cut)

    def locate(self, scores: Tensor, counts: Tensor) -> Summed:
        """Finds the bins of ``[lists, m]`` scores; those where the bool ``counts`` is False take part in nothing."""
        bins, totals = np.empty(tuple(scores.shape), np.int32), self._empty_totals()
        located = Summed(scores.contiguous(), bins, totals)
        arrays = (located.scores.numpy(), array_of(counts), self._number, self._edges, self._widths)
        self._kernels.locate(*arrays, bins, totals)
        return located

    def mass(self, located: Summed, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H(s_j - t_i) for every positive i, ``[lists, P]``; weights default to 1."""
        totals, result = self._totals(located, weights), self._empty()
        bins = (self._number, self._active, self._length, self._places)
        self._kernels.mass(totals, *bins, self._widths, result)
        return torch.from_numpy(result)

    def density(self, located: Summed, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H'(s_j - t_i) for every positive i, ``[lists, P]``."""
        totals, result = self._totals(located, weights), self._empty()
        self._kernels.density(totals, self._number, self._places, self._widths, result)
        return torch.from_numpy(result)

    def spread(self, located: Summed, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H(s_j - t_i) for every located score j, ``[lists, m]``: the transpose of `mass`."""
        return self._spread(located, weights, slopes=False)

    def spread_density(self, located: Summed, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H'(s_j - t_i) for every located score j, ``[lists, m]``."""
        return self._spread(located, weights, slopes=True)

    def _spread(self, located: Summed, weights: Tensor, *, slopes: bool) -> Tensor:
        result = torch.empty_like(located.scores)
        bins = (self._number, self._edges, self._order, self._active, self._length)
        arrays = (array_of(weights), located.scores.numpy(), located.bins, *bins, self._widths)
        self._kernels.spread(*arrays, slopes, result.numpy())
        return result

    def _totals(self, located: Summed, weights: Tensor | None) -> np.ndarray:
        """Returns the sums by bin of weights, or of ones."""
        if weights is None:
            return located.totals
        totals = self._empty_totals()
        arrays = (located.scores.numpy(), located.bins, array_of(weights), self._edges, self._widths)
        self._kernels.weigh(*arrays, totals)
        return totals

    def _empty_totals(self) -> np.ndarray:
        return np.empty((2, *self._length.shape))

    def _empty(self) -> np.ndarray:
        return np.empty(self._places.shape[1:])


def one_per_list(parameter: float | Tensor, lists: int) -> np.ndarray:
    """Returns a number, or a column ``[lists, 1]``, as one for every list ``[lists]``."""
    if isinstance(parameter, Tensor):
        return parameter.detach().reshape(lists).contiguous().numpy()
    return np.full(lists, float(parameter))
