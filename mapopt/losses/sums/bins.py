"""Exact sums over all pairs of a positive and a score, without ever forming the pairs.

AP-loss, aLRP and Rank & Sort compare each of P positives with each of N scores through the ramp
H(x) = clip(x / (2 delta) + 1/2, 0, 1). Cut the score axis at the 2P edges t - delta and t + delta of the positives t:
inside a bin every H is linear, so a bin's count and sum of scores say all that a positive needs to know (`mass`), and
a value and a slope per bin all that a score needs to know (`spread`). That is O(N log P + P log P) time and O(N + P)
memory, for many lists at once, and exact: nothing is rounded to a bin.

All sums run from the top of the score axis over terms that are never negative, so the results are accurate relative
to themselves: the one false positive above the best positive is not lost among a million below it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

from mapopt.losses.sums.grid import EdgeCounter
from mapopt.losses.sums.lists import column_blocks, totals


@dataclass(frozen=True)
class Located:
    """Scores that know their bin.

    Attributes:
        bin: ``[lists, m]`` int64; 0 is below every edge, and where scores that do not count are put.
        offset: ``[lists, m]`` distance from the bin's lower edge.
        type: the scores' own; what is spread over them comes back in it.
    """

    bin: Tensor
    offset: Tensor
    type: torch.dtype


class Bins:
    """The score axis of each list, cut where a positive's ramp begins or ends.

    Args:
        thresholds: the positives' scores t, ``[lists, P]``, infinite where there is none.
        present: ``[lists, P]``, 1 for a positive and 0 for padding.
        delta: half the width of the ramp, a number or ``[lists, 1]``.
    """

    def __init__(self, thresholds: Tensor, present: Tensor, delta: float | Tensor) -> None:
        self.width = 2.0 * delta
        self._widest = torch.as_tensor(self.width, dtype=thresholds.dtype, device=thresholds.device)
        size = thresholds.shape[-1]
        self.edges, order = torch.cat([thresholds - delta, thresholds + delta], -1).sort(dim=-1, stable=True)
        place = torch.arange(2 * size, device=order.device).expand_as(order)
        place = torch.empty_like(order).scatter_(-1, order, place)
        self._first, self._last = place[:, :size] + 1, place[:, size:] + 1  # the bins of a ramp: first <= bin < last
        opens = torch.cat([present, -present], -1).gather(-1, order)
        self._order = order
        # Bin k lies above edge k - 1. Its length matters only where a ramp is running; elsewhere it may be infinite.
        self._active = pad(opens.cumsum(-1), (1, 0)) > 0
        self._length = torch.where(self._active, pad(self.edges.diff(dim=-1), (1, 1)), 0.0)
        self._counter = EdgeCounter(self.edges)

    def locate(self, scores: Tensor, counts: Tensor) -> Located:
        """Finds the bins of ``[lists, m]`` scores; those where the bool ``counts`` is False take part in nothing.

        Scores must not be NaN.
        """
        lower = torch.cat([self.edges[:, :1], self.edges], -1)
        bins = torch.empty(scores.shape, dtype=torch.int64, device=scores.device)
        offsets = torch.empty(scores.shape, dtype=lower.dtype, device=scores.device)
        for part in column_blocks(scores):
            exact = scores[:, part].to(lower.dtype)
            place = self._counter.count(exact).mul_(counts[:, part].long())
            bins[:, part] = place
            # An offset matters only inside a ramp, at most `width` long: the clamp keeps infinities out of sums.
            offset = lower.gather(-1, place).neg_().add_(exact).clamp_min_(0.0)
            offsets[:, part] = torch.minimum(offset, self._widest, out=offset)
        return Located(bins, offsets, scores.dtype)

    def mass(self, located: Located, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H(s_j - t_i) for every positive i, ``[lists, P]``; weights default to 1."""
        count = self._totals(located, weights)
        offsets = self._totals(located, located.offset if weights is None else weights * located.offset)
        above = _from_top(count) - count
        # The integral over the ramp of the weight that lies above x, bin by bin, summed from the top.
        return self._over_ramps(above * self._length + torch.where(self._active, offsets, 0.0))

    def density(self, located: Located, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H'(s_j - t_i) for every positive i, ``[lists, P]``."""
        return self._over_ramps(self._totals(located, weights))

    def spread(self, located: Located, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H(s_j - t_i) for every located score j, ``[lists, m]``: the transpose of `mass`."""
        slope = self._slope(weights)
        value = pad((slope * self._length).cumsum(-1)[:, :-1], (1, 0))
        result = torch.empty(located.bin.shape, dtype=located.type, device=slope.device)
        for part in column_blocks(located.bin):
            bins = located.bin[:, part]
            result[:, part] = slope.gather(-1, bins).mul_(located.offset[:, part]).add_(value.gather(-1, bins))
        return result

    def spread_density(self, located: Located, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H'(s_j - t_i) for every located score j, ``[lists, m]``."""
        return self._slope(weights).gather(-1, located.bin).to(located.type)

    def _slope(self, weights: Tensor) -> Tensor:
        """The slope of the sum of weighted ramps within each bin."""
        steps = torch.cat([weights, -weights], -1).gather(-1, self._order)
        return torch.where(self._active, pad(steps.cumsum(-1), (1, 0)) / self.width, 0.0)

    def _totals(self, located: Located, values: Tensor | None) -> Tensor:
        """Sums values (or counts) by bin, ``[lists, bins]``."""
        lists, bins = self._length.shape
        flat = located.bin
        if lists > 1:
            flat = flat + torch.arange(0, lists * bins, bins, device=flat.device)[:, None]
        sums = totals(flat.flatten(), None if values is None else values.flatten(), lists * bins)
        return sums.reshape(lists, bins).to(self.edges.dtype)

    def _over_ramps(self, values: Tensor) -> Tensor:
        """Sums ``[lists, bins]`` over the bins of each positive's ramp, per unit of its width."""
        total = pad(_from_top(values), (0, 1))
        return (total.gather(-1, self._first) - total.gather(-1, self._last)) / self.width


def _from_top(values: Tensor) -> Tensor:
    """The running sum from the last entry to the first."""
    return values.flip(-1).cumsum(-1).flip(-1)
