"""Scores and labels as the losses see them: a batch of independent lists, and the positives of each list in a table.

Every loss works on two dimensions, ``[lists, n]``; whatever leading dimensions the caller has (lanes, images, classes)
are flattened once, here, and restored at the very end. Lists have different numbers of positives, so the positives go
into a padded table, sorted by score: ranking losses then need no Python loop over lists.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mapopt.losses.sums.domain import LARGEST_LABEL, as_fact, as_tensor, check_labels, check_lists, compressed
from mapopt.losses.sums.engines import loaded_kernels


class Lists:
    """A batch of lists to be ranked, flattened to ``[lists, n]``.

    Args:
        scores: logits ``[..., n]`` of any floating type, or an array or nested list of numbers; half precision is
            widened to float32, and float32 with scores beyond 1e30 to float64, see `parts`. A negative at -inf is
            masked: it counts as one below everything.
        labels: ``[..., n]``, 0 for negatives and a value in (0, 1] for positives. Negative labels are ignored.
        where: bool ``[..., n]`` or broadcastable to it, False where an entry is to be ignored.
        facts: what else is known of every entry, by name, each ``[..., n]`` or broadcastable to it.

    Attributes:
        leading: the caller's leading dimensions.
        type: what the losses return: float32 or float64.
        scores: ``[lists, n]`` float32 or float64, part of the caller's autograd graph.
        labels: ``[lists, n]`` of the same type as the scores.
        positive: bool ``[lists, n]``.
        negative: bool ``[lists, n]``.
        bad: bool ``[lists]``, True where a score or label that counts is NaN, or a score is infinite otherwise than a
            negative's -inf.
        has_bad: False where no list is bad, without asking a device for it.
        facts: what else is known of every entry, by name, each ``[lists, n]``.

    Raises:
        DataError: the shapes of scores, labels, where and facts do not fit, or a label is above 1.
    """

    def __init__(
        self,
        scores: Tensor,
        labels: Tensor,
        where: Tensor | None = None,
        *,
        facts: Mapping[str, Tensor] | None = None,
    ) -> None:
        scores, labels, where = as_lists(scores, labels, where)
        check_lists(scores, labels, where)
        self.leading = scores.shape[:-1]
        if scores.dtype in (torch.float16, torch.bfloat16):
            scores = scores.float()
        flat = (self.leading.numel(), scores.shape[-1])
        self.facts = {name: as_fact(name, value, scores).reshape(flat) for name, value in (facts or {}).items()}
        keep = None if where is None else where.to(torch.bool).expand(scores.shape).reshape(flat)
        self.type = scores.dtype
        self.scores = scores.reshape(flat)
        self.labels = labels.to(scores.dtype).reshape(flat)
        self.has_bad = self._extreme = False
        self._ordinary: tuple[Tensor, Tensor, Tensor] | None = None
        if self._survey(keep):
            return
        self.bad = self._clean(keep)
        self.positive = self.labels > 0
        self.negative = self.labels == 0
        if keep is not None:
            self.positive = self.positive & keep
            self.negative = self.negative & keep

    def _survey(self, keep: Tensor | None) -> bool:
        """Finds positives and negatives in one compiled pass, where that is loaded and all numbers are ordinary."""
        kernels = loaded_kernels(self.scores)
        if kernels is None:
            return False
        masks, count = np.empty((2, *self.scores.shape), np.bool_), np.empty(len(self.scores), np.int64)
        kept = np.empty((0, 0), np.bool_) if keep is None else array_of(keep)
        numbers = (array_of(self.scores), array_of(self.labels))
        if not kernels.survey(*numbers, kept, EXTREME, LARGEST_LABEL, *masks, count):
            return False
        self.positive, self.negative = map(torch.from_numpy, masks)
        self.count, self.bad = torch.from_numpy(count), torch.from_numpy(np.zeros(len(count), np.bool_))
        self.all_ranked = bool(count.all())
        return True

    def _clean(self, keep: Tensor | None) -> Tensor:
        """Checks the labels, finds NaN, and replaces what is not finite so that it cannot leak."""
        none = torch.zeros(len(self.scores), dtype=torch.bool, device=self.scores.device)
        if not self.scores.numel():
            return none
        # The smallest and the largest of each, NaN if there is one: the common case costs one cheap pass.
        ends = [torch.stack(values.detach().aminmax()) for values in (self.scores, self.labels)]
        low, high, lowest_label, highest_label = torch.cat(ends).tolist()
        check_labels(self.labels, keep, lowest_label, highest_label)
        finite = math.isfinite(low) and math.isfinite(high)
        if not finite:
            # What is not finite spoils its own list, and must not decide in which type the others are computed.
            known = self.scores.detach()
            low, high = torch.stack(torch.where(known.isfinite(), known, 0.0).aminmax()).tolist()
        self._extreme = not (low > -EXTREME and high < EXTREME)
        if finite and not self._extreme and math.isfinite(lowest_label - highest_label):
            return none
        if keep is not None:
            self.scores = self.scores.masked_fill(~keep, 0.0)
            self.labels = self.labels.masked_fill(~keep, 0.0)
        self.has_bad = True
        extreme = ((self.scores.detach().abs() >= EXTREME) & self.scores.isfinite()).any(-1)
        self._extreme = self._extreme and bool(extreme.any())  # what is ignored decides nothing
        self.scores = self.scores.masked_fill((self.scores == -torch.inf) & (self.labels <= 0), _MASKED)
        self.scores = self.scores.masked_fill(self.scores.isinf(), torch.nan)
        if self._extreme and not bool(extreme.all()):
            self._ordinary = (self.scores.masked_fill(extreme[:, None], 0.0), self.labels, ~extreme)
        if self._extreme and accumulation_type(self.scores.device) == torch.float64:
            self.scores, self.labels = self.scores.double(), self.labels.double()  # differences must not overflow
        return (self.scores.isnan() | self.labels.isnan()).any(-1)

    def parts(self) -> list[tuple[Lists, Tensor | None]]:
        """Returns what is evaluated, and of which lists the values count, bool ``[lists]``; None is all.

        As a rule this is all at once. Where some lists have scores beyond 1e30, those are computed in float64, and the
        others as if each of these were full of zeros: in what type a list is computed is decided by itself alone.
        """
        if self._ordinary is None:
            return [(self, None)]
        ordinary = copy.copy(self)
        for name in ("table", "known_scores", "exact_scores"):
            ordinary.__dict__.pop(name, None)
        ordinary.scores, ordinary.labels, counts = self._ordinary
        ordinary._ordinary, ordinary._extreme = None, False
        return [(ordinary, counts), (self, ~counts)]

    @cached_property
    def count(self) -> Tensor:
        """The number of positives of each list, ``[lists]`` int64."""
        return self.positive.sum(-1)

    @cached_property
    def all_ranked(self) -> bool:
        """Whether every list is known to have a positive, without asking a device for it."""
        return False

    @cached_property
    def table(self) -> PositiveTable:
        """The positives of each list, sorted by score."""
        return PositiveTable(self)

    @cached_property
    def known_scores(self) -> Tensor:
        """The scores ``[lists, n]`` without gradient, in their own type.

        NaN is replaced by 0, so that it finds a place among the others; `bad` remembers it. Where some are so large
        that no ramp is left between neighboring numbers, all beyond 2^32 are moved closer, in their order.
        """
        scores = self.scores.detach()
        if self.has_bad:
            scores = scores.nan_to_num(0.0, torch.inf, -torch.inf)
        return compressed(scores) if self._extreme else scores

    @cached_property
    def exact_scores(self) -> Tensor:
        """The same in the type that sums are accumulated in."""
        return self.known_scores.to(accumulation_type(self.scores.device))


class PositiveTable:
    """The positives of every list, ascending by score and padded to the longest list.

    Attributes:
        thresholds: scores of the positives ``[lists, P]``, float64, ascending, infinite where there is none. P is at
            least 1.
        filled: bool ``[lists, P]``, where there is a positive.
        present: the same, 1 for a positive and 0 for padding, float64.
        columns: where each came from, int64 ``[lists, P]``, 0 for padding.
        count: number of positives, at least 1, float64 ``[lists, 1]``.
    """

    def __init__(self, lists: Lists) -> None:
        kernels = loaded_kernels(lists.scores)
        if kernels is None:
            self._tabulate(lists)
            return
        count = lists.count.numpy()
        shape = (count.size, max(int(count.max()), 1) if count.size else 1)
        table = (np.empty(shape), np.empty(shape, np.bool_), np.empty(shape), np.empty(shape, np.int64))
        kernels.tabulate(array_of(lists.known_scores), array_of(lists.positive), *table)
        self.thresholds, self.filled, self.present, self.columns = map(torch.from_numpy, table)
        self.count = torch.from_numpy(np.maximum(count, 1.0)[:, None])

    def _tabulate(self, lists: Lists) -> None:
        rows, columns = lists.positive.nonzero(as_tuple=True)
        count = lists.count
        width = max(int(count.max()), 1) if count.numel() else 1
        slots = torch.arange(rows.numel(), device=rows.device) - (count.cumsum(0) - count)[rows]
        scores = lists.known_scores
        exact = accumulation_type(scores.device)
        thresholds = scores.new_full((count.numel(), width), torch.inf, dtype=exact)
        thresholds[rows, slots] = scores[rows, columns].to(exact)
        padded = columns.new_zeros((count.numel(), width))
        padded[rows, slots] = columns
        self.thresholds, order = thresholds.sort(dim=-1, stable=True)
        self.columns = padded.gather(-1, order)
        self.filled = torch.arange(width, device=rows.device) < count[:, None]
        self.present = self.filled.to(exact)
        self.count = count.clamp(min=1).to(exact)[:, None]

    def take(self, values: Tensor) -> Tensor:
        """Picks the positives' entries out of ``[lists, n]``: returns ``[lists, P]``, 0 for padding."""
        if values.shape[-1] == 0:
            return values.sum(-1, keepdim=True).expand(self.columns.shape)
        return values.gather(-1, self.columns) * self.present.to(values.dtype)

    def put(self, into: Tensor, values: Tensor) -> Tensor:
        """Adds ``[lists, P]`` to the positives' entries of ``[lists, n]``, in place; padding must be 0."""
        return into.scatter_add_(-1, self.columns, values.to(into.dtype)) if into.shape[-1] else into

    def mean(self, values: Tensor) -> Tensor:
        """The mean of ``[lists, P]`` over the positives of each list: ``[lists]``, 0 for a list without one."""
        # A running sum adds the padding's zeros last: the result does not depend on how long the other lists are.
        return (values * self.present).cumsum(-1)[:, -1] / self.count[:, 0]


