"""A whole call of an error-driven loss in one compiled pass, and its gradient in another.

What is computed of a list of a few hundred scores takes some microseconds, and so does every operation of torch: a
matrix of all pairs, a dozen of them, would then be faster than sums over bins, a hundred. Here it is one operation. The
bits are those of the members' `evaluate`, so nobody notices which of the two works: lists of anything but ordinary
numbers on a processor go there, and so do labels that are to have a gradient.
"""

from __future__ import annotations

import importlib
import math
from dataclasses import dataclass
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from mapopt.losses.sums.domain import LARGEST_LABEL
from mapopt.losses.sums.engines import loaded_kernels
from mapopt.losses.sums.lists import EXTREME, array_of


@dataclass(frozen=True, kw_only=True)
class OnePass:
    """How a loss is computed in one pass.

    Attributes:
        kernel: its name in `mapopt.losses.sums.one_pass_kernels`.
        components: their names, in the order in which they are reported.
        delta: half the width of the ramp.
        parameter: the other number that the kernel takes.
        moved: how many components move scores: the last ones.
        spreads: how many of these move negatives: the first.
        max_positives: of a list; None is no limit. Beyond it there is another way.
        moves_labels: labels that ask for a gradient get one, which is not computed here.
    """

    kernel: str
    components: tuple[str, ...]
    delta: float
    parameter: float
    moved: int = 1
    spreads: int = 1
    max_positives: int | None = None
    moves_labels: bool = False

    def lists(self, scores: Tensor, labels: Tensor, where: Tensor | None) -> dict[str, Tensor] | None:
        """Returns each component ``[...]`` as `mapopt.losses.ListLoss.lists` does; None where it cannot."""
        survey = self._survey(scores, labels, where)
        return None if survey is None else dict(zip(self.components, _Lists.apply(scores, self, survey), strict=True))

    def value(self, scores: Tensor, labels: Tensor, where: Tensor | None) -> Tensor | None:
        """Returns the loss as `mapopt.losses.ListLoss.forward` does; None where it cannot."""
        survey = self._survey(scores, labels, where)
        return None if survey is None else _Value.apply(scores, self, survey)

    def _survey(self, scores: Tensor, labels: Tensor, where: Tensor | None) -> _Surveyed | None:
        """Looks lists over as `Lists` does; returns None where something is not ordinary, and perhaps an error."""
        if not (_ordinary(scores, labels) and (where is None or _is_mask(where, scores))):
            return None
        if self.moves_labels and labels.requires_grad:
            return None
        kernels = loaded_kernels(scores)
        if kernels is None:
            return None
        size = scores.shape[-1]
        given, targets = array_of(scores).reshape(-1, size), array_of(labels.to(scores.dtype)).reshape(-1, size)
        kept = _EVERYTHING if where is None else array_of(where).reshape(-1, size)
        positive, negative = np.empty(given.shape, np.bool_), np.empty(given.shape, np.bool_)
        count = np.empty(len(given), np.int64)
        if not kernels.survey(given, targets, kept, EXTREME, LARGEST_LABEL, positive, negative, count):
            return None
        if self.max_positives is not None and count.max() > self.max_positives:
            return None
        return _Surveyed(given, targets, positive, negative, count)


def is_number(value: object, *, above: float = -math.inf) -> bool:
    """Says whether a parameter is one number for all lists, and larger than another."""
    return isinstance(value, int | float) and value > above


@dataclass(eq=False)
class _Surveyed:
    """Ordinary lists: scores, labels and which are positives or negatives ``[lists, n]``, and how many positives."""

    scores: np.ndarray
    labels: np.ndarray
    positive: np.ndarray
    negative: np.ndarray
    count: np.ndarray


