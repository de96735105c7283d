"""Sums over wrongly sorted pairs of positives: one with the lower label but not clearly the lower score.

Rank & Sort and mean AP compare the positives with each other by label and score at once. Few positives are compared
pair by pair; many by a wavelet tree: the positives in the order of their scores, halved again and again by the bits of
their labels' ranks, with running sums at every level. A query walks down the levels, for all positives at once, so
P log P work does what P squared pairs would. Each list goes by its own number of positives, and sums run in the order
of its positives: what the other lists are changes no bit.

Reference:
    Grossi, Gupta, Vitter, "High-order entropy-compressed text indexes", SODA 2003 (wavelet trees);
    Claude, Navarro, "The wavelet matrix", SPIRE 2012 (the layout used here).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import pad

from mapopt.losses.sums.compiled_pairs import CompiledPairs
from mapopt.losses.sums.engines import loaded_kernels
from mapopt.losses.sums.lists import PositiveTable

LARGEST_MATRIX = 512  # positives of a list up to which pairs are compared one by one
_BLOCK = 250_000  # pairs held at once


class WrongPairs(Protocol):
    """Pairs (i, j) of positives in which j has the lower label; W_ij = H(s_j - s_i) says how far j is above i."""

    def above(self, values: Tensor) -> Tensor:
        """Returns sum_j W_ij values_j for every i; values are ``[c, lists, P]``, 0 in padding."""
        ...

    def below(self, values: Tensor) -> Tensor:
        """Returns sum_i W_ij values_i for every j; values are ``[c, lists, P]``, 0 in padding."""
        ...

    def above_density(self, values: Tensor) -> Tensor:
        """As `above`, with the derivative of H."""
        ...

    def below_density(self, values: Tensor) -> Tensor:
        """As `below`, with the derivative of H."""
        ...


def wrong_pairs(table: PositiveTable, labels: Tensor, width: float | Tensor) -> WrongPairs:
    """Returns the pairs of positives with labels ``[lists, P]``, pair by pair or as a tree.

    Args:
        table: the positives.
        labels: their labels.
        width: of the ramp H, a number or ``[lists, 1]``.
    """
    if labels.shape[-1] <= LARGEST_MATRIX:
        return _one_by_one(table.thresholds, table.present, labels, width)
    many = table.count[:, 0] > LARGEST_MATRIX
    if bool(many.all()):
        return PairTree(table.thresholds, table.present, labels, width)
    return _Divided(table, labels, width, many)


def _one_by_one(thresholds: Tensor, present: Tensor, labels: Tensor, width: float | Tensor) -> WrongPairs:
    kernels = loaded_kernels(thresholds)
    if kernels is None:
        return PairMatrix(thresholds, present, labels, width)
    return CompiledPairs(kernels, thresholds, present, labels, width)


class _Divided:
    """Lists of few positives pair by pair, and the others as a tree."""

    def __init__(self, table: PositiveTable, labels: Tensor, width: float | Tensor, many: Tensor) -> None:
        self._parts: list[tuple[Tensor, int, WrongPairs]] = []
        kinds: tuple[tuple[Tensor, Callable[..., WrongPairs]], ...] = ((~many, _one_by_one), (many, PairTree))
        for chosen, kind in kinds:
            rows = chosen.nonzero()[:, 0]
            size = int(table.count[rows].max())
            part = (values[rows, :size] for values in (table.thresholds, table.present, labels))
            own_width = width[rows] if isinstance(width, Tensor) else width
            self._parts.append((rows, size, kind(*part, own_width)))

    def above(self, values: Tensor) -> Tensor:
        """Sums over what is above, as in `WrongPairs`."""
        return self._joined(values, lambda pairs, part: pairs.above(part))

    def below(self, values: Tensor) -> Tensor:
        """Sums over what is below, as in `WrongPairs`."""
        return self._joined(values, lambda pairs, part: pairs.below(part))

    def above_density(self, values: Tensor) -> Tensor:
        """As `above`, with the derivative of H."""
        return self._joined(values, lambda pairs, part: pairs.above_density(part))

    def below_density(self, values: Tensor) -> Tensor:
        """As `below`, with the derivative of H."""
        return self._joined(values, lambda pairs, part: pairs.below_density(part))

    def _joined(self, values: Tensor, sums: Callable[[WrongPairs, Tensor], Tensor]) -> Tensor:
        result = torch.zeros_like(values)
        for rows, size, pairs in self._parts:
            result[:, rows, :size] = sums(pairs, values[:, rows, :size])
        return result


class PairMatrix:
    """All pairs, ``[lists, i, j]``, block by block where they are many.

    Args:
        thresholds: the positives' scores ``[lists, P]``, ascending.
        present: ``[lists, P]``, 1 for a positive and 0 for padding.
        labels: ``[lists, P]``.
        width: of the ramp H, a number or ``[lists, 1]``.
    """

    def __init__(self, thresholds: Tensor, present: Tensor, labels: Tensor, width: float | Tensor) -> None:
        self._scores = torch.where(present > 0, thresholds, 0.0)
        self._width = width
        self._rank = torch.searchsorted(labels.sort(dim=-1).values, labels).to(self._scores.dtype)
        lists, size = self._scores.shape
        rows = max(1, _BLOCK // max(1, lists * size))
        self._parts = [slice(start, min(start + rows, size)) for start in range(0, size, rows)]
        self._memory = self._scores.new_empty(2, lists, min(rows, size), size)
        self._kept: tuple[bool, Tensor] | None = None

    def above(self, values: Tensor) -> Tensor:
        """Sums over what is above, as in `WrongPairs`."""
        return self._above(values, slopes=False)

    def below(self, values: Tensor) -> Tensor:
        """Sums over what is below, as in `WrongPairs`."""
        return self._below(values, slopes=False)

    def above_density(self, values: Tensor) -> Tensor:
        """As `above`, with the derivative of H."""
        return self._above(values, slopes=True) / self._width

    def below_density(self, values: Tensor) -> Tensor:
        """As `below`, with the derivative of H."""
        return self._below(values, slopes=True) / self._width

    # Running sums add one pair after the other, as compiled loops do, and zeros of padding change nothing. A matrix
    # product would be faster, but its order of adding depends on the size of the matrix, and so on the other lists.

    def _above(self, values: Tensor, *, slopes: bool) -> Tensor:
        sums = [(values[:, :, None] * self._block(part, slopes)).cumsum(-1)[..., -1] for part in self._parts]
        return torch.cat(sums, -1)

    def _below(self, values: Tensor, *, slopes: bool) -> Tensor:
        total = torch.zeros_like(values)
        for part in self._parts:
            products = values[:, :, part, None] * self._block(part, slopes)
            products[:, :, 0] += total
            total = products.cumsum(-2)[:, :, -1]
        return total

    def _block(self, part: slice, slopes: bool) -> Tensor:
        """Writes the pairs of some i, ``[lists, part, P]``, over the block before: fresh memory costs more."""
        if len(self._parts) == 1 and self._kept is not None and self._kept[0] == slopes:
            return self._kept[1]
        pairs, wrong = self._memory[:, :, : part.stop - part.start]
        torch.sub(self._scores[:, None, :], self._scores[:, part, None], out=pairs)
        pairs /= self._width[..., None] if isinstance(self._width, Tensor) else self._width
        if slopes:
            pairs.copy_((pairs >= -0.5) & (pairs < 0.5))
        else:
            pairs.add_(0.5).clamp_(0.0, 1.0)
        # Ranks are whole numbers, and arithmetic is faster than comparing: 1 where j has the lower label.
        torch.sub(self._rank[:, part, None], self._rank[:, None, :], out=wrong).clamp_(0.0, 1.0)
        self._kept = (slopes, pairs.mul_(wrong))
        return pairs


class PairTree:
    """The pairs as a wavelet tree. Arguments as in `PairMatrix`."""

    def __init__(self, thresholds: Tensor, present: Tensor, labels: Tensor, width: float | Tensor) -> None:
        labels = labels.masked_fill(present == 0, torch.inf)  # the highest: how much there is moves no other rank
        # A ramp reaches half a width: longer gaps between scores may shrink to a width, which keeps the running sums
        # small and therefore accurate. Padding follows at such gaps.
        gaps = thresholds.diff(dim=-1, prepend=thresholds[:, :1])
        gaps = torch.where(gaps.isfinite(), gaps, torch.inf)
        self._scores = torch.minimum(gaps, torch.as_tensor(width, dtype=gaps.dtype, device=gaps.device)).cumsum(-1)
        self._width = width
        ranked, order = labels.sort(dim=-1, stable=True)
        place = torch.arange(labels.shape[-1], device=labels.device).expand_as(order)
        self._levels = _partitions(torch.empty_like(order).scatter_(-1, order, place))
        self._lower = torch.searchsorted(ranked, labels)  # labels below one's own
        self._not_higher = torch.searchsorted(ranked, labels, right=True)  # labels not above one's own

    def above(self, values: Tensor) -> Tensor:
        """Sums over what is above, as in `WrongPairs`."""
        low, high, everything = self._above_sums(torch.cat([values, values * self._scores])).unbind(-2)
        whole, part = (everything - high)[: len(values)], high - low
        return whole + self._linear(part[len(values) :], part[: len(values)], sign=1.0)

    def below(self, values: Tensor) -> Tensor:
        """Sums over what is below, as in `WrongPairs`."""
        low, high = self._below_sums(torch.cat([values, values * self._scores])).unbind(-2)
        whole, part = low[: len(values)], high - low
        return whole + self._linear(part[len(values) :], part[: len(values)], sign=-1.0)

    def above_density(self, values: Tensor) -> Tensor:
        """As `above`, with the derivative of H."""
        low, high, _ = self._above_sums(values).unbind(-2)
        return (high - low) / self._width

    def below_density(self, values: Tensor) -> Tensor:
        """As `below`, with the derivative of H."""
        low, high = self._below_sums(values).unbind(-2)
        return (high - low) / self._width

    def _linear(self, moments: Tensor, totals: Tensor, *, sign: float) -> Tensor:
        """The part of the ramp that rises: sum of values (sign (s_j - s_i) / width + 1/2)."""
        return sign * (moments - self._scores * totals) / self._width + 0.5 * totals

    def _above_sums(self, values: Tensor) -> Tensor:
        """Sums, over lower labels, values of positives before each ramp, before its end, and altogether."""
        half = self._width / 2
        ends = [torch.searchsorted(self._scores, edge) for edge in (self._scores - half, self._scores + half)]
        ends.append(torch.full_like(ends[0], self._scores.shape[-1]))
        return self._sums(values, torch.stack(ends, 1), self._lower, higher=False)

    def _below_sums(self, values: Tensor) -> Tensor:
        """Sums, over higher labels, values of positives whose ramp ends before each score, or has begun."""
        half = self._width / 2
        edges = (self._scores - half, self._scores + half)
        ends = [torch.searchsorted(self._scores, edge, right=True) for edge in edges]
        return self._sums(values, torch.stack(ends, 1), self._not_higher, higher=True)

    def _sums(self, values: Tensor, ends: Tensor, ranks: Tensor, *, higher: bool) -> Tensor:
        """Sums values before each end whose label's rank is below `ranks` (or at least that, where ``higher``).

        Args:
            values: ``[c, lists, P]`` in the order of the scores.
            ends: ``[lists, q, P]``.
            ranks: ``[lists, P]``.
            higher: which side of the rank to sum.

        Returns:
            ``[c, lists, q, P]``.
        """
        channels, (lists, queries, size) = len(values), ends.shape
        # The first position of a query's node, then its ends; all are followed down the tree together.
        places = pad(ends, (0, 0, 1, 0)).flatten(1)
        total = values.new_zeros(channels, lists, queries, size)
        for level, (order, ones) in reversed(list(enumerate(self._levels))):
            values = values.gather(-1, order.expand(channels, -1, -1))
            running = pad(values.cumsum(-1), (1, 0))
            right = ones.gather(-1, places)
            left = places - right
            right += size - ones[:, -1:]
            goes_right = (ranks >> level & 1).repeat(1, queries + 1)
            passed = right if higher else left  # the half that is not entered, where it lies on the summed side
            sums = running.gather(-1, passed.expand(channels, -1, -1)).unflatten(-1, (queries + 1, size))
            counted = (1 - goes_right if higher else goes_right)[:, :size].to(values.dtype)
            total += (sums[:, :, 1:] - sums[:, :, :1]) * counted[:, None]
            places = left + goes_right * (right - left)
        if higher:  # what is left in the node has exactly the rank
            sums = running.gather(-1, places.expand(channels, -1, -1)).unflatten(-1, (queries + 1, size))
            total += sums[:, :, 1:] - sums[:, :, :1]
        return total


def _partitions(ranks: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Sorts stably by each bit of the ranks ``[lists, P]`` in turn, the highest first.

    Returns:
        For every bit, the lowest first: the order ``[lists, P]`` that its sort puts the previous one into, and the
        number of ones before each position of the previous order, ``[lists, P + 1]``.
    """
    levels = []
    size = ranks.shape[-1]
    for level in reversed(range(size.bit_length())):
        bits = ranks >> level & 1
        ones = pad(bits.cumsum(-1), (1, 0))
        place = torch.arange(size, device=ranks.device) - ones[:, :-1]
        place += bits * (size - ones[:, -1:] + ones[:, :-1] - place)
        order = torch.empty_like(place).scatter_(-1, place, torch.arange(size, device=ranks.device).expand_as(place))
        ranks = ranks.gather(-1, order)
        levels.append((order, ones))
    return levels[::-1]