def middle_ranks(scores: Tensor) -> Tensor:
    """Returns the rank of each score ``[..., n]`` within its list, in the scores' type.

    Ties share the mean of the places they occupy, so the order of the input never matters. Scores of minus infinity
    come last and do not move the others.

    >>> middle_ranks(torch.tensor([0.5, 2.0, 0.5, 3.0]))
    tensor([3.5000, 2.0000, 3.5000, 1.0000])
    """
    size = scores.shape[-1]
    if size == 0:
        return torch.zeros_like(scores)
    ordered, order = scores.sort(dim=-1, descending=True, stable=True)
    place = torch.arange(1, size + 1, device=scores.device).expand_as(order)
    new = torch.ones_like(ordered, dtype=torch.bool)
    new[..., 1:] = ordered[..., 1:] != ordered[..., :-1]
    first = torch.where(new, place, 1).cummax(-1).values
    ends = torch.ones_like(new)
    ends[..., :-1] = new[..., 1:]
    last = torch.where(ends, place, size).flip(-1).cummin(-1).values.flip(-1)
    return torch.empty_like(scores).scatter_(-1, order, ((first + last).to(scores.dtype) / 2.0))


def totals(index: Tensor, values: Tensor | None, size: int) -> Tensor:
    """Sums the values (or counts the entries) that share an index, ``[size]``.

    Args:
        index: int64 ``[m]``, from 0 to size - 1.
        values: ``[m]``, or None to count.
        size: number of sums.
    """
    if index.device.type == "cpu":
        return torch.bincount(index, weights=values, minlength=size)
    values = torch.ones_like(index) if values is None else values  # on a GPU this one can be made deterministic
    return values.new_zeros(size).index_add_(0, index, values)


