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

from mapopt.losses.sums.engines import kernels_for
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


@dataclass(frozen=True)
class Summed:
    """Scores that compiled code has located and summed in one pass.

    Attributes:
        scores: ``[lists, m]``.
        bin: as in `Located`, int32.
        totals: number of scores and sum of their offsets by bin, ``[2, lists, bins]``.
    """

    scores: Tensor
    bin: Tensor
    totals: Tensor


class Bins:
    """The score axis of each list, cut where a positive's ramp begins or ends.

    Args:
        thresholds: the positives' scores t, ``[lists, P]``, infinite where there is none.
        present: ``[lists, P]``, 1 for a positive and 0 for padding.
        delta: half the width of the ramp, a number or ``[lists, 1]``.
    """

    def __init__(self, thresholds: Tensor, present: Tensor, delta: float | Tensor) -> None:
        self.width = 2.0 * delta
        self._widest = float(self.width.max()) if isinstance(self.width, Tensor) else self.width
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

    def locate(self, scores: Tensor, counts: Tensor) -> Located | Summed:
        """Finds the bins of ``[lists, m]`` scores; those where the bool ``counts`` is False take part in nothing.

        Scores must not be NaN.
        """
        kernels = kernels_for(scores)
        if kernels is not None:
            scores, bins = scores.contiguous(), torch.empty(scores.shape, dtype=torch.int32)
            totals = self.edges.new_zeros((2, *self._length.shape))
            arrays = [tensor.numpy() for tensor in (scores, counts.contiguous(), self.edges, *self._counter.grid)]
            kernels.locate(*arrays, self._widest, bins.numpy(), *totals.numpy())
            return Summed(scores, bins, totals)
        return self._locate(scores, counts)

    def _locate(self, scores: Tensor, counts: Tensor) -> Located:
        lower = torch.cat([self.edges[:, :1], self.edges], -1)
        bins = torch.empty(scores.shape, dtype=torch.int64, device=scores.device)
        offsets = torch.empty(scores.shape, dtype=lower.dtype, device=scores.device)
        for part in column_blocks(scores):
            exact = scores[:, part].to(lower.dtype)
            place = self._counter.count(exact).mul_(counts[:, part].long())
            bins[:, part] = place
            # An offset matters only inside a ramp, at most `width` long: the clamp keeps infinities out of sums.
            offsets[:, part] = lower.gather(-1, place).neg_().add_(exact).clamp_(0.0, self._widest)
        return Located(bins, offsets, scores.dtype)

    def mass(self, located: Located | Summed, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H(s_j - t_i) for every positive i, ``[lists, P]``; weights default to 1."""
        if isinstance(located, Summed) and weights is None:
            count, offsets = located.totals
        else:
            located = self._written_out(located)
            count = self._totals(located, weights)
            offsets = self._totals(located, located.offset if weights is None else weights * located.offset)
        above = _from_top(count) - count
        # The integral over the ramp of the weight that lies above x, bin by bin, summed from the top.
        return self._over_ramps(above * self._length + torch.where(self._active, offsets, 0.0))

    def density(self, located: Located | Summed, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H'(s_j - t_i) for every positive i, ``[lists, P]``."""
        if isinstance(located, Summed) and weights is None:
            return self._over_ramps(located.totals[0])
        return self._over_ramps(self._totals(self._written_out(located), weights))

    def spread(self, located: Located | Summed, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H(s_j - t_i) for every located score j, ``[lists, m]``: the transpose of `mass`."""
        slope = self._slope(weights)
        value = pad((slope * self._length).cumsum(-1)[:, :-1], (1, 0))
        kernels = kernels_for(located.bin)
        if isinstance(located, Summed) and kernels is not None:
            result = torch.empty_like(located.scores)
            arrays = [tensor.numpy() for tensor in (located.scores, located.bin, self.edges)]
            kernels.spread(*arrays, self._widest, slope.numpy(), value.numpy(), result.numpy())
            return result
        located = self._written_out(located)
        result = torch.empty(located.bin.shape, dtype=located.type, device=slope.device)
        for part in column_blocks(located.bin):
            bins = located.bin[:, part]
            result[:, part] = slope.gather(-1, bins).mul_(located.offset[:, part]).add_(value.gather(-1, bins))
        return result

    def spread_density(self, located: Located | Summed, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H'(s_j - t_i) for every located score j, ``[lists, m]``."""
        located = self._written_out(located)
        return self._slope(weights).gather(-1, located.bin).to(located.type)

    def _written_out(self, located: Located | Summed) -> Located:
        """Returns what torch's passes take; compiled code forms offsets anew where it needs them."""
        if isinstance(located, Located):
            return located
        lower, bins = torch.cat([self.edges[:, :1], self.edges], -1), located.bin.long()
        offset = lower.gather(-1, bins).neg_().add_(located.scores).clamp_(0.0, self._widest)
        return Located(bins, offset, located.scores.dtype)

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
