"""The sums of `Bins`, written plainly over all pairs: faster where there is only a handful of positives.

Pairs are made block by block, in a processor's cache, and never kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import hardsigmoid

from mapopt.losses.sums.lists import column_blocks

_PAIRS = 65536  # held at once; 30 to 130 thousand measured alike


@dataclass(frozen=True)
class Counted:
    """Scores, and which of them take part.

    Attributes:
        scores: ``[lists, m]``.
        counts: bool ``[lists, m]``.
    """

    scores: Tensor
    counts: Tensor


class Slots:
    """Sums over pairs of a positive and a score, pair by pair.

    Args:
        thresholds: the positives' scores t, ``[lists, P]``, infinite where there is none.
        present: ``[lists, P]``, 1 for a positive and 0 for padding.
        delta: half the width of the ramp, a number or ``[lists, 1]``.
    """

    def __init__(self, thresholds: Tensor, present: Tensor, delta: float | Tensor) -> None:
        self.width = 2.0 * delta
        # torch's hard sigmoid is clip(x / 6 + 1 / 2, 0, 1) in one pass: scores are scaled to it.
        self._scale = _per_pair(6.0 / self.width)
        self._thresholds = torch.where(present > 0, thresholds, 0.0)
        self._scaled = self._thresholds * (6.0 / self.width)
        self._low, self._high = self._thresholds - delta, self._thresholds + delta

    def locate(self, scores: Tensor, counts: Tensor) -> Counted:
        """Takes ``[lists, m]`` scores; those where the bool ``counts`` is False take part in nothing."""
        return Counted(scores, counts)

    def mass(self, located: Counted, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H(s_j - t_i) for every positive i, ``[lists, P]``; weights default to 1."""
        return self._sums(located, weights, slopes=False)

    def density(self, located: Counted, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H'(s_j - t_i) for every positive i, ``[lists, P]``."""
        return self._sums(located, weights, slopes=True) / self.width

    def spread(self, located: Counted, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H(s_j - t_i) for every score j, ``[lists, m]``: the transpose of `mass`."""
        return self._spread(located, weights, slopes=False)

    def spread_density(self, located: Counted, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H'(s_j - t_i) for every score j, ``[lists, m]``."""
        return self._spread(located, weights / self.width, slopes=True)

    def _sums(self, located: Counted, weights: Tensor | None, *, slopes: bool) -> Tensor:
        total = torch.zeros_like(self._thresholds)
        for part in self._blocks(located):
            counts = located.counts[:, part].to(total.dtype)
            if weights is not None:
                counts = counts * weights[:, part]
            total += torch.matmul(self._steps(located.scores[:, part], slopes), counts[..., None])[..., 0]
        return total

    def _spread(self, located: Counted, weights: Tensor, *, slopes: bool) -> Tensor:
        result = torch.empty_like(located.scores)
        for part in self._blocks(located):
            spread = torch.matmul(weights[:, None, :], self._steps(located.scores[:, part], slopes))[:, 0]
            result[:, part] = spread.mul_(located.counts[:, part])
        return result

    def _blocks(self, located: Counted) -> Iterator[slice]:
        return column_blocks(located.scores, entries=_PAIRS // self._thresholds.shape[-1])

    def _steps(self, scores: Tensor, slopes: bool) -> Tensor:
        """H (or where it rises, 1) of every pair, ``[lists, P, m]``."""
        exact = scores.to(self._thresholds.dtype)[:, None, :]
        if slopes:  # the very comparisons that `Bins` makes, so that both agree on the side of a kink
            return ((exact >= self._low[..., None]) & (exact < self._high[..., None])).to(exact.dtype)
        return hardsigmoid(exact * self._scale - self._scaled[..., None], inplace=True)


def _per_pair(parameter: float | Tensor) -> float | Tensor:
    """Makes a column ``[lists, 1]`` fit ``[lists, P, m]``."""
    return parameter[..., None] if isinstance(parameter, Tensor) else parameter