def column_blocks(values: Tensor, *, entries: int = 32768) -> Iterator[slice]:
    """Cuts ``[lists, m]`` into columns that are worked on one block after the other, on a GPU all at once.

    A processor's cache then holds a block's intermediate results, and the memory for them is asked for once: pages of
    memory that are new to the process cost more than what is computed in them.

    Args:
        values: whose columns are cut.
        entries: about so many in a block.
    """
    lists, columns = values.shape
    size = max(entries // max(lists, 1), 1024) if values.device.type == "cpu" else max(columns, 1)
    for start in range(0, columns, size):
        yield slice(start, min(start + size, columns))


def array_of(values: Tensor) -> np.ndarray:
    """Returns the numbers of a tensor on the processor as compiled passes take them."""
    return values.detach().contiguous().numpy()


def accumulation_type(device: torch.device) -> torch.dtype:
    """Returns float64, or float32 on Apple's GPU, which has nothing wider."""
    return torch.float32 if device.type == "mps" else torch.float64


def as_lists(scores: Any, labels: Any, where: Any = None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Returns tensors, also of arrays and nested lists of numbers, which go where the scores are."""
    scores = as_tensor("scores", scores)
    labels = as_tensor("labels", labels, beside=scores)
    return scores, labels, None if where is None else as_tensor("where", where, beside=scores)


EXTREME = 1e30
"""Beyond it differences of float32 may overflow, and squares do."""
_MASKED = -1.5e38  # below other scores, and still a number in float32
