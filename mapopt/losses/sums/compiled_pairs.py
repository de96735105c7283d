"""The sums of `PairMatrix` over wrongly sorted pairs, compiled: a double loop over each list's own positives."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from mapopt.losses.sums.compiled_bins import one_per_list
from mapopt.losses.sums.lists import array_of


class CompiledPairs:
    """All pairs of positives, made anew in each pass.

    Args:
        kernels: `mapopt.losses.sums.kernels`.
        thresholds: the positives' scores ``[lists, P]``, ascending.
        present: ``[lists, P]``, 1 for a positive and 0 for padding.
        labels: ``[lists, P]``.
        width: of the ramp H, a number or ``[lists, 1]``.
    """

    def __init__(
        self, kernels: ModuleType, thresholds: Tensor, present: Tensor, labels: Tensor, width: float | Tensor
    ) -> None:
        self._kernels, self._width = kernels, width
        number = array_of(present.sum(-1)).astype(np.int64)
        self._pairs = (array_of(thresholds), array_of(labels), number, one_per_list(width, len(thresholds)))

    def above(self, values: Tensor) -> Tensor:
        """Sums over what is above, as in `WrongPairs`."""
        return self._sums(self._kernels.pairs_above, values, slopes=False)

    def below(self, values: Tensor) -> Tensor:
        """Sums over what is below, as in `WrongPairs`."""
        return self._sums(self._kernels.pairs_below, values, slopes=False)

    def above_density(self, values: Tensor) -> Tensor:
        """As `above`, with the derivative of H."""
        return self._sums(self._kernels.pairs_above, values, slopes=True) / self._width

    def below_density(self, values: Tensor) -> Tensor:
        """As `below`, with the derivative of H."""
        return self._sums(self._kernels.pairs_below, values, slopes=True) / self._width

    def _sums(self, kernel: Callable[..., None], values: Tensor, *, slopes: bool) -> Tensor:
        result = np.empty(tuple(values.shape))
        kernel(*self._pairs, slopes, array_of(values), result)
        return torch.from_numpy(result)