def _ordinary(scores: Any, labels: Any) -> bool:
    return (
        isinstance(scores, Tensor)
        and isinstance(labels, Tensor)
        and scores.dtype in _TYPES
        and scores.shape == labels.shape
        and scores.numel() > 0
        and scores.dim() > 0
        and labels.device.type == "cpu"
        and not labels.is_complex()
        and not torch._C._functorch.is_functorch_wrapped_tensor(labels)
    )


def _is_mask(where: Any, scores: Tensor) -> bool:
    return (
        isinstance(where, Tensor)
        and where.dtype == torch.bool
        and where.shape == scores.shape
        and where.device.type == "cpu"
        and not torch._C._functorch.is_functorch_wrapped_tensor(where)
    )


_TYPES = (torch.float32, torch.float64)
_EVERYTHING = np.empty((0, 0), np.bool_)


class _Computed:
    """Values ``[components, lists]`` and updates of surveyed lists."""

    def __init__(self, task: OnePass, lists: _Surveyed) -> None:
        self._delta, self._scores, self._count = task.delta, lists.scores, lists.count
        number, width = len(lists.count), max(int(lists.count.max()), 1)
        self._columns = np.empty((number, width), np.int64)
        bins, edges = np.empty(lists.scores.shape, np.int32), np.empty((number, 2 * width))
        order, active = np.empty((number, 2 * width), np.int32), np.empty((number, 2 * width + 1), np.bool_)
        self._axis = (bins, edges, order, active, np.empty((number, 2 * width + 1)))
        self._updates = (np.empty((task.moved, number, width)), np.empty((task.spreads, number, width)))
        self.values = np.empty((len(task.components), number))
        given = (lists.scores, lists.labels, lists.positive, lists.negative, lists.count, self._columns, *self._axis)
        getattr(_kernels(), task.kernel)(*given, task.delta, task.parameter, self.values, *self._updates)

    def gradient(self, upstream: np.ndarray) -> Tensor:
        """Returns the gradient of the scores ``[lists, n]`` from that of the last components ``[moved, lists]``."""
        gradient = np.empty_like(self._scores)
        given = (self._scores, self._count, self._columns, *self._axis, self._delta, *self._updates)
        _kernels().update(*given, upstream, gradient)
        return torch.from_numpy(gradient)


@cache
def _kernels() -> ModuleType:
    """Imports what is compiled, where the kernels that it is made of are loaded already."""
    return importlib.import_module("mapopt.losses.sums.one_pass_kernels")


class _Lists(torch.autograd.Function):
    """Every component of every list."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, task: OnePass, lists: _Surveyed) -> tuple[Tensor, ...]:
        ctx.computed, ctx.shape, ctx.moved = _Computed(task, lists), scores.shape, task.moved
        rows = torch.from_numpy(ctx.computed.values).to(scores.dtype)
        values = tuple(row.clone().reshape(scores.shape[:-1]) for row in rows)
        ctx.mark_non_differentiable(*values[: -task.moved])
        return values

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *upstream: Tensor) -> tuple[Tensor, None, None]:
        columns = [array_of(gradient).reshape(-1) for gradient in upstream[-ctx.moved :]]
        return ctx.computed.gradient(np.stack(columns, dtype=np.float64)).reshape(ctx.shape), None, None


class _Value(torch.autograd.Function):
    """The sum of the components' means over the lists that have a positive."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, task: OnePass, lists: _Surveyed) -> Tensor:
        ctx.computed, ctx.shape, ctx.moved, ctx.number = _Computed(task, lists), scores.shape, task.moved, None
        values = torch.from_numpy(ctx.computed.values).to(scores.dtype)
        if len(lists.count) == 1:
            return values.sum()
        ctx.number = torch.tensor(max(np.count_nonzero(lists.count), 1))
        return torch.stack([value.sum() / ctx.number for value in values]).sum()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None]:
        each = upstream if ctx.number is None else upstream / ctx.number
        columns = np.full((ctx.moved, ctx.computed.values.shape[1]), each.item())
        return ctx.computed.gradient(columns).reshape(ctx.shape), None, None
