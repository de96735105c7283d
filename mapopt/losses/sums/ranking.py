"""One call's lists with their positives, and the sums over pairs that every ranking loss is made of.

What does the sums is decided here. On a processor they are always those of bins, compiled or not, which have the same
bits and do not depend on the other lists: a lane of a fleet must not notice how many there are. Elsewhere every
operation costs a launch, and pairs written out are the fewest for a handful of positives. Where torch does the work,
negatives so far below every positive that no ramp reaches them are left out first, if they are most of the list.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from mapopt.losses.sums.bins import Bins
from mapopt.losses.sums.compiled_bins import CompiledBins
from mapopt.losses.sums.engines import kernels_for
from mapopt.losses.sums.lists import Lists
from mapopt.losses.sums.slots import Slots


class PairSums(Protocol):
    """Sums over pairs of a positive i and a located score j, weighted by the ramp H or its derivative."""

    width: float | Tensor

    def locate(self, scores: Tensor, counts: Tensor) -> Any:
        """Prepares ``[lists, m]`` scores, those where ``counts`` is True."""
        ...

    def mass(self, located: Any, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H(s_j - t_i), ``[lists, P]``."""
        ...

    def density(self, located: Any, weights: Tensor | None = None) -> Tensor:
        """Returns sum_j weights_j H'(s_j - t_i), ``[lists, P]``."""
        ...

    def spread(self, located: Any, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H(s_j - t_i), ``[lists, m]``."""
        ...

    def spread_density(self, located: Any, weights: Tensor) -> Tensor:
        """Returns sum_i weights_i H'(s_j - t_i), ``[lists, m]``."""
        ...


class Ranking:
    """The positives of each list among its scores.

    Args:
        lists: the flat batch.
        delta: half the width of the ramp, a number or ``[lists, 1]``.
        shift: moves the ramp: a score counts half where it exceeds the positive's by this much.
        scores: ``[lists, n]`` to rank the positives among, where they are not the lists' own.

    Attributes:
        lists: the flat batch.
        table: its positives.
        sums: over pairs of a positive and a score.
        negatives: the located negatives; sums over them have their own order, see `to_lists`.
        positives: the located positives ``[lists, P]``.
    """

    def __init__(
        self, lists: Lists, delta: float | Tensor, *, shift: float | Tensor = 0.0, scores: Tensor | None = None
    ) -> None:
        self.lists = lists
        self.table = table = lists.table
        shifted = isinstance(shift, Tensor) or shift != 0.0
        thresholds = table.thresholds + shift if shifted else table.thresholds
        scores = lists.known_scores if scores is None else scores
        self._packing: _Packing | None = None
        kernels, own = kernels_for(scores), table.thresholds
        self.sums: PairSums
        if kernels is not None:
            self.sums, counted = CompiledBins(kernels, thresholds, table.present, delta), lists.negative
        else:
            own = torch.where(table.filled, own, 0.0)
            counted = lists.negative & (scores > _not_above(thresholds[:, :1] - delta, scores.dtype))
            self._packing = _Packing.of(counted)
            if self._packing is not None:
                scores, counted = self._packing.pack(scores), self._packing.filled
            few = thresholds.shape[-1] <= _few(scores)
            self.sums = (Slots if few else Bins)(thresholds, table.present, delta)
        self.negatives = self.sums.locate(scores, counted)
        self.positives = self.sums.locate(own, table.filled)

    def to_lists(self, values: Tensor) -> Tensor:
        """Brings values of the negatives, as the sums return them, to their places in the lists ``[lists, n]``."""
        return values if self._packing is None else self._packing.unpack(values)


class _Packing:
    """A few entries of each list, moved together.

    Attributes:
        filled: bool ``[lists, m]``, where there is an entry.
    """

    def __init__(self, chosen: Tensor, number: Tensor, width: int) -> None:
        rows, columns = chosen.nonzero(as_tuple=True)
        places = torch.arange(rows.numel(), device=chosen.device)
        self._from = rows * chosen.shape[-1] + columns
        self._to = places - (number.cumsum(0) - number - width * torch.arange(number.numel(), device=rows.device))[rows]
        self._shape = chosen.shape
        self.filled = torch.arange(width, device=chosen.device) < number[:, None]

    @classmethod
    def of(cls, chosen: Tensor) -> _Packing | None:
        """Packs the entries chosen from ``[lists, n]``, if that leaves out enough to pay."""
        number = chosen.sum(-1)
        width = int(number.max()) if number.numel() else 0
        return cls(chosen, number, width) if _PACKING_FACTOR * width < chosen.shape[-1] else None

    def pack(self, values: Tensor) -> Tensor:
        packed = values.new_zeros(self.filled.shape)
        packed.view(-1)[self._to] = values.reshape(-1).index_select(0, self._from)
        return packed

    def unpack(self, values: Tensor) -> Tensor:
        full = values.new_zeros(self._shape)
        full.view(-1)[self._from] = values.reshape(-1).index_select(0, self._to)
        return full


def _not_above(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Rounds down to a type, or to the number just below: scores need not be widened to be compared."""
    rounded = values.to(dtype)
    return rounded if dtype == values.dtype else torch.nextafter(rounded, rounded.new_full((), -torch.inf))


_PACKING_FACTOR = 4  # pack where at most one entry in so many is left; measured at 1e3 to 1e6 scores


def _few(scores: Tensor) -> int:
    """The number of positives up to which pairs written out beat the bins for ``[lists, m]`` scores."""
    # Pairs cost 5 us and 3.4 ns a score for each positive, bins 0.4 ms and 11 ns a score, on one core.
    return 0 if scores.device.type == "cpu" else int((400 + 0.011 * scores.numel()) / (5 + 0.0034 * scores.numel()))
