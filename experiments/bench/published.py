"""The losses as they were published, to be compared with: a loop over the positives, and the matrix of all pairs.

The loops are written from the papers' algorithms and do what the original implementations do: negatives that no ramp
reaches are left out first, then every positive, from the lowest up, costs a handful of vector operations over the
relevant negatives, forward and update together. They give the numbers of our classes.

Reference:
    Chen et al., "Towards Accurate One-Stage Object Detection with AP-Loss", CVPR 2019; Oksuz et al., "A Ranking-based,
    Balanced Loss Function Unifying Classification and Localisation in Object Detection", NeurIPS 2020; Oksuz et al.,
    "Rank & Sort Loss for Object Detection and Instance Segmentation", ICCV 2021.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Loop = Callable[[Tensor, Tensor, int | None], tuple[Tensor, Tensor]]
"""Takes scores ``[n]``, labels ``[n]`` and a limit of rounds; returns the loss and its update ``[n]``."""


def loop_loss(scores: Tensor, labels: Tensor, loop: Loop, rounds: int | None = None) -> Tensor:
    """Returns a published loss whose backward pass hands on its update, as the originals do.

    Args:
        scores: ``[n]``.
        labels: ``[n]``, 0 for negatives and the IoU of positives.
        loop: one of `LOOPS`.
        rounds: stop after so many positives; only to measure memory, which every round needs alike.
    """
    return _Published.apply(scores, labels, loop, rounds)


def pairwise_ap(scores: Tensor, labels: Tensor, delta: float = 1.0) -> Tensor:
    """Returns the soft AP loss of ``[n]`` scores from the matrix of all pairs, for plain autograd.

    It is what `APLoss(interpolate=False, gradient="exact")` computes.
    """
    positive = labels > 0
    above = ((scores[None, :] - scores[positive][:, None]) / (2 * delta) + 0.5).clamp(0, 1)
    negatives = (above * (labels == 0)).sum(1)
    positives = (above * positive).sum(1) + 0.5
    return (negatives / (positives + negatives)).mean()


def pairwise_bytes(scores: Tensor, labels: Tensor) -> int:
    """Returns what autograd keeps of `pairwise_ap`, and the largest intermediate beside it: five matrices."""
    return 5 * int((labels > 0).sum()) * scores.numel() * scores.element_size()


def ap_loop(scores: Tensor, labels: Tensor, rounds: int | None, delta: float = 1.0) -> tuple[Tensor, Tensor]:
    """AP-loss with interpolated precision."""
    lists = _Split(scores, labels, delta)
    precision, best = torch.zeros_like(lists.positives), torch.zeros(())
    for i in lists.positives.argsort()[:rounds]:
        above, false_positives = lists.compare(i)
        above[i] = 0
        own = 1 + above.sum()
        rank = own + false_positives.sum()
        current = own / rank
        if best <= current:
            best = current
            lists.to_negatives += false_positives / rank
        else:
            lists.to_negatives += (false_positives / rank) * ((1 - best) / (1 - current))
        lists.to_positives[i] = best - 1
        precision[i] = best
    return 1 - precision.mean(), lists.update()


def alrp_loop(scores: Tensor, labels: Tensor, rounds: int | None, delta: float = 1.0) -> tuple[Tensor, Tensor]:
    """Average localization recall precision: both components."""
    lists = _Split(scores, labels, delta)
    errors = (1 - lists.labels) / 0.5
    precision, ranks = torch.zeros_like(errors), torch.ones_like(errors)
    order = lists.positives.argsort()
    for i in order[:rounds]:
        above, false_positives = lists.compare(i)
        above[i] = 0
        own, mass = 1 + above.sum(), false_positives.sum()
        ranks[i] = own + mass
        precision[i] = own / ranks[i]
        if mass > 1e-5:
            lists.to_positives[i] = -((above * errors).sum() + mass) / ranks[i]
            lists.to_negatives += false_positives * (-lists.to_positives[i] / mass)
    falling = order.flip(0)
    localization = (errors[falling].cumsum(0) / ranks[falling]).mean()
    return 1 - precision.mean() + localization, lists.update()


def rank_sort_loop(scores: Tensor, labels: Tensor, rounds: int | None, delta: float = 0.5) -> tuple[Tensor, Tensor]:
    """Rank & Sort: both components."""
    lists = _Split(scores, labels, delta)
    errors = 1 - lists.labels
    ranking, sorting = torch.zeros_like(errors), torch.zeros_like(errors)
    for i in lists.positives.argsort()[:rounds]:
        above, false_positives = lists.compare(i)
        own, mass = above.sum(), false_positives.sum()
        ranking[i] = mass / (own + mass)
        better = lists.labels >= lists.labels[i]
        rightly = better * above
        sorting[i] = (above * errors).sum() / own - (rightly * errors).sum() / rightly.sum()
        if mass > 1e-10:
            lists.to_positives[i] -= ranking[i]
            lists.to_negatives += false_positives * (ranking[i] / mass)
        wrongly = ~better * above
        blamed = wrongly.sum()
        if blamed > 1e-10:
            lists.to_positives[i] -= sorting[i]
            lists.to_positives += wrongly * (sorting[i] / blamed)
    return ranking.mean() + sorting.mean(), lists.update()


LOOPS: dict[str, Loop] = {"ap": ap_loop, "alrp": alrp_loop, "rank_sort": rank_sort_loop}
"""By the name of our class."""


class _Split:
    """The positives and the relevant negatives of a list, and the update that is collected for them."""

    def __init__(self, scores: Tensor, labels: Tensor, delta: float) -> None:
        self._delta, self._scores = delta, scores
        self._positive = labels > 0
        self.positives, self.labels = scores[self._positive], labels[self._positive]
        self._relevant = (labels == 0) & (scores >= self.positives.min() - delta)
        self._negatives = scores[self._relevant]
        self.to_positives = torch.zeros_like(self.positives)
        self.to_negatives = torch.zeros_like(self._negatives)

    def compare(self, i: Tensor) -> tuple[Tensor, Tensor]:
        """Returns how far the positives, and the negatives, are above positive i: the ramp."""
        differences = self.positives - self.positives[i], self._negatives - self.positives[i]
        above, below = (torch.clamp(difference / (2 * self._delta) + 0.5, min=0, max=1) for difference in differences)
        return above, below

    def update(self) -> Tensor:
        update = torch.zeros_like(self._scores)
        update[self._positive], update[self._relevant] = self.to_positives, self.to_negatives
        return update.div_(len(self.positives))


class _Published(torch.autograd.Function):
    """Hands the update on."""

    @staticmethod
    def forward(ctx: Any, scores: Tensor, labels: Tensor, loop: Loop, rounds: int | None) -> Tensor:
        value, ctx.update = loop(scores.detach(), labels, rounds)
        return value

    @staticmethod
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        return upstream * ctx.update, None, None, None
